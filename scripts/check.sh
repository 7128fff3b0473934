#!/bin/sh
# SPDX-License-Identifier: MIT
# check.sh [--no-tidy] - everything that can be checked without running the code. Prints one line
# per check; exits 1 if one failed. A tool that is missing, or of another version than the one the
# tree is written for, is named; with HOSTHEAP_CHECK_STRICT=1 that is a failure too.
set -u
cd "$(dirname "$0")/.." || exit 1
failed=0
tidy=yes
[ "${1:-}" = --no-tidy ] && tidy=no
out=$(mktemp) || exit 1
trap 'rm -f "$out"' EXIT

check() { # name command...
    name=$1
    shift
    if "$@" >"$out" 2>&1; then
        echo "ok      $name"
    else
        echo "FAILED  $name"
        sed 's/^/        /' "$out"
        failed=1
    fi
}

missing() { # name what
    echo "skipped $1: $2"
    [ "${HOSTHEAP_CHECK_STRICT:-0}" = 1 ] && failed=1
}

# Prints the name of version 14 of a tool, if it is here.
version14() {
    for tool in "$1-14" "$1"; do
        if command -v "$tool" >/dev/null && "$tool" --version | grep -q 'version 14\.'; then
            echo "$tool"
            return
        fi
    done
}

# Tracked files and new ones not ignored, that exist.
tree() {
    git ls-files --cached --others --exclude-standard -- "$@" | sort -u | while read -r file; do
        [ -f "$file" ] && echo "$file"
    done
}

shell_scripts() {
    tree scripts .ci tests bench | while read -r file; do
        head -n 1 "$file" | grep -Eq '^#!.*\b(sh|bash)$' && echo "$file"
    done
}

# The licence is named in the first line, or in the second below "#!".
licence() {
    status=0
    for file in $(tree '*.[ch]' '*.cpp' '*.cc' '*.py' '*.sh' '*.cmake' '*.in' '*.map' '*.cs' \
        '*CMakeLists.txt' 'scripts/*' .ci); do
        case $file in *.pc.in | *.json | *.md) continue ;; esac
        if ! head -n 2 "$file" | grep -q 'SPDX-License-Identifier: MIT'; then
            echo "$file: no SPDX-License-Identifier: MIT in its first line"
            status=1
        fi
    done
    return "$status"
}

# Words that must not be in a finished tree, stray white space, lines that end in CR.
text() {
    status=0
    for file in $(tree '*.[ch]' '*.cpp' '*.py' '*.sh' '*.cmake' '*CMakeLists.txt' '*.md' 'scripts/*'); do
        [ "$file" = scripts/check.sh ] && continue
        grep -HnE '\b(TODO|FIXME|XXX|HACK)\b' "$file" && status=1
        case $file in *.md) ;; *) grep -HnE '[[:space:]]+$' "$file" && status=1 ;; esac
        [ -z "$(tail -c 1 "$file")" ] || { echo "$file: no newline at its end"; status=1; }
    done
    return "$status"
}

format() {
    # shellcheck disable=SC2046
    "$clang_format" --dry-run --Werror --ferror-limit=3 \
        $(tree 'include/*.h' 'src/*.[ch]' 'tests/*.[ch]' 'bench/*.[ch]')
}

# Over src/, with the flags of a tree configured for it. Shows what is wrong, not the path to it.
tidy() {
    cmake -S . -B build/tidy -DCMAKE_BUILD_TYPE=Debug -DCMAKE_C_COMPILER=clang \
        -DHOSTHEAP_TESTS=OFF -DHOSTHEAP_BENCH=OFF >/dev/null || return 1
    sed -n 's/^  "file": "\(.*\)".*/\1/p' build/tidy/compile_commands.json | grep '/src/' |
        xargs -P 2 -n 4 "$clang_tidy" -p build/tidy --quiet >build/tidy/log 2>&1 && return
    grep -E ': (error|warning):' build/tidy/log | sort -u
    return 1
}

# src/ compiled by the other compiler, and by gcc with its analyzer: a warning is an error.
compiles() { # tree compiler flags
    cmake -S . -B "build/$1" -DCMAKE_BUILD_TYPE=Debug -DCMAKE_C_COMPILER="$2" -DCMAKE_C_FLAGS="$3" \
        -DCMAKE_COMPILE_WARNING_AS_ERROR=ON -DHOSTHEAP_TESTS=OFF -DHOSTHEAP_BENCH=OFF >/dev/null &&
        cmake --build "build/$1" -j 2
}

cppcheck_src() {
    cppcheck --quiet -j 2 --std=c11 --enable=warning,performance,portability --error-exitcode=1 \
        -D__x86_64__ -D_GNU_SOURCE -Isrc -Iinclude src
}

check layers scripts/check_layers.py
check atomics scripts/check_atomics.py
check mutants scripts/mutate-orders --list
check headers scripts/check_headers.py
check options scripts/check_options.py
check licence licence
check text text
if [ -f scripts/check_contract.py ]; then
    check contract python3 scripts/check_contract.py
fi

clang_format=$(version14 clang-format)
if [ -n "$clang_format" ]; then
    check format format
else
    missing format "needs clang-format 14"
fi
if command -v shellcheck >/dev/null; then
    # shellcheck disable=SC2046
    check shell shellcheck --severity=warning $(shell_scripts)
else
    missing shell "needs shellcheck"
fi
clang_tidy=$(version14 clang-tidy)
if [ $tidy = no ]; then
    :
elif [ -n "$clang_tidy" ] && command -v clang >/dev/null; then
    check tidy tidy
else
    missing tidy "needs clang and clang-tidy 14"
fi
if [ $tidy = no ]; then
    :
elif command -v clang >/dev/null; then
    check clang compiles check-clang clang ""
else
    missing clang "needs clang"
fi
if [ $tidy = no ]; then
    :
elif command -v gcc >/dev/null; then
    check analyzer compiles analyzer gcc "-fanalyzer -Wnull-dereference"
else
    missing analyzer "needs gcc"
fi
if command -v cppcheck >/dev/null; then
    check cppcheck cppcheck_src
else
    missing cppcheck "needs cppcheck"
fi
exit $failed
