#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""check_codegen.py LIBRARY - what the compiler made of malloc's and free's fast paths.

The path from the entry to the first return is the one that is taken when all goes well: forward
branches leave it. It must hold no call, no locked instruction, no stack traffic, and for malloc and
free together at most 42 instructions. For x86-64, gcc, optimised builds; skipped elsewhere.
"""
import platform
import re
import subprocess
import sys

BUDGET = 42


def fast_path(listing, name):
    """The instructions from the entry of a function to its first return."""
    match = re.search(rf"^[0-9a-f]+ <{name}>:\n(.*?)\n\n", listing, re.M | re.S)
    path = []
    for line in match.group(1).splitlines():
        path.append(line.split("\t", 1)[1].strip())
        if path[-1].startswith("ret"):
            return path
    raise SystemExit(f"{name} has no return: {path}")


def main():
    library = sys.argv[1]
    comment = subprocess.run(["readelf", "-p", ".comment", library], check=True, text=True,
                             stdout=subprocess.PIPE).stdout
    if platform.machine() != "x86_64" or "clang" in comment:
        print("the budget is for x86-64 and gcc: skipped")
        return 77
    listing = subprocess.run(["objdump", "-d", "--no-show-raw-insn", library], check=True,
                             text=True, stdout=subprocess.PIPE).stdout + "\n\n"
    total = 0
    failed = False
    for name in ("malloc", "free"):
        path = fast_path(listing, name)
        total += len(path)
        bad = [i for i in path if re.match(r"(lock|call|push|pop|xchg)\b", i)]
        if bad:
            failed = True
            print(f"{name}: not on the fast path: {bad}")
        print(f"{name}: {len(path)} instructions")
        if "-v" in sys.argv:
            print("\n".join("    " + i for i in path))
    if total > BUDGET:
        failed = True
        print(f"together {total}, the budget is {BUDGET}")
    return failed


sys.exit(main())
