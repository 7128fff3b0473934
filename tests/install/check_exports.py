#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""check_exports.py LIBRARY GOLDEN [INCLUDE_DIR] - a shared library gives and takes what it should.

Its exported symbols are exactly those of the GOLDEN file (one a line, with version, "#" comments).
It needs the C library, liburcu's core if linked, and nothing else; and no executable stack, lazily
bound symbol or unload. With INCLUDE_DIR, every function the public headers declare is exported.
"""
import pathlib
import re
import subprocess
import sys

NEEDED = {"libc.so.6", "ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1", "liburcu.so.8",
          "liburcu-bp.so.8", "liburcu-common.so.8",
          "liburcu-memb.so.8", "liburcu-mb.so.8"}


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def exported(library):
    names = set()
    for line in run("nm", "-D", "--defined-only", "--with-symbol-versions", library).splitlines():
        kind, name = line.split()[-2:]
        if kind != "A":  # the version's own name
            names.add(name)
    return names


def declared(include_dir):
    text = "".join(path.read_text() for path in pathlib.Path(include_dir).rglob("*.h"))
    text = re.sub(r"/\*.*?\*/|//[^\n]*", " ", text, flags=re.S)
    functions = re.findall(r"HH_API\s+[^;{]*?\b(hh_\w+)\s*\(", text)
    objects = re.findall(r"extern\s+HH_API\s+const\s+\w+\s+(\w+)\s*;", text)
    return set(functions) | set(objects)


def main():
    library, golden = sys.argv[1:3]
    lines = pathlib.Path(golden).read_text().splitlines()
    wanted = {line.strip() for line in lines if line.strip() and not line.startswith("#")}
    found, errors = exported(library), []
    errors += [f"exported, not in {golden}: {name}" for name in sorted(found - wanted)]
    errors += [f"in {golden}, not exported: {name}" for name in sorted(wanted - found)]
    if len(sys.argv) > 3:
        plain = {name.split("@")[0] for name in found}
        missing = declared(sys.argv[3]) - plain
        errors += [f"declared in a public header, not exported: {name}" for name in sorted(missing)]
    dynamic = run("readelf", "-Wd", library)
    needed = set(re.findall(r"\(NEEDED\).*\[(.*)\]", dynamic))
    errors += [f"needs {name}" for name in sorted(needed - NEEDED)]
    for flag in ("NODELETE", "NOW"):
        if not re.search(rf"\b{flag}\b", dynamic):
            errors.append(f"not marked {flag}")
    if "TEXTREL" in dynamic:
        errors.append("has relocations in its text")
    segments = run("readelf", "-Wl", library)
    if re.search(r"GNU_STACK.*RWE", segments):
        errors.append("wants an executable stack")
    static_tls = re.search(r"^\s+TLS\s+(?:0x\w+\s+){4}(0x\w+)", segments, re.M)
    if static_tls and int(static_tls.group(1), 16) > 64:
        errors.append(f"takes {int(static_tls.group(1), 16)} bytes of static TLS, 64 are allowed")
    for error in errors:
        print(error)
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
