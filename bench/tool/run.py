# SPDX-License-Identifier: MIT
"""run.py - runs rows on allocators, one process each, interleaved, and keeps everything."""
import concurrent.futures
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

from . import allocators, build, machine, programs, stats, trace

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
        return {"failed": f"no end after {timeout_s} s"}
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


class Progress:
    def __init__(self, total):
        self.total = total
        self.done = 0
        self.begin = time.monotonic()

    def line(self, text):
        self.done += 1
        seconds = time.monotonic() - self.begin
        print(f"[{self.done}/{self.total} {seconds:4.0f} s] {text}", file=sys.stderr, flush=True)


def time_rows(binary, table, parts, rounds, options):
    """Rows in turn; within a row A B C, A B C, each round beginning with another allocator."""
    runs = []
    progress = Progress(len(table))
    for row_name, row in table.items():
        takers = [a for a in parts if takes(a, row_name, row)]
        for round_number in range(rounds):
            shift = round_number % max(len(takers), 1)
            for allocator in takers[shift:] + takers[:shift]:
                result = run_once(binary, row_name, allocator, *options)
                result.update(row=row_name, allocator=allocator.name, round=round_number)
                runs.append(result)
        check_sums(runs, row_name)
        progress.line(f"{row_name:28} " + "  ".join(
            f"{a.name} {show(row, runs, row_name, a.name)}" for a in takers))
    return runs


def takes(allocator, row_name, row):
    if "hostheap" in row["flags"]:  # needs a heap of its own, which the vtable's process has
        return allocator.mode == "vtable"
    if "drop-in" in row["flags"] and allocator.mode != "malloc":
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


def memory_rows(binary, table, parts, options, workers, extra=None):
    """Resident memory after a fixed amount of work, and 2 s after everything was freed. Nothing
    is timed here, so many processes may sleep at once."""
    longest = sorted(table.items(), key=lambda item: item[1]["kind"] != "memory")
    jobs = [(row_name, a) for row_name, row in longest for a in parts
            if takes(a, row_name, row)]
    progress = Progress(len(jobs))

    def job(item):
        row_name, allocator = item
        result = run_once(binary, row_name, allocator, *options, extra=extra)
        result.update(row=row_name, allocator=allocator.name)
        if progress.done % 50 == 49 or progress.done + 1 == progress.total:
            progress.line("memory")
        else:
            progress.done += 1
        return result

    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        return list(pool.map(job, jobs))


SYSTEM_CALL = re.compile(r"^\d+ +([a-z_0-9]+)\(")
# Waiting for other threads, and the benchmark's own clock.
NOT_COUNTED = {"futex", "sched_yield", "clock_nanosleep", "nanosleep", "restart_syscall",
               "clock_gettime"}


def system_calls(binary, row_name, allocator, repetitions, extra=None):
    """Calls of the timed repetitions, without those by which threads wait for each other."""
    log = pathlib.Path(f"/tmp/hostheap-bench-{os.getpid()}.strace")
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


def run_programs(binary, parts, rounds, runs):
    def progress(program, takers):
        check_sums(runs, program)
        print(f"{program:28} " + "  ".join(
            f"{a.name} {show(programs.row(), runs, program, a.name)}" for a in takers),
            file=sys.stderr, flush=True)

    return programs.run_all(binary, parts, rounds, runs, progress)


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


def main(args):
    begin = time.monotonic()
    binary = build.binary()
    traces = trace.unpack(binary.parent / "traces")
    table = select({name: row for name, row in rows(binary).items()
                    if not name.startswith("trace/") or name[6:] in traces}, args)
    parts = collect_parts(args)
    timed = {n: r for n, r in table.items() if r["kind"] != "memory"}
    rounds = args.rounds or (3 if args.quick else 7)
    budget = 25 if args.quick else 120
    result = {
        "format": 1,
        "command": command_line(sys.argv[1:]),
        "commit": machine.commit(),
        "machine": machine.describe(),
        "rounds": rounds,
        "allocators": {a.name: {"path": a.path, "mode": a.mode} for a in parts},
        "rows": table,
    }
    result["runs"] = time_rows(binary, timed, parts, rounds,
                               ["--repetitions=15", f"--budget-ms={budget}"])
    if args.programs or not (args.quick or args.rows):
        result["rows"] = table = {**table, **run_programs(binary, parts, rounds, result["runs"])}
    result["memory"] = []
    if not args.no_memory:
        processes = {n: r for n, r in table.items() if "program" not in r["flags"]}
        result["memory"] += memory_rows(binary, processes, parts,
                                        ["--repetitions=3", "--idle-ms=2000"],
                                        24 if args.quick else 8)
    result["system_calls"] = []
    if args.system_calls or not (args.quick or args.no_memory):
        for row_name, row in timed.items():
            for allocator in parts:
                if takes(allocator, row_name, row) and row_name != "process-start":
                    counted = system_calls(binary, row_name, allocator, 3)
                    counted.update(row=row_name, allocator=allocator.name)
                    result["system_calls"].append(counted)
    result["seconds"] = round(time.monotonic() - begin, 1)
    out = pathlib.Path(args.out) if args.out else machine.ROOT / "out" / "bench" / "result.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=1))
    failed = [r for r in result["runs"] + result["memory"] if "failed" in r]
    for r in failed:
        print(f"bench: FAILED {r['allocator']} {r['row']}: {r['failed']}", file=sys.stderr)
    print(f"bench: {len(table)} rows, {len(parts)} allocators, {result['seconds']:.0f} s; {out}")
    return 1 if any(r["allocator"].startswith("hostheap") for r in failed) else 0
