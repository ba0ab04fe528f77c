"""A picture of the ratios, as SVG text: each row's bar on a logarithmic scale, its goal as a mark."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import Final

from benchmarks.goals import goal_of, is_met
from benchmarks.lab import Row

_LABELS: Final = 430
_WIDTH: Final = 960
_BAR: Final = 14
_STEP: Final = 22
_TOP: Final = 34
_TICKS: Final = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20)
_STYLE: Final = (
    "text{font:12px sans-serif;fill:#333}.axis{stroke:#ccc}.one{stroke:#666}.goal{stroke:#000;stroke-width:2}"
    ".bar{fill:#7aa6c2}.met{fill:#6aa84f}.missed{fill:#cc6b5a}.range{stroke:#333}"
    "@media(prefers-color-scheme:dark){text{fill:#ddd}.axis{stroke:#444}.one,.range{stroke:#aaa}.goal{stroke:#fff}}"
)


def draw(rows: Sequence[Row]) -> str:
    """An SVG document of all rows whose figure is a ratio."""
    shown = [row for row in rows if row.figure is not None and row.unit == "x" and row.figure > 0]
    height = _TOP + _STEP * len(shown) + 10
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img">',
        "<title>How many times the baseline's rate; the black mark is the goal</title>",
        f"<style>{_STYLE}</style>",
    ]
    for tick in _TICKS:
        kind = "one" if tick == 1 else "axis"
        lines.append(f'<line class="{kind}" x1="{_x(tick)}" x2="{_x(tick)}" y1="{_TOP - 8}" y2="{height - 8}"/>')
        lines.append(f'<text x="{_x(tick)}" y="{_TOP - 14}" text-anchor="middle">{tick:g}×</text>')
    for index, row in enumerate(shown):
        lines += _draw_row(row, _TOP + index * _STEP)
    return "\n".join([*lines, "</svg>", ""])


def _draw_row(row: Row, y: int) -> list[str]:
    figure = row.figure or 0.0
    left, right = sorted((_x(1), _x(figure)))
    middle = y + _BAR / 2
    kind = {True: "met", False: "missed", None: "bar"}[is_met(row)]
    lines = [
        f'<text x="{_LABELS - 10}" y="{y + 11}" text-anchor="end">{escape(_shorten(row))}</text>',
        f'<rect class="{kind}" x="{left}" y="{y}" width="{max(round(right - left, 1), 1)}" height="{_BAR}">'
        f"<title>{escape(row.title)}: {figure:.2f}× {escape(row.baseline.name if row.baseline else '')}</title></rect>",
    ]
    if row.least and row.most and row.least < row.most:
        lines.append(f'<line class="range" x1="{_x(row.least)}" x2="{_x(row.most)}" y1="{middle}" y2="{middle}"/>')
    goal = goal_of(row.key)
    if goal is not None:
        lines.append(
            f'<line class="goal" x1="{_x(goal.bound)}" x2="{_x(goal.bound)}" y1="{y - 2}" y2="{y + _BAR + 2}"/>'
        )
    lines.append(f'<text x="{_WIDTH - 4}" y="{y + 11}" text-anchor="end">{figure:.2f}</text>')
    return lines


def _shorten(row: Row) -> str:
    text = f"{row.title} / {row.baseline.name if row.baseline else ''}"
    return text if len(text) <= 74 else f"{text[:73]}…"


def _x(value: float) -> float:
    low, high = math.log10(_TICKS[0] * 0.7), math.log10(_TICKS[-1] * 1.2)
    place = (math.log10(min(max(value, _TICKS[0] * 0.7), _TICKS[-1] * 1.2)) - low) / (high - low)
    return round(_LABELS + place * (_WIDTH - _LABELS - 50), 1)
