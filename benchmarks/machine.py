"""What the figures were taken on: the parts of a machine that decide them, and nothing that tells whose it is."""

from __future__ import annotations

import os
import platform
import re
import shlex
import sqlite3
import sys
import sysconfig
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

import msgspec

from benchmarks.lab import measure_fsync

_PACKAGES: Final = (
    "anyio",
    "httpx",
    "httpcore",
    "sniffio",
    "httptools",
    "uvloop",
    "msgspec",
    "aiosqlite",
    "prometheus-client",
)


class Machine(msgspec.Struct, frozen=True):
    """`fsync_us` is the median of fsync behind 26 KB, on the disk the benchmarks wrote to; `build` is how the
    interpreter was built, as far as that decides its speed."""

    cpu: str
    cores: int
    memory_gib: float
    system: str
    python: str
    sqlite: str
    fsync_us: float
    packages: Mapping[str, str]
    build: str = ""

    @property
    def name(self) -> str:
        """A name for files: the processor and how many cores of it there are."""
        return f"{re.sub(r'[^a-z0-9]+', '-', self.cpu.lower()).strip('-')}-{self.cores}"


def describe_machine(folder: Path) -> Machine:
    """This machine, with a file system that `folder` is on."""
    return Machine(
        cpu=_cpu(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        memory_gib=round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        system=f"{platform.system()} {platform.release().partition('-')[0]}",
        python=f"{platform.python_implementation()} {platform.python_version()}",
        sqlite=sqlite3.sqlite_version,
        fsync_us=round(measure_fsync(folder) * 1e6, 1),
        packages={name: found for name in _PACKAGES if (found := _version(name)) is not None},
        build=describe_build(sysconfig.get_config_vars()),
    )


def describe_build(variables: Mapping[str, object]) -> str:
    """How an interpreter with these build variables was made. Not every distribution names all of its options."""
    options = {word.partition("=")[0] for word in shlex.split(str(variables.get("CONFIG_ARGS") or ""))}
    optimised = "optimised" if "--enable-optimizations" in options else "not configured with --enable-optimizations"
    lto = ", LTO" if "--with-lto" in options else ""
    shared = "shared libpython" if variables.get("Py_ENABLE_SHARED") else "libpython linked in"
    return f"{optimised}{lto}, {shared}"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine() or sys.platform
