#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""check_elf.py LIBRARY - what a library asks of the process that loads it.

Static TLS of at most 64 bytes (else dlopen fails in programs that are short of it), no needed
library besides libc, the loader and liburcu's core, no executable stack.
"""
import re
import subprocess
import sys

TLS_LIMIT_BYTES = 64
NEEDED = {"libc.so.6", "liburcu-bp.so.8", "ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"}


def run(*command):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def main():
    library = sys.argv[1]
    errors = []
    segments = run("readelf", "-lW", library)
    tls = re.search(r"^\s*TLS\s+\S+\s+\S+\s+\S+\s+\S+\s+(0x[0-9a-f]+)", segments, re.M)
    tls_bytes = int(tls.group(1), 16) if tls else 0
    if tls_bytes > TLS_LIMIT_BYTES:
        errors.append(f"{tls_bytes} bytes of static TLS, at most {TLS_LIMIT_BYTES} are allowed")
    if re.search(r"GNU_STACK\s+\S+\s+\S+\s+\S+\s+\S+\s+\S+\s+RWE", segments):
        errors.append("wants an executable stack")
    needed = set(re.findall(r"\(NEEDED\).*\[(.*)\]", run("readelf", "-dW", library)))
    if "malloc" in library and "liburcu-bp.so.8" in needed:
        errors.append("needs liburcu, which it is to load when a host asks for it")
    if needed - NEEDED:
        errors.append(f"needs {sorted(needed - NEEDED)}")
    for error in errors:
        print(f"{library}: {error}")
    print(f"{library}: {tls_bytes} bytes of TLS")
    return bool(errors)


sys.exit(main())
