#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""run_programs.py LIBRARY - short runs of real programs under the checked library: the same answers
as without it, no report. What is not installed is left out."""
import os
import shutil
import subprocess
import sys
import tempfile
import time

PYTHON = """
import json, re, threading, zlib, decimal
data = json.loads(json.dumps([{"n": i, "s": "x" * (i % 50)} for i in range(3000)]))
def work(base):
    for i in range(200):
        zlib.decompress(zlib.compress(b"abc" * (base + i)))
        re.sub("a(b+)c", r"\\\\1", "abbbc" * i)
threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(sum(len(row["s"]) for row in data), decimal.Decimal(2).sqrt())
"""
SQL = """
create table t(a integer, b text);
with recursive n(i) as (select 1 union all select i + 1 from n where i < 20000)
insert into t select i, hex(i * 7919) from n;
create index t_b on t(b);
update t set b = b || 'x' where a % 3 = 0;
delete from t where a % 5 = 0;
select count(*), sum(length(b)), max(b) from t;
"""
C_SOURCE = """
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
struct node { struct node *next; int value; };
int main(void) { struct node *list = 0; for (int i = 0; i < 10; i++) { struct node *n =
malloc(sizeof *n); n->next = list; n->value = i; list = n; } printf("%d\\n", list->value); }
"""


def run(command, environment, text="", folder=None):
    done = subprocess.run(command, input=text, env=environment, capture_output=True, text=True,
                          timeout=120, cwd=folder)
    if done.returncode != 0 or "hostheap" in done.stderr:
        raise RuntimeError(f"{command[0]}: ended with {done.returncode}\n{done.stderr[:6000]}")
    return done.stdout


def redis(environment, folder):
    """A server with a few thousand commands, and its own clean end."""
    socket = os.path.join(folder, "redis.sock")
    server = subprocess.Popen(
        ["redis-server", "--port", "0", "--unixsocket", socket, "--save", "", "--dir", folder,
         "--appendonly", "no"],
        env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        for _ in range(600):
            if os.path.exists(socket) or server.poll() is not None:
                break
            time.sleep(0.1)
        commands = "".join(f"SET k{i} {'v' * (i % 300)}\nLPUSH l {i}\nHSET h f{i} {i}\n"
                           for i in range(1500))
        commands += "SORT l LIMIT 0 3\nHLEN h\nSTRLEN k299\nFLUSHALL\nDBSIZE\n"
        answer = run(["redis-cli", "-s", socket], dict(os.environ), commands)
        run(["redis-cli", "-s", socket, "SHUTDOWN", "NOSAVE"], dict(os.environ))
        errors = server.communicate(timeout=60)[1]
    finally:
        server.kill()
    if "hostheap" in errors or server.returncode != 0:
        raise RuntimeError(f"redis-server: ended with {server.returncode}\n{errors[:6000]}")
    return answer


def gcc(environment, folder):
    run(["gcc", "-O2", "-x", "c", "-", "-o", os.path.join(folder, "program")], environment,
        C_SOURCE, folder)
    return run([os.path.join(folder, "program")], environment)


PROGRAMS = {
    "python3": lambda env, folder: run(["/usr/bin/python3", "-c", PYTHON], env),
    "sqlite3": lambda env, folder: run(["sqlite3", "test.db"], env, SQL, folder),
    "gcc": gcc,
    "redis-server": redis,
}


def main():
    library, failures, seen = sys.argv[1], 0, 0
    for name, act in PROGRAMS.items():
        if shutil.which(name) is None:
            print(f"{name}: not installed")
            continue
        try:
            seen += 1
            answers = []
            for environment in (dict(os.environ), dict(os.environ, LD_PRELOAD=library)):
                with tempfile.TemporaryDirectory() as folder:
                    began = time.monotonic()
                    answers.append(act(environment, folder))
                    took = time.monotonic() - began
            if answers[0] != answers[1] or not answers[0]:
                raise RuntimeError(f"answers differ:\n{answers[0][:500]}\n{answers[1][:500]}")
            print(f"{name}: the same answer, {took:.1f} s")
        except (RuntimeError, subprocess.TimeoutExpired) as error:
            print(f"{name}: {error}")
            failures += 1
    return 1 if failures else 0 if seen else 77


if __name__ == "__main__":
    sys.exit(main())
