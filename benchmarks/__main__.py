"""`python -m benchmarks [--quick | --hold | --keep] [--peers] [NAME ...]`: measure, print, keep what was found."""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from pathlib import Path
from typing import Final

from benchmarks.goals import is_met
from benchmarks.held import hold_rows, keep_rows
from benchmarks.lab import BenchmarkFailed, Row, open_lab
from benchmarks.machine import describe_machine
from benchmarks.report import print_rows, save_report, write_page

MODULES: Final = (
    "decode",
    "transports",
    "append",
    "tickets",
    "project",
    "end_to_end",
    "effects",
    "long_ticket",
    "replay",
    "startup",
    "scrape",
)
PEERS: Final = ("peers.event_stores", "peers.consumers")
"""Other people's software, which must be installed first: see peers/README.md."""


def main() -> int:
    """Run the chosen modules; 1 if one of them gave no figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"of {', '.join((*MODULES, *PEERS))}; all but peers if none"
    )
    parser.add_argument(
        "--quick", action="store_true", help="less work, fewer rounds, nothing kept: to see that all runs"
    )
    parser.add_argument("--peers", action="store_true", help="the peers too")
    parser.add_argument(
        "--disk", type=Path, help="a folder on the disk to measure; the system's temporary folder if absent"
    )
    either = parser.add_mutually_exclusive_group()
    either.add_argument(
        "--hold", action="store_true", help="hold quick rows against the committed ratios; 1 if one fell below a floor"
    )
    either.add_argument("--keep", action="store_true", help="measure these ratios anew, five times, and keep them")
    given = parser.parse_args()
    if given.hold or given.keep:
        with open_lab(quick=True, disk=given.disk) as lab:
            return hold_rows(lab) if given.hold else keep_rows(lab)
    names = given.names or [*MODULES, *(PEERS if given.peers else ())]
    unknown = set(names) - {*MODULES, *PEERS}
    if unknown:
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}")
    return _measure(names, quick=given.quick, disk=given.disk)


def _measure(names: list[str], *, quick: bool, disk: Path | None) -> int:
    measured: dict[str, list[Row]] = {}
    failed = False
    with open_lab(quick=quick, disk=disk) as lab:
        machine = describe_machine(lab.folder())
        for name in names:
            began = time.monotonic()
            try:
                measured[name] = importlib.import_module(f"benchmarks.{name}").run(lab)
            except BenchmarkFailed as error:
                failed = True
                print(f"{name}: {error}", file=sys.stderr)
                continue
            print(f"\n{name} ({time.monotonic() - began:.0f} s)\n\n{print_rows(measured[name])}", flush=True)
    if not quick:
        save_report(machine, measured)
        write_page()
    missed = [row.title for rows in measured.values() for row in rows if is_met(row) is False]
    print(f"\ngoals missed: {', '.join(missed) or 'none'}", file=sys.stderr)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
