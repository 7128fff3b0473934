# SPDX-License-Identifier: MIT
"""build.py - the benchmark binary, and the library as users get it."""
import os
import pathlib
import subprocess
import sys

from . import machine

ROOT = machine.ROOT


class BuildError(Exception):
    pass


def cmake(source, build, *options):
    jobs = os.environ.get("HOSTHEAP_JOBS", str(os.cpu_count() or 1))
    steps = [["cmake", "-S", str(source), "-B", str(build), *options],
             ["cmake", "--build", str(build), "-j", jobs]]
    for step in steps:
        done = subprocess.run(step, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              check=False)
        if done.returncode != 0:
            sys.stderr.write(done.stdout)
            raise BuildError(f"{' '.join(step)} failed")


given = None  # folder with the binaries, if the caller has built them already


def binary():
    """Path of the benchmark binary, built if it must be."""
    if given:
        return pathlib.Path(given).resolve() / "bench"
    build = ROOT / "build" / "bench"
    cmake(ROOT / "bench", build)
    if not (build / "bench").exists():
        raise BuildError("bench was not built: install libbenchmark-dev")
    return build / "bench"


def library(source=ROOT, build=None):
    """The folder with libhostheap.so and libhostheap-malloc.so, release build of source."""
    build = pathlib.Path(build) if build else ROOT / "build" / "bench-library"
    cmake(source, build, "-DCMAKE_BUILD_TYPE=Release", "-DHOSTHEAP_TESTS=OFF",
          "-DHOSTHEAP_BENCH=OFF")
    return build


def find(build, name):
    """The shared object of that name in a build folder, None if there is none."""
    for path in sorted(pathlib.Path(build).rglob(name)):
        if path.is_file():
            return path.resolve()
    return None
