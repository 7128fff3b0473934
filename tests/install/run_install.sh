#!/bin/sh
# SPDX-License-Identifier: MIT
# run_install.sh BUILD_DIR VERSION - installs BUILD_DIR into a scratch folder, moves the result
# elsewhere (an installed tree must not know where it was built), and builds and runs a user's
# program against it by CMake, by pkg-config, and by plain linking.
set -eu
build=$1
version=$2
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

step() {
    echo "-- $1"
    shift
    "$@"
}

cmake --install "$build" --prefix "$work/first" >/dev/null
mv "$work/first" "$work/prefix"
prefix=$work/prefix
lib=$(dirname "$(find "$prefix" -name libhostheap.so.1)")
export LD_LIBRARY_PATH="$lib"

step "find_package" cmake -S "$here" -B "$work/build" -DCMAKE_PREFIX_PATH="$prefix" \
    -DVERSION="$version" -DCMAKE_BUILD_TYPE=Release
cmake --build "$work/build" >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
for target in hostheap static malloc malloc_checked malloc_object; do
    step "CMake hostheap::$target" "$work/build/consumer_$target"
done

if command -v pkg-config >/dev/null; then
    export PKG_CONFIG_PATH="$lib/pkgconfig"
    [ "$(pkg-config --modversion hostheap)" = "$version" ]
    for module in hostheap hostheap-malloc hostheap-malloc-checked; do
        expect=1
        [ $module = hostheap ] && expect=0
        # shellcheck disable=SC2046
        cc -O2 -DEXPECT_MALLOC=$expect "$here/consumer.c" -o "$work/by_pkg_config" \
            $(pkg-config --cflags --libs $module)
        step "pkg-config $module" "$work/by_pkg_config"
    done
else
    echo "-- pkg-config is not here: left out"
fi

cc -O2 -DEXPECT_MALLOC=0 -I"$prefix/include" "$here/consumer.c" "$lib/libhostheap.a" \
    -pthread -lurcu-bp -o "$work/static_library"
step "libhostheap.a" "$work/static_library"
cc -O2 -DEXPECT_MALLOC=1 -I"$prefix/include" "$here/consumer.c" "$lib/hostheap-malloc.o" \
    -pthread -lurcu-bp -o "$work/one_object"
step "hostheap-malloc.o" "$work/one_object"
cc -O2 -static -DEXPECT_MALLOC=1 -I"$prefix/include" "$here/consumer.c" \
    "$lib/hostheap-malloc.o" -pthread -lurcu-bp -o "$work/all_static"
step "hostheap-malloc.o, no shared library at all" "$work/all_static"
cc -O2 -DEXPECT_MALLOC=0 -I"$prefix/include" "$here/consumer.c" -L"$lib" -lhostheap \
    -o "$work/preloaded_not"
step "libhostheap.so leaves malloc alone" "$work/preloaded_not"

# The wrapper finds the library beside the folder it is installed in.
step "hostheap-run" env -u LD_LIBRARY_PATH "$prefix/bin/hostheap-run" --json true 2>"$work/stats"
grep -q '^{"version":"'"$version"'"' "$work/stats"

step "hostheap-run --checked" env -u LD_LIBRARY_PATH "$prefix/bin/hostheap-run" --checked cat \
    /proc/self/maps >"$work/maps"
grep -q libhostheap-malloc-checked "$work/maps"

# The README's example compiles, runs, and says what it says.
sed -n '/^```c$/,/^```$/p' "$here/../../README.md" | grep -v '^```' >"$work/readme.c"
cc -Wall -Wextra -Werror -I"$prefix/include" "$work/readme.c" -L"$lib" -lhostheap -o "$work/readme"
step "the README's example" "$work/readme"
[ "$("$work/readme")" = "refused, nothing changed" ]

# A header or a library of the source tree in an installed file would break once that tree is gone.
if grep -rl "$build" "$prefix" --include='*.cmake' --include='*.pc'; then
    echo "the installed files above name the build tree"
    exit 1
fi
