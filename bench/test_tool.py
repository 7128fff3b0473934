#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""test_tool.py BINARY_FOLDER - tests of scripts/bench's parts. No test depends on a time."""
import io
import itertools
import json
import pathlib
import random
import sys
import tempfile
import unittest
from unittest import mock

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from tool import (build, counts, footprint, gate, history, markdown, report, run, stats,  # noqa: E402
                  summary, trace)
from tool.allocators import Allocator  # noqa: E402
from tool.session import Session  # noqa: E402

BINARIES = pathlib.Path(sys.argv.pop(1)).resolve()
BENCH = BINARIES / "bench"
BROKEN = Allocator("broken", str(BINARIES / "libbench_broken.so"))


def rank_p(first, second):
    """The U test by counting all arrangements."""
    everything = first + second
    u = sum(x > y for x in first for y in second)
    u = min(u, len(first) * len(second) - u)
    hits = total = 0
    for chosen in itertools.combinations(range(len(everything)), len(first)):
        a = [everything[i] for i in chosen]
        b = [everything[i] for i in range(len(everything)) if i not in chosen]
        v = sum(x > y for x in a for y in b)
        hits += min(v, len(a) * len(b) - v) <= u
        total += 1
    return hits / total


class Statistics(unittest.TestCase):
    def test_u_test_agrees_with_counting_arrangements(self):
        for first, second in [([1, 4, 5, 8], [2, 3, 9, 10, 11]), ([1, 2, 3], [4, 5, 6]),
                              ([7, 1, 12, 5, 9], [2, 8, 4, 11, 3])]:
            self.assertAlmostEqual(stats.mann_whitney(first, second), rank_p(first, second))

    def test_u_test_of_equal_values_finds_nothing(self):
        self.assertEqual(stats.mann_whitney([3] * 9, [3] * 9), 1.0)

    def test_false_discovery_correction_is_monotone_and_not_below_p(self):
        p = [0.001, 0.04, 0.03, 0.8]
        adjusted = stats.benjamini_hochberg(p)
        self.assertAlmostEqual(adjusted[0], 0.004)
        self.assertAlmostEqual(adjusted[1], 0.04 * 4 / 3)
        self.assertAlmostEqual(adjusted[2], 0.04 * 4 / 3)
        self.assertTrue(all(a >= b for a, b in zip(adjusted, p)))


