# SPDX-License-Identifier: MIT
"""trace.py - records a program's calls to malloc and packs them (bench/traces/README.md)."""
import heapq
import lzma
import os
import pathlib
import struct
import subprocess
import tempfile

from . import build, machine

FOLDER = machine.ROOT / "bench" / "traces"
MAGIC = b"hostheap trace 1\n"
MALLOC, FREE, CALLOC, REALLOC, ALIGNED = range(5)
EVENT = struct.Struct("<QQQ")


def number(value):
    parts = bytearray()
    while value >= 0x80:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)


def pack(raw, skip, limit):
    """Raw records to the packed form: addresses become slots."""
    slots, free_slots, used = {}, [], 0
    calls = []

    def slot_for(address):
        nonlocal used
        if free_slots:
            slots[address] = heapq.heappop(free_slots)
        else:
            slots[address] = used
            used += 1
        return slots[address]

    for place, (what, before, after) in enumerate(EVENT.iter_unpack(raw)):
        if place < skip or len(calls) >= limit:
            continue
        kind, shift, size = what & 0xFF, what >> 8 & 0xFF, what >> 16
        if kind == FREE:
            if before in slots:
                slot = slots.pop(before)
                heapq.heappush(free_slots, slot)
                calls.append(number(FREE + 8 * slot))
            continue
        if after == 0 or after in slots and not (kind == REALLOC and before == after):
            continue  # refused, or two threads crossed between the call and its record
        slot = slots.pop(before, None) if kind == REALLOC else None
        if slot is None:
            slot = slot_for(after)
        else:
            slots[after] = slot
        extra = number(shift) if kind == ALIGNED else b""
        calls.append(number(kind + 8 * slot) + number(size) + extra)
    return MAGIC + number(used) + number(len(calls)) + b"".join(calls), len(calls)


def main(args):
    program = args.program[1:] if args.program[:1] == ["--"] else args.program
    if not program:
        raise SystemExit("trace: no program given")
    recorder = build.binary().parent / "libbench_trace.so"
    with tempfile.TemporaryDirectory() as folder:
        env = dict(os.environ, LD_PRELOAD=str(recorder), BENCH_TRACE_OUT=f"{folder}/trace",
                   BENCH_TRACE_EVENTS=str(args.skip + 2 * args.events))
        subprocess.run(program, env=env, check=False)
        files = sorted(pathlib.Path(folder).glob("trace.*"), key=lambda p: p.stat().st_size)
        raw = files[-1].read_bytes() if files else b""
    packed, calls = pack(raw[:len(raw) // EVENT.size * EVENT.size], args.skip, args.events)
    if calls < args.events:
        print(f"trace: only {calls} calls; use a longer run or --events {calls}")
    pathlib.Path(args.output).write_bytes(lzma.compress(packed, preset=9))
    print(f"trace: {calls} calls, {pathlib.Path(args.output).stat().st_size} bytes")
    return 0


def unpack(target):
    """Unpacks the traces of the repository into target; the names of those that are there."""
    target.mkdir(parents=True, exist_ok=True)
    names = []
    for path in sorted(FOLDER.glob("*.trace.xz")):
        out = target / path.name[:-3]
        if not out.exists() or out.stat().st_mtime < path.stat().st_mtime:
            out.write_bytes(lzma.decompress(path.read_bytes()))
        names.append(out.stem)
    return names
