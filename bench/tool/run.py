# SPDX-License-Identifier: MIT
"""run.py - runs rows on allocators, one process each, interleaved, and keeps everything."""
import concurrent.futures
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile

from . import allocators, build, machine, programs, stats, trace
from .session import Rounds, Session, digest

TIMEOUT_S = 120


def rows(binary):
    """name -> {kind, threads, flags}, in the order of the binary."""
    found = {}
    for line in machine.output(str(binary), "--list").splitlines():
        name, kind, threads, flags = line.split("\t")
        flags = [flag for flag in flags.split(",") if flag]
        found[name] = {"kind": kind, "threads": int(threads), "flags": flags,
                       "metric": "wall" if "wall" in flags else "cpu"}
    return found


def environment(binary, allocator, extra=None):
    """The caller's environment without settings that change an allocator."""
    keep = {key: value for key, value in os.environ.items()
            if not re.match(r"MALLOC|MIMALLOC|TCMALLOC|JE_|HOSTHEAP|GLIBC_TUNABLES|LD_PRELOAD", key)}
    keep["BENCH_START_CHILD"] = str(binary.parent / "bench_start_child")
    keep["BENCH_TRACES"] = str(binary.parent / "traces")
    keep.update(extra or {})
    keep.update(allocator.environment())
    return keep