class Verdicts(unittest.TestCase):
    QUIET = [10.0, 10.1, 9.9, 10.05, 9.95, 10.02, 9.98, 10.03, 9.97]

    def test_a_clear_slowdown_is_worse(self):
        slow = [v * 1.05 for v in self.QUIET]
        verdict = gate.judge({"row": (self.QUIET, slow), "same": (self.QUIET, self.QUIET)})
        self.assertEqual([v[5] for v in verdict], ["WORSE", ""])

    def test_a_small_difference_is_not_worse_however_sure(self):
        slow = [v * 1.02 for v in self.QUIET]
        self.assertEqual(gate.judge({"row": (self.QUIET, slow)})[0][5], "")

    def test_a_noisy_difference_is_not_worse_however_large(self):
        noisy = [10, 20, 9, 11, 30, 9.5, 10.5, 9.7, 12]
        self.assertEqual(gate.judge({"row": (self.QUIET, noisy)})[0][5], "")

    def test_only_rows_that_look_slower_are_measured_further(self):
        dice = random.Random(3)
        asked = {"same": [0, 0], "slow": [0, 0], "noisy": [0, 0]}

        def process(name, side):
            asked[name][side] += 1
            # Noisy: a third slower, in a spread of a half. Noise makes slower only.
            spread = {"same": 0.01, "slow": 0.01, "noisy": 0.5}[name]
            shift = {"same": 1.0, "slow": 1.05, "noisy": 1.3}[name] if side else 1.0
            return shift * (1 + spread * dice.random())

        with mock.patch("sys.stderr", io.StringIO()):
            values = gate.measure(list(asked), process)
        self.assertEqual(asked, {"same": [9, 9], "slow": [36, 36], "noisy": [36, 36]})
        verdicts = {v[0]: v[5] for v in gate.judge(values)}
        self.assertEqual((verdicts["same"], verdicts["slow"]), ("", "WORSE"))

    def test_equal_libraries_are_not_worse_in_forty_comparisons_of_many_rows(self):
        dice = random.Random(11)
        rows = [str(n) for n in range(23)]
        for _ in range(40):
            with mock.patch("sys.stderr", io.StringIO()):
                values = gate.measure(rows, lambda *_: 1 + 0.2 * dice.random() ** 3)
            self.assertEqual([v[5] for v in gate.judge(values) if v[5] == "WORSE"], [])

    def test_a_row_whose_fastest_processes_are_equal_is_not_worse(self):
        base = [1.0] * 12 + [1.2] * 24
        head = [1.0] * 12 + [1.25 + n / 1000 for n in range(24)]
        self.assertGreater(gate.slowdown((base, head)), gate.WORSE)
        self.assertLess(gate.probability((base, head)), gate.P_LIMIT)
        self.assertEqual(gate.judge({"row": (base, head)})[0][5], "")

    def test_one_step_in_the_history_is_one_mark(self):
        self.assertEqual(history.changes([10, 10.1, 9.9, 10, 12, 12.1, 12, 12.1, 10]),
                         {4: 1, 8: -1})

    def test_counts_beyond_half_a_percent_are_worse_or_better(self):
        golden = {"counts": {"malloc/a": 100000, "malloc/b": 100000}, "mix": {}}
        near = {"counts": {"malloc/a": 100400, "malloc/b": 99600}, "mix": {}}
        far = {"counts": {"malloc/a": 100600, "malloc/b": 99400}, "mix": {}}
        one = {"counts": {"malloc/a": 100000}, "mix": {}}
        self.assertEqual(counts.compare(golden, near), ([], []))
        self.assertEqual([len(lines) for lines in counts.compare(golden, far)], [1, 1])
        self.assertEqual([len(lines) for lines in counts.compare(golden, one)], [1, 0])

    def test_a_locked_instruction_more_is_worse(self):
        kinds = dict.fromkeys(counts.CLASSES, 2.0)
        golden = {"counts": {}, "mix": {"malloc/a": kinds}}
        found = {"counts": {}, "mix": {"malloc/a": dict(kinds, locked=3.0)}}
        self.assertEqual(len(counts.compare(golden, found)[0]), 1)

    def test_memory_beyond_tolerance_is_named(self):
        golden = {"row": {"peak_kib": 10000, "ended_kib": 10000, "faults": 1000, "mappings": 50,
                          "system_calls": 0}}
        leak = {"row": dict(golden["row"], ended_kib=10300)}
        self.assertEqual(footprint.compare(golden, golden), ([], []))
        self.assertEqual([len(lines) for lines in footprint.compare(golden, leak)], [1, 0])
        self.assertEqual([len(lines) for lines in footprint.compare(leak, golden)], [0, 1])


class Instructions(unittest.TestCase):
    def kinds(self, mnemonic, operands):
        return set(counts.classify(mnemonic, operands)) - {"instructions"}

    def test_operands_decide_between_loads_and_stores(self):
        self.assertEqual(self.kinds("mov", "0x8(%rcx),%rax"), {"loads"})
        self.assertEqual(self.kinds("mov", "%eax,(%rcx)"), {"stores"})
        self.assertEqual(self.kinds("subl", "$0x1,0x44(%rdi)"), {"loads", "stores"})
        self.assertEqual(self.kinds("cmp", "%rax,(%rdi)"), {"loads"})
        self.assertEqual(self.kinds("lea", "0x1e(%rsi,%rsi,1),%rax"), set())
        self.assertEqual(self.kinds("mov", "%fs:(%rax),%rcx"), {"loads"})

    def test_locked_and_control_flow_are_told_apart(self):
        self.assertEqual(self.kinds("lock cmpxchg", "%rdx,(%rdi)"), {"loads", "stores", "locked"})
        self.assertEqual(self.kinds("xchg", "%rax,(%rdi)"), {"loads", "stores", "locked"})
        self.assertEqual(self.kinds("je", "14230"), {"branches"})
        self.assertEqual(self.kinds("jmp", "14230"), {"jumps"})
        self.assertEqual(self.kinds("ret", ""), {"returns", "loads"})


