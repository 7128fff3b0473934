# SPDX-License-Identifier: MIT
"""gate.py - the statistical gate: a commit against its parent, side by side on this machine.

Both libraries are built with the same compiler and run by the same binary, A B B A A B B A. A row
is a regression if the U test, corrected for the number of rows, says the two differ, and the median
is worse by at least 3 %. --self compares the library with a copy of itself: what is then reported
is the machine's noise.
"""
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile

from . import allocators, build, machine, run, stats

P_LIMIT = 0.01
WORSE = 1.03
# Short rows with one thread that together visit every part of the library.
ROWS = ["pair/16", "pair/64", "pair/1024", "pair/32768", "pair/mixed", "batch100/64",
        "batch100/1024", "batch100/32768", "batch1000-random/mixed", "random10k/64",
        "random10k/1000", "cold-free-random/64", "replace/1k/mixed", "replace/100k/mixed",
        "churn/8k/log", "churn/100k/real", "grow-1.5x/4KiB", "grow-many", "calloc/64",
        "calloc/4096", "aligned-64/24", "aligned-4096/4096", "large/1MiB"]
QUICK = ["pair/64", "pair/mixed", "batch100/64", "batch1000-random/mixed", "random10k/64",
         "replace/100k/mixed", "churn/8k/log", "grow-many", "calloc/64", "large/1MiB"]


def source_of(reference, folder):
    """The tree of a commit, unpacked into folder."""
    folder.mkdir(parents=True)
    archive = subprocess.run(["git", "archive", reference], cwd=machine.ROOT,
                             stdout=subprocess.PIPE, check=True).stdout
    subprocess.run(["tar", "x", "-C", str(folder)], input=archive, check=True)
    return folder


def drop_in(folder, name):
    path = build.find(folder, "libhostheap-malloc.so")
    if not path:
        raise SystemExit(f"gate: {name} has no libhostheap-malloc.so")
    return allocators.Allocator(name, str(path))


def two_libraries(args, folder):
    head = drop_in(args.library or build.library(), "head")
    if args.self:
        copy = folder / "libhostheap-malloc.so"
        shutil.copy(head.path, copy)
        return allocators.Allocator("base", str(copy)), head
    if args.base_library:
        return drop_in(args.base_library, "base"), head
    source = source_of(args.base, folder / "source")
    return drop_in(build.library(source, folder / "build"), "base"), head


def measure(binary, table, names, pair, repetitions):
    values = {name: ([], []) for name in names}
    for name in names:
        for turn in range(repetitions):
            for side in ((0, 1), (1, 0))[turn % 2]:
                result = run.run_once(binary, name, pair[side], "--repetitions=9",
                                      "--budget-ms=60")
                if "failed" in result:
                    raise SystemExit(f"gate: {pair[side].name} {name}: {result['failed']}")
                values[name][side].append(run.value(table[name], result))
        ratio = stats.median(values[name][1]) / stats.median(values[name][0])
        print(f"  {name:26} {ratio:6.3f}", file=sys.stderr, flush=True)
    return values


def judge(values):
    """[(row, base median, head median, ratio, adjusted p, verdict)], worst first."""
    names = list(values)
    adjusted = stats.benjamini_hochberg([stats.mann_whitney(*values[n]) for n in names])
    verdicts = []
    for name, p in zip(names, adjusted):
        base, head = (stats.median(side) for side in values[name])
        ratio = head / base
        sure = p < P_LIMIT
        verdict = "WORSE" if sure and ratio >= WORSE else \
            "better" if sure and ratio <= 1 / WORSE else ""
        verdicts.append((name, base, head, ratio, p, verdict))
    return sorted(verdicts, key=lambda v: -v[3])


def main(args):
    binary = build.binary()
    table = run.rows(binary)
    names = args.rows.split(",") if args.rows else QUICK if args.quick else ROWS
    unknown = [n for n in names if n not in table]
    if unknown:
        raise SystemExit(f"gate: no such row: {', '.join(unknown)}")
    with tempfile.TemporaryDirectory() as folder:
        pair = two_libraries(args, pathlib.Path(folder))
        values = measure(binary, table, names, pair, max(args.rounds, 9))
    verdicts = judge(values)
    print(f"{'row':26} {'base ns':>10} {'head ns':>10} {'ratio':>7} {'p':>8}")
    for name, base, head, ratio, p, verdict in verdicts:
        print(f"{name:26} {base:10.2f} {head:10.2f} {ratio:7.3f} {p:8.4f} {verdict}")
    worse = [v for v in verdicts if v[5] == "WORSE"]
    floor = max(abs(v[3] - 1) for v in verdicts)
    print(f"gate: {len(names)} rows, {len(worse)} worse; largest difference {100 * floor:.1f} %")
    if args.out:
        pathlib.Path(args.out).write_text(json.dumps(
            {"machine": machine.describe(), "commit": machine.commit(), "base": args.base,
             "self": args.self, "values": values}, indent=1))
    return 1 if worse and not args.report_only else 0
