#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""plant.py [--check | NAME...] - each storm must fail on a fault that is planted for it.

FAULTS has one or more faults for every storm: a file, what stands there, what is put in its place, and
what the storm then sees. Each is planted in a copy of the tree (build/planted), alone; the drop-in is
built, and the storm is run in its short form. A storm that passes all the same is a bad test: exit 1.

  NAME     only these faults, or those of these storms
  --check  only look whether the texts still stand in the source, once each
"""
import os
import pathlib
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
PLACE = ROOT / "build/planted"

# name (storm, after a dot what else tells it apart): file, old, new, what the storm sees
FAULTS = {
    "fork": (
        "src/os/lock_fork.c",
        "    if (step == HHI_FORK_TAKE && !forks.missed)\n        lock_take(lock);\n",
        "",
        "no lock is taken for the fork: a child finds one that a lost thread has, and ends",
    ),
    "ends": (
        "src/process/process.c",
        "    hhi_stats_print_at_exit();\n",
        "    hhi_stats_print_at_exit();\n    while (hhi_thread_count_running() > 1)\n        continue;\n",
        "the end waits for threads that go on: the process never ends",
    ),
    "threads": (
        "src/heap/thread.c",
        "    thread->next_orphan = threads.orphans;\n    threads.orphans = thread;\n"
        "    thread->holder = 0;\n",
        "    thread->holder = 0;\n",
        "records of threads that ended are not used again: memory grows",
    ),
    "cancel": (
        "src/region/run.c",
        "    dirty_add(count);\n    hhi_lock_leave(&runs.lock);\n",
        "    dirty_add(count);\n    extern void pthread_testcancel(void);\n"
        "    pthread_testcancel();\n    hhi_lock_leave(&runs.lock);\n",
        "a thread is cancelled with a lock held: the next one hangs",
    ),
    "destructors": (
        "src/heap/thread.c",
        "--thread->borrowed == 0)\n",
        "--thread->borrowed == UINT32_MAX)\n",
        "a destructor keeps the record it has borrowed: memory grows",
    ),
    "dlopen": (
        "src/override/override_malloc.c",
        "    size_t granule = hhi_granule_of(block);\n"
        "    if (hh_unlikely(!hhi_granule_is_inside(granule))) {\n        override_free_outside(block);\n",
        "    static _Atomic unsigned planted;\n    if (++planted % 16 == 0)\n        return;\n"
        "    size_t granule = hhi_granule_of(block);\n"
        "    if (hh_unlikely(!hhi_granule_is_inside(granule))) {\n        override_free_outside(block);\n",
        "one free in sixteen is forgotten: a closed library leaves blocks behind",
    ),
    "mappings.refused": (
        "src/region/run.c",
        "    if (result != 0) {\n        run->refusal = result;\n        return false;\n",
        "    if (result != 0) {\n        run->refusal = result;\n",
        "a refused commit is taken for granted: crash",
    ),
    "mappings.again": (
        "src/region/run.c",
        "    if (region == NULL && hh_load_relaxed(&runs.region_count) < REGIONS_MAX) {\n",
        "    if (region == NULL && runs.step_limit == 0 &&\n"
        "        hh_load_relaxed(&runs.region_count) < REGIONS_MAX) {\n",
        "after a refusal no region is reserved any more: what is asked for later is refused",
    ),
    "data": (
        "src/slab/carve.c",
        "        if (slab->retired_epoch >= oldest) {\n",
        "        if (slab->retired_epoch >= oldest || oldest != 0) {\n",
        "retired slabs stay with their class: a large block is refused for want of memory",
    ),
    "cgroup": (
        "src/slab/carve.c",
        "        if (slab->retired_epoch >= oldest) {\n",
        "        if (slab->retired_epoch >= oldest || oldest != 0) {\n",
        "slabs never serve another class: the group's memory does not suffice",
    ),
    "asking": (
        "src/heap/census.c",
        "    memset(info, 0, sizeof *info);\n    unsigned kind = HHI_KIND_NONE;\n",
        "    memset(info, 0, sizeof *info);\n    unsigned kind = HHI_KIND_NONE;\n"
        "    hhi_lock_enter(&hhi_default_heap.lock);\n    hhi_lock_leave(&hhi_default_heap.lock);\n",
        "a question takes a lock, which the interrupted thread holds: the process ends",
    ),
    "stopping": (
        "src/override/override_malloc.c",
        "HH_OVERRIDE void *\nmalloc(size_t size_bytes)\n{\n    return hhi_malloc_fast(",
        "HH_OVERRIDE void *\nmalloc(size_t size_bytes)\n{\n    static struct hhi_lock planted;\n"
        "    if (hhi_lock_is_mine(&planted))\n        hhi_lock_leave(&planted);\n"
        "    hhi_lock_enter(&planted);\n    return hhi_malloc_fast(",
        "a thread keeps a lock from one malloc to its next: while it stands, no other gets on",
    ),
    "soak": (
        "src/heap/alloc.c",
        "    if ((notice & HHI_NOTICE_TOKEN) == 0)\n        hhi_inbox_push(",
        "    static _Atomic uint32_t planted;\n"
        "    if ((notice & HHI_NOTICE_TOKEN) == 0 && ++planted % 10 != 0)\n        hhi_inbox_push(",
        "one slab in ten that others have freed into is forgotten: memory grows",
    ),
}


def text_of(place):
    return (ROOT / place).read_text()


def check():
    """0 if each fault's text stands in the source once, and each storm has a fault."""
    storms = set()
    for line in text_of("tests/CMakeLists.txt").splitlines():
        if line.strip().startswith("foreach(storm "):
            storms = set(line.strip()[len("foreach(storm ") : -1].split())
    wrong = [f"{name}: {text_of(fault[0]).count(fault[1])} times in {fault[0]}"
             for name, fault in FAULTS.items() if text_of(fault[0]).count(fault[1]) != 1]  # fmt: skip
    wrong += [f"no fault for {storm}" for storm in sorted(storms - {n.split(".")[0] for n in FAULTS})]
    print("\n".join(wrong) if wrong else f"{len(FAULTS)} faults for {len(storms)} storms can be planted")
    return 1 if wrong or not storms else 0