def run_once(binary, row, allocator, *options, prefix=(), extra=None, timeout_s=TIMEOUT_S):
    """One process. A dict of what it printed, or {"failed": reason}."""
    command = [*prefix, str(binary), f"--row={row}", f"--allocator={allocator.mode}", *options]
    env = environment(binary, allocator, extra)
    if prefix:  # the allocator is for the binary, not for the tool that watches it
        preload = env.pop("LD_PRELOAD", None)
        if preload:
            command[:len(prefix)] = [*prefix, "env", f"LD_PRELOAD={preload}"]
    try:
        done = subprocess.run(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              text=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired:
        return {"failed": f"no end after {timeout_s:.0f} s", "late": True}
    if done.returncode < 0:
        name = signal.Signals(-done.returncode).name
        return {"failed": f"{name} {done.stderr.strip()[-200:]}".strip()}
    if done.returncode != 0:
        return {"failed": done.stderr.strip()[-200:] or f"exit status {done.returncode}"}
    try:
        result = json.loads(done.stdout)
    except ValueError:
        return {"failed": "unreadable output"}
    served = os.path.realpath(result["object"])
    if not (served == os.path.realpath(allocator.path) if allocator.path
            else os.path.basename(served).startswith("libc.so")):
        return {"failed": f"served by {result['object']}, not by {allocator.path or 'libc'}"}
    return result


def value(row, result):
    """Nanoseconds per operation of one process: the median of its repetitions."""
    return stats.median(result[row["metric"] + "_ns"]) / result["operations"]


def takes(allocator, row_name, row):
    if "hostheap" in row["flags"]:  # needs a heap of its own, which the vtable's process has
        return allocator.mode == "vtable"
    if {"drop-in", "program"} & set(row["flags"]) and allocator.mode != "malloc":
        return False
    return not allocator.rows or re.search(allocator.rows, row_name) is not None


def show(row, runs, row_name, allocator_name):
    good = [r for r in runs if (r["row"], r["allocator"]) == (row_name, allocator_name)
            and "failed" not in r]
    if not good:
        return "FAILED"
    if row["kind"] == "time":
        return f"{stats.median(value(row, r) for r in good):.2f}"
    key = "kept_percent" if "kept_percent" in good[0]["values"] else list(good[0]["values"])[0]
    return f"{stats.median(r['values'][key] for r in good):.1f}"


def check_sums(runs, row_name):
    """All allocators must have computed the same; who differs from the majority has failed."""
    mine = [r for r in runs if r["row"] == row_name and "failed" not in r]
    sums = [r["checksum"] for r in mine]
    for result in mine:
        right = max(set(sums), key=sums.count)
        if result["checksum"] != right:
            result["failed"] = f"checksum {result['checksum']}, others {right}"


def in_parallel(session, key, jobs, workers, job):
    """Runs job(row, allocator) for all that session.result[key] does not have yet, several at
    once, because nothing is timed. What the budget does not reach is left out."""
    results = session.result[key]
    have = {(r["row"], r["allocator"]) for r in results}
    missing = [(row, a) for row, a in jobs if (row, a.name) not in have]
    open_jobs = {row: sum(r == row for r, _ in missing) for row, _ in missing}

    def guarded(item):
        return item, job(*item) if session.left() > session.grace_s else None

    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        waiting = [pool.submit(guarded, item) for item in missing]
        try:
            for at, done in enumerate(concurrent.futures.as_completed(waiting)):
                (row, allocator), result = done.result()
                if result is None:
                    continue
                result.update(row=row, allocator=allocator.name)
                results.append(result)
                open_jobs[row] -= 1
                if open_jobs[row] == 0:
                    session.save()
                if at % 50 == 49 or at + 1 == len(missing):
                    session.say(f"{key} {at + 1}/{len(missing)}")
        except BaseException:
            for future in waiting:
                future.cancel()
            raise
    session.save()


SYSTEM_CALL = re.compile(r"^\d+ +([a-z_0-9]+)\(")
# Waiting for other threads, and the benchmark's own clock.
NOT_COUNTED = {"futex", "sched_yield", "clock_nanosleep", "nanosleep", "restart_syscall",
               "clock_gettime"}


# A traced call takes some 50 times as long, and a few thousand operations show what a row calls.
TRACED_OPERATIONS = 30000


def traced_repetitions(operations):
    """A repetition is not divided; three of a short row, one of a long one."""
    return max(1, min(3, TRACED_OPERATIONS // operations))


def system_calls(binary, row_name, allocator, repetitions, extra=None):
    """Calls of the timed repetitions, without those by which threads wait for each other."""
    handle, name = tempfile.mkstemp(prefix="hostheap-bench-", suffix=".strace")
    os.close(handle)
    log = pathlib.Path(name)
    prefix = ("strace", "-f", "-qq", "-o", str(log))
    result = run_once(binary, row_name, allocator, f"--repetitions={repetitions}",
                      "--budget-ms=1", prefix=prefix, extra=extra)
    try:
        if "failed" in result:
            return {"failed": result["failed"]}
        counts = {}
        counting = False
        for line in log.read_text(errors="replace").splitlines():
            match = SYSTEM_CALL.match(line)
            if not match:
                continue
            name = match.group(1)
            if name == "prctl" and "0x4848000" in line:
                counting = "0x48480001" in line
            elif counting and name not in NOT_COUNTED:
                counts[name] = counts.get(name, 0) + 1
        operations = len(result["wall_ns"]) * result["operations"]
        return {"calls": counts, "operations": operations,
                "per_million": 1e6 * sum(counts.values()) / operations}
    finally:
        log.unlink(missing_ok=True)


def collect_parts(args):
    parts = allocators.packaged()
    if not args.no_hostheap:
        folder = args.library or build.library()
        parts += allocators.ours(folder, args.quick)
    parts += allocators.from_options(args.lib)
    if args.only:
        wanted = args.only.split(",")
        unknown = set(wanted) - {a.name for a in parts}
        if unknown:
            raise SystemExit(f"bench: --only: unknown {', '.join(sorted(unknown))}; there are "
                             + ", ".join(a.name for a in parts))
        parts = [a for a in parts if a.name in wanted]
    return parts


def select(table, args):
    chosen = {name: row for name, row in table.items()
              if (not args.quick or "quick" in row["flags"] or args.rows)
              and (not args.rows or re.search(args.rows, name))}
    if not chosen:
        raise SystemExit("bench: no row matches")
    return chosen


def command_line(arguments):
    """What was typed, without where this machine keeps its files."""
    shown = []
    for argument in arguments:
        name, equals, path = argument.partition("=")
        shown.append(f"{name}=..." if equals and "/" in path else
                     "..." if argument.startswith("/") else argument)
    return " ".join(["scripts/bench", *shown])


class Suite:
    """What a run measures; the order is in run()."""

    def __init__(self, binary, table, parts, session, commands=None, folder=None):
        self.binary = binary
        self.table = table
        self.parts = parts
        self.session = session
        self.commands = commands or {}
        self.folder = folder
        timed = [name for name, row in table.items() if row["kind"] != "memory"]
        self.rounds = Rounds(session, timed, self.takers, self.measure, self.finished)

    def takers(self, row_name):
        return [a for a in self.parts if takes(a, row_name, self.table[row_name])]

    def measure(self, row_name, allocator):
        if row_name in self.commands:
            return programs.run_one(self.binary, row_name, self.commands[row_name], allocator,
                                    self.folder)
        return self.process(row_name, allocator, *self.session.result["options"])

    def process(self, row_name, allocator, *options):
        """One process; None if it was ended because the budget ends."""
        patience_s = self.session.patience_s(TIMEOUT_S)
        result = run_once(self.binary, row_name, allocator, *options, timeout_s=patience_s)
        return None if result.pop("late", False) and patience_s < TIMEOUT_S else result

    def finished(self, row_name, text):
        runs = self.session.result["runs"]
        check_sums(runs, row_name)
        self.session.say(f"{text} {row_name:28} " + "  ".join(
            f"{a.name} {show(self.table[row_name], runs, row_name, a.name)}"
            for a in self.takers(row_name)))

    def jobs(self, wanted):
        return [(name, a) for name in wanted for a in self.takers(name)]

    def memory(self, workers):
        """Resident memory after a fixed amount of work, and 2 s after everything was freed."""
        names = [n for n, row in self.table.items() if "program" not in row["flags"]]
        names.sort(key=lambda n: self.table[n]["kind"] != "memory")  # the longest first
        in_parallel(self.session, "memory", self.jobs(names), workers,
                    lambda row, a: self.process(row, a, "--repetitions=3", "--idle-ms=2000"))

    def system_calls(self):
        names = [n for n in self.rounds.rows
                 if n != "process-start" and "program" not in self.table[n]["flags"]]
        operations = {r["row"]: r["operations"] for r in self.session.result["runs"]
                      if "failed" not in r}
        in_parallel(self.session, "system_calls", self.jobs(names), os.cpu_count() or 1,
                    lambda row, a: system_calls(
                        self.binary, row, a,
                        traced_repetitions(operations.get(row, TRACED_OPERATIONS))))

    def run(self, rounds, memory_workers, calls):
        """One round of everything, then times for as many rounds as are wanted and fit."""
        if self.rounds.turn(0, rounds):
            if memory_workers:
                self.memory(memory_workers)
            if calls:
                self.system_calls()
            self.rounds.more(rounds)
        self.rounds.drop_unfinished()
        self.session.result["complete"] = True
        self.session.save(indent=1)


def process_options(args, table, parts):
    """How long one process measures: as long as usual, or so that three rounds are half of the
    budget when a process needs 50 ms beside its measurement."""
    longest = 15 if args.quick else 120
    if args.budget:
        count = sum(takes(a, name, row) for name, row in table.items() for a in parts)
        share = 1000 * 60 * args.budget / 2 / 3 / max(count, 1)
        longest = int(min(max(share - 50, 10), longest))
    return ["--repetitions=15", f"--budget-ms={longest}"]


QUICK_BUDGET_S = 85
# 24 processes on two busy processors, each idle for 2 s, took 13 s to end.
QUICK_GRACE_S = 13


def main(args):
    binary = build.binary()
    traces = trace.unpack(binary.parent / "traces", args.trace)
    table = select({name: row for name, row in rows(binary).items()
                    if not name.startswith("trace/") or name[6:] in traces}, args)
    parts = collect_parts(args)
    out = pathlib.Path(args.out) if args.out else machine.ROOT / "out" / "bench" / "result.json"
    with tempfile.TemporaryDirectory() as folder:
        commands = {}
        if args.programs or not (args.quick or args.rows):
            commands = programs.table(pathlib.Path(folder))
            table = {**table, **{name: programs.row() for name in commands}}
        result = {
            "format": 1,
            "command": command_line(sys.argv[1:]),
            "commit": machine.commit(),
            "machine": machine.describe(),
            "binary": digest(binary),
            "allocators": {a.name: {"path": a.path, "mode": a.mode, "digest": digest(a.path)}
                           for a in parts},
            "rows": table,
            "options": process_options(args, table, parts),
        }
        budget_s = 60 * args.budget or (QUICK_BUDGET_S if args.quick and not args.rows else 0)
        session = Session(out, result, args.resume, budget_s,
                          grace_s=QUICK_GRACE_S if args.quick else 0)
        suite = Suite(binary, table, parts, session, commands, pathlib.Path(folder))
        calls = args.system_calls or not (args.quick or args.no_memory)
        if calls and not shutil.which("strace"):
            session.say("system calls are not counted: strace is not installed")
            calls = False
        suite.run(args.rounds or (3 if args.quick else 7),
                  0 if args.no_memory else 24 if args.quick or args.budget else 8, calls)
    return verdict(session, table, parts)


def verdict(session, table, parts):
    result = session.result
    failed = [r for r in result["runs"] + result["memory"] if "failed" in r]
    for r in failed:
        print(f"bench: FAILED {r['allocator']} {r['row']}: {r['failed']}", file=sys.stderr)
    print(f"bench: {len(table)} rows, {len(parts)} allocators, {result['rounds']} rounds, "
          f"{result['seconds']:.0f} s; {session.out}")
    if result["rounds"] == 0:
        print("bench: the budget ended within the first round; some rows are missing",
              file=sys.stderr)
    return 1 if any(r["allocator"].startswith("hostheap") for r in failed) else 0
