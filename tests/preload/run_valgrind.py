#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""run_valgrind.py LIBRARY PRELOAD_EARLY PRELOAD_PLUGIN - the drop-in under valgrind.

Twice: with valgrind leaving our malloc alone, so that our code runs in it, and with valgrind putting
its own in front. No error may be reported in either.
"""
import os
import shutil
import subprocess
import sys

LIBRARY, EARLY, _ = sys.argv[1:]
if shutil.which("valgrind") is None:
    print("valgrind is not installed: skipped")
    sys.exit(1 if os.environ.get("CI") == "true" else 77)

failed = False
for synonyms in ("nouserintercepts", "libhostheap-malloc.so.1"):
    for program, *arguments in (["/usr/bin/perl", "-e", "my %h; $h{$_ % 977} .= $_ for 1..40000;"],
                                ["/bin/ls", "-l", "/usr/lib"],
                                ["/usr/bin/sqlite3", ":memory:", "create table t (x); with recursive"
                                 " n(i) as (select 1 union all select i+1 from n where i < 9999)"
                                 " insert into t select hex(i) from n; select max(x) from t;"]):
        if not os.access(program, os.X_OK):
            continue
        command = ["valgrind", "-q", "--error-exitcode=9", "--leak-check=no",
                   f"--soname-synonyms=somalloc={synonyms}", program, *arguments]
        result = subprocess.run(command, env=dict(os.environ, LD_PRELOAD=LIBRARY), text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=280)
        if result.returncode != 0 or "hostheap" in result.stderr:
            failed = True
            print(f"{' '.join(command)}: {result.returncode}\n{result.stderr[-3000:]}")
print("valgrind:", "failed" if failed else "passed")
sys.exit(failed)
