#!/bin/sh
# SPDX-License-Identifier: MIT
# run_fuzz.sh build TREE | run TREE TARGET | minimise TREE TARGET | afl TREE TARGET
#   build     the fuzz targets with clang, libFuzzer and its sanitizers; 77 without clang's fuzzer
#   run       one target for HOSTHEAP_FUZZ_SECONDS (15) from the corpus; fails on a finding and when
#             nothing was run. What is new and what was found stay in TREE/TARGET
#   minimise  TREE/TARGET/new and the corpus to the inputs that matter, into the corpus
#   afl       the same with AFL++, built in TREE-afl; 77 without it
set -eu
here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../.." && pwd)
seconds=${HOSTHEAP_FUZZ_SECONDS:-15}
targets="fuzz_heap fuzz_virtual fuzz_options fuzz_trace"
export ASAN_OPTIONS=detect_leaks=0:abort_on_error=1 UBSAN_OPTIONS=print_stacktrace=1

build_with() { # tree compiler sanitizers flags
    # shellcheck disable=SC2086
    if ! cmake -S "$top" -B "$1" -DCMAKE_BUILD_TYPE=Debug -DCMAKE_C_COMPILER="$2" \
        -DHOSTHEAP_FUZZ=ON -DHOSTHEAP_TESTS=OFF -DHOSTHEAP_SANITIZE="$3" -DCMAKE_C_FLAGS="$4" \
        >"$1.log" 2>&1 ||
        ! cmake --build "$1" -j "$(nproc)" --target $targets >"$1.log" 2>&1; then
        tail -30 "$1.log"
        exit 1
    fi
}

has_fuzzer() {
    command -v clang-14 >/dev/null || return 1
    runtime=$(clang-14 --print-runtime-dir)
    [ -e "$runtime/libclang_rt.fuzzer-x86_64.a" ] || [ -e "$runtime/libclang_rt.fuzzer.a" ]
}

case $1 in
build)
    has_fuzzer || {
        echo "clang-14 with its fuzzer is not here (package libclang-rt-14-dev)"
        exit 77
    }
    build_with "$2" clang-14 address,undefined -fsanitize=fuzzer-no-link
    ;;
run)
    program=$2/tests/fuzz/fuzz_$3
    work=$2/$3
    has_fuzzer || exit 77
    mkdir -p "$work/new" "$work/found"
    status=0
    timeout -k 5 $((seconds * 2 + 60)) "$program" -max_total_time="$seconds" -timeout=10 \
        -rss_limit_mb=2048 -max_len=4096 -len_control=0 -print_final_stats=1 -artifact_prefix="$work/found/" \
        "$work/new" "$here/corpus/$3" >"$work/log" 2>&1 || status=$?
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$work/log")
    echo "$3: ${runs:-0} inputs in about $seconds s"
    [ $status = 0 ] && [ "${runs:-0}" -gt 100 ] && exit 0
    tail -40 "$work/log"
    exit 1
    ;;
minimise)
    mkdir -p "$2/$3/least"
    "$2/tests/fuzz/fuzz_$3" -set_cover_merge=1 -timeout=10 -max_len=4096 "$2/$3/least" "$here/corpus/$3" \
        "$2/$3/new" >"$2/$3/merge.log" 2>&1
    rm -rf "${here:?}/corpus/$3"
    cp -r "$2/$3/least" "$here/corpus/$3"
    du -sh "$here/corpus/$3"
    ;;
afl)
    if ! command -v afl-clang-fast >/dev/null || ! command -v afl-fuzz >/dev/null; then
        echo "AFL++ is not here (package afl++)"
        exit 77
    fi
    unset ASAN_OPTIONS UBSAN_OPTIONS
    build_with "$2-afl" afl-clang-fast "" ""
    work=$2-afl/$3
    rm -rf "$work"
    status=0
    AFL_SKIP_CPUFREQ=1 AFL_NO_UI=1 AFL_I_DONT_CARE_ABOUT_MISSING_CRASHES=1 AFL_NO_AFFINITY=1 \
        timeout -k 5 $((seconds * 2 + 120)) afl-fuzz -V "$seconds" -t 10000 -m none \
        -i "$here/corpus/$3" -o "$work" -- "$2-afl/tests/fuzz/fuzz_$3" >"$work.log" 2>&1 || status=$?
    sed -n 's/^\(execs_done\|saved_crashes\|saved_hangs\) *: */\1 /p' "$work/default/fuzzer_stats"
    runs=$(sed -n 's/^execs_done *: *//p' "$work/default/fuzzer_stats")
    crashes=$(sed -n 's/^saved_crashes *: *//p' "$work/default/fuzzer_stats")
    [ $status = 0 ] && [ "${runs:-0}" -gt 100 ] && [ "${crashes:-1}" = 0 ] && exit 0
    tail -20 "$work.log"
    exit 1
    ;;
*)
    echo "run_fuzz.sh: what?" >&2
    exit 2
    ;;
esac
