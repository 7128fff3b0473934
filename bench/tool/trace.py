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
MALLOC, FREE, CALLOC, REALLOC, ALIGNED, REALLOC_BEGIN = range(6)
# What the drop-in writes: a head of one event's length, then kind, log2 of the alignment, nothing,
# thread, size and address.
EVENT = struct.Struct("<BBHIQQ")
HEAD = b"hostheap recording 1\n".ljust(EVENT.size, b"\0")


def number(value):
    parts = bytearray()
    while value >= 0x80:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)


class Packer:
    """Recorded calls to the packed form: addresses become slots."""

    def __init__(self):
        self.slots, self.free_slots, self.used = {}, [], 0
        self.moving = {}  # thread -> (address, slot) of the block that its realloc has given up
        self.calls = []

    def add(self, kind, slot, *numbers):
        self.calls.append(number(kind + 8 * slot) + b"".join(map(number, numbers)))

    def slot(self):
        if self.free_slots:
            return heapq.heappop(self.free_slots)
        self.used += 1
        return self.used - 1

    def realloc(self, thread, size, address):
        before, slot = self.moving.pop(thread, (0, None))
        if address == 0 and size != 0:  # refused: the block is what it was
            if slot is not None:
                self.slots[before] = slot
        elif address == 0:  # realloc to 0 frees
            if slot is not None:
                heapq.heappush(self.free_slots, slot)
                self.add(FREE, slot)
        else:
            slot = self.slot() if slot is None else slot
            self.slots[address] = slot
            self.add(REALLOC, slot, size)

    def take(self, kind, shift, _, thread, size, address):
        if kind == FREE:
            if address in self.slots:
                slot = self.slots.pop(address)
                heapq.heappush(self.free_slots, slot)
                self.add(FREE, slot)
        elif kind == REALLOC_BEGIN:
            self.moving[thread] = address, self.slots.pop(address, None)
        elif kind == REALLOC:
            self.realloc(thread, size, address)
        else:
            slot = self.slots[address] = self.slot()
            self.add(kind, slot, size, *([shift] if kind == ALIGNED else []))


def pack(raw, skip, limit):
    """A recording without its first calls, in the packed form, and how many calls that has."""
    if not raw.startswith(HEAD):
        raise SystemExit("trace: this is no recording")
    raw = raw[EVENT.size:]
    packer = Packer()
    for event in EVENT.iter_unpack(raw[:len(raw) // EVENT.size * EVENT.size]):
        if skip > 0:
            skip -= event[0] != REALLOC_BEGIN
        elif len(packer.calls) < limit:
            packer.take(*event)
    return (MAGIC + number(packer.used) + number(len(packer.calls)) + b"".join(packer.calls),
            len(packer.calls))


def record(program, library, calls, folder):
    """Runs a program with its calls recorded; the recording of the process that made most."""
    env = dict(os.environ, LD_PRELOAD=str(library),
               HOSTHEAP_OPTIONS=f"trace:{folder}/trace,trace_calls:{calls}")
    subprocess.run(program, env=env, check=False)
    files = sorted(pathlib.Path(folder).glob("trace.*"), key=lambda p: p.stat().st_size)
    if not files:
        raise SystemExit("trace: nothing was recorded")
    return files[-1].read_bytes()


def main(args):
    program = args.program[1:] if args.program[:1] == ["--"] else args.program
    if not program:
        raise SystemExit("trace: no program given")
    library = build.find(args.library or build.library(), "libhostheap-malloc.so")
    with tempfile.TemporaryDirectory() as folder:
        # A realloc is two events.
        raw = record(program, library, 2 * (args.skip + 2 * args.events), folder)
    packed, calls = pack(raw, args.skip, args.events)
    if calls < args.events:
        print(f"trace: only {calls} calls; use a longer run or --events {calls}")
    pathlib.Path(args.output).write_bytes(lzma.compress(packed, preset=9))
    print(f"trace: {calls} calls, {pathlib.Path(args.output).stat().st_size} bytes")
    return 0


OWN = "own"  # the row of a trace that is not in the repository


def unpack(target, own=""):
    """Unpacks the traces of the repository, and another one, into target; the names of their rows."""
    target.mkdir(parents=True, exist_ok=True)
    names = []
    if own:
        (target / f"{OWN}.trace").write_bytes(lzma.decompress(pathlib.Path(own).read_bytes()))
        names.append(OWN)
    for path in sorted(FOLDER.glob("*.trace.xz")):
        out = target / path.name[:-3]
        if not out.exists() or out.stat().st_mtime < path.stat().st_mtime:
            out.write_bytes(lzma.decompress(path.read_bytes()))
        names.append(out.stem)
    return names