def recording(*events):
    """What the drop-in writes: (kind, address, size, thread, log2 of the alignment), the rest 0."""
    filled = [(list(event) + [0] * 4)[:5] for event in events]
    return trace.HEAD + b"".join(trace.EVENT.pack(kind, shift, 0, thread, size, address)
                                 for kind, address, size, thread, shift in filled)


class Traces(unittest.TestCase):
    def pack(self, *events, skip=0, limit=100):
        packed, calls = trace.pack(recording(*events), skip, limit)
        self.assertEqual(packed[:len(trace.MAGIC)], trace.MAGIC)
        self.assertEqual(packed[len(trace.MAGIC) + 1], calls)
        return [packed[len(trace.MAGIC)], *packed[len(trace.MAGIC) + 2:]]

    def test_addresses_become_slots_that_are_used_again(self):
        self.assertEqual(
            self.pack((trace.MALLOC, 0x1000, 24), (trace.MALLOC, 0x2000, 40), (trace.FREE, 0x1000),
                      (trace.FREE, 0x9999), (trace.CALLOC, 0x3000, 16),
                      (trace.REALLOC_BEGIN, 0x2000), (trace.REALLOC, 0x4000, 300),
                      (trace.ALIGNED, 0x5000, 1, 0, 12)),
            [3, 0, 24, 8, 40, 1, 2, 16, 11, 0xAC, 0x02, 20, 1, 12])

    def test_reallocs_of_threads_cross(self):
        self.assertEqual(
            self.pack((trace.MALLOC, 0x1000, 1), (trace.MALLOC, 0x2000, 2),
                      (trace.REALLOC_BEGIN, 0x1000, 0, 7), (trace.REALLOC_BEGIN, 0x2000, 0, 8),
                      (trace.REALLOC, 0x1000, 9, 8), (trace.REALLOC, 0x2000, 9, 7),
                      (trace.FREE, 0x1000)),
            [2, 0, 1, 8, 2, 11, 9, 3, 9, 9])

    def test_a_refused_realloc_changes_nothing_and_one_to_0_frees(self):
        self.assertEqual(
            self.pack((trace.MALLOC, 0x1000, 1), (trace.REALLOC_BEGIN, 0x1000),
                      (trace.REALLOC, 0, 99), (trace.REALLOC_BEGIN, 0x1000), (trace.REALLOC, 0, 0)),
            [1, 0, 1, 1])

    def test_calls_before_the_beginning_and_after_the_end_are_left_out(self):
        calls = [(trace.MALLOC, 0x1000, 1), (trace.MALLOC, 0x2000, 2), (trace.FREE, 0x1000),
                 (trace.FREE, 0x2000), (trace.MALLOC, 0x3000, 3), (trace.MALLOC, 0x4000, 4)]
        self.assertEqual(self.pack(*calls, skip=1, limit=3), [1, 0, 2, 1, 0, 3])

    def test_a_recorded_program_is_replayed_with_as_many_calls_of_each_kind(self):
        library = build.find(BINARIES.parent, "libhostheap-malloc.so")
        if not library:
            self.skipTest("no drop-in beside the binaries")
        with tempfile.TemporaryDirectory() as folder:
            program = [str(BINARIES / "bench_start_child")]
            raw = trace.record(program, library, 100000, folder)
            packed, calls = trace.pack(raw, 0, 100000)
            (pathlib.Path(folder) / f"{trace.OWN}.trace").write_bytes(packed)
            result = run.run_once(BENCH, f"trace/{trace.OWN}", Allocator("hostheap", str(library)),
                                  "--repetitions=1", extra={"BENCH_TRACES": folder})
        kinds = [event[0] for event in trace.EVENT.iter_unpack(raw[trace.EVENT.size:])]
        self.assertNotIn("failed", result)
        self.assertEqual(result["operations"], calls)
        self.assertGreaterEqual(kinds.count(trace.MALLOC), 100)
        # Frees of no block of the recording there are none: it begins with the process.
        self.assertEqual(calls, len(kinds) - kinds.count(trace.REALLOC_BEGIN))


