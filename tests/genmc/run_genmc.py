#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""run_genmc.py NAME [FAULT] | --runs | --all - search all executions of a program with GenMC.

NAME is a run of runs.txt. Exit 0: it holds, or, with a planted fault, it was found to fail; 1: not
so; 77: GenMC is not installed. --runs lists the runs. --all does every run and every fault, and
prints how many executions each had.
"""
import pathlib
import re
import resource
import shutil
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
SECONDS = 150  # of processor time
SECONDS_WAITED = 600


def runs():
    found = {}
    for line in (HERE / "runs.txt").read_text().splitlines():
        if line.strip() and not line.startswith("#"):
            what, _, faults = line.partition(":")
            name, program, *defines = what.split()
            found[name] = (program, defines, faults.split())
    return found


def limit_time():
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))


def search(program, defines):
    """(whether it holds, what GenMC printed); None in the place of both if it could not tell."""
    root = HERE.parent.parent
    command = ["genmc", "--rc11", "--disable-estimation", "--", "-DHH_GENMC=1", "-D_GNU_SOURCE",
               *defines, f"-I{HERE / 'checker'}", f"-I{HERE / 'fake'}", f"-I{root / 'src'}", f"-I{root / 'include'}",
               HERE / program]  # fmt: skip
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS_WAITED,
                                check=False, preexec_fn=limit_time)  # fmt: skip
    except subprocess.TimeoutExpired:
        return None, "timeout"
    text = result.stdout + result.stderr
    if result.returncode == 0 and "No errors were detected" in text:
        # Where every execution is blocked nothing was shown.
        return (None if re.search(r"executions explored: 0\b", text) else True), text
    found = re.search(r"Error: (?:Non-atomic race|Safety violation|Liveness|Attempt to access non-alloc)|^Assertion violation",
                      text, re.M)  # fmt: skip
    return (False if found else None), text


def run(name, fault, verbose):
    program, defines, _ = runs()[name]
    holds, text = search(program, defines + ([f"-D{fault}"] if fault else []))
    explored = re.search(r"complete executions explored: (\d+)", text)
    good = holds is (fault is None)
    if verbose and not good:
        print(text)
    verdict = {True: "holds", False: "fails", None: "no answer"}[holds]
    print(f"{name} {fault or ''}: {verdict}, {explored.group(1) if explored else '-'} executions")
    return good


def main():
    arguments = sys.argv[1:]
    if arguments == ["--runs"]:
        for name, (program, defines, _) in runs().items():
            print(name, program, *defines)
        return 0
    if not arguments:
        sys.exit(__doc__)
    if shutil.which("genmc") is None:
        return 77
    if arguments == ["--all"]:
        good = [run(name, fault, False) for name, (_, _, faults) in runs().items()
                for fault in [None, *faults]]  # fmt: skip
        print(f"{len(good)} searches, {good.count(False)} not as they must be")
        return 0 if all(good) else 1
    return 0 if run(arguments[0], arguments[1] if len(arguments) > 1 else None, True) else 1


if __name__ == "__main__":
    sys.exit(main())
