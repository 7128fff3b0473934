#!/bin/sh
# SPDX-License-Identifier: MIT
# run_oracle.sh <linux program> <source> [seeds] [calls] - play the same random calls on Wine and on
# hostheap and compare. Exits 77 without Debian's wine64 and mingw, 1 at the first difference.
set -eu
program=$1
source=$2
seeds=${3:-10}
calls=${4:-400}
wine=
for place in /usr/lib/wine/wine64 "$(command -v wine64 || true)" "$(command -v wine || true)"; do
    [ -z "$wine" ] && [ -n "$place" ] && [ -x "$place" ] && wine=$place
done
compiler=
for name in x86_64-w64-mingw32-gcc x86_64-w64-mingw32-gcc-win32 x86_64-w64-mingw32-gcc-posix; do
    [ -z "$compiler" ] && compiler=$(command -v "$name" || true)
done
if [ -z "$wine" ] || [ -z "$compiler" ]; then
    echo "wine64 or mingw is missing"
    exit 77
fi
directory=$(mktemp -d)
finish() {
    "$(dirname "$wine")/wineserver" -k >/dev/null 2>&1 || true
    "$(dirname "$wine")/wineserver" -w >/dev/null 2>&1 || true
    rm -rf "$directory"
}
trap finish EXIT
export WINEDEBUG=-all WINEPREFIX="$directory/prefix" WINEDLLOVERRIDES="mscoree,mshtml="
"$compiler" -O1 -D__USE_MINGW_ANSI_STDIO=1 -o "$directory/oracle.exe" "$source"
"$wine" "$directory/oracle.exe" 0 0 >/dev/null 2>&1 || { echo "wine does not start"; exit 77; }
seed=1
while [ "$seed" -le "$seeds" ]; do
    "$wine" "$directory/oracle.exe" "$seed" "$calls" 2>/dev/null | tr -d '\r' >"$directory/wine"
    "$program" "$seed" "$calls" >"$directory/linux"
    if ! cmp -s "$directory/wine" "$directory/linux"; then
        echo "seed $seed: first differences (< Wine, > hostheap)"
        diff "$directory/wine" "$directory/linux" | head -20
        exit 1
    fi
    seed=$((seed + 1))
done
echo "$seeds seeds of $calls calls: $(wc -l <"$directory/linux") lines each, alike"
