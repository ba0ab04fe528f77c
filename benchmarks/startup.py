"""From the start of `ecproc run` to its first GET: on a large log, and on none."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from benchmarks.lab import ROOT, BenchmarkFailed, Lab, Row, Stub, make_row
from benchmarks.logs import renew_log
from benchmarks.measure import Sample
from benchmarks.transports import KEY

_PATIENCE: Final = 120.0


def run(lab: Lab) -> list[Row]:
    """Start on the run's large log and on an empty directory, in turn."""
    renew_log(lab)
    large: list[Sample] = []
    empty: list[Sample] = []
    for _ in range(lab.rounds):
        with lab.stub(messages=0, tickets=1) as stub:
            large.append(start(lab.log, stub))
        with lab.stub(messages=0, tickets=1) as stub:
            empty.append(start(lab.folder() / "data", stub))
    return [
        make_row(
            "startup",
            f"start to first GET, {lab.log_messages:,} messages in the log",
            per="start",
            ours=large,
            baseline=empty,
            against="on an empty directory",
        )
    ]


def start(data: Path, stub: Stub) -> Sample:
    """Seconds from starting the process to its first GET."""
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
    try:
        first = None
        while first is None:
            if process.poll() is not None or time.monotonic() - began > _PATIENCE:
                raise BenchmarkFailed(f"ecproc run sent no GET (exit {process.poll()})")
            time.sleep(0.02)
            first = stub.ask("/stat")["first_get"]
    finally:
        process.terminate()
        process.wait(_PATIENCE)
    return Sample(1, first - began, 0.0)
