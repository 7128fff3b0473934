# SPDX-License-Identifier: MIT
"""report.py - one self-contained HTML page with inline SVG: no script, no network, dark or light.

A card per row: times on the left with the spread of the rounds, peak memory on the right. Every
bar carries its name and number, colour only sets our own allocator off. Cards have a fixed width
and wrap, so that text keeps its size on a phone.
"""
import html
import math
import pathlib
import re

from . import machine, markdown, summary
from .summary import DOORS, OURS, kibibytes, nanoseconds, number

STYLE = """
:root { color-scheme: light dark; --paper: #fbfbfa; --card: #fff; --ink: #1c1d1f; --soft: #5b6068;
  --line: #dcdee2; --bar: #a9b0ba; --ours: #1f6feb; --door: #79a8f0; --bad: #c4320a; --good: #1a7f37 }
@media (prefers-color-scheme: dark) { :root { --paper: #16181b; --card: #1e2125; --ink: #e6e7e9;
  --soft: #9aa1ab; --line: #34383e; --bar: #5c646f; --ours: #4c9aff; --door: #2f5f9e;
  --bad: #ff8a65; --good: #56d364 } }
* { box-sizing: border-box }
body { margin: 0 auto; max-width: 1208px; padding: 16px; background: var(--paper);
  color: var(--ink); font: 15px/1.5 system-ui, sans-serif }
h1 { font-size: 24px; margin: 8px 0 } h2 { font-size: 18px; margin: 28px 0 8px }
p { max-width: 70ch; overflow-wrap: anywhere } .soft { color: var(--soft) }
.cards { display: flex; flex-wrap: wrap; gap: 12px }
figure { margin: 0; padding: 10px 12px; background: var(--card); border: 1px solid var(--line);
  border-radius: 8px; width: 376px; max-width: 100% }
figcaption { font-weight: 600; font-size: 14px; overflow-wrap: anywhere }
figcaption small { font-weight: 400; color: var(--soft) }
svg { display: block; width: 100%; height: auto }
svg text { font: 11px system-ui, sans-serif; fill: var(--ink) }
svg .soft { fill: var(--soft) } svg .bad { fill: var(--bad); font-weight: 600 }
.bar { fill: var(--bar) } .ours { fill: var(--ours) } .door { fill: var(--door) }
.whisker { stroke: var(--ink); stroke-width: 1.2; fill: none } .axis { stroke: var(--line) }
.curve { fill: none; stroke-width: 1.6; stroke: var(--bar) }
.curve.ours { stroke: var(--ours); stroke-width: 2.6; fill: none }
.curve.door { stroke: var(--door); fill: none }
.scroll { overflow-x: auto; margin: 8px 0 } table { border-collapse: collapse; font-size: 13px }
th, td { padding: 3px 9px; border-bottom: 1px solid var(--line); text-align: right;
  white-space: nowrap; font-variant-numeric: tabular-nums }
th { white-space: normal } th:first-child, td:first-child { text-align: left } tr.ours td { color: var(--ours);
  background: none; font-weight: 600 } td.bad { color: var(--bad) } td.good { color: var(--good) }
@media (max-width: 480px) { body { padding: 12px } table { font-size: 12px }
  th, td { padding: 3px 4px } td:first-child { white-space: normal; min-width: 90px } }
"""

WIDTH = 352
NAME = 98  # width of the name column
MEMORY = NAME + 134  # where the second column of bars begins
LINE = 17


def kind_of(name):
    return "ours" if name == OURS else "door" if name in DOORS else "bar"


def text(x, y, content, style="", anchor="start"):
    return (f'<text x="{x:.0f}" y="{y:.0f}" class="{style}" text-anchor="{anchor}">'
            f"{html.escape(content)}</text>")


