#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""run_preload.py LIBRARY [PROGRAM...] - real programs under the drop-in.

Each program runs twice, without and with the drop-in, and what it answers is compared. With the
drop-in it runs with statistics at exit: at least one process must have printed them, and none may
have seen a free refused. A program that is not installed is skipped (77), or fails the test when CI=true.
Servers listen on sockets in a temporary directory.
"""
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

from programs_input import (C_SOURCE, GIT_IMPORT, GS_SOURCE, JAVA_SOURCE, NODE_SOURCE, PERL_SOURCE,
                            REDIS_COMMANDS, RUBY_SOURCE, SQLITE_SOURCE)

TIMEOUT_S = 280


class Missing(Exception):
    """Something the program needs is not installed."""


class Runner:
    """Starts processes in a folder of their own, with or without the drop-in."""

    def __init__(self, folder, library):
        self.folder = pathlib.Path(folder)
        self.environment = {k: v for k, v in os.environ.items()
                            if k not in ("LD_PRELOAD", "HOSTHEAP_OPTIONS")}
        self.environment.update(LC_ALL="C", TZ="UTC", HOME=folder, TMPDIR=folder)
        self.library = library
        self.errors = []

    def options(self, name, statistics=True):
        errors = open(self.folder / f"stderr.{len(self.errors)}", "w+b")
        self.errors.append((name, errors))
        environment = self.environment
        if self.library:
            environment = dict(environment, LD_PRELOAD=self.library)
            if statistics:
                environment["HOSTHEAP_OPTIONS"] = "stats_json:on"
        return {"cwd": self.folder, "env": environment, "stderr": errors}

    def run(self, *command, stdin="", status=0, statistics=True):
        """The standard output of a command that must end with status."""
        result = subprocess.run(command, input=stdin.encode(), stdout=subprocess.PIPE,
                                timeout=TIMEOUT_S, **self.options(command[0], statistics))
        if result.returncode != status:
            raise RuntimeError(f"{command}: status {result.returncode}\n{result.stdout[-2000:]!r}\n"
                               + self.messages())
        return result.stdout.decode(errors="replace")

    def start(self, *command, path):
        """A server, and wait until it listens at path."""
        server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                  **self.options(command[0]))
        for _ in range(600):
            try:
                connect(path).close()
                return server
            except OSError:
                if server.poll() is not None:
                    break
                time.sleep(0.1)
        server.kill()
        raise RuntimeError(f"{command} does not listen: {server.wait()}\n{self.messages()}")

    def stop(self, server):
        server.terminate()
        status = server.wait(TIMEOUT_S)
        if status not in (0, -15):
            raise RuntimeError(f"{server.args[0]} ended with {status}\n{self.messages()}")

    def split_errors(self):
        """(other lines, statistics of each process that printed them)"""
        others, stats = [], []
        for name, errors in self.errors:
            errors.seek(0)
            for line in errors.read().decode(errors="replace").splitlines():
                start = line.find('{"version":')
                try:
                    stats.append(json.loads(line[start:]) if start >= 0 else None)
                except ValueError:
                    stats.append(None)
                if stats[-1] is None:
                    stats.pop()
                    others.append(f"{name}: {line}")
        return others, stats

    def messages(self):
        return "\n".join(self.split_errors()[0][-30:])


def need(*names):
    found = []
    for name in names:
        paths = [f"/usr/bin/{name}", f"/usr/sbin/{name}"]
        found.append(next((p for p in paths if os.access(p, os.X_OK)), shutil.which(name)))
        if found[-1] is None:
            raise Missing(name)
    return found if len(found) > 1 else found[0]


def connect(path):
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(60)
    try:
        client.connect(str(path))
    except OSError:
        client.close()
        raise
    return client


def receive_until(client, end):
    data = b""
    while not data.endswith(end):
        piece = client.recv(1 << 20)
        if not piece:
            break
        data += piece
    return data


def redis(runner):
    server_path, cli, benchmark = need("redis-server", "redis-cli", "redis-benchmark")
    path = runner.folder / "redis.sock"
    server = runner.start(server_path, "--port", "0", "--unixsocket", str(path), "--save", "",
                          "--enable-debug-command", "yes", "--io-threads", "2", path=path)
    try:
        runner.run(benchmark, "-s", str(path), "-q", "-n", "20000", "-c", "20", "-P", "8", "-r",
                   "5000", "-d", "200", "-t",
                   "ping,set,get,incr,lpush,rpop,sadd,hset,spop,zadd,lrange_100,mset")
        answers = runner.run(cli, "-s", str(path), "flushall", "sync")
        answers += runner.run(cli, "-s", str(path), stdin=REDIS_COMMANDS)
        answers += runner.run(cli, "-s", str(path), "debug", "reload")
        answers += runner.run(cli, "-s", str(path), "debug", "digest")
    finally:
        runner.stop(server)
    return answers


def python(runner):
    python3 = need("python3")
    tests = """test_gc test_json test_threading test_subprocess test_dict test_list test_bytes
               test_weakref test_array test_memoryview test_pickle""".split()
    try:
        runner.run(python3, "-c", "import test.test_gc, test.test_json")
    except RuntimeError:
        raise Missing("the test suite of python3")
    # -w: a test that failed is given a second chance alone, as the suite's authors do. Its workers
    # answer on a stream that statistics must not get into.
    report = runner.run(python3, "-m", "test", "-w", "-j3", "--timeout=200", *tests,
                        statistics=False)
    missing = [name for name in tests if name not in report]
    result = [line for line in report.splitlines() if line.startswith("Tests result:")]
    if missing or not result or not result[-1].endswith("SUCCESS"):
        raise RuntimeError(f"{missing} {result}\n{report[-2000:]}")
    return f"{len(tests)} files of tests passed"


def sqlite(runner):
    answers = runner.run(need("sqlite3"), "test.db", stdin=SQLITE_SOURCE)
    size_bytes = (runner.folder / "test.db").stat().st_size
    if size_bytes < 200 << 20:
        raise RuntimeError(f"the database has {size_bytes} bytes only")
    return f"{answers}{size_bytes}"


def perl(runner):
    return runner.run(need("perl"), "-", stdin=PERL_SOURCE)


def ruby(runner):
    return runner.run(need("ruby"), "-", stdin=RUBY_SOURCE)


def git(runner):
    git_path = need("git")
    runner.environment.update(GIT_CONFIG_NOSYSTEM="1", GIT_CONFIG_GLOBAL="/dev/null")
    runner.run(git_path, "init", "-q", "-b", "main", "repository")

    def run(*arguments, stdin=""):
        return runner.run(git_path, "-C", "repository", *arguments, stdin=stdin)

    run("fast-import", "--quiet", stdin=GIT_IMPORT)
    run("-c", "pack.threads=2", "gc", "-q", "--aggressive", "--prune=now")
    return run("fsck", "--full", "--no-progress") + run("log", "--stat", "main") + run(
        "count-objects", "-v").split("size-pack")[0] + run("blame", "-s", "main", "file3.txt")


def gcc(runner):
    (runner.folder / "big.c").write_text(C_SOURCE)
    return runner.run(need("gcc"), "-O2", "-g", f"-fdebug-prefix-map={runner.folder}=.", "-S",
                      "-o", "-", "big.c")


def memcached(runner):
    path = runner.folder / "memcached.sock"
    server = runner.start(need("memcached"), "-s", str(path), "-m", "64", "-t", "4", "-u",
                          "root" if os.geteuid() == 0 else str(os.geteuid()), path=path)
    answers = []
    try:
        client = connect(path)
        for i in range(20000):
            value = b"%d:" % i + b"v" * (i * 37 % 3000)
            client.sendall(b"set key%d 0 0 %d\r\n%s\r\n" % (i % 4000, len(value), value))
            if receive_until(client, b"\r\n") != b"STORED\r\n":
                raise RuntimeError(f"key {i} is not stored")
        for i in range(4000):
            client.sendall(b"get key%d\r\n" % i)
            answers.append(receive_until(client, b"END\r\n").decode())
        client.close()
    finally:
        runner.stop(server)
    return "".join(answers)


NGINX_CONFIGURATION = """
pid nginx.pid; error_log stderr warn; worker_processes 2; {user}
events {{ worker_connections 64; }}
http {{
    access_log off; gzip on; gzip_types text/plain; gzip_min_length 10;
    client_body_temp_path t1; proxy_temp_path t2; fastcgi_temp_path t3; uwsgi_temp_path t4;
    scgi_temp_path t5; default_type text/plain;
    server {{ listen unix:{folder}/nginx.sock; root {folder}/www; autoindex on; ssi on; }}
}}
"""


def nginx(runner):
    nginx_path = need("nginx")
    www = runner.folder / "www"
    www.mkdir()
    for i in range(40):
        (www / f"page{i}.txt").write_text(f"line {i}\n" * (i * i * 10 + 1))
    (www / "all.txt").write_text("".join(f'<!--#include virtual="/page{i}.txt" -->\n'
                                         for i in range(20)))
    os.chmod(runner.folder, 0o755)
    (runner.folder / "nginx.conf").write_text(NGINX_CONFIGURATION.format(
        folder=runner.folder, user="user root;" if os.geteuid() == 0 else ""))
    path = runner.folder / "nginx.sock"
    server = runner.start(nginx_path, "-p", str(runner.folder), "-c", "nginx.conf", "-g",
                          "daemon off;", path=path)
    answers = []
    try:
        for turn in range(6):
            for i in list(range(40)) + ["all"]:
                name = f"page{i}.txt" if i != "all" else "all.txt"
                client = connect(path)
                client.sendall(f"GET /{name} HTTP/1.0\r\nAccept-Encoding: "
                               f"{'gzip' if turn % 2 else 'identity'}\r\n\r\n".encode())
                answer = receive_until(client, b"never\0")
                answers.append(answer.split(b"\r\n\r\n", 1)[1].hex())
                client.close()
            if turn == 2:
                runner.run(nginx_path, "-p", str(runner.folder), "-c", "nginx.conf", "-s", "reload")
    finally:
        runner.stop(server)
    return "\n".join(answers)


def node(runner):
    (runner.folder / "main.js").write_text(NODE_SOURCE)
    return runner.run(need("node"), "main.js")


def java(runner):
    java_path = need("java", "javac")[0]
    (runner.folder / "Main.java").write_text(JAVA_SOURCE)
    return runner.run(java_path, "-Xmx256m", "-XX:+UseParallelGC", "Main.java")


def gs(runner):
    (runner.folder / "page.ps").write_text(GS_SOURCE)
    answers = ""
    for device in ("ppmraw", "png16m", "pdfwrite"):
        runner.run(need("gs"), "-q", "-dSAFER", "-dBATCH", "-dNOPAUSE", "-r100",
                   f"-sDEVICE={device}", f"-sOutputFile=page.{device}", "page.ps")
        data = (runner.folder / f"page.{device}").read_bytes()
        # A PDF carries the time it was made.
        answers += data.hex() if device != "pdfwrite" else str(data.count(b"endobj"))
    return answers


PROGRAMS = {f.__name__: f for f in (redis, python, sqlite, perl, ruby, git, gcc, memcached, nginx,
                                    node, java, gs)}


def run_once(name, library):
    with tempfile.TemporaryDirectory(prefix="hostheap-") as folder:
        runner = Runner(folder, library)
        started = time.monotonic()
        answer = PROGRAMS[name](runner)
        return answer, time.monotonic() - started, *runner.split_errors()


def difference(left, right):
    for number, (a, b) in enumerate(zip(left.splitlines(), right.splitlines()), 1):
        if a != b:
            return f"line {number}: without {a[:200]!r}, with {b[:200]!r}"
    return f"{len(left)} characters without, {len(right)} with"


def check(name, library):
    expected, seconds_without, _, _ = run_once(name, None)
    answer, seconds_with, messages, stats = run_once(name, library)
    problems = []
    if not expected:
        problems.append("it says nothing")
    if answer != expected:
        problems.append(difference(expected, answer))
    problems += [line for line in messages if "hostheap" in line or "ld.so" in line]
    if not stats:
        problems.append("no process printed statistics: was the library loaded?")
    refused = sum(s["all"]["bad_frees"] for s in stats)
    if refused:
        problems.append(f"{refused} frees were refused")
    print(f"{name}: {'; '.join(problems) or 'the same answer'} ({len(expected)} characters, "
          f"{len(stats)} processes with statistics, {seconds_without:.1f} s without, "
          f"{seconds_with:.1f} s with)", flush=True)
    return 1 if problems else 0


def main():
    library = os.path.realpath(sys.argv[1])
    # Programs shall start with the default action even if we were started with it ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    results = []
    for name in sys.argv[2:] or PROGRAMS:
        try:
            results.append(check(name, library))
        except Missing as missing:
            print(f"{name}: skipped, {missing} is not installed", flush=True)
            results.append(1 if os.environ.get("CI") == "true" else 77)
        except (RuntimeError, subprocess.TimeoutExpired) as error:
            print(f"{name}: {error}", flush=True)
            results.append(1)
    if 1 in results:
        return 1
    return 77 if all(r == 77 for r in results) else 0


sys.exit(main())
