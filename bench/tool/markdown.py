# SPDX-License-Identifier: MIT
"""markdown.py - the tables of docs/benchmarks.md, between the two marks in that file."""
import fnmatch
import re

from .summary import OURS, TIE, kibibytes, nanoseconds, number

BEGIN = "<!-- results: written by scripts/bench report -->"
END = "<!-- end of results -->"


def table(head, body):
    lines = ["| " + " | ".join(head) + " |", "|---" + "|---:" * (len(head) - 1) + "|"]
    return lines + ["| " + " | ".join(cells) + " |" for cells in body]


def overview(s):
    body = []
    for name in s.allocators:
        time, rows = s.mean_ratio(name)
        memory = s.mean_memory(name)
        failures = sum(1 for key in s.failed if key[1] == name)
        body.append([name, number(time), str(rows), number(memory), str(s.wins(name)),
                     str(failures)])
    return table(["allocator", f"time, {s.reference} = 1", "rows",
                  f"peak memory, {s.reference} = 1", "rows won or tied", "failures"], body)


def times(s):
    body = []
    for row in s.time_rows():
        cells = [f"`{row}`"]
        for name in s.allocators:
            time = s.time(row, name)
            cells.append(nanoseconds(time[0]) if time
                         else "failed" if (row, name) in s.failed else "")
        best = s.best_peer(row)
        ratio = s.ratio(row, OURS, best) if best else None
        body.append(cells + [number(ratio) if ratio else ""])
    return table(["time per operation", *s.allocators, "hostheap / best peer"], body)


def memory(s):
    body = []
    for row in s.time_rows():
        body.append([f"`{row}`"] + [
            kibibytes(s.memory[row, a]["peak_kib"]) if (row, a) in s.memory else ""
            for a in s.allocators])
    return table(["peak memory", *s.allocators], body)


def special(s, kind):
    lines = []
    for row in (r for r in s.rows if s.rows[r]["kind"] == kind):
        names = []
        for allocator in s.allocators:
            for name in s.values.get((row, allocator), {}):
                if name not in names:
                    names.append(name)
        body = []
        for allocator in s.allocators:
            if (row, allocator) in s.failed:
                body.append([allocator] + ["failed"] * len(names))
            elif (row, allocator) in s.values:
                body.append([allocator] + [number(s.value(row, allocator, n)) for n in names])
        if body:
            lines += ["", *table([f"`{row}`", *names], body)]
    return lines[1:]


def scale(s):
    body = []
    for row in (r for r in s.rows if r.startswith("scale/")):
        for allocator in s.allocators:
            time = s.time(row, allocator)
            if time:
                each = s.value(row, allocator, "metadata_bytes_each")
                total = s.value(row, allocator, "metadata_kib")
                body.append([f"`{row}`", nanoseconds(time[0]), number(each), kibibytes(total)])
            elif (row, allocator) in s.failed:
                body.append([f"`{row}`", "failed", "", ""])
    return table(["one operation among", "time", "metadata bytes each", "metadata"], body)


def behind(s):
    rows = [entry for entry in s.comparison() if entry[4] > TIE]
    if not rows:
        return ["No row of this run has a peer ahead by more than 3 %."]
    return table(["row", "hostheap", "best peer", "its time", "ratio"],
                 [[f"`{row}`", nanoseconds(mine), best, nanoseconds(time), number(ratio)]
                  for row, mine, best, time, ratio in rows])


def write(s):
    machine = s.result["machine"]
    text = [
        BEGIN, "",
        f"Measured {machine['time'][:10]} at commit {s.result['commit']} by "
        f"`{s.result['command']}`: {machine['cpu']}, {machine['cpus']} processors, Linux "
        f"{machine['kernel']}, {machine['libc']}, {machine['compiler']}. "
        f"{s.rounds()}; load at the beginning {machine['load']:.1f}.", "",
        "### Overview", "", *overview(s), "",
        "### Rows in which a peer is ahead", "", *behind(s), "",
        "### Times", "", *times(s), "",
        "### Many heaps, regions, threads", "", *scale(s), "",
        "### Peak memory", "", *memory(s), "",
        "### Memory after the load", "", *special(s, "memory"), "",
        "### Latency", "", *special(s, "latency"), "",
        END,
    ]
    return "\n".join(text)


REASONS = "## Where peers are ahead, and why"
AHEAD = "### Rows in which a peer is ahead"


def first_cells(document, heading):
    """What stands between backticks in the first column of the tables under a heading."""
    section = document.partition(heading)[2]
    section = re.split(r"^##", section, maxsplit=1, flags=re.M)[0]
    cells = re.findall(r"^\| *(`[^|]*)\|", section, re.M)
    return [name for cell in cells for name in re.findall(r"`([^`]+)`", cell)]


def unexplained(document):
    """Rows in which a peer is ahead and that no reason is given for. A reason names rows, or
    patterns of rows as a shell has them."""
    reasons = first_cells(document, REASONS)
    return [row for row in first_cells(document, AHEAD)
            if not any(fnmatch.fnmatchcase(row, reason) for reason in reasons)]


def replace(document, section):
    """document with everything between the marks replaced."""
    head, _, rest = document.partition(BEGIN)
    _, found, tail = rest.partition(END)
    if not found:
        raise SystemExit("bench: docs/benchmarks.md has lost its result marks")
    return head + section + tail
