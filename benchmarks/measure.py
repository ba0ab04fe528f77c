"""What one measurement is, and the process it is taken in: a child that does one thing, prints it, and ends."""

from __future__ import annotations

import argparse
import gc
import importlib
import inspect
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import uvloop

MICRO = 1_000_000


class Sample(msgspec.Struct, frozen=True):
    """One measurement: how many operations took how many seconds of wall clock and of CPU, and what else was seen."""

    count: int
    wall: float
    cpu: float
    facts: Mapping[str, float] = {}

    @property
    def us(self) -> float:
        """Microseconds of wall clock per operation."""
        return self.wall / self.count * MICRO

    @property
    def cpu_us(self) -> float:
        """Microseconds of CPU per operation, all threads of the process together."""
        return self.cpu / self.count * MICRO


class Stopwatch:
    """Seconds of wall clock and CPU inside the block of `timing`."""

    wall = 0.0
    cpu = 0.0

    def sample(self, count: int, **facts: float) -> Sample:
        """The time as a measurement of that many operations."""
        return Sample(count, self.wall, self.cpu, facts)


@contextmanager
def timing() -> Iterator[Stopwatch]:
    """Time a block; how the garbage collector is set is the word of whoever does the work."""
    gc.collect()
    watch = Stopwatch()
    cpu, wall = time.process_time(), time.perf_counter()
    try:
        yield watch
    finally:
        watch.wall = time.perf_counter() - wall
        watch.cpu = time.process_time() - cpu


@contextmanager
def timing_baseline() -> Iterator[Stopwatch]:
    """Time a block that stands beside ours, with the collector spared as our own processes spare it."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    with timing() as watch:
        yield watch


def peak_rss_bytes() -> int:
    """This process's largest resident size; 0 where the system does not tell."""
    status = Path("/proc/self/status")
    if not status.exists():
        return 0
    for line in status.read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def pin(place: str) -> None:
    """Keep this process to the first CPU we may use (`ours`) or the second (`theirs`), where there are two."""
    pin_process(0, place)


def pin_process(pid: int, place: str) -> None:
    """The same for a process that was just started; 0 is this one."""
    if not hasattr(os, "sched_setaffinity"):
        return
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) > 1 and place in ("ours", "theirs"):
        os.sched_setaffinity(pid, {cpus[0] if place == "ours" else cpus[1]})


def main() -> None:
    """Run one function, `module:name`, with arguments in JSON, and print the Sample it returns."""
    parser = argparse.ArgumentParser()
    parser.add_argument("function")
    parser.add_argument("arguments")
    parser.add_argument("--pin", default="ours")
    given = parser.parse_args()
    pin(given.pin)
    module, _, name = given.function.partition(":")
    function = getattr(importlib.import_module(module), name)
    arguments: dict[str, Any] = msgspec.json.decode(given.arguments)
    outcome = function(**arguments)
    if inspect.iscoroutine(outcome):
        outcome = uvloop.run(outcome)
    print(msgspec.json.encode(outcome).decode())


if __name__ == "__main__":
    main()
