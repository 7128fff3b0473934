# SPDX-License-Identifier: MIT
"""history.py - one JSON line per measured commit, and a page of sparklines drawn from them.

Only lines of one machine (processor and kernel) are drawn together. A point is marked when it lies
off the median of the five before it by more than 5 % and by more than three times their spread.
"""
import html
import json
import pathlib

from . import machine, stats, summary
from .summary import DOORS, kibibytes, nanoseconds

FILE = machine.ROOT / "out" / "bench" / "history.jsonl"
WIDTH, HEIGHT = 240, 44


def line_of(s):
    m = s.result["machine"]
    line = {"time": m["time"], "commit": s.result["commit"], "cpu": m["cpu"],
            "kernel": m["kernel"], "compiler": m["compiler"], "times": {}, "memory": {}}
    for allocator in s.allocators:
        if allocator not in DOORS:
            continue
        for row in s.time_rows():
            time = s.time(row, allocator)
            if time:
                line["times"][f"{row} {allocator}"] = round(time[0], 4)
            memory = s.memory.get((row, allocator))
            if memory:
                line["memory"][f"{row} {allocator}"] = memory["peak_kib"]
    return line


def changes(values):
    """Index -> +1 or -1 of the points that lie off what came before them. What came before begins
    at the last change, so that one step is one mark."""
    found = {}
    start = 0
    for at in range(3, len(values)):
        before = values[max(start, at - 5):at]
        middle = stats.median(before)
        spread = stats.median(abs(v - middle) for v in before)
        if abs(values[at] - middle) > max(0.05 * middle, 3 * spread):
            found[at] = 1 if values[at] > middle else -1
            start = at
    return found


def sparkline(points, show):
    """points: [(commit, value)]"""
    values = [value for _, value in points]
    low, high = min(values), max(values)
    span = (high - low) or high * 0.1 or 1

    def place(at):
        x = 4 + at * (WIDTH - 8) / max(len(values) - 1, 1)
        return x, HEIGHT - 6 - (values[at] - low) / span * (HEIGHT - 12)

    line = " ".join("{:.1f},{:.1f}".format(*place(at)) for at in range(len(values)))
    parts = [f'<polyline points="{line}" class="line"/>']
    marked = changes(values)
    for at in range(len(values)):
        x, y = place(at)
        style = {1: "worse", -1: "better", 0: "point"}[marked.get(at, 0)]
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{4 if at in marked else 1.8}" '
                     f'class="{style}"><title>{html.escape(points[at][0])}: '
                     f"{html.escape(show(values[at]))}</title></circle>")
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img">' + "".join(parts) + "</svg>"


STYLE = """
:root { color-scheme: light dark; --paper: #fbfbfa; --ink: #1c1d1f; --soft: #5b6068;
  --line: #1f6feb; --rule: #dcdee2; --worse: #c4320a; --better: #1a7f37 }
@media (prefers-color-scheme: dark) { :root { --paper: #16181b; --ink: #e6e7e9; --soft: #9aa1ab;
  --line: #4c9aff; --rule: #34383e; --worse: #ff8a65; --better: #56d364 } }
body { margin: 0 auto; max-width: 1208px; padding: 16px; background: var(--paper);
  color: var(--ink); font: 15px/1.5 system-ui, sans-serif }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(250px, 1fr)); gap: 10px }
.grid div { border-bottom: 1px solid var(--rule); font-size: 13px; overflow-wrap: anywhere }
.grid span { color: var(--soft) } svg { display: block; width: 100% }
.line { fill: none; stroke: var(--line); stroke-width: 1.5 } .point { fill: var(--line) }
.worse { fill: var(--worse) } .better { fill: var(--better) }
"""


def section(lines, key, title, show):
    names = sorted({name for line in lines for name in line[key]})
    parts = [f"<h2>{title}</h2><div class=grid>"]
    for name in names:
        points = [(f"{line['commit']} {line['time'][:10]}", line[key][name])
                  for line in lines if name in line[key]]
        parts.append(f"<div>{html.escape(name)} <span>{html.escape(show(points[-1][1]))}</span>"
                     + sparkline(points, show) + "</div>")
    return parts + ["</div>"]


def page(lines):
    last = lines[-1]
    same = [line for line in lines if (line["cpu"], line["kernel"]) == (last["cpu"],
                                                                       last["kernel"])]
    parts = ["<!doctype html><html lang=en><meta charset=utf-8>",
             '<meta name=viewport content="width=device-width, initial-scale=1">',
             f"<title>hostheap benchmark history</title><style>{STYLE}</style>",
             "<h1>Benchmark history</h1>",
             f"<p>{len(same)} of {len(lines)} results, those of {html.escape(last['cpu'])}, Linux "
             f"{html.escape(last['kernel'])}. Lower is better. A large dot marks a change: more "
             "than 5 % off the median of the five results before it, and more than three times "
             "their spread.</p>"]
    parts += section(same, "times", "Time per operation", nanoseconds)
    parts += section(same, "memory", "Peak memory", kibibytes)
    return "\n".join(parts + ["</html>"])


def main(args):
    file = pathlib.Path(args.file) if args.file else FILE
    if args.add:
        source = machine.ROOT / "out" / "bench" / "result.json" if args.add == "-" else args.add
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("a") as out:
            out.write(json.dumps(line_of(summary.load(source))) + "\n")
    if not file.exists():
        raise SystemExit(f"bench: no {file}: scripts/bench history --add")
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    target = file.with_suffix(".html")
    target.write_text(page(lines))
    print(f"bench: {len(lines)} results in {file}; {target}")
    return 0
