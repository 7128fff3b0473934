#!/bin/sh
# SPDX-License-Identifier: MIT
# run_model.sh <model.pml> <holds|fails> [FAULT...] - search all interleavings of a model with spin.
# The model must hold, or, with planted faults, must be found to fail. Exits 77 without spin.
# Interleavings that differ only in the order of independent steps are searched once; with
# HOSTHEAP_MODELS=full each of them. Macros other than faults (bounds, say) may be among FAULT.
set -eu
model=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
expected=$2
shift 2
command -v spin >/dev/null || exit 77
command -v cc >/dev/null || exit 77
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
faults=
for fault in "$@"; do faults="$faults -D$fault"; done
# shellcheck disable=SC2086 # a list of options
spin $faults -a "$model" >spin.out || { cat spin.out; exit 1; }
optimise=-O0 # a fault is found sooner than compiled
[ "$expected" = holds ] && optimise=-O1
reduce=
[ "${HOSTHEAP_MODELS:-}" = full ] && reduce=-DNOREDUCE
# shellcheck disable=SC2086 # empty, or one option
cc $optimise -DSAFETY $reduce -o pan pan.c 2>cc.out || { cat cc.out; exit 1; }
./pan -m1000000 >pan.out
grep -E 'State-vector|states, stored|errors:|assertion|invalid end' pan.out || true
grep -q 'max search depth too small' pan.out && { echo "search cut off"; exit 1; }
errors=$(sed -n 's/.*errors: \([0-9]*\).*/\1/p' pan.out)
case $expected in
holds) [ "$errors" = 0 ] ;;
fails) [ "$errors" != 0 ] && grep -q 'assertion violated' pan.out ;;
*) echo "holds or fails, not $expected"; exit 1 ;;
esac
