"""The quick rows that no change may make much worse: ratios to baselines of the same run, held against committed ones.

A ratio of CPU says the same of every machine, give or take a fifth, where a speed would not. What a disk or many cores
decide is not held, nor what stands beside work of our own, nor what differs too much from one quick run to the next or
from one machine to another.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from statistics import median
from typing import Final, TypeAlias

import msgspec

from benchmarks.goals import goal_of
from benchmarks.lab import BenchmarkFailed, Lab, Row

HELD: Final = Path(__file__).parent / "held.json"
"""The committed ratios by the keys of their rows; `python -m benchmarks --keep` makes them anew."""

FLOOR: Final = 0.7
"""Of a committed ratio, what a run must reach."""
TRIES: Final = 3
"""How often what fell is measured; the best counts."""

_RUNS: Final = 5
_STABLE: Final = 0.75
"""Of the median, what each of the runs must reach for the row to be held."""

_OWN: Final = frozenset({"e2e_scattered", "e2e_effects", "effect_http", "replay_compact_raw"})
"""Rows whose baseline is work of ours: progress there would look like a fall."""
_UNLIKE: Final = frozenset({"replay_raw"})
"""Rows whose ratio is another one on another machine, by more than the floor allows: ours is all interpreter, their
baseline nearly all C."""

Part: TypeAlias = Callable[[Lab], Sequence[Row]]
"""Measures some of the rows."""

_PARTS: Final = (
    "decode:run",
    "end_to_end:measure_message",
    "effects:measure_local",
    "project:measure_settle",
    "replay:measure_forms",
    "startup:measure_empty",
)


def hold_rows(lab: Lab) -> int:
    """Measure and say how the rows stand; 1 if one fell below its floor."""
    committed = msgspec.json.decode(HELD.read_bytes(), type=dict[str, float])
    fallen = find_fallen(lab, committed, _load_parts())
    for line in fallen:
        print(f"fell: {line}", file=sys.stderr)
    return int(bool(fallen))


def find_fallen(lab: Lab, committed: Mapping[str, float], parts: Sequence[Part]) -> list[str]:
    """What is wrong with each row that is worse than its floor however often it is measured, or is not there."""
    best: dict[str, float] = {}
    troubles: list[str] = []
    for part in parts:
        troubles += _measure(lab, part, committed, best)
    return troubles + [f"{key}: no row of that name was measured" for key in committed if key not in best]


def keep_rows(lab: Lab, parts: Sequence[Part] = (), path: Path = HELD) -> int:
    """Measure all of them five times and keep the medians of those that hardly differ."""
    seen: dict[str, list[float]] = {}
    for _ in range(_RUNS):
        for part in parts or _load_parts():
            for row in part(lab):
                if row.figure is not None and _can_be_held(row):
                    seen.setdefault(row.key, []).append(row.figure)
    kept = {}
    for key, figures in seen.items():
        middle = median(figures)
        is_stable = all(_share(key, figure, middle) >= _STABLE for figure in figures)
        print(f"{key}: {middle:.3g} ({min(figures):.3g}–{max(figures):.3g}){'' if is_stable else ', not held'}")
        if is_stable:
            kept[key] = float(f"{middle:.3g}")
    path.write_bytes(msgspec.json.format(msgspec.json.encode(kept), indent=1) + b"\n")
    return 0


def _can_be_held(row: Row) -> bool:
    """Whether the row is a ratio to work that is not ours, or counts a cost."""
    return (row.unit == "x" or _is_cost(row.key)) and row.key not in _OWN | _UNLIKE


def _load_parts() -> list[Part]:
    return [_load(name) for name in _PARTS]


def _load(name: str) -> Part:
    module, _, function = name.partition(":")

    def measure(lab: Lab) -> Sequence[Row]:
        rows: Sequence[Row] | Row = getattr(import_module(f"benchmarks.{module}"), function)(lab)
        return [rows] if isinstance(rows, Row) else rows

    return measure


def _measure(lab: Lab, part: Part, committed: Mapping[str, float], best: dict[str, float]) -> list[str]:
    """Measure a part until nothing of it is below its floor, three times at most; say how it stands, and tell what
    still is below."""
    rows: dict[str, Row] = {}
    failure: BenchmarkFailed | None = None
    for _ in range(TRIES):
        try:
            measured = part(lab)
        except BenchmarkFailed as error:
            failure = error
            continue
        failure = None
        for row in measured:
            if row.figure is not None and row.key in committed:
                rows[row.key] = row
                best[row.key] = _better(row, best.get(row.key))
        if all(_holds(key, committed, best) for key in rows):
            break
    for key in rows:
        print(_describe(key, committed, best), flush=True)
    fallen = [row for key, row in rows.items() if not _holds(key, committed, best)]
    told = [f"{_describe(row.key, committed, best)} ({row.title} / {_name_baseline(row)})" for row in fallen]
    return told if failure is None or rows else [str(failure)]


def _better(row: Row, former: float | None) -> float:
    figure = row.figure or 0.0
    if former is None:
        return figure
    return min(figure, former) if _is_cost(row.key) else max(figure, former)


def _holds(key: str, committed: Mapping[str, float], best: Mapping[str, float]) -> bool:
    return _share(key, best[key], committed[key]) >= FLOOR


def _describe(key: str, committed: Mapping[str, float], best: Mapping[str, float]) -> str:
    was = committed[key]
    bound = f"at most {was / FLOOR:.3g}" if _is_cost(key) else f"at least {was * FLOOR:.3g}"
    return f"{key}: {best[key]:.3g}, committed {was:.3g}, {bound}"


def _name_baseline(row: Row) -> str:
    return row.baseline.name if row.baseline is not None else "-"


def _share(key: str, figure: float, of: float) -> float:
    """How much of another figure that one reaches: more is better, whichever way the row counts."""
    return of / max(figure, 1e-9) if _is_cost(key) else figure / max(of, 1e-9)


def _is_cost(key: str) -> bool:
    """Whether less is better."""
    goal = goal_of(key)
    return goal is not None and goal.at_most
