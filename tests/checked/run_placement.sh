#!/bin/sh
# SPDX-License-Identifier: MIT
# run_placement.sh LIBRARY|- PROGRAM - the same seed places blocks the same way, another one does not.
set -eu
place() {
    HOSTHEAP_OPTIONS=sample:1000000000,seed:$1 "$program" placement
}
[ "$1" = - ] || export LD_PRELOAD="$1"
program=$2
first=$(place 7)
[ -n "$first" ] || exit 1
[ "$(place 7)" = "$first" ] || { echo "seed 7 twice, two orders"; exit 1; }
[ "$(place 8)" != "$first" ] || { echo "seeds 7 and 8, one order"; exit 1; }
# Without a seed each process has its own.
[ "$(place 0)" != "$(place 0)" ] || { echo "two processes, one order"; exit 1; }
# Not one after the other.
[ "$first" != " 928 1856 2784 3712 4640 5568 6496 7424 8352 9280 10208 11136" ]
