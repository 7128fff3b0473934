# SPDX-License-Identifier: MIT
"""summary.py - from a result file to the figures that are shown: medians, spreads, ratios."""
import json
import pathlib

from . import run, stats

REFERENCE = "jemalloc"
OURS = "hostheap"
DOORS = ("hostheap", "hostheap-native", "hostheap-vtable")
TIE = 1.03  # differences below this are not called differences


class Summary:
    def __init__(self, result):
        self.result = result
        self.rows = result["rows"]
        self.allocators = list(result["allocators"])
        self.reference = REFERENCE if REFERENCE in self.allocators else self.allocators[0]
        self.times = {}  # (row, allocator) -> {round: ns per operation}
        self.values = {}  # (row, allocator) -> {name: [values]}
        self.failed = {}  # (row, allocator) -> reason
        self.memory = {}  # (row, allocator) -> dict
        self.calls = {}  # (row, allocator) -> calls per million operations
        for item in result["runs"]:
            self.take_run(item)
        for item in result["memory"]:
            self.take_memory(item)
        for item in result["system_calls"]:
            if "failed" not in item:
                self.calls[item["row"], item["allocator"]] = item["per_million"]

    def take_run(self, item):
        key = item["row"], item["allocator"]
        if "failed" in item:
            self.failed[key] = item["failed"]
            return
        row = self.rows[item["row"]]
        if row["kind"] == "time":
            self.times.setdefault(key, {})[item["round"]] = run.value(row, item)
        for name, value in item["values"].items():
            self.values.setdefault(key, {}).setdefault(name, []).append(value)
        if "peak_rss_kib" in item:  # a whole program
            peak = max(item["peak_rss_kib"], self.memory.get(key, {}).get("peak_kib", 0))
            self.memory[key] = {"peak_kib": peak}

    def take_memory(self, item):
        key = item["row"], item["allocator"]
        if "failed" in item:
            self.failed.setdefault(key, item["failed"])
            return
        self.memory[key] = {
            # Text and data of the program and its libraries are not the allocator's doing.
            "peak_kib": item["idle"]["peak_rss_kib"]
            - (item["loaded"]["rss_kib"] - item["loaded"]["anon_kib"]),
            "ended_kib": item["ended"]["anon_kib"],
            "idle_kib": item["idle"]["anon_kib"],
            "faults": item["faults"],
            "mappings": item["loaded"]["mappings"],
        }
        for name, value in item["values"].items():
            if self.rows[item["row"]]["kind"] == "memory":
                self.values.setdefault(key, {}).setdefault(name, []).append(value)

    def time(self, row, allocator):
        """(median, lowest, highest) of the rounds, None if it did not run or failed in one."""
        key = row, allocator
        if key in self.failed or key not in self.times:
            return None
        rounds = list(self.times[key].values())
        return stats.median(rounds), min(rounds), max(rounds)

    def value(self, row, allocator, name):
        values = self.values.get((row, allocator), {}).get(name)
        return None if not values or (row, allocator) in self.failed else stats.median(values)

    def ratio(self, row, allocator, other):
        """Median over the rounds of allocator's time divided by other's in the same round."""
        mine = self.times.get((row, allocator), {})
        theirs = self.times.get((row, other), {})
        common = [mine[k] / theirs[k] for k in mine if k in theirs and theirs[k] > 0]
        if not common or (row, allocator) in self.failed or (row, other) in self.failed:
            return None
        return stats.median(common)

    def rounds(self):
        end = "" if self.result.get("complete", True) else ", broken off"
        return f"{self.result['rounds']} rounds{end}"

    def time_rows(self):
        return [r for r in self.rows if self.rows[r]["kind"] == "time"]

    def peers(self):
        return [a for a in self.allocators if a not in DOORS]

    def best_peer(self, row):
        found = [(self.time(row, a)[0], a) for a in self.peers() if self.time(row, a)]
        return min(found)[1] if found else None

    def mean_ratio(self, allocator, of=None):
        """Geometric mean over the time rows, and how many rows it covers."""
        ratios = [self.ratio(r, allocator, of or self.reference) for r in self.time_rows()]
        ratios = [r for r in ratios if r]
        return stats.geometric_mean(ratios), len(ratios)

    def mean_memory(self, allocator):
        ratios = []
        for row in self.time_rows():
            mine = self.memory.get((row, allocator))
            theirs = self.memory.get((row, self.reference))
            if mine and theirs:
                ratios.append(mine["peak_kib"] / theirs["peak_kib"])
        return stats.geometric_mean(ratios)

    def wins(self, allocator):
        """Rows in which nobody is faster by more than a tie."""
        count = 0
        for row in self.time_rows():
            times = [self.time(row, a)[0] for a in self.allocators if self.time(row, a)]
            mine = self.time(row, allocator)
            count += bool(mine) and mine[0] <= TIE * min(times)
        return count

    def comparison(self):
        """[(row, ours, best peer, its time, ratio)] worst first."""
        table = []
        for row in self.time_rows():
            mine, best = self.time(row, OURS), self.best_peer(row)
            if mine and best:
                table.append((row, mine[0], best, self.time(row, best)[0],
                              self.ratio(row, OURS, best)))
        return sorted(table, key=lambda entry: -entry[4])


def load(path):
    return Summary(json.loads(pathlib.Path(path).read_text()))


def number(value):
    """Three significant digits, without an exponent."""
    if value is None:
        return "-"
    if value >= 100:
        return f"{value:,.0f}"
    if value >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}"


def nanoseconds(value):
    for limit, unit in ((1e3, "ns"), (1e6, "µs"), (1e9, "ms")):
        if value < limit:
            return f"{number(value * 1e3 / limit)} {unit}"
    return f"{number(value / 1e9)} s"


def kibibytes(value):
    for limit, unit in ((1024, "KiB"), (1024 ** 2, "MiB")):
        if value < limit:
            return f"{number(value * 1024 / limit)} {unit}"
    return f"{number(value / 1024 ** 2)} GiB"
