#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""run_cli.py SCRIPT LIBRARY - scripts/hostheap-run, HOSTHEAP_OPTIONS and the statistics at exit."""
import json
import os
import subprocess
import sys

SCRIPT, LIBRARY = sys.argv[1:]
failures = 0


def run(*arguments, **variables):
    environment = {k: v for k, v in os.environ.items() if k not in ("LD_PRELOAD", "HOSTHEAP_OPTIONS")}
    environment.update(variables)
    return subprocess.run([SCRIPT, "--library", LIBRARY, *arguments], env=environment, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)


def expect(what, condition, result):
    global failures
    if not condition:
        failures += 1
        print(f"not so: {what}\n{result}")


result = run("cat", "/proc/self/maps")
expect("the library is loaded", os.path.realpath(LIBRARY) in result.stdout, result)
expect("nothing is said", result.stderr == "" and result.returncode == 0, result)

result = run("sh", "-c", "exit 7")
expect("the exit status is the program's", result.returncode == 7, result)

result = run("--print", "-o", "decay_ms:5", "--stats", HOSTHEAP_OPTIONS="background:off",
             LD_PRELOAD="libm.so.6")
expect("what was set is kept, in front",
       result.stdout.splitlines() == [f"LD_PRELOAD={os.path.realpath(LIBRARY)}:libm.so.6",
                                      "HOSTHEAP_OPTIONS=background:off,decay_ms:5,stats:on"], result)

# The first malloc comes from the dynamic loader: the options are read before libc has environ.
result = run("-o", "decay:5", "true")
expect("an unknown key is named with its neighbour", result.stderr ==
       'hostheap: HOSTHEAP_OPTIONS: unknown key "decay"; nearest valid is "decay_ms"\n', result)

result = run("--bad-free", "abrt", "true")
expect("a bad value is named with its neighbour", 'nearest valid is "abort"' in result.stderr, result)

result = run("--help-options")
for key in ("decay_ms", "background", "bad_free", "stats", "stats_json", "soft_limit", "hard_limit",
            "region"):
    expect(f"{key} is listed", f"  {key}: " in result.stderr, result)

result = run("--stats", "/usr/bin/perl", "-e", "my @a = (1..1000);")
expect("statistics at exit", "all heaps together\n" in result.stderr
       and "live blocks: " in result.stderr and "heap 1 " in result.stderr, result)

result = run("--json", "/usr/bin/perl", "-e", "my @a = (1..1000);")
stats = json.loads(result.stderr)
for part, key in (("process", "heaps"), ("process", "committed_bytes"), ("all", "live_blocks")):
    expect(f"{part}.{key} is a number above 0", stats[part][key] > 0, stats)
expect("the heaps add up", sum(h["live_blocks"] for h in stats["heaps"]) ==
       stats["all"]["live_blocks"] and len(stats["heaps"]) == stats["process"]["heaps"], stats)
expect("no free was refused", stats["all"]["bad_frees"] == 0, stats)

result = run("-o", "hard_limit:64m", "/usr/bin/perl", "-e", "my $x = 'a' x 100_000_000; print 1")
expect("a hard limit holds", result.returncode != 0 and result.stdout == "", result)
result = run("-o", "hard_limit:640m", "/usr/bin/perl", "-e", "my $x = 'a' x 100_000_000; print 1")
expect("below the limit all is well", result.returncode == 0 and result.stdout == "1", result)

for wrong in (["--nonsense", "true"], ["-o"], []):
    result = run(*wrong)
    expect(f"{wrong} is refused", result.returncode == 2 and "hostheap-run: " in result.stderr, result)
result = subprocess.run([SCRIPT, "--library", "/nowhere.so", "true"], text=True,
                        stdout=subprocess.PIPE, stderr=subprocess.PIPE)
expect("a missing library is named", result.returncode == 2 and "/nowhere.so" in result.stderr, result)

print("hostheap-run:", "failed" if failures else "passed")
sys.exit(failures != 0)
