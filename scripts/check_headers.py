#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""check_headers.py - public headers stand alone and document every function they declare.

Each header is compiled alone as C11 and, where a C++ compiler is there, as C++11, pedantic and with
warnings fatal. Inner headers are compiled alone as C11.
"""
import pathlib
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent


def compile_alone(path, command, errors):
    include = ["-I", str(ROOT / "include"), "-I", str(ROOT / "src")]
    run = subprocess.run(
        [*command, "-fsyntax-only", "-Wall", "-Wextra", "-Werror", *include, "-"],
        input=f'#include "{path}"\n', capture_output=True, text=True, check=False,
    )
    if run.returncode:
        errors.append(f"{path.relative_to(ROOT)}: does not stand alone ({command[0]}):\n{run.stderr}")


def check_documented(path, errors):
    lines = path.read_text().splitlines()
    for index, line in enumerate(lines):
        match = re.match(r"^HH_API .*?\b(hh_\w+)\(", line)
        if match and not lines[index - 1].rstrip().endswith("*/"):
            errors.append(f"{path.relative_to(ROOT)}:{index + 1}: {match.group(1)} has no comment")
        if line.startswith("HH_API") and not match and "extern" not in line:
            following = lines[index + 1] if index + 1 < len(lines) else ""
            if not re.match(r"^hh_\w+\(", following) or not lines[index - 1].endswith("*/"):
                errors.append(f"{path.relative_to(ROOT)}:{index + 1}: undocumented: {line}")


def main():
    errors = []
    public = sorted((ROOT / "include").rglob("*.h"))
    for path in public:
        check_documented(path, errors)
        compile_alone(path, ["cc", "-std=c11", "-pedantic", "-x", "c"], errors)
        if shutil.which("c++"):
            compile_alone(path, ["c++", "-std=c++11", "-pedantic", "-x", "c++"], errors)
    for path in sorted((ROOT / "src").rglob("*.h")):
        compile_alone(path, ["cc", "-std=gnu11", "-D_GNU_SOURCE", "-x", "c"], errors)
    for error in errors:
        print(error)
    return 1 if errors or not public else 0


if __name__ == "__main__":
    sys.exit(main())
