#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""check_options.py - README.md's option table says what the table in src/options/options.c says."""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
ROW = re.compile(
    r'\{"(\w+)", "(?:\w*)", (OPTION_\w+),.*?OPTION_FIELD\(\w+\), *(\w+),.*?"([^"]+)"\s*\}', re.S
)
WORDS = {"OPTION_SWITCH": {"0": "off", "1": "on"}, "OPTION_TEXT": {"0": "off"}}


def main():
    source = (ROOT / "src/options/options.c").read_text()
    table = source[source.index("option_rows[] = {") : source.index("enum { OPTION_COUNT")]
    code = {}
    for key, kind, initial, meaning in ROW.findall(table):
        initial = WORDS.get(kind, {}).get(initial, initial)
        code[key] = (initial.replace("HHI_BAD_FREE_", "").lower(), meaning)
    readme = {}
    for line in (ROOT / "README.md").read_text().splitlines():
        cells = [cell.strip().strip("`") for cell in line.strip("|").split(" | ")]
        if len(cells) == 4 and re.fullmatch(r"\| `\w+` .*", line[: line.find("` ") + 2] + "x"):
            readme[cells[0].strip("` ")] = (cells[2], cells[3].rstrip(" |"))
    errors = [] if code else ["src/options/options.c: no option found"]
    for key in sorted(code.keys() | readme.keys()):
        if key in code and code[key] != readme.get(key):
            errors.append(f"README.md: option {key} is {readme.get(key)}, the code says {code[key]}")
        elif key not in code:
            errors.append(f"README.md: no option {key} in the code")
    for error in errors:
        print(error)
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