class Documents(unittest.TestCase):
    def test_only_what_is_between_the_marks_is_replaced(self):
        text = f"a\n{markdown.BEGIN}\nold\n{markdown.END}\nb\n"
        new = f"{markdown.BEGIN}\nnew\n{markdown.END}"
        self.assertEqual(markdown.replace(text, new), f"a\n{new}\nb\n")
        with self.assertRaises(SystemExit):
            markdown.replace("no marks", new)

    DOCUMENT = (f"{markdown.REASONS}\n\n| rows | why |\n|---|---|\n| `pair/*`, `ring-8/64` | so |\n"
                f"\n## Results\n{markdown.AHEAD}\n\n| row | hostheap |\n|---|---:|\n| `pair/16` | 3 ns |\n"
                "| `pairs` | 3 ns |\n| `ring-8/64` | 3 ns |\n\n"
                "### Times\n\n| time | hostheap |\n|---|---:|\n| `batch/1` | 3 ns |\n")

    def test_rows_without_a_reason_are_found(self):
        self.assertEqual(markdown.unexplained(self.DOCUMENT), ["pairs"])

    def test_each_row_in_which_a_peer_is_ahead_has_its_reason_in_the_document(self):
        document = (pathlib.Path(__file__).resolve().parents[1] / "docs/benchmarks.md").read_text()
        self.assertGreater(len(markdown.first_cells(document, markdown.REASONS)), 5)
        self.assertEqual(markdown.unexplained(document), [])


class Processes(unittest.TestCase):
    ROW = "random10k/1000"

    def once(self, allocator, **extra):
        return run.run_once(BENCH, self.ROW, allocator, "--repetitions=1", extra=extra)

    def test_a_right_allocator_gives_a_checksum_and_times(self):
        result = self.once(Allocator("glibc"))
        self.assertNotIn("failed", result)
        self.assertEqual(len(result["wall_ns"]), 1)
        self.assertEqual(result["checksum"], self.once(Allocator("glibc"))["checksum"])

    def test_a_crash_is_a_failure(self):
        self.assertIn("SIGABRT", self.once(BROKEN, BENCH_BROKEN="crash")["failed"])

    def test_a_block_handed_out_twice_is_a_failure(self):
        self.assertIn("lost its contents", self.once(BROKEN, BENCH_BROKEN="twice")["failed"])

    def test_another_object_than_the_named_one_is_a_failure(self):
        impostor = Allocator("impostor", "/nonexistent/libimpostor.so")
        self.assertIn("served by", self.once(impostor)["failed"])

    def test_a_differing_checksum_is_a_failure(self):
        runs = [{"row": "r", "checksum": "1"}, {"row": "r", "checksum": "1"},
                {"row": "r", "checksum": "2"}]
        run.check_sums(runs, "r")
        self.assertEqual(["failed" in r for r in runs], [False, False, True])