def bars(entries, left, width, top=0):
    """entries: [(name, (middle, low, high) or None, label)]; the number stands behind its bar. A
    bar that would dwarf the others is cut and marked, its number is not."""
    middles = [e[1][0] for e in entries if e[1]]
    if not middles:
        return []
    limit = min(max(e[1][2] for e in entries if e[1]), 5 * sorted(middles)[len(middles) // 2])
    room = width - 66
    parts = []
    for place, (name, spread, label) in enumerate(entries):
        y = top + place * LINE
        if spread is None:
            if label:
                parts.append(text(left, y + 12, label, "bad"))
            continue
        middle, low, high = (min(v, limit) / limit * room if limit else 0 for v in spread)
        cut = spread[0] > limit * 1.001
        parts.append(f'<rect x="{left}" y="{y + 3}" width="{max(middle, 1):.1f}" height="11" '
                     f'rx="2" class="{kind_of(name)}"/>')
        if spread[2] > spread[1] and not cut:
            parts.append(f'<path d="M{left + low:.1f} {y + 8.5}H{left + high:.1f}" '
                         'class="whisker"/>')
        end = left + max(middle, high) + 4
        parts.append(text(end, y + 12, ("» " if cut else "") + label))
    return parts


def svg(height, parts, label):
    return (f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{html.escape(label)}">'
            + "".join(parts) + "</svg>")


def figure(caption, note, body):
    return (f"<figure><figcaption>{html.escape(caption)} <small>{html.escape(note)}</small>"
            f"</figcaption>{body}</figure>")


def row_card(s, row):
    times, memories = [], []
    for name in s.allocators:
        time = s.time(row, name)
        if not time and (row, name) not in s.failed:
            continue
        times.append((name, time, nanoseconds(time[0]) if time else "FAILED"))
        memory = s.memory.get((row, name))
        peak = memory["peak_kib"] if memory else None
        memories.append((name, (peak, peak, peak) if memory else None,
                         kibibytes(peak) if memory else ""))
    head = [text(NAME, 11, "time per operation", "soft")]
    if any(m[1] for m in memories):
        head.append(text(MEMORY, 11, "peak memory", "soft"))
    names = [text(0, 16 + place * LINE + 12, name, "soft" if kind_of(name) == "bar" else "")
             for place, (name, _, _) in enumerate(times)]
    parts = head + names + bars(times, NAME, 132, 16) + bars(memories, MEMORY, WIDTH - MEMORY, 16)
    best = s.best_peer(row)
    ratio = s.ratio(row, OURS, best) if best else None
    note = f"{number(ratio)} of {best}" if ratio else ""
    return figure(row, note, svg(18 + len(times) * LINE, parts, f"{row}: times and memory"))


def value_card(s, row, key, label, show):
    entries = []
    for name in s.allocators:
        value = s.value(row, name, key)
        if value is not None:
            entries.append((name, (value, value, value), show(value)))
        elif (row, name) in s.failed:
            entries.append((name, None, "FAILED"))
    names = [text(0, place * LINE + 12, name, "soft" if kind_of(name) == "bar" else "")
             for place, (name, _, _) in enumerate(entries)]
    marks = names + bars(entries, NAME, WIDTH - NAME)
    return figure(row, label, svg(4 + len(entries) * LINE, marks,
                                  f"{row}: {label}"))


def decade(power):
    """1 ns, 10 ns, 100 ns, 1 µs ... for whole powers of ten of a nanosecond."""
    unit = ["ns", "µs", "ms", "s"][min(power // 3, 3)]
    return f"{10 ** (power - 3 * min(power // 3, 3))} {unit}"


LATENCY_STEPS = ["p50", "p99", "p99_9", "p99_99", "max"]


def latency_card(s, row, call):
    """Logarithmic in time; one line per allocator, its name at the end of the line."""
    curves = []
    for name in s.allocators:
        values = [s.value(row, name, f"{call}_{step}_ns") for step in LATENCY_STEPS]
        if all(v for v in values):
            curves.append((name, values))
    if not curves:
        return ""
    top, bottom, left, right = 10, 190, 44, 250
    low = math.log10(min(min(v) for _, v in curves))
    high = math.log10(max(max(v) for _, v in curves)) + 0.05

    def x(step):
        return left + step * (right - left) / (len(LATENCY_STEPS) - 1)

    def y(value):
        return bottom - (math.log10(value) - low) / (high - low) * (bottom - top)

    parts = []
    for power in range(math.ceil(low), math.floor(high) + 1):
        parts.append(f'<path d="M{left} {y(10 ** power):.1f}H{right}" class="axis"/>')
        parts.append(text(left - 4, y(10 ** power) + 4, decade(power), "soft", "end"))
    for step, label in enumerate(LATENCY_STEPS):
        parts.append(text(x(step), bottom + 15, label.replace("_", "."), "soft", "middle"))
    last = bottom + 20
    for name, values in sorted(curves, key=lambda c: c[1][-1]):
        points = " ".join(f"{x(i):.1f},{y(v):.1f}" for i, v in enumerate(values))
        parts.append(f'<polyline points="{points}" class="curve {kind_of(name)}"/>')
        last = min(last - 12, y(values[-1]) + 4)  # labels never lie on each other
        parts.append(text(right + 6, last, name, "soft" if kind_of(name) == "bar" else ""))
    lift = min(0, last - 12)
    return figure(f"{row} {call}", "time of single calls, logarithmic",
                  f'<svg viewBox="0 {lift:.0f} {WIDTH} {212 - lift:.0f}" role="img" '
                  f'aria-label="latency of {call}">' + "".join(parts) + "</svg>")


def html_table(head, body, ours=None):
    lines = ['<div class="scroll"><table><tr>' + "".join(f"<th>{html.escape(h)}</th>"
                                                        for h in head) + "</tr>"]
    for cells in body:
        style = ' class="ours"' if ours and cells[0] == ours else ""
        lines.append(f"<tr{style}>" + "".join(
            f'<td class="{"bad" if c == "failed" else ""}">{html.escape(c)}</td>'
            for c in cells) + "</tr>")
    return "".join(lines) + "</table></div>"


def markdown_table(lines, ours=None):
    cells = [[c.strip().strip("`") for c in line.strip("|").split("|")] for line in lines]
    return html_table(cells[0], cells[2:], ours) if len(cells) > 2 else ""


SECTIONS = [
    ("one block at a time", r"pair/"),
    ("batches and random order", r"batch|random|cold"),
    ("replacement in a live set", r"replace|churn"),
    ("between threads", r"ring|exchange|larson|false-sharing"),
    ("growing, zeroed, aligned", r"grow|calloc|aligned"),
    ("large blocks", r"large"),
    ("whole structures, threads, processes", r"tree|hash|thread-start|process|trace|program"),
    ("the hosting interface", r""),
]


def sections(s):
    """[(title, rows)]; a row is in the first section whose pattern begins its name."""
    groups = {title: [] for title, _ in SECTIONS}
    for row in s.time_rows():
        groups[next(t for t, pattern in SECTIONS if re.match(pattern, row))].append(row)
    return [(title, rows) for title, rows in groups.items() if rows]


def page(s):
    m = s.result["machine"]
    parts = ["<!doctype html><html lang=en><meta charset=utf-8>",
             '<meta name=viewport content="width=device-width, initial-scale=1">',
             f"<title>hostheap benchmarks {html.escape(s.result['commit'])}</title>",
             f"<style>{STYLE}</style><h1>hostheap against other allocators</h1>",
             f'<p class=soft>{html.escape(m["time"][:16].replace("T", " "))} UTC, commit '
             f'{html.escape(s.result["commit"])}, {html.escape(m["cpu"])}, {m["cpus"]} '
             f'processors, Linux {html.escape(m["kernel"])}, {html.escape(m["libc"])}, '
             f'{html.escape(m["compiler"])}.<br>'
             f'<code>{html.escape(s.result["command"])}</code>, {s.rounds()}, '
             f'load at the beginning {m["load"]:.1f}.</p>',
             "<p>Lower is better everywhere. A bar is the median of the rounds, the line in it "
             "reaches from the fastest to the slowest round. » marks a bar that was cut; its "
             f"number is right. Ratios are to {html.escape(s.reference)} in the same round. "
             "Differences below 3 % are ties.</p>",
             "<h2>Overview</h2>", markdown_table(markdown.overview(s), OURS)]
    failed = [f"{a} {r}: {why}" for (r, a), why in s.failed.items()]
    if failed:
        parts.append("<h2>Failures</h2><ul>" + "".join(
            f"<li>{html.escape(f)}</li>" for f in failed) + "</ul>")
    if OURS in s.allocators:
        parts += ["<h2>Rows in which a peer is ahead</h2>",
                  markdown_table(markdown.behind(s)) or "<p>None by more than 3 %.</p>"]
    for name, rows in sections(s):
        parts += [f"<h2>{html.escape(name)}</h2><div class=cards>",
                  *(row_card(s, row) for row in rows), "</div>"]
    latency = [r for r in s.rows if s.rows[r]["kind"] == "latency"]
    if latency:
        parts += ["<h2>latency</h2><div class=cards>",
                  *(latency_card(s, r, c) for r in latency for c in ("alloc", "free")), "</div>"]
    idle = [r for r in s.rows if s.rows[r]["kind"] == "memory"
            and any(key[0] == r for key in s.values)]
    if idle:
        parts.append("<h2>memory after the load</h2><div class=cards>")
        for row in idle:
            if any("kept_percent" in s.values.get((row, a), {}) for a in s.allocators):
                parts.append(value_card(s, row, "kept_percent",
                                        "still resident after 3 s of idleness, of the peak",
                                        lambda v: f"{v:.0f} %"))
            else:
                parts.append(value_card(s, row, "peak_to_live", "peak memory / live bytes",
                                        number))
        parts.append("</div>")
    parts += ["<h2>All numbers</h2><details><summary>times</summary>",
              markdown_table(markdown.times(s)), "</details><details><summary>peak memory"
              "</summary>", markdown_table(markdown.memory(s)), "</details><details><summary>"
              "faults, mappings, resident after 2 s, system calls</summary>", rest_table(s),
              "</details></html>"]
    return "\n".join(parts)


def rest_table(s):
    body = []
    for (row, name), memory in s.memory.items():
        if "faults" in memory and s.rows[row]["kind"] != "memory":
            calls = s.calls.get((row, name))
            body.append([f"{row} {name}", str(memory["faults"]), str(memory["mappings"]),
                         kibibytes(memory["ended_kib"]), kibibytes(memory["idle_kib"]),
                         "" if calls is None else number(calls)])
    return html_table(["row", "page faults", "mappings", "all freed", "2 s later",
                       "system calls per million"], body)


def main(args):
    default = machine.ROOT / "out" / "bench"
    source = pathlib.Path(args.result) if args.result else default / "result.json"
    if not source.exists():
        raise SystemExit(f"bench: no {source}: run scripts/bench first")
    s = summary.load(source)
    target = pathlib.Path(args.html) if args.html else default / "report.html"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(page(s))
    print(f"bench: {target}")
    if not args.no_markdown:
        document = pathlib.Path(args.markdown) if args.markdown else \
            machine.ROOT / "docs" / "benchmarks.md"
        if document.exists():
            text = markdown.replace(document.read_text(), markdown.write(s))
            document.write_text(text)
            print(f"bench: {document}")
            for row in markdown.unexplained(text):
                print(f"bench: a peer is ahead in {row}: say why in docs/benchmarks.md")
            return 1 if markdown.unexplained(text) else 0
    return 0
