# SPDX-License-Identifier: MIT
"""export.py - a result in the formats of two public trackers.

  github   github-action-benchmark, tool customSmallerIsBetter: a list of named values
  bencher  Bencher Metric Format: benchmark -> measure -> value with lower and upper bound
"""
import json
import pathlib

from . import machine, summary
from .summary import DOORS


def entries(s):
    """(row, allocator, (median, low, high), peak KiB or None) of our own allocators."""
    for row in s.time_rows():
        for allocator in s.allocators:
            time = s.time(row, allocator)
            if allocator in DOORS and time:
                memory = s.memory.get((row, allocator))
                yield row, allocator, time, memory["peak_kib"] if memory else None


def github(s):
    found = []
    for row, allocator, (middle, low, high), peak in entries(s):
        found.append({"name": f"{row} ({allocator})", "unit": "ns/op", "value": round(middle, 4),
                      "range": f"{low:.4g}..{high:.4g}", "extra": f"commit {s.result['commit']}"})
        if peak is not None:
            found.append({"name": f"{row} ({allocator}) peak memory", "unit": "KiB",
                          "value": peak})
    return found


def bencher(s):
    found = {}
    for row, allocator, (middle, low, high), peak in entries(s):
        measures = {"latency": {"value": middle, "lower_value": low, "upper_value": high}}
        if peak is not None:
            measures["peak-memory"] = {"value": peak * 1024}
        found[f"{row} ({allocator})"] = measures
    return found


def main(args):
    source = pathlib.Path(args.result) if args.result else machine.ROOT / "out/bench/result.json"
    if not source.exists():
        raise SystemExit(f"bench: no {source}: run scripts/bench first")
    s = summary.load(source)
    print(json.dumps(github(s) if args.format == "github" else bencher(s), indent=1))
    return 0