class Runs(unittest.TestCase):
    """The order of a run, its end by budget, a break and what follows; a clock of our own."""

    TABLE = {name: {"kind": kind, "threads": 1, "flags": ["cpu"], "metric": "cpu"}
             for name, kind in [("a", "time"), ("b", "time"), ("c", "latency"), ("m", "memory")]}
    PARTS = [Allocator("glibc"), Allocator("jemalloc", "/j.so")]

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.out = pathlib.Path(folder.name) / "new" / "result.json"
        self.log = []
        self.now = self.latest = 0.0
        self.stop_at = None
        for name, fake in [("run_once", self.process), ("system_calls", self.traced)]:
            patch = mock.patch.object(run, name, fake)
            patch.start()
            self.addCleanup(patch.stop)

    def process(self, _binary, row, allocator, *options, timeout_s=0):
        self.latest = max(self.latest, self.now + timeout_s)
        if len(self.log) == self.stop_at:
            raise KeyboardInterrupt
        self.now += 1
        kind = "memory" if "--idle-ms=2000" in options else "time"
        self.log.append((kind, row, allocator.name))
        state = {"rss_kib": 9, "anon_kib": 8, "peak_rss_kib": 9, "mappings": 1}
        return {"wall_ns": [50], "cpu_ns": [40], "operations": 10, "checksum": "1", "faults": 1,
                "values": {"kept_percent": 5, "p50": 1}, "loaded": state, "ended": state,
                "idle": state}

    def traced(self, _binary, row, allocator, _repetitions):
        self.now += 1
        self.log.append(("calls", row, allocator.name))
        return {"calls": {}, "operations": 10, "per_million": 0.0}

    def go(self, rounds=3, resume=False, budget_s=0, parts=None, grace_s=0):
        parts = parts or self.PARTS
        result = {"format": 1, "commit": "1", "binary": "2", "rows": self.TABLE, "options": [],
                  "command": "x", "machine": {
                      "time": "", "cpu": "", "cpus": 2, "kernel": "", "libc": "", "compiler": "",
                      "load": 0}, "allocators": {a.name: {"path": a.path} for a in parts}}
        session = Session(self.out, result, resume, budget_s, lambda: self.now, grace_s)
        with mock.patch.object(session, "say"):
            run.Suite(None, self.TABLE, parts, session).run(rounds, 1, True)
        return self.read()

    def read(self):
        return json.loads(self.out.read_text())

    @staticmethod
    def measured(result):
        return sorted((r["row"], r["allocator"], r["round"]) for r in result["runs"])

    EVERYTHING = sorted((row, a, n) for row in "abc" for a in ("glibc", "jemalloc")
                        for n in range(3))

    def test_a_round_of_everything_comes_before_the_second_round_of_times(self):
        result = self.go(rounds=2)
        self.assertEqual([kind for kind, _, _ in self.log],
                         ["time"] * 6 + ["memory"] * 8 + ["calls"] * 6 + ["time"] * 6)
        self.assertEqual([entry[1:] for entry in self.log[:6]],
                         [(row, a) for row in "abc" for a in ("glibc", "jemalloc")])
        self.assertEqual([entry[1:] for entry in self.log[-6:]],
                         [(row, a) for row in "abc" for a in ("jemalloc", "glibc")])
        self.assertTrue(result["complete"])

    def test_no_process_may_outlast_the_budget_by_more_than_seconds(self):
        self.go(rounds=9, budget_s=20)
        self.assertLessEqual(self.latest, 24)
        self.go(rounds=1)
        self.assertGreater(self.latest, run.TIMEOUT_S)

    def test_what_the_budget_ends_is_left_out_and_has_not_failed(self):
        real = self.process

        def hanging(binary, row, allocator, *options, timeout_s=0):
            if row != "b" or allocator.name != "jemalloc":
                return real(binary, row, allocator, *options, timeout_s=timeout_s)
            self.now += timeout_s
            return {"failed": "no end", "late": True}

        with mock.patch.object(run, "run_once", hanging):
            cut = self.go(budget_s=20)
            self.now = 0.0
            whole = self.go(rounds=1)
        self.assertEqual([r for r in cut["runs"] + cut["memory"] if "failed" in r], [])
        self.assertEqual({r["row"] for r in cut["runs"]}, {"a"})
        self.assertEqual({(r["row"], r["allocator"]) for r in whole["runs"] + whole["memory"]
                          if "failed" in r}, {("b", "jemalloc")})

    def test_a_run_that_is_broken_off_leaves_a_result_and_is_continued(self):
        for stop_at in (3, 6, 9, 24, 29):
            with self.subTest(stop_at=stop_at):
                self.out.unlink(missing_ok=True)
                self.log, self.stop_at = [], stop_at
                with self.assertRaises(KeyboardInterrupt):
                    self.go()
                part = self.read()
                self.assertFalse(part["complete"])
                self.assertGreaterEqual(len(part["runs"]), min(stop_at, 6) // 2 * 2)
                self.assertIn("broken off", report.page(summary.Summary(part)))
                self.assertIn("broken off", markdown.write(summary.Summary(part)))
                kept = len(part["runs"]) + len(part["memory"]) + len(part["system_calls"])
                self.log, self.stop_at = [], None
                result = self.go(resume=True)
                self.assertEqual(self.measured(result), self.EVERYTHING)
                self.assertEqual(len(self.log), 18 + 8 + 6 - kept)
                self.assertNotIn("broken off", report.page(summary.Summary(result)))

    def test_without_resume_a_run_begins_anew(self):
        self.go()
        self.log = []
        self.go()
        self.assertEqual(len(self.log), 18 + 8 + 6)

    def test_another_set_of_allocators_is_not_the_same_run(self):
        self.go(rounds=1)
        with self.assertRaisesRegex(SystemExit, "another allocators"):
            self.go(resume=True, parts=self.PARTS[:1])

    def test_the_budget_leaves_equally_many_rounds_of_every_row(self):
        # Times 6 s, memory 8 s, calls 6 s, then 6 s for each round of times.
        for budget_s, rounds in [(20, 1), (25, 1), (27, 2), (33, 3), (99, 3)]:
            with self.subTest(budget_s=budget_s):
                self.now = 0.0
                result = self.go(budget_s=budget_s)
                self.assertLessEqual(self.now, budget_s)
                self.assertEqual(result["rounds"], rounds)
                self.assertEqual(self.measured(result),
                                 [m for m in self.EVERYTHING if m[2] < rounds])

    def test_a_round_that_the_budget_cuts_is_dropped(self):
        real = self.process

        def slower(*arguments, **named):
            self.now += 2 * (len(self.log) >= 20)
            return real(*arguments, **named)

        with mock.patch.object(run, "run_once", slower):
            result = self.go(budget_s=28)
        self.assertEqual(result["rounds"], 1)
        self.assertEqual(self.measured(result), [m for m in self.EVERYTHING if m[2] < 1])
        self.assertGreater(len(self.log), 20)

    def test_a_budget_within_the_first_round_keeps_what_there_is(self):
        result = self.go(budget_s=3)
        self.assertEqual(result["rounds"], 0)
        self.assertEqual(self.measured(result), [m for m in self.EVERYTHING
                                                 if m[2] == 0 and m[0] in "ab"])

    def test_nothing_parallel_begins_when_it_could_not_end_in_time(self):
        result = self.go(budget_s=10, grace_s=3)
        self.assertEqual([len(result[key]) for key in ("runs", "memory", "system_calls")],
                         [6, 1, 0])

    def test_few_operations_are_traced(self):
        for operations in (1, 9, 10000, 30000, 400000, 10 ** 9):
            times = run.traced_repetitions(operations)
            self.assertGreaterEqual(times, 1)
            self.assertLessEqual(times, 3)
            self.assertTrue(times == 1 or times * operations <= run.TRACED_OPERATIONS)


if __name__ == "__main__":
    unittest.main()
