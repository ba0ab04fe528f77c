"""From the start of `ecproc run` to its first GET: on none, on a large log, and on many tickets."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from benchmarks.lab import ROOT, BenchmarkFailed, Lab, Row, Stub, make_row, with_figures
from benchmarks.logs import build_tickets, renew_log
from benchmarks.measure import Sample, pin_process
from benchmarks.transports import KEY

_PATIENCE: Final = 120.0
_ANSWERED_AFTER: Final = 0.3
"""Seconds for which the first GET is not answered, so that nothing follows it before we have looked."""
_PYTHON: Final = "import asyncio, ssl, sqlite3"
TICKETS: Final = 300_000


def run(lab: Lab) -> list[Row]:
    """Starts on an empty directory, on the run's large log and on many tickets, in turn, beside Python's own."""
    renew_log(lab)
    tickets = lab.size(TICKETS, 20_000)
    many = build_tickets(lab, tickets)
    samples: dict[str, list[Sample]] = {name: [] for name in ("python", "none", "large", "many")}
    for _ in range(lab.rounds):
        samples["python"].append(start_python())
        samples["none"].append(_start(lab, lab.folder() / "data"))
        samples["large"].append(_start(lab, lab.log))
        samples["many"].append(_start(lab, many))
    python, none = samples["python"], samples["none"]
    large = f"start to first GET, {lab.log_messages:,} messages in the log"
    return [
        _compare("startup", "start to first GET, on none", none, python, against=f"python -c '{_PYTHON}'"),
        _compare("startup_large", large, samples["large"], none, against="on none"),
        _compare("startup_many", f"start to first GET, {tickets:,} tickets", samples["many"], none, against="on none"),
    ]


def measure_empty(lab: Lab) -> list[Row]:
    """A start on an empty directory beside Python's own."""
    python, none = start_python(), _start(lab, lab.folder() / "data")
    return [_compare("startup", "start to first GET, on none", [none], [python], against=f"python -c '{_PYTHON}'")]


def _compare(key: str, title: str, ours: list[Sample], baseline: list[Sample], *, against: str) -> Row:
    """A row whose figure is how many times the baseline's CPU is needed."""
    row = make_row(key, title, per="start", ours=ours, baseline=baseline, against=against, note="ours over the other")
    return with_figures(row, [mine.cpu / theirs.cpu for mine, theirs in zip(ours, baseline, strict=True)], unit="x")


def _start(lab: Lab, data: Path) -> Sample:
    with lab.stub(messages=0, tickets=1, delay=_ANSWERED_AFTER) as stub:
        return start(data, stub)


def start_python() -> Sample:
    """An interpreter that loads what no program of this kind can do without."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run([sys.executable, "-c", _PYTHON], check=True)  # noqa: S603 - our own interpreter
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Sample(1, time.monotonic() - began, cpu)


def start(data: Path, stub: Stub) -> Sample:
    """Seconds from starting the process to its first GET, and what it used of CPU until then."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "ECPROC_BRIDGE__URL": f"{stub.url}/client/prod",
        "ECPROC_BRIDGE__API_KEY": KEY,
        "ECPROC_BRIDGE__CLIENT_NAME": "testClient",
        "ECPROC_DATA__DIR": str(data),
        "ECPROC_DATA__RESERVE_BYTES": "0",
        "ECPROC_WEB__LISTEN": "127.0.0.1:0",
    }
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "ecproc", "run"], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    pin_process(process.pid, "ours")
    try:
        first = None
        while first is None:
            if process.poll() is not None or time.monotonic() - began > _PATIENCE:
                raise BenchmarkFailed(f"ecproc run sent no GET (exit {process.poll()})")
            time.sleep(0.02)
            first = stub.ask("/stat")["first_get"]
        cpu = _read_cpu(process.pid)
    finally:
        process.terminate()
        process.wait(_PATIENCE)
    return Sample(1, first - began, cpu)


def _read_cpu(pid: int) -> float:
    """The seconds of CPU that a process has used so far, in hundredths."""
    path = Path(f"/proc/{pid}/stat")
    if not path.exists():
        raise BenchmarkFailed("what a process has used of the CPU is told by Linux only")
    fields = path.read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
