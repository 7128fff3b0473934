# SPDX-License-Identifier: MIT
"""allocators.py - who takes part: a name, the object to preload, and how the binary calls it."""
import dataclasses
import pathlib

from . import build

LIBRARY_FOLDERS = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64",
                   "/usr/lib", "/usr/local/lib"]
# Debian's packages, newest first; found by their sonames.
PACKAGED = [
    ("jemalloc", ["libjemalloc.so.2"]),
    ("mimalloc", ["libmimalloc.so.2", "libmimalloc.so.2.0"]),
    ("tcmalloc", ["libtcmalloc_minimal.so.4"]),
]


@dataclasses.dataclass
class Allocator:
    name: str
    path: str = ""  # empty: nothing is preloaded
    mode: str = "malloc"
    rows: str = ""  # regular expression; empty: every row

    def environment(self):
        return {"LD_PRELOAD": self.path} if self.path else {}


def packaged():
    found = [Allocator("glibc")]
    for name, files in PACKAGED:
        paths = [pathlib.Path(folder) / file for folder in LIBRARY_FOLDERS for file in files]
        for path in paths:
            if path.exists():
                found.append(Allocator(name, str(path.resolve())))
                break
    return found


# In the quick set the two other doors run the rows in which the door is a visible share.
DOOR_ROWS = r"^(pair|batch100|replace/1k|ring|look-up|debug-alloc|refused-free)"


def ours(folder, quick):
    """hostheap three times: behind malloc, through hh_heap_*, through IHostMalloc."""
    found = []
    malloc = build.find(folder, "libhostheap-malloc.so")
    native = build.find(folder, "libhostheap.so")
    if malloc:
        found.append(Allocator("hostheap", str(malloc)))
    if native:
        rows = DOOR_ROWS if quick else ""
        found.append(Allocator("hostheap-native", str(native), "native", rows))
        found.append(Allocator("hostheap-vtable", str(native), "vtable", rows))
    return found


def from_options(pairs):
    """--lib name=path.so"""
    found = []
    for pair in pairs:
        name, equals, path = pair.partition("=")
        if not equals or not name or not pathlib.Path(path).is_file():
            raise SystemExit(f"bench: --lib {pair}: want name=path of a shared object")
        found.append(Allocator(name, str(pathlib.Path(path).resolve())))
    return found
