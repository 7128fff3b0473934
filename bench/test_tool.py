#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""test_tool.py BINARY_FOLDER - tests of scripts/bench's parts. No test depends on a time."""
import itertools
import pathlib
import struct
import sys
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from tool import counts, footprint, gate, history, markdown, run, stats, trace  # noqa: E402
from tool.allocators import Allocator  # noqa: E402

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


class Traces(unittest.TestCase):
    def test_addresses_become_slots_that_are_used_again(self):
        events = [(trace.MALLOC | 24 << 16, 0, 0x1000), (trace.MALLOC | 40 << 16, 0, 0x2000),
                  (trace.FREE, 0x1000, 0), (trace.FREE, 0x9999, 0),
                  (trace.CALLOC | 16 << 16, 0, 0x3000),
                  (trace.REALLOC | 300 << 16, 0x2000, 0x4000)]
        raw = b"".join(struct.pack("<QQQ", *event) for event in events)
        packed, calls = trace.pack(raw, 0, 100)
        self.assertEqual(calls, 5)
        self.assertEqual(packed, trace.MAGIC + bytes([2, 5, 0, 24, 8, 40, 1, 2, 16,
                                                      11, 0xAC, 0x02]))


class Documents(unittest.TestCase):
    def test_only_what_is_between_the_marks_is_replaced(self):
        text = f"a\n{markdown.BEGIN}\nold\n{markdown.END}\nb\n"
        new = f"{markdown.BEGIN}\nnew\n{markdown.END}"
        self.assertEqual(markdown.replace(text, new), f"a\n{new}\nb\n")
        with self.assertRaises(SystemExit):
            markdown.replace("no marks", new)


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


if __name__ == "__main__":
    unittest.main()
