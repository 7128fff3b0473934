# SPDX-License-Identifier: MIT
"""gate.py - the statistical gate: a commit against its parent, side by side on this machine.

Both libraries are built with the same compiler and run by the same binary, A B B A A B B A. A
process is judged by its fastest repetition: what else runs on the machine only ever makes one
slower. A row is a regression if the U test, corrected for the number of rows and looks, says that
the two differ, and the median is worse by at least 3 %. After 9 processes a side, and again after
18, the rows that look slower get twice as many: no row is called worse on 9. The fastest quarter of
the processes must be slower, too. Where a file's pages lie in memory decides about cache conflicts
and would set two equal libraries apart for as long as they lie there, so both are run from many
copies. --self compares the library with itself: what is then reported is the machine's noise.
"""
import itertools
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile

from . import allocators, build, machine, run, stats

P_LIMIT = 0.01
WORSE = 1.03
FEWEST = 9  # processes a side
LOOKS = 3  # the last one after 4 * FEWEST processes
DOUBTFUL = 1.015  # a row that looks worse by so much is measured further
COPIES = 12  # of each library
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
        return allocators.Allocator("base", head.path), head
    if args.base_library:
        return drop_in(args.base_library, "base"), head
    source = source_of(args.base, folder / "source")
    return drop_in(build.library(source, folder / "build"), "base"), head


def copies(allocator, folder):
    """The same library from different pages, by turns, for ever."""
    folder.mkdir()
    paths = [folder / f"{number}.so" for number in range(COPIES)]
    for path in paths:
        shutil.copy(allocator.path, path)
    return itertools.cycle(allocators.Allocator(allocator.name, str(path)) for path in paths)


def slowdown(sides):
    return stats.median(sides[1]) / stats.median(sides[0])


def quarter_slowdown(sides):
    """The same of the lower quartiles."""
    base, head = (sorted(side)[len(side) // 4] for side in sides)
    return head / base


def probability(sides):
    """p of the U test, paid for each look at the values."""
    return min(1.0, LOOKS * stats.mann_whitney(*sides))


def measure(names, process, fewest=FEWEST):
    """row -> (values of base, values of head). process(name, side) gives one value."""
    values = {name: ([], []) for name in names}
    rest = list(names)
    for look in range(LOOKS):
        for name in rest:
            sides = values[name]
            for turn in range(len(sides[0]), fewest << look):
                for side in ((0, 1), (1, 0))[turn % 2]:
                    sides[side].append(process(name, side))
            print(f"  {name:26} {slowdown(sides):6.3f}  {len(sides[0])} processes",
                  file=sys.stderr, flush=True)
        rest = [name for name in rest if slowdown(values[name]) >= DOUBTFUL]
    return values


def fastest(binary, row, name, allocator):
    """Nanoseconds per operation of one process, by its fastest repetition."""
    result = run.run_once(binary, name, allocator, "--repetitions=25", "--budget-ms=60")
    if "failed" in result:
        raise SystemExit(f"gate: {allocator.name} {name}: {result['failed']}")
    return min(result[row["metric"] + "_ns"]) / result["operations"]


def judge(values):
    """[(row, base median, head median, ratio, adjusted p, verdict)], worst first."""
    names = list(values)
    adjusted = stats.benjamini_hochberg([probability(values[n]) for n in names])
    verdicts = []
    for name, p in zip(names, adjusted):
        base, head = (stats.median(side) for side in values[name])
        ratio = slowdown(values[name])
        sure = p < P_LIMIT
        slower = ratio >= WORSE and quarter_slowdown(values[name]) >= DOUBTFUL
        verdict = "WORSE" if sure and slower else \
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
        pair = [copies(library, pathlib.Path(folder) / f"side{side}")
                for side, library in enumerate(two_libraries(args, pathlib.Path(folder)))]
        values = measure(names,
                         lambda name, side: fastest(binary, table[name], name, next(pair[side])),
                         max(args.rounds, FEWEST))
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
