"""Which query is asked next of a watched table, and where its answer leads. Pure.

A round reads `[seen - overlap, end)` in the order of (time, sys_id). Times are whole seconds, so behind a page the rest
of its last second is read first, by sys_id, and then what is later. Nothing goes by offsets: rows move while they are
read. A page that is shorter than asked for is not the end, as rows that our user may not see are taken out of a page
after it was cut: the end is a page without a row and without a next one, or one from whose total nothing is left.

`seen` is the newest time of any row, never now: what is written while we ask, or becomes visible late, is behind it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final

import msgspec
from msgspec.structs import replace

from ecproc.desk.servicenow.query import EncodedQuery, is_sys_id, is_time
from ecproc.desk.servicenow.wire import RecordValues

WIDE_PAGE: Final = 10_000
"""Rows of a page that is asked for again because all of it was hidden."""
_FORM: Final = "%Y-%m-%d %H:%M:%S"
_SECOND: Final = timedelta(seconds=1)


class Heard(StrEnum):
    """What the rows of a watched table are about."""

    RECORD = "record"
    NOTE = "note"
    FILE = "file"
    APPROVAL = "approval"


class WatchedTable(msgspec.Struct, frozen=True, kw_only=True):
    """A watched table, read by a time that only grows; `conditions` say which of its rows."""

    table: str
    heard: Heard
    time: str
    fields: tuple[str, ...]
    conditions: EncodedQuery = EncodedQuery()
    ticket_type: str = ""


class TableMark(msgspec.Struct, frozen=True, omit_defaults=True):
    """How far a table was read. In a round `at` is the second where it goes on, inside of which behind the row
    `behind`; `wide`: its last page was hidden from us. `done`: the round is over."""

    seen: str
    at: str = ""
    behind: str = ""
    wide: bool = False
    done: bool = False


class RoundCursor(msgspec.Struct, frozen=True):
    """The marks of all watched tables."""

    tables: Mapping[str, TableMark] = {}


class RoundPage(msgspec.Struct, frozen=True):
    """Rows that came, in order, and whether more are named; `newest` is the instance's clock. `is_whole`: so many rows
    as were asked for are there at most, those hidden from us included."""

    rows: Sequence[RecordValues]
    has_next: bool
    newest: str
    is_whole: bool = False


class QueryIgnored(Exception):
    """Rows came that were not asked for: the instance does not go by the query."""


def read_cursor(text: str) -> RoundCursor:
    """The cursor that `write_cursor` made; one that cannot be read is the empty one."""
    try:
        found = msgspec.json.decode(text, type=RoundCursor)
    except (msgspec.DecodeError, UnicodeEncodeError):
        return RoundCursor()
    marks = {name: mark for name, mark in found.tables.items() if is_time(mark.seen)}
    return RoundCursor({name: mark for name, mark in marks.items() if not mark.at or is_time(mark.at)})


def write_cursor(cursor: RoundCursor) -> str:
    """The cursor as text."""
    return msgspec.json.encode(cursor, order="sorted").decode()


def go_round(
    cursor: RoundCursor, sources: Iterable[WatchedTable], *, start: str, overlap: float, anew: bool
) -> RoundCursor:
    """The cursor with a mark in this round for each table: a new round where all are done, or `anew`. A table that was
    never read begins at `start`."""
    marks = {source.table: cursor.tables.get(source.table) or TableMark(start) for source in sources}
    if anew or all(mark.done or not mark.at for mark in marks.values()):
        marks = {name: TableMark(mark.seen, at=_shift(mark.seen, -overlap)) for name, mark in marks.items()}
    begun = {name: mark if mark.at or mark.done else TableMark(mark.seen, at=mark.seen) for name, mark in marks.items()}
    return RoundCursor(begun)


def end_round(cursor: RoundCursor) -> RoundCursor:
    """The cursor between two rounds."""
    return RoundCursor({name: TableMark(mark.seen) for name, mark in cursor.tables.items()})


def step_back(mark: TableMark, newest: str, overlap: float) -> TableMark:
    """The mark, or where the instance's clock was set back behind it one that begins there: what is written now has a
    time of that clock."""
    if mark.at > newest and mark.at == _shift(mark.seen, -overlap) and not mark.behind:
        return TableMark(mark.seen, at=_shift(newest, -overlap))
    return mark


def ask(source: WatchedTable, mark: TableMark) -> EncodedQuery:
    """The query of the next page."""
    if mark.behind:
        query = source.conditions.at(source.time, mark.at).behind(mark.behind)
        return query.ordered_by("sys_id")
    return source.conditions.since(source.time, mark.at).ordered_by(source.time).ordered_by("sys_id")


def sort_rows(source: WatchedTable, mark: TableMark, rows: Iterable[RecordValues]) -> list[RecordValues]:
    """The rows of a page that say when and which they are, in order. Raises QueryIgnored."""
    told = [row for row in rows if is_sys_id(row.get("sys_id", "")) and is_time(row.get(source.time, ""))]
    for row in told:
        time = row[source.time]
        if time < mark.at or (mark.behind and (time != mark.at or row["sys_id"] <= mark.behind)):
            raise QueryIgnored(f"{source.table} is not searched by {source.time}")
    return sorted(told, key=lambda row: (row[source.time], row["sys_id"]))


def go_on(source: WatchedTable, mark: TableMark, page: RoundPage) -> TableMark:
    """The mark behind a page."""
    if page.rows:
        last = page.rows[-1]
        time = last[source.time]
        seen = max(mark.seen, min(time, page.newest))
        is_end = page.is_whole and not mark.behind
        return TableMark(seen, done=True) if is_end else TableMark(seen, at=time, behind=last["sys_id"])
    if page.has_next and not mark.wide:
        return replace(mark, wide=True)
    if mark.behind:
        return TableMark(mark.seen, at=_shift(mark.at, 1.0))
    return TableMark(mark.seen, done=True)


def is_hidden(mark: TableMark, page: RoundPage) -> bool:
    """Whether rows are there that no page shows us, so that we cannot get past them."""
    return not page.rows and page.has_next and mark.wide


def write_time(micros: int) -> str:
    """A time, in microseconds UTC, as records have it."""
    return datetime.fromtimestamp(micros // 1_000_000, UTC).strftime(_FORM)


def _shift(time: str, seconds: float) -> str:
    try:
        return (datetime.strptime(time, _FORM).replace(tzinfo=UTC) + _SECOND * seconds).strftime(_FORM)
    except (ValueError, OverflowError):
        return time
