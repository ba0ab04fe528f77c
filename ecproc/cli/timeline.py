"""A timeline on a terminal: day by day, what happened when, how long after what came before, and what took long."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Final

from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ecproc.cli.printable import printable, printable_line
from ecproc.cli.spans import describe_span
from ecproc.domain.times import parse_time
from ecproc.reading.timeline import Happening, Timeline, TimelineEntry

_SECOND: Final = 1_000_000
_LONG: Final = 60 * _SECOND
"""Microseconds behind which an effect is said to have taken them."""
_NARROW: Final = 4
"""Columns before the text: time, gap, position, and what it is."""
_LONGEST: Final = 300
"""Characters of a text that are shown of it unless it is to be shown whole."""
_STYLES: Final = {
    Happening.MOVE: "bold cyan",
    Happening.ANOMALY: "yellow",
    Happening.QUARANTINE: "yellow",
    Happening.OPERATOR: "magenta",
    Happening.COMMAND: "magenta",
    Happening.DEFECT: "bold red",
}


def draw_timeline(timeline: Timeline, *, now: int, full: bool) -> Iterator[RenderableType]:
    """One table per day of UTC; `now` in microseconds, texts are folded to their first line unless `full`."""
    if not timeline.entries:
        return
    left_out = timeline.count - len(timeline.entries)
    more = f" (the last {len(timeline.entries):,} of {timeline.count:,})" if left_out else ""
    yield Text(f"\nTimeline{more}", style="bold")
    rows = list(_list_rows(timeline.entries, full=full))
    widths = [max(row[column].cell_len for _, row in rows) for column in range(_NARROW)]
    for day, of_day in groupby(rows, key=lambda row: row[0].at[:10]):
        table = Table(box=None, show_header=False, padding=(0, 2, 0, 0), pad_edge=False)
        for width in widths:
            table.add_column(no_wrap=True, min_width=width)
        table.add_column(overflow="fold")
        shown = list(of_day)
        for _, row in shown:
            table.add_row(*row)
        ago = describe_span(now - _moment(shown[-1][0]), parts=1)
        yield Text(f"  {printable_line(day)}  {ago} ago", style="dim")
        yield Padding(table, (0, 0, 0, 2), expand=False)


def _list_rows(entries: Sequence[TimelineEntry], *, full: bool) -> Iterator[tuple[TimelineEntry, tuple[Text, ...]]]:
    """The cells of each entry; what one event tells stands below its time."""
    before: TimelineEntry | None = None
    for entry in entries:
        new = before is None or entry.position != before.position
        place = _place(entry, before) if new else (Text(), Text(), Text())
        yield entry, (*place, Text(entry.what, style="dim"), _tell(entry, full=full))
        before = entry


def fold_text(text: str) -> Text:
    """The text's first line, cut to a few lines' worth, and how much more it has."""
    lines = text.strip().splitlines() or [""]
    shown, more = Text(printable_line(lines[0][:_LONGEST])), len(lines) - 1
    if len(lines[0]) > _LONGEST:
        return shown.append(f"… ({len(text):,} characters, --full)", style="dim")
    return shown.append(f" (+{more} line{'s' if more > 1 else ''})", style="dim") if more else shown


def _place(entry: TimelineEntry, before: TimelineEntry | None) -> tuple[Text, Text, Text]:
    """When it was, how long after what came before, and where in the log."""
    passed = 0 if before is None else _moment(entry) - _moment(before)
    gap = f"+{describe_span(passed)}" if passed >= _SECOND else ""
    time = f"{printable_line(entry.at[11:19])}Z"
    return Text(time), Text(gap, style="yellow"), Text(str(entry.position), style="dim")


def _moment(entry: TimelineEntry) -> int:
    return parse_time(entry.at) or 0


def _tell(entry: TimelineEntry, *, full: bool) -> Text:
    told = Text(printable_line(entry.title)) if full else fold_text(entry.title)
    told.stylize_before(_STYLES.get(entry.what, ""))
    if entry.took is not None and entry.took >= _LONG:
        told.append(f" after {describe_span(entry.took)}", style="yellow")
    if entry.text:
        told.append(": " if entry.title else "", style="default")
        told.append_text(Text(printable(entry.text), style="default") if full else fold_text(entry.text))
    return told
