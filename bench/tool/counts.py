# SPDX-License-Identifier: MIT
"""counts.py - the deterministic gate: instructions per path, and what the fast paths are made of.

callgrind counts the instructions that ran inside the library; the disassembly says what they were.
The same build gives the same numbers every time, so a small tolerance is enough. The golden file
belongs to one compiler: with another one the gate says so and decides nothing.
"""
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

from . import allocators, build, machine

GOLDEN = machine.ROOT / "bench" / "golden" / "counts.json"
TOLERANCE = 0.005
# Nothing that depends on time may happen while instructions are counted: without decay the sweeper is
# never started. What threads and heaps keep for a while they keep, as in any program.
OPTIONS = "decay_ms:off"
FAST_PATHS = ["pair-64"]
CLASSES = ["instructions", "branches", "jumps", "calls", "returns", "loads", "stores", "locked"]


class CountError(Exception):
    pass


def callgrind(binary, door, preload, folder, names=()):
    """path name -> {address: times run}, for the instructions of the preloaded object."""
    command = ["valgrind", "--tool=callgrind", "--collect-atstart=no", "--dump-instr=yes",
               "--dump-line=no", "--compress-pos=no", "--compress-strings=no",
               f"--callgrind-out-file={folder}/out", str(binary), door]
    env = {k: v for k, v in os.environ.items() if not k.startswith("HOSTHEAP")}
    env.update(LD_PRELOAD=preload, HOSTHEAP_OPTIONS=OPTIONS)
    done = subprocess.run(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, check=False, timeout=600)
    if done.returncode != 0:
        raise CountError(f"{door} under callgrind: status {done.returncode}\n{done.stderr[-2000:]}")
    found = {}
    for path in pathlib.Path(folder).glob("out.*"):
        text = path.read_text()
        name = re.search(r"^desc: Trigger: Client Request: (.*)$", text, re.M)
        if name:
            found[name.group(1)] = costs(text, os.path.realpath(preload))
    if not found:
        raise CountError("callgrind wrote no counts")
    return found


def costs(text, wanted):
    counts = {}
    inside = False
    call = False
    for line in text.splitlines():
        if line.startswith("ob="):
            inside = os.path.realpath(line[3:]) == wanted
        elif line.startswith("calls="):
            call = True  # the next line is what was called, not what ran here
        elif line.startswith("0x"):
            if inside and not call:
                address, cost = line.split()[:2]
                address = int(address, 16)
                counts[address] = counts.get(address, 0) + int(cost)
            call = False
    return counts


def disassembly(path):
    """address -> (mnemonic with prefixes, operands)"""
    text = subprocess.run(["objdump", "-d", "--no-show-raw-insn", path], stdout=subprocess.PIPE,
                          text=True, check=True).stdout
    found = {}
    for line in text.splitlines():
        match = re.match(r"\s*([0-9a-f]+):\s+((?:(?:lock|rep|repz|repnz|bnd|notrack|data16) )*\S+)"
                         r"\s*([^#<]*)", line)
        if match:
            found[int(match.group(1), 16)] = (match.group(2), match.group(3).strip())
    return found


def classify(mnemonic, operands):
    """Which of CLASSES an instruction counts for, AT&T syntax: the last operand is written."""
    kinds = ["instructions"]
    name = mnemonic.split()[-1]
    parts = re.split(r",(?![^(]*\))", operands) if operands else []
    memory = [("(" in p or p.startswith("%fs:")) for p in parts]
    if name.startswith("jmp"):
        kinds.append("jumps")
    elif name.startswith("j"):
        kinds.append("branches")
    elif name.startswith("call"):
        kinds += ["calls", "stores"]
    elif name.startswith("ret"):
        kinds += ["returns", "loads"]
    elif name.startswith("push"):
        kinds.append("stores")
    elif name.startswith("pop") and not name.startswith("popcnt"):
        kinds.append("loads")
    if name.startswith(("lea", "nop", "prefetch")) or not any(memory):
        return kinds
    if "lock" in mnemonic or name.startswith("xchg"):
        kinds.append("locked")
    reads_only = re.match(r"(cmp|test|bt)[bwlq]?$|j|call|push", name)
    written = memory[-1] and not reads_only
    only_written = name.startswith(("mov", "set", "vmov"))
    if written:
        kinds.append("stores")
    if not written or not only_written or any(memory[:-1]):
        kinds.append("loads")
    return kinds


