# SPDX-License-Identifier: MIT
"""session.py - a result that grows: whole on disk after every row, continued after a break.

Rounds go over all rows before the next one begins, so that wherever a run ends, by its budget, by
Ctrl-C or by a power cut, its rows are equally well measured.
"""
import hashlib
import json
import math
import os
import pathlib
import sys
import time

# What must be the same for two parts of a run to be one result.
# How long a process measures is taken from the earlier part.
IDENTITY = ("format", "commit", "binary", "allocators", "rows")

# By how much a process may outlast the budget before it is ended and has failed.
PATIENCE_S = 4


def digest(path):
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()[:16] if path else ""


class Session:
    def __init__(self, out, result, resume=False, budget_s=0.0, clock=time.monotonic,
                 grace_s=0.0):
        self.out = pathlib.Path(out)
        self.clock = clock
        self.begin = clock()
        self.grace_s = grace_s  # what runs in parallel may take to end once it has begun
        self.end = self.begin + budget_s if budget_s else math.inf
        self.result = {"complete": False, "seconds": 0, "round_seconds": 0, "rounds": 0,
                       "runs": [], "memory": [], "system_calls": [], **result}
        if resume and self.out.exists():
            self.result = self.earlier()
        self.before = self.result["seconds"]

    def earlier(self):
        """The result on disk, which must be of the same things."""
        result = json.loads(self.out.read_text())
        here = json.loads(json.dumps(self.result))  # as it looks when read from a file
        other = [key for key in IDENTITY if result.get(key) != here[key]]
        if other:
            raise SystemExit(f"bench: --resume: {self.out} has another {', '.join(other)}")
        return {**result, "complete": False}

    def left(self):
        return self.end - self.clock()

    def patience_s(self, usual_s):
        """How long a process may take that begins now: it must not outlast the budget by much."""
        return min(usual_s, max(self.left(), 0) + PATIENCE_S)

    def seconds(self):
        return self.clock() - self.begin

    def save(self, indent=None):
        """Readers see the result before or after, never half of it."""
        self.result["seconds"] = round(self.before + self.seconds(), 1)
        self.out.parent.mkdir(parents=True, exist_ok=True)
        part = self.out.with_name(self.out.name + ".part")
        with part.open("w") as file:
            file.write(json.dumps(self.result, indent=indent))
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, self.out)

    def say(self, text):
        budget = "" if self.end == math.inf else f" of {self.end - self.begin:.0f}"
        print(f"[{self.seconds():4.0f}{budget} s] {text}", file=sys.stderr, flush=True)


class Rounds:
    """Times: measure(row, allocator) gives one process's result, for all takers(row), or None
    when the budget has ended."""

    def __init__(self, session, rows, takers, measure, finished):
        self.session = session
        self.rows = list(rows)
        self.takers = takers
        self.measure = measure
        self.finished = finished  # called with a row and a text when all its takers have run
        self.results = session.result["runs"]
        self.done = {(r["row"], r["round"]) for r in self.results}

    def complete(self):
        """How many rounds have every row."""
        count = 0
        while self.rows and all((row, count) in self.done for row in self.rows):
            count += 1
        return count

    def turn(self, number, of):
        """One round over all rows, beginning with another allocator than the last; False if the
        budget ended first."""
        begin = self.session.clock()
        missing = [row for row in self.rows if (row, number) not in self.done]
        for at, row in enumerate(missing):
            if self.session.left() <= 0:
                return False
            takers = self.takers(row)
            shift = number % max(len(takers), 1)
            results = []
            for allocator in takers[shift:] + takers[:shift]:
                result = self.measure(row, allocator)
                if result is None:
                    return False
                result.update(row=row, allocator=allocator.name, round=number)
                results.append(result)
            self.results += results
            self.done.add((row, number))
            self.finished(row, f"round {number + 1} of {of}, {at + 1}/{len(missing)}")
            self.session.result["rounds"] = self.complete()
            self.session.save()
        if len(missing) == len(self.rows):
            self.session.result["round_seconds"] = round(self.session.clock() - begin, 1)
        return True

    def more(self, rounds):
        """All further rounds that fit into the budget."""
        for number in range(1, rounds):
            # A tenth more: rounds differ, and one that is cut off was for nothing.
            if self.session.left() < 1.1 * self.session.result["round_seconds"]:
                break
            if not self.turn(number, rounds):
                break

    def drop_unfinished(self):
        """Every row keeps as many rounds as every other, if there is one that all of them have."""
        count = self.complete()
        if count:
            self.results[:] = [r for r in self.results if r["round"] < count]
        self.session.result["rounds"] = count
