#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""run_reports.py LIBRARY PROGRAM GOLDEN [--update|--first-lines] - the texts of reports, word for word.

PROGRAM lists its shapes of misuse and acts out the one it is given. Each must end it by abort, or by
the fault if the report is of one, and the reports together must be GOLDEN: addresses, threads and the
kernel's lines about mappings are replaced by words, frames outside of PROGRAM left out, everything
else stands as it was printed.

--first-lines: of a program built otherwise than the one GOLDEN is of, with a library named "-": it is
linked with its own. What it lists must be in GOLDEN, and each first line be the same.
"""
import os
import pathlib
import re
import signal
import subprocess
import sys

# Frames and the offsets in them change with every compiler; functions do not.
FRAME = re.compile(r"^    0x[0-9a-f]+(?: (\S+)\+(0x[0-9a-f]+))?$")

# The first line of a report of a fault.
FAULT = re.compile(r"^hostheap: .*(read of|write to|access to) (guard page )?0x[0-9a-f]+ by thread \d+$",
                   re.M)


def function_at(program, offset):
    """The function of the program behind a return address."""
    address = hex(int(offset, 16) - 1)
    text = subprocess.run(["addr2line", "-f", "-e", program, address], check=True,
                          capture_output=True, text=True).stdout
    return text.splitlines()[0]


def plain(text, program):
    lines = []
    for line in text.splitlines():
        frame = FRAME.match(line)
        if frame:
            # What is left on the stack above main is the loader's. A return address may be there twice.
            if frame.group(1) == os.path.realpath(program) and lines[-1] != "    main":
                function = "    " + function_at(program, frame.group(2))
                if function != lines[-1]:
                    lines.append(function)
            continue
        line = re.sub(r"mapping: .*", "mapping: LINE", line)
        line = re.sub(r"by thread \d+", "by thread N", line)
        line = re.sub(r"0x[0-9a-f]+", "ADDRESS", line)
        line = re.sub(r"seed \d+", "seed N", line)
        line = re.sub(r"(nearest other live block: ADDRESS), \d+ bytes, (begins|ends) \d{4,} bytes",
                      r"\1, N bytes, \2 far", line)
        lines.append(line)
    return "\n".join(lines) + "\n"


def first_lines(text, names):
    """Of the reports of these names."""
    blocks = {block.split("\n")[0]: block.split("\n")[1] for block in text.split("== ")[1:]}
    return "".join(f"== {name}\n{blocks.get(name)}\n" for name in names)


def main():
    library, program, golden = sys.argv[1:4]
    options = os.environ.get("HOSTHEAP_OPTIONS", "")
    environment = dict(os.environ, HOSTHEAP_OPTIONS=options)
    if library != "-":
        environment["LD_PRELOAD"] = library
    names = subprocess.run([program], check=True, capture_output=True, text=True).stdout.split()
    found, failures = "", 0
    for name in names:
        run = subprocess.run([program, name], env=environment, capture_output=True, text=True,
                             timeout=60)
        end = signal.SIGSEGV if FAULT.search(run.stderr) else signal.SIGABRT
        if run.returncode != -end:
            print(f"{name}: ended with {run.returncode}\n{run.stderr}")
            failures += 1
        found += f"== {name}\n{plain(run.stderr, program)}"
    if sys.argv[4:] == ["--update"]:
        pathlib.Path(golden).write_text(found)
    wanted = pathlib.Path(golden).read_text()
    if sys.argv[4:] == ["--first-lines"]:
        wanted, found = first_lines(wanted, names), first_lines(found, names)
    if found != wanted:
        import difflib
        sys.stdout.writelines(difflib.unified_diff(
            wanted.splitlines(True), found.splitlines(True), golden, "found"))
        failures += 1
    print(f"{len(names)} reports, {failures} failures")
    return 1 if failures or not names else 0


if __name__ == "__main__":
    sys.exit(main())
