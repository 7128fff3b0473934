#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""check_layers.py - who may include whom, and that names are unique (docs/architecture.md).

Includes point downward only. A .c file is never included. The engine's hazards have one door each:
liburcu in rcu/, the kernel's memory calls in os/, C11 atomics in base/atomic.h. File names and
names of static functions are unique in src/, so that a one-file build stays possible.
"""
import pathlib
import re
import sys

LOWER = {
    "base": "",
    "os": "base",
    "diag": "base os",
    "options": "base os diag",
    "meta": "base os diag",
    "rcu": "base os diag meta",
    "region": "base os diag options meta rcu",
    "slab": "base os diag meta rcu region",
    "heap": "base os diag options meta rcu region slab",
    "process": "base os diag options meta rcu region slab heap",
    "host": "base os diag options meta rcu region heap process",
    "override": "base os diag options heap process",
    "checked": "base os diag options meta region slab heap",
}
# System headers with one door: header pattern -> the places that may include it.
DOORS = [
    (r"urcu.*", ["rcu/"]),
    (r"stdatomic\.h", ["base/atomic.h"]),
    (r"sys/mman\.h", ["os/"]),
    # stdio allocates; the drop-in's malloc_info is handed a FILE by its caller.
    (r"stdio\.h", ["override/"]),
]
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')
STATIC_DEFINITION = re.compile(r"^(?:HH_\w+ |static )[^;={]*\n(\w+)\([^;{]*\)\n\{", re.M)


def check_source(path, place, errors):
    module = place.split("/")[0]
    if module not in LOWER:
        errors.append(f"{path}: src/{module} is no module")
        return
    allowed = set(LOWER[module].split()) | {module}
    for number, line in enumerate(path.read_text().splitlines(), 1):
        match = INCLUDE.match(line)
        if not match:
            continue
        quote, target = match.groups()
        where = f"{path}:{number}"
        if target.endswith(".c"):
            errors.append(f"{where}: includes a source file, {target}")
        if quote == '"':
            upper = target.split("/")[0]
            if "/" not in target or target.startswith("."):
                errors.append(f'{where}: write "{module}/{target}", from src/')
            elif upper not in allowed:
                errors.append(f"{where}: {module} must not include {upper} ({target})")
            continue
        if target.startswith("hostheap/") and module == "base":
            errors.append(f"{where}: base knows nothing above it, not {target}")
        for pattern, places in DOORS:
            if re.fullmatch(pattern, target) and not any(place.startswith(p) for p in places):
                errors.append(f"{where}: <{target}> belongs to {' '.join(places)} alone")


def check_outside(path, root, errors):
    """Black-box tests and public headers see public headers only."""
    place = path.relative_to(root).as_posix()
    public = place.startswith("include/")
    black_box = re.match(r"tests/(contract|misuse|preload|examples|install)/", place)
    if not public and not black_box:
        return
    for number, line in enumerate(path.read_text().splitlines(), 1):
        match = INCLUDE.match(line)
        if not match or match.group(1) == "<":
            continue
        target = match.group(2)
        beside = (path.parent / target).exists() and "src/" not in target
        if public or not (target.startswith("support/") or beside):
            errors.append(f'{path}:{number}: only <hostheap/...> here, not "{target}"')


def main():
    root = pathlib.Path(__file__).resolve().parent.parent
    src = root / "src"
    errors, files, statics = [], {}, {}
    for path in sorted(src.rglob("*")):
        if path.suffix == "" or not path.is_file():
            continue
        first = files.setdefault(path.name, path)
        if first != path:
            errors.append(f"{path}: a file of that name exists, {first}")
        if path.suffix not in (".c", ".h"):
            continue
        check_source(path, path.relative_to(src).as_posix(), errors)
        for match in STATIC_DEFINITION.finditer(path.read_text()):
            name = match.group(1)
            if "static" not in match.group(0) and not match.group(0).startswith("HH_"):
                continue
            first = statics.setdefault(name, path)
            if first != path:
                errors.append(f"{path}: static {name} exists in {first} too")
    for folder in ("include", "tests"):
        for path in sorted((root / folder).rglob("*.[ch]")):
            check_outside(path, root, errors)
    for error in errors:
        print(error.replace(f"{root}/", ""))
    return 1 if errors or not files else 0


if __name__ == "__main__":
    sys.exit(main())
