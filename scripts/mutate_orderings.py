#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""mutate_orderings.py [-k TEXT] [-R TESTS] [--keep | --list] - is every memory order noticed by a test?

One at a time, each labelled atomic operation of src/ is weakened to relaxed in a copy of the tree,
which is then built and tested under the thread sanitizer. A mutant that no test notices stands for
an order that is needless or untested. -k: only operations whose file or label holds TEXT; -R: only
the tests ctest selects with it. Takes a build and a test run for each operation. Exits 1 if a
mutant survives. --list: only print the mutants, and exit 1 if two are the same text.
"""
import argparse
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

from check_atomics import LABEL, OPERATION, ROOT, reason_of, split_comments

# Weakened forms that base/atomic.h has no use for.
EXTRA = """
#define hh_cas_weak_relaxed(p, expected, v)                                                        \\
    atomic_compare_exchange_weak_explicit((p), (expected), (v), memory_order_relaxed,              \\
                                          memory_order_relaxed)
"""


def mutants(only):
    for path in sorted((ROOT / "src").rglob("*.[ch]")):
        if path.name == "atomic.h":
            continue
        lines = split_comments(path.read_text())
        for index, (code, _) in enumerate(lines):
            for turn, match in enumerate(OPERATION.finditer(code)):
                labels = " ".join(LABEL.findall(reason_of(lines, index)))
                place = path.relative_to(ROOT).as_posix()
                if match.group(1) != "relaxed" and (only in place or only in labels):
                    yield place, index, turn, match.group(0), labels


def weakened(line, turn):
    """The line with the operation number turn relaxed; a line may hold the same one twice."""
    start, end = [match.span() for match in OPERATION.finditer(line)][turn]
    weak = re.sub(r"_(acquire|release|acq_rel|seq_cst)$", "_relaxed", line[start:end])
    return line[:start] + weak + line[end:], weak


def list_mutants(only):
    seen, twice = set(), 0
    for place, index, turn, operation, labels in mutants(only):
        line, weak = weakened((ROOT / place).read_text().splitlines()[index], turn)
        twice += (place, index, line) in seen
        seen.add((place, index, line))
        print(f"{place}:{index + 1} {operation} -> {weak} [{labels}] {line.strip()}")
    if twice or not seen:
        print(f"mutants: {len(seen)}, {twice} of them twice")
    return 1 if twice or not seen else 0


def build_and_test(tree, tests):
    """What noticed: "build", "test", or None."""
    build = tree / "build/mutant"
    flags = ["-DCMAKE_BUILD_TYPE=Debug", "-DHOSTHEAP_SANITIZE=thread"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "check": False}
    if subprocess.run(["cmake", "-S", tree, "-B", build, *flags], **quiet).returncode:
        return "build"
    if subprocess.run(["cmake", "--build", build, "-j", "2"], **quiet).returncode:
        return "build"
    select = ["-R", tests] if tests else []
    command = ["ctest", "--test-dir", build, "--no-tests=error", "-j", "2", "--timeout", "120"]
    return "test" if subprocess.run([*command, *select], **quiet).returncode else None


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-k", default="")
    parser.add_argument("-R", default="")
    parser.add_argument("--keep", action="store_true", help="leave the copy of the tree")
    parser.add_argument("--list", action="store_true", help="only print the mutants")
    arguments = parser.parse_args()
    if arguments.list:
        return list_mutants(arguments.k)
    tree = pathlib.Path(tempfile.mkdtemp(prefix="hostheap-mutants-"))
    shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns("build*", ".git"), dirs_exist_ok=True)
    with open(tree / "src/base/atomic.h", "a") as header:
        header.write(EXTRA)
    survivors = 0
    if build_and_test(tree, arguments.R):
        sys.exit("the tree fails before any mutation")
    for place, index, turn, operation, labels in mutants(arguments.k):
        original = (tree / place).read_text()
        lines = original.splitlines(keepends=True)
        lines[index], weak = weakened(lines[index], turn)
        (tree / place).write_text("".join(lines))
        noticed = build_and_test(tree, arguments.R)
        (tree / place).write_text(original)
        verdict = {"build": "does not build", "test": "noticed", None: "SURVIVES"}[noticed]
        survivors += noticed != "test"
        print(f"{verdict:14} {place}:{index + 1} {operation} -> {weak} [{labels}]", flush=True)
    if not arguments.keep:
        shutil.rmtree(tree)
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
