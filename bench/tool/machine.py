# SPDX-License-Identifier: MIT
"""machine.py - where and with what a result was measured; every result file carries it."""
import datetime
import mmap
import os
import pathlib
import platform
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]


def output(*command, cwd=ROOT):
    try:
        return subprocess.run(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                              text=True, check=False).stdout.strip()
    except OSError:
        return ""


def first_line(path, start=""):
    try:
        for line in pathlib.Path(path).read_text().splitlines():
            if line.startswith(start):
                return line[len(start):].strip(" \t:")
    except OSError:
        pass
    return ""


def has_zero_page():
    """Whether pages that were only read take no memory. Some kernels give a page to the first read."""
    page_bytes, pages = mmap.PAGESIZE, 256
    with mmap.mmap(-1, pages * page_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        before = resident_anonymous_pages()
        for page in range(pages):
            memory[page * page_bytes]  # noqa: B018  (the read is what counts)
        return resident_anonymous_pages() - before < pages // 2


def resident_anonymous_pages():
    resident, shared = pathlib.Path("/proc/self/statm").read_text().split()[1:3]
    return int(resident) - int(shared)


def describe():
    """A dict of strings and numbers; a field that cannot be read is empty, never guessed."""
    return {
        "time": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "cpu": first_line("/proc/cpuinfo", "model name"),
        "cpus": len(os.sched_getaffinity(0)),
        "governor": first_line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "memory_kib": int(first_line("/proc/meminfo", "MemTotal").split()[0] or 0),
        "kernel": platform.release(),
        "huge_pages": first_line("/sys/kernel/mm/transparent_hugepage/enabled"),
        "zero_page": has_zero_page(),
        "libc": " ".join(platform.libc_ver()),
        "compiler": output(os.environ.get("CC", "cc"), "--version").split("\n")[0],
        "load": os.getloadavg()[0],
    }


def commit():
    """The commit of the tree, with "+" if files differ from it."""
    sha = output("git", "rev-parse", "--short=12", "HEAD")
    dirty = output("git", "status", "--porcelain", "--untracked-files=no")
    return sha + ("+" if dirty else "")
