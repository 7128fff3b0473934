# SPDX-License-Identifier: MIT
"""footprint.py - the gate on memory and system calls: fixed work, golden figures, 2 % tolerance.

Only rows with one thread: with several, who runs when decides how much is resident. Purging by time
is off, so that a busy machine does not give back less; without decay the sweeper is never started.

A heap that grows also purges at once, and memory that is purged and used again may lead to the next
purge. So some rows run a second time with a decay time that never ends: then only growth purges.
"""
import json
import shutil
import sys

from . import allocators, build, machine, run, stats

GOLDEN = machine.ROOT / "bench" / "golden" / "footprint.json"
TOLERANCE = 0.02
SLACK = {"peak_kib": 96, "ended_kib": 96, "faults": 24, "mappings": 2, "system_calls": 4}
OPTIONS = {"HOSTHEAP_OPTIONS": "decay_ms:off"}
GROWTH_OPTIONS = {"HOSTHEAP_OPTIONS": "background:off,decay_ms:86400000"}
ROWS = ["pair/64", "pair/32768", "batch100/1024", "batch100/32768", "random10k/64",
        "random10k/1000", "replace/100k/mixed", "replace/1M/mixed", "churn/8k/log",
        "churn/100k/real", "grow-1.5x/1MiB", "grow-many", "calloc/65536", "aligned-4096/4096",
        "large/64KiB", "large/4MiB", "large-mixed/1-4MiB", "hash/100k"]
# Their blocks are read to see whether they are zero already, and mostly are: without a page of zeros that all
# such reads share their figures are others, and not compared.
ZERO_PAGE_ROWS = ["calloc/65536", "calloc/1048576 growing"]
GROWTH_ROWS = ["replace/100k/mixed", "churn/100k/real", "grow-1.5x/1MiB", "calloc/1048576",
               "large/4MiB", "large-mixed/1-4MiB", "phases"]


def once(binary, name, ours, options):
    result = run.run_once(binary, name, ours, "--repetitions=3", extra=options)
    if "failed" in result:
        raise SystemExit(f"footprint: {name}: {result['failed']}")
    text = result["loaded"]["rss_kib"] - result["loaded"]["anon_kib"]
    return {
        "peak_kib": result["idle"]["peak_rss_kib"] - text,
        "ended_kib": result["ended"]["anon_kib"],
        "faults": result["faults"],
        "mappings": result["loaded"]["mappings"],
    }


def measure(library):
    binary = build.binary()
    ours = next((a for a in allocators.ours(library, False) if a.mode == "malloc"), None)
    if not ours:
        raise SystemExit("footprint: no libhostheap-malloc.so")
    found = {}
    for name, options, suffix in [(name, OPTIONS, "") for name in ROWS] + \
                                 [(name, GROWTH_OPTIONS, " growing") for name in GROWTH_ROWS]:
        runs = [once(binary, name, ours, options) for _ in range(3)]
        figures = {key: stats.median(r[key] for r in runs) for key in runs[0]}
        calls = run.system_calls(binary, name, ours, 3, options)
        if "failed" in calls:
            raise SystemExit(f"footprint: {name} under strace: {calls['failed']}")
        figures["system_calls"] = sum(calls["calls"].values())
        found[name + suffix] = figures
        print(f"  {name + suffix:28} " + "  ".join(f"{k} {v}" for k, v in figures.items()),
              file=sys.stderr, flush=True)
    return found


def place():
    """What the figures depend on beside the code: they are compared only where this is the same."""
    here = machine.describe()
    return {key: here[key] for key in ("compiler", "libc", "huge_pages", "cpus")}


def compare(golden, found):
    """(what grew, what shrank), as lines."""
    worse, better = [], []
    for name, want in golden.items():
        for key, value in want.items():
            have = found[name][key]
            if abs(have - value) > max(TOLERANCE * value, SLACK[key]):
                (worse if have > value else better).append(
                    f"{name}: {key} {have}, golden {value}")
    return worse, better


def main(args):
    if not shutil.which("strace"):
        print("footprint: skipped, strace is not installed")
        return 77
    golden = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else None
    if golden and golden["place"] != place() and not args.update:
        print(f"footprint: skipped, the golden file is for {golden['place']}, this is {place()}")
        return 77
    found = measure(args.library or build.library())
    if not machine.has_zero_page():
        print("footprint: this kernel gives memory to pages that are only read; not compared: " +
              ", ".join(ZERO_PAGE_ROWS))
        known = golden["rows"] if golden else {}
        found = {name: known.get(name, figures) if name in ZERO_PAGE_ROWS else figures
                 for name, figures in found.items()}
    if args.update:
        GOLDEN.parent.mkdir(exist_ok=True)
        golden = {"place": place(), "rows": found}
        GOLDEN.write_text(json.dumps(golden, indent=1, sort_keys=True) + "\n")
        print(f"footprint: wrote {GOLDEN.relative_to(machine.ROOT)}")
        return 0
    if not golden:
        print("footprint: no golden file; scripts/bench footprint --update writes it")
        return 77
    worse, better = compare(golden["rows"], found)
    for line in worse:
        print(f"footprint: WORSE {line}")
    for line in better:
        print(f"footprint: better, record it with --update: {line}")
    print(f"footprint: {len(found)} rows, {len(worse)} figures worse, {len(better)} better")
    return 1 if worse else 0
