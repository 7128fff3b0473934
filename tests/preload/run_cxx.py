#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""run_cxx.py SOURCE_ROOT LIBRARY - C++ programs under the drop-in, built with each compiler here.

The library itself is C; the compilers for these programs are looked for at test time.
"""
import os
import shutil
import subprocess
import sys
import tempfile

ROOT, LIBRARY = sys.argv[1:]
TESTS = os.path.join(ROOT, "tests")


def run(command, preload=False):
    environment = dict(os.environ)
    if preload:
        environment["LD_PRELOAD"] = LIBRARY
    result = subprocess.run(command, env=environment, text=True, timeout=250,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if result.returncode != 0:
        print(f"{' '.join(command)}: {result.returncode}\n{result.stdout}")
    return result.returncode == 0


def check_compiler(compiler, folder):
    # clang leaves the sized delete of C++14 out unless told.
    common = ["-O1", "-I", os.path.join(ROOT, "include"), "-I", TESTS]
    new, replaced, plugin, host = (os.path.join(folder, name)
                                   for name in ("new", "replaced", "plugin.so", "host"))
    source = os.path.join(TESTS, "preload")
    return (run([compiler, "-std=c++17", "-fsized-deallocation", *common, f"{source}/cxx_new.cc", "-o", new, "-pthread",
                 "-ldl"])
            and run([compiler, "-std=c++17", "-fsized-deallocation", *common,
                     f"{source}/cxx_replaced.cc", "-o", replaced])
            and run([compiler, "-std=c++17", *common, "-shared", "-fPIC", f"{source}/cxx_plugin.cc",
                     "-o", plugin])
            and run(["cc", "-D_GNU_SOURCE", *common, f"{source}/cxx_host.c", "-o", host, "-ldl"])
            and run([new], preload=True)
            and run([replaced], preload=True)
            and run([host, plugin], preload=True))


compilers = [c for c in ("g++", "clang++") if shutil.which(c)]
if not compilers:
    print("no C++ compiler here: skipped")
    sys.exit(1 if os.environ.get("CI") == "true" else 77)
failed = False
for compiler in compilers:
    with tempfile.TemporaryDirectory() as folder:
        passed = check_compiler(compiler, folder)
    print(f"{compiler}: {'passed' if passed else 'failed'}")
    failed |= not passed
sys.exit(failed)