def copy_changed(part):
    for file in [ROOT / part] if (ROOT / part).is_file() else sorted((ROOT / part).rglob("*")):
        target = PLACE / "tree" / file.relative_to(ROOT)
        if not file.is_file() or "__pycache__" in file.parts:
            continue
        if not target.exists() or target.read_bytes() != file.read_bytes():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, target)


def run(command, **more):
    return subprocess.run(command, capture_output=True, text=True, check=False, **more)


def build():
    tree, output = PLACE / "tree", PLACE / "release"
    launcher = ["-DCMAKE_C_COMPILER_LAUNCHER=ccache"] if shutil.which("ccache") else []
    if not (output / "CMakeCache.txt").exists():
        run(["cmake", "-S", tree, "-B", output, "-DCMAKE_BUILD_TYPE=Release", *launcher])
    done = run(["cmake", "--build", output, "-j", "2", "--target", "storms_storms", "hostheap_malloc"])
    if done.returncode:
        sys.exit(f"does not build:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return output


def storm_run(output, storm):
    plugin = next((output / "tests").rglob("libpreload_plugin_library.so"))
    environment = {**os.environ, "LD_PRELOAD": str(output / "libhostheap-malloc.so.1")}
    done = run([output / "tests/storms_storms", storm, plugin], env=environment)
    return done.returncode, " / ".join((done.stdout + done.stderr).strip().splitlines()[-2:])


def main(names):
    if names == ["--check"]:
        return check()
    for part in ("src", "include", "tests", "scripts", "bench", "CMakeLists.txt"):
        copy_changed(part)
    output, passed = build(), 0
    for name, (place, old, new, _) in FAULTS.items():
        storm = name.split(".")[0]
        if names and name not in names and storm not in names:
            continue
        file = PLACE / "tree" / place
        original = file.read_text()
        file.write_text(original.replace(old, new))
        try:
            build()
            code, last = storm_run(output, storm)
        finally:
            file.write_text(original)
        print(f"{name:18} {'PASSED' if code == 0 else 'skipped' if code == 77 else f'fails, {code}'}: "
              f"{last}", flush=True)  # fmt: skip
        passed += code == 0
    build()
    return 1 if passed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
