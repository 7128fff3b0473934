# SPDX-License-Identifier: MIT
"""programs.py - whole programs under the preloaded allocators: time, and peak resident memory.

A program that is not installed is left out. What a program prints must be the same under every
allocator. Its time is its processor time, with all threads and children; for redis it is the
server's, per request.
"""
import hashlib
import os
import pathlib
import random
import re
import shutil
import socket
import subprocess
import time

from . import machine

FOLDER = machine.ROOT / "bench" / "programs"
REDIS_REQUESTS = 200000


def sql():
    """A script for sqlite3; always the same."""
    dice = random.Random(5)
    lines = ["create table a(id integer primary key, name text, v real, c blob);",
             "create index ai on a(name);", "create table b(id, t text);"]
    for i in range(4000):
        lines.append(f"insert into a values({i},'name{dice.randrange(10 ** 9)}"
                     f"{'x' * dice.randrange(60)}',{dice.random()},"
                     f"zeroblob({dice.randrange(2000)}));")
        if i % 3 == 0:
            lines.append(f"insert into b select id, upper(name)||hex(v) from a where id>{i - 20} "
                         f"and name like 'name{dice.randrange(10)}%';")
        if i % 7 == 0:
            lines.append("select group_concat(name,',') from (select name from a order by v limit "
                         f"{dice.randrange(200)});")
        if i % 11 == 0:
            lines.append("select t,count(*) from b group by substr(t,1,"
                         f"{dice.randrange(4, 7)}) order by 2 desc, 1 limit 20;")
    return "\n".join(lines)


def table(folder):
    """name -> command line; only what is installed."""
    script = folder / "words.sql"
    script.write_text(sql())
    source = folder / "source.i"
    subprocess.run(["cc", "-E", "-I", str(machine.ROOT / "include"),
                    str(machine.ROOT / "bench" / "workloads" / "exchange.c"), "-o", str(source)],
                   check=False)
    wanted = {
        "python": ["/usr/bin/python3", str(FOLDER / "words.py")],
        "lua": ["lua5.4", str(FOLDER / "words.lua")],
        "perl": ["perl", str(FOLDER / "words.pl")],
        "ruby": ["ruby", str(FOLDER / "words.rb")],
        "node": ["node", str(FOLDER / "words.js")],
        "sqlite": ["sqlite3", ":memory:", f".read {script}"],
        "gcc": [machine.output("cc", "-print-prog-name=cc1"), "-quiet", "-O2", "-fpreprocessed",
                str(source), "-o", "/dev/null"],
        "redis": ["redis-server"],
    }
    return {f"program/{name}": command for name, command in wanted.items()
            if command[0] and shutil.which(command[0])}


def row():
    return {"kind": "time", "threads": 1, "flags": ["cpu", "program"], "metric": "cpu"}


def launch(binary, command, allocator, folder):
    """Starts command through bench_launch; its output goes to files in folder."""
    env = {key: value for key, value in os.environ.items()
           if not re.match(r"LD_PRELOAD|HOSTHEAP|MALLOC|MIMALLOC|TCMALLOC", key)}
    env.update(BENCH_PRELOAD=allocator.path, PYTHONMALLOC="malloc", PYTHONHASHSEED="1", LC_ALL="C")
    with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
        return subprocess.Popen([str(binary.parent / "bench_launch"), str(folder / "used"),
                                 *command], env=env, stdin=subprocess.DEVNULL, stdout=out,
                                stderr=err)


def finish(process, folder, begin, operations):
    process.wait()
    wall = time.monotonic() - begin
    complaint = (folder / "err").read_text(errors="replace")
    try:
        status, user, system, peak = map(int, (folder / "used").read_text().split())
    except (OSError, ValueError):
        return {"failed": "bench_launch said nothing"}
    if status != 0 or "LD_PRELOAD" in complaint:
        return {"failed": f"status {status} {complaint[-200:]}".strip()}
    output = (folder / "out").read_bytes() if operations == 1 else b""
    return {"wall_ns": [wall * 1e9], "cpu_ns": [(user + system) * 1e3], "operations": operations,
            "checksum": hashlib.sha256(output).hexdigest()[:16], "values": {},
            "peak_rss_kib": peak}


def run_plain(binary, command, allocator, folder):
    begin = time.monotonic()
    return finish(launch(binary, command, allocator, folder), folder, begin, 1)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def quietly(*command):
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)


def run_redis(binary, command, allocator, folder):
    """The server's processor time per request of redis-benchmark."""
    port = str(free_port())
    begin = time.monotonic()
    server = launch(binary, [*command, "--port", port, "--bind", "127.0.0.1", "--save", "",
                             "--appendonly", "no"], allocator, folder)
    while quietly("redis-cli", "-p", port, "ping").stdout != b"PONG\n":
        if time.monotonic() - begin > 10 or server.poll() is not None:
            server.kill()
            return {"failed": "redis-server does not answer"}
        time.sleep(0.05)
    load = quietly("redis-benchmark", "-p", port, "-P", "16", "-r", "100000", "-q", "-n",
                   str(REDIS_REQUESTS // 4), "-t", "set,lpush,sadd,hset")
    quietly("redis-cli", "-p", port, "shutdown", "nosave")
    result = finish(server, folder, begin, REDIS_REQUESTS)
    if load.returncode != 0 and "failed" not in result:
        result = {"failed": f"redis-benchmark: status {load.returncode}"}
    return result


def run_one(binary, program, command, allocator, folder):
    start = run_redis if program == "program/redis" else run_plain
    return start(binary, command, allocator, folder)
