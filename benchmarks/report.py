"""The figures of one machine, kept as JSON, and the page that is made of them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from benchmarks.goals import goal_of, is_met
from benchmarks.lab import Row, Side
from benchmarks.machine import Machine
from benchmarks.plot import draw

RESULTS: Final = Path(__file__).parent / "results"
README: Final = Path(__file__).parent / "README.md"
_BEGIN: Final = "<!-- figures: made by python -m benchmarks, not by hand -->"
_END: Final = "<!-- end of figures -->"
_COUNTED: Final = 100
_CLOCKS: Final = {"cpu": "CPU", "wall": "wall"}


class Report(msgspec.Struct, frozen=True):
    """All rows that were measured on a machine, module by module, each with the day it was measured."""

    machine: Machine
    measured: str
    modules: dict[str, list[Row]] = {}


def save_report(machine: Machine, modules: dict[str, list[Row]]) -> Report:
    """Put new rows in place of the machine's former ones, and write its JSON and its plot."""
    path = RESULTS / f"{machine.name}.json"
    former = msgspec.json.decode(path.read_bytes(), type=Report).modules if path.exists() else {}
    today = datetime.now(UTC).date().isoformat()
    report = Report(machine=machine, measured=today, modules={**former, **modules})
    RESULTS.mkdir(exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n")
    path.with_suffix(".svg").write_text(draw(_rows(report)), encoding="utf-8")
    return report


def write_page() -> None:
    """Make the README's tables anew from every result there is."""
    text = README.read_text(encoding="utf-8")
    head, _, rest = text.partition(_BEGIN)
    tail = rest.partition(_END)[2]
    reports = [msgspec.json.decode(path.read_bytes(), type=Report) for path in sorted(RESULTS.glob("*.json"))]
    sections = "\n".join(_section(report) for report in reports)
    README.write_text(f"{head}{_BEGIN}\n{sections}\n{_END}{tail}", encoding="utf-8")


def print_rows(rows: Sequence[Row]) -> str:
    """Rows as a Markdown table."""
    lines = ["| what | ours, us | baseline | its us | figure | goal |", "|---|---|---|---|---|---|"]
    return "\n".join(lines + [_line(row) for row in rows])


def _section(report: Report) -> str:
    machine = report.machine
    packages = ", ".join(f"{name} {number}" for name, number in machine.packages.items())
    build = f" ({machine.build})" if machine.build else ""
    head = (
        f"\n### {machine.cpu}, {machine.cores} cores\n\n"
        f"{report.measured} · {machine.memory_gib:g} GiB · {machine.system} · {machine.python}{build} ·"
        f" SQLite {machine.sqlite} · fsync {machine.fsync_us:.0f} us · {packages}\n\n"
        f"![ratios](results/{machine.name}.svg)\n"
    )
    tables = [f"\n**{name}**\n\n{print_rows(rows)}\n" for name, rows in report.modules.items()]
    return head + "".join(tables)


def _rows(report: Report) -> list[Row]:
    return [row for rows in report.modules.values() for row in rows]


def _line(row: Row) -> str:
    note = f" ({row.note})" if row.note else ""
    baseline = row.baseline
    theirs = ("", "") if baseline is None else (baseline.name, _time(baseline))
    return f"| {row.title}{note} | {_time(row.ours)} | {theirs[0]} | {theirs[1]} | {_figure(row)} | {_goal(row)} |"


def _time(side: Side) -> str:
    if side.us == 0:
        return ""
    cpu = f", CPU {_number(side.cpu_us)}" if side.cpu_us else ""
    return f"{_number(side.us)}{cpu}"


def _figure(row: Row) -> str:
    if row.figure is None:
        return ""
    spread = "" if row.least == row.most else f" ({_number(row.least or 0)}–{_number(row.most or 0)})"
    unit = f"× {_CLOCKS[row.by]}" if row.unit == "x" else f" {row.unit}"
    return f"**{_number(row.figure)}{unit}**{spread}"


def _goal(row: Row) -> str:
    goal = goal_of(row.key)
    if goal is None:
        return ""
    return f"{'≤' if goal.at_most else '≥'} {goal.bound:g} {'met' if is_met(row) else 'missed'}"


def _number(value: float) -> str:
    if abs(value) >= _COUNTED:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