def mix(counts, code, operations):
    total = dict.fromkeys(CLASSES, 0)
    for address, times in counts.items():
        if address not in code:
            raise CountError(f"no instruction at {address:#x} in the disassembly")
        for kind in set(classify(*code[address])):
            total[kind] += times
    return {kind: round(times / operations, 3) for kind, times in total.items()}


def measure(library):
    """{"counts": {door/path: instructions}, "mix": {door/path: {class: per operation}}}"""
    binary = build.binary().parent / "bench_counts"
    if not binary.exists():
        raise CountError("bench_counts was not built: install valgrind")
    found = {"counts": {}, "mix": {}}
    parts = allocators.ours(library, False)
    if len(parts) != 3:
        raise CountError(f"libhostheap.so or libhostheap-malloc.so is not in {library}")
    for allocator in parts:
        code = disassembly(allocator.path)
        with tempfile.TemporaryDirectory() as folder:
            paths = callgrind(binary, allocator.mode, allocator.path, folder)
        for name, counts in sorted(paths.items()):
            found["counts"][f"{allocator.mode}/{name}"] = sum(counts.values())
            if name in FAST_PATHS:
                found["mix"][f"{allocator.mode}/{name}"] = mix(counts, code, 1000)
    return found


def compiler():
    return machine.describe()["compiler"]


def compare(golden, found):
    """(what is worse than the golden file or missing, what is better), as lines."""
    worse, better = [], []
    for name, want in golden["counts"].items():
        have = found["counts"].get(name)
        if have is None:
            worse.append(f"{name}: not measured")
        elif abs(have - want) > max(TOLERANCE * want, 1):
            (worse if have > want else better).append(
                f"{name}: {have} instructions, golden {want} ({100 * (have - want) / want:+.2f} %)")
    for name in found["counts"].keys() - golden["counts"].keys():
        worse.append(f"{name}: not in the golden file")
    for name, want in golden["mix"].items():
        for kind in CLASSES:
            have = found["mix"].get(name, {}).get(kind, float("inf"))
            if abs(have - want[kind]) > max(TOLERANCE * want[kind], 0.01):
                (worse if have > want[kind] else better).append(
                    f"{name}: {kind} {have}, golden {want[kind]}")
    return worse, better


def main(args):
    if not shutil.which("valgrind") or not shutil.which("objdump"):
        print("counts: skipped, valgrind or objdump is not installed")
        return 77
    library = args.library or build.library()
    try:
        found = measure(library)
    except (CountError, OSError) as error:
        print(f"counts: {error}", file=sys.stderr)
        return 1
    found["compiler"] = compiler()
    for name, kinds in found["mix"].items():
        print(f"{name:20} " + "  ".join(f"{kind} {kinds[kind]:g}" for kind in CLASSES))
    if args.update:
        GOLDEN.parent.mkdir(exist_ok=True)
        GOLDEN.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
        print(f"counts: wrote {GOLDEN.relative_to(machine.ROOT)}")
        return 0
    if not GOLDEN.exists():
        print("counts: no golden file; scripts/bench counts --update writes it")
        return 77
    golden = json.loads(GOLDEN.read_text())
    if golden["compiler"] != found["compiler"]:
        print(f"counts: skipped, the golden file is for {golden['compiler']}, "
              f"this is {found['compiler']}")
        return 77
    worse, better = compare(golden, found)
    for line in worse:
        print(f"counts: WORSE {line}")
    for line in better:
        print(f"counts: better, record it with --update: {line}")
    print(f"counts: {len(found['counts'])} paths, {len(worse)} figures worse, {len(better)} better")
    return 1 if worse else 0
