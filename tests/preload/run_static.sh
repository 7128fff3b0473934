#!/bin/sh
# SPDX-License-Identifier: MIT
# run_static.sh SOURCE_ROOT OBJECT - a program linked with the drop-in as one object: dynamic, static
# and static position-independent. The static ones are left out where libc or liburcu has no archive.
set -eu
root=$1
object=$2
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
echo 'int main(void) { return 0; }' >"$folder/empty.c"
for kind in "" -static -static-pie; do
    # shellcheck disable=SC2086
    if [ -n "$kind" ] && ! cc $kind "$folder/empty.c" -o "$folder/empty" -lurcu-bp -lurcu-common; then
        echo "no archives for $kind: left out"
        continue
    fi
    # shellcheck disable=SC2086
    cc -O2 -fno-builtin $kind -I "$root/include" "$root/tests/preload/static_program.c" "$object" \
        -o "$folder/program" -pthread -lurcu-bp -lurcu-common
    "$folder/program"
    echo "linked with ${kind:-nothing else}: passed"
done
