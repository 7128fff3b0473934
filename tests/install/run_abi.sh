#!/bin/sh
# SPDX-License-Identifier: MIT
# run_abi.sh LIBRARY HEADERS COMMITTED [--update] - the types and functions that a library exports
# are those of the committed description, or, with --update, the description is written. Needs
# abigail-tools and a library with debugging information. Exit 77 without.
set -u
library=$1 headers=$2 committed=$3
if ! command -v abidw >/dev/null || ! command -v abidiff >/dev/null; then
    echo "abidw and abidiff are not installed: skipped"
    exit 77
fi
describe() { # file
    abidw --headers-dir "$headers" --drop-private-types --exported-interfaces-only --no-show-locs \
        --no-comp-dir-path --no-corpus-path --no-parameter-names --out-file "$1" "$library"
}
if [ "${4:-}" = --update ]; then
    describe "$committed"
    exit
fi
new=$(mktemp) || exit 1
trap 'rm -f "$new"' EXIT
# Two descriptions are compared: a library itself would be compared with its private types.
if describe "$new" && abidiff --harmless --no-show-locs "$committed" "$new"; then
    exit 0
fi
echo "The interface differs from $committed."
echo "If that is wanted: $0 $library $headers $committed --update"
exit 1
