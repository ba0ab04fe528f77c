"""Reads of the log and the live rows."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterator, Sequence, Sized
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeAlias

import anyio
import msgspec

from ecproc.domain.log import Compact, RecordedEvent, Row, Snapshot, StreamCounters
from ecproc.errors import LogDamaged, RowDamaged
from ecproc.store.base import ALL, Head, Span, Tables
from ecproc.store.canonical import STREAM_TABLE, counters_row, order_tables
from ecproc.store.chain import NO_HASH
from ecproc.store.plan import check_table
from ecproc.store.seals import is_sealed, read_row
from ecproc.store.sqlite.connections import Fetch, Scan
from ecproc.store.sqlite.datadir import measure_files
from ecproc.store.sqlite.schema import translate_errors
from ecproc.store.sqlite.sql import live, log
from ecproc.store.sqlite.sql.log import Beyond

PAGE_EVENTS: Final = 1000
PAGE_BYTES: Final = 4 * 1024 * 1024
"""What one page of the log holds at most; a single larger event is a page of its own."""

PAGE_STREAM_EVENTS: Final = 256
"""Events in a page by stream, whose size is not known before it is read."""

PAGE_ROWS: Final = 1000
PAGE_ROWS_FIRST: Final = 16
"""Live rows in a first page, whose size is not known before it is read."""

Kept: TypeAlias = tuple[str, str, int, bytes, str | None]
"""The columns of a live row: stream, id, ordinal, sealed data, tag."""

_NO_LIMIT: Final = -1
_LEAST: Final = -(2**63)
_LARGEST: Final = 2**63 - 1
_LAST_CHARACTER: Final = "\U0010ffff"


class SqliteReader:
    """The Reader of a SQLite log; one moment or many, as the given `fetch` and `scan` see it. A `head` ends the log."""

    def __init__(self, directory: Path, tables: Tables, fetch: Fetch, scan: Scan, *, head: Head | None = None) -> None:
        self._head = head
        self._directory = directory
        self._tables = tables
        self._fetch = fetch
        self._scan = scan

    async def head(self) -> Head:
        if self._head is not None:
            return self._head
        rows = await self._fetch(log.READ_HEAD)
        return Head(*rows[0]) if rows else Head(0, NO_HASH)

    async def read_event(self, position: int) -> RecordedEvent | None:
        rows = await self._fetch(log.READ_EVENT, (position,), position=position)
        return RecordedEvent(*rows[0]) if rows else None

    async def read_message(self, message_key: bytes) -> RecordedEvent | None:
        rows = await self._fetch(log.READ_MESSAGE, (message_key,))
        return RecordedEvent(*rows[0]) if rows else None

    async def read_stream(self, stream: str, *, after: int = 0, limit: int | None = None) -> list[RecordedEvent]:
        until = _LARGEST if limit is None else after + limit
        return _follow_back(stream, await self._fetch(log.READ_STREAM, (stream, after, until)))

    async def read_log(self, *, after: int = 0, until: int | None = None) -> AsyncIterator[list[RecordedEvent]]:
        last = (await self.head()).position if until is None else until
        while after < last:
            try:
                page = await self._read_page(after, last)
            except LogDamaged as damage:
                raise await self._locate(after, last, damage) from damage
            if not page:
                return
            yield page
            after = page[-1].position

    async def read_streams(self, *, until: int | None = None, span: Span = ALL) -> AsyncIterator[list[RecordedEvent]]:
        head = (await self.head()).position
        last = head if until is None else min(until, head)
        left = last
        bounds = (span.first, span.end, last)
        try:
            async for places in self._scan(log.SCAN_ORDER, bounds, rows=PAGE_STREAM_EVENTS, aside=True):
                yield await self._read_places([place[0] for place in places])
                left -= len(places)
        except LogDamaged as damage:
            raise await self._find_gap(last) from damage
        if left and span == ALL:
            raise await self._find_gap(last)

    async def read_compact(self, *, span: Span = ALL) -> AsyncIterator[list[Compact]]:
        async for rows in self._scan(log.SCAN_COMPACT, (span.first, span.end), rows=PAGE_EVENTS):
            yield [Compact(*row) for row in rows]

    async def list_streams(self, *, span: Span = ALL) -> AsyncIterator[list[tuple[str, StreamCounters]]]:
        async for page in _list_streams(self._fetch, span):
            yield page

    async def stream_state(self, stream: str) -> StreamCounters:
        rows = await self._fetch(log.READ_STREAM_STATE, (stream,))
        return StreamCounters(*rows[0]) if rows else StreamCounters()

    async def undecided_streams(self) -> list[str]:
        return [row[0] for row in await self._fetch(log.READ_UNDECIDED)]

    async def read_rows(
        self, table: str, *, stream: str | None = None, id: str | None = None, last: int | None = None
    ) -> list[Row]:
        check_table(table, self._tables)
        if stream is not None and id is not None:
            rows = await self._fetch_rows(table, live.read_row(table), (stream, id))
        elif stream is not None:
            bounds = (stream, _NO_LIMIT if last is None else last)
            rows = await self._fetch_rows(table, live.read_rows_of_stream(table), bounds)
            rows.reverse()
        elif id is not None:
            rows = await self._fetch_rows(table, live.read_rows_by_id(table), (id,))
        else:
            raise ValueError("rows are read by stream, by id, or by both")
        return await self._open_rows(table, rows)

    async def list_later(self, table: str, prefix: str, id: str) -> list[tuple[str, str]]:
        check_table(table, self._tables)
        bounds = (prefix, f"{prefix}{_LAST_CHARACTER}", len(id), id)
        return sorted(await self._fetch_rows(table, live.list_later(table), bounds))

    async def count_rows(self, table: str, stream: str) -> int:
        check_table(table, self._tables)
        rows = await self._fetch(live.count_rows(table), (stream,))
        return int(rows[0][0])

    async def count_tags(self, table: str) -> dict[str, int]:
        check_table(table, self._tables)
        return dict(await self._fetch_rows(table, live.count_tags(table), ()))

    async def scan_rows(
        self, table: str, *, tagged: bool = False, tags: Collection[str] | None = None, after: str = ""
    ) -> AsyncIterator[list[Row]]:
        check_table(table, self._tables)
        async for page in scan_kept(self._fetch, table, tagged=tagged, tags=tags, after=after):
            yield await self._open_rows(table, page)

    async def read_snapshot(self, stream: str, *, snapshot_version: int) -> Snapshot | None:
        rows = await self._fetch(log.READ_SNAPSHOT, (stream, snapshot_version))
        return Snapshot(*rows[0]) if rows else None

    async def read_tail(self, stream: str, *, snapshot_version: int) -> tuple[Snapshot | None, list[RecordedEvent]]:
        rows = await self._fetch(log.READ_TAIL, (stream, snapshot_version, _LARGEST))
        snapshot = None
        if rows and rows[-1][-1] is None:  # a snapshot has no version that is expected
            _, of, version, fold_version, _, data, *_ = rows.pop()
            snapshot = Snapshot(of, version, fold_version, data)
        return snapshot, _follow_back(stream, rows)

    async def fold_version(self) -> int:
        rows = await self._fetch(log.READ_FOLD_VERSION)
        return rows[0][0] if rows else 0

    async def size_bytes(self) -> int:
        with translate_errors(f"{self._directory} cannot be measured"):
            return await anyio.to_thread.run_sync(measure_files, self._directory)

    async def canonical_rows(self) -> AsyncIterator[list[Row]]:
        """All live rows and stream counters, in canonical order, in pages."""
        async for page in list_canonical(self._fetch, self._tables):
            yield page

    async def _open_rows(self, table: str, kept: Sequence[Kept]) -> list[Row]:
        rows = [read_row(table, *row) for row in kept]
        if all(is_sealed(row[3]) for row in kept) or await self._fetch(log.FIND_UNSEALED_FORM):
            return rows
        # The rows may have been made anew since they were read, by a start beside us: those that stand now count.
        return [row for old in kept for row in await self._read_sealed(table, old)]

    async def _read_sealed(self, table: str, old: Kept) -> list[Row]:
        """The row of that key as it is now, if there still is one. Raises RowDamaged if it has no checksum."""
        found = await self._fetch_rows(table, live.read_row(table), old[:2])
        if not all(is_sealed(row[3]) for row in found):
            raise RowDamaged(table, str(old[0]), str(old[1]))
        return [read_row(table, *row) for row in found]

    async def _fetch_rows(self, table: str, query: str, parameters: Sequence[object]) -> list[Any]:
        with blaming_rows(table):
            return await self._fetch(query, parameters)

    async def _read_page(self, after: int, last: int) -> list[RecordedEvent]:
        sizes = await self._fetch(log.LIST_SIZES, (after, last, PAGE_EVENTS))
        if not sizes:
            return []
        rows = await self._fetch(log.READ_LOG, (after, _page_end(sizes)))
        page = [RecordedEvent(*row) for row in rows]
        for position, event in enumerate(page, start=after + 1):
            if event.position != position:
                raise LogDamaged(position, "the event is missing")
        return page

    async def _read_places(self, positions: list[int]) -> list[RecordedEvent]:
        """The events at these positions, in this order."""
        rows = await self._fetch(log.READ_EVENTS, (msgspec.json.encode(positions).decode(),))
        found = {row[0]: RecordedEvent(*row) for row in rows}
        if len(found) != len(positions):
            raise LogDamaged(0, "an event that the log lists is not in it")
        return [found[position] for position in positions]

    async def _find_gap(self, last: int) -> LogDamaged:
        """Where the log up to that position cannot be read whole, as reading it in order tells."""
        try:
            async for _ in self.read_log(until=last):
                pass
        except LogDamaged as damage:
            return damage
        return LogDamaged(0, "the index of streams and versions does not hold")

    async def _locate(self, after: int, last: int, damage: LogDamaged) -> LogDamaged:
        """The damage with the first position that cannot be read."""
        for position in range(after + 1, min(last, after + PAGE_EVENTS) + 1):
            try:
                event = await self.read_event(position)
            except LogDamaged as found:
                return found
            if event is None:
                return LogDamaged(position, "the event is missing")
        return damage


def _follow_back(stream: str, rows: list[Any]) -> list[RecordedEvent]:
    """A stream's events in order, which are read from its last one back. Raises LogDamaged where one is another."""
    rows.reverse()
    for position, of, version, *_, expected in rows:
        if (of, version) != (stream, expected):
            raise LogDamaged(position or 0, f"version {expected} of stream {stream!r} is not where it should be")
    return [RecordedEvent(*row[:-1]) for row in rows]


async def list_canonical(fetch: Fetch, tables: Tables) -> AsyncIterator[list[Row]]:
    """The live rows and stream counters of a database, in canonical order, in pages."""
    for table in order_tables(tables):
        if table == STREAM_TABLE:
            async for counters in _list_streams(fetch, ALL):
                yield [counters_row(name, state) for name, state in counters]
        else:
            async for page in _list_rows(fetch, table):
                yield page


async def _list_rows(fetch: Fetch, table: str) -> AsyncIterator[list[Row]]:
    async for page in list_kept(fetch, table):
        yield [_read_or_show(table, row) for row in page]


async def scan_kept(
    fetch: Fetch, table: str, *, tagged: bool = False, tags: Collection[str] | None = None, after: str = ""
) -> AsyncIterator[list[Kept]]:
    """The rows of one table, its tagged ones, or those of some tags, as they are kept, behind a stream, by stream and
    ordinal, in pages of bounded size."""
    if tags is not None and not tags:
        return
    key = (f"{after}\0" if after else "", _LEAST, "")  # the next name there could be
    beyond: Beyond = ">="
    size = _PageSize()
    with blaming_rows(table):
        while rows := await fetch(*_scan_page(table, beyond, key, size.rows, tagged=tagged, tags=tags)):
            size.learn([row[3] for row in rows])
            yield rows
            stream, id, ordinal, *_ = rows[-1]
            key, beyond = (stream, ordinal, id), ">"


def _scan_page(
    table: str, beyond: Beyond, key: tuple[str, int, str], size: int, *, tagged: bool, tags: Collection[str] | None
) -> tuple[str, tuple[object, ...]]:
    """The query for a page of so many rows behind that key, and its parameters."""
    if tags is None:
        return live.scan_rows(table, beyond, tagged=tagged), (*key, size)
    bounds = [bound for tag in tags for bound in (tag, *key)]
    return live.scan_tags(table, beyond, len(tags)), (*bounds, size)


async def list_kept(fetch: Fetch, table: str) -> AsyncIterator[list[Kept]]:
    """The rows of one table as they are kept, by stream and id, in pages of bounded size."""
    key = ("", "")
    beyond: Beyond = ">="
    size = _PageSize()
    with blaming_rows(table):
        while rows := await fetch(live.list_rows(table, beyond), (*key, size.rows)):
            size.learn([row[3] for row in rows])
            yield rows
            key, beyond = rows[-1][:2], ">"


@contextmanager
def blaming_rows(table: str) -> Iterator[None]:
    """Name the table where one of its keys or tags is no text any more, which does not touch the log."""
    try:
        yield
    except LogDamaged as damage:
        if hasattr(damage.__cause__, "sqlite_errorcode"):
            raise
        raise RowDamaged(table, reason=damage.reason) from damage


def _read_or_show(table: str, kept: Kept) -> Row:
    """The row; one that is not as it was written with all that is kept of it, which is no other row's data."""
    try:
        return read_row(table, *kept)
    except RowDamaged:
        return Row(table, *kept)


async def _list_streams(fetch: Fetch, span: Span) -> AsyncIterator[list[tuple[str, StreamCounters]]]:
    stream = span.first
    beyond: Beyond = ">="
    while rows := await fetch(log.list_streams(beyond), (stream, PAGE_ROWS)):
        yield [(name, StreamCounters(*counters)) for name, *counters in rows if span.holds(name)]
        stream, beyond = rows[-1][0], ">"
        if not span.holds(stream):
            return


class _PageSize:
    """How many rows to ask for next: as many as the last ones' sizes make about `PAGE_BYTES`."""

    def __init__(self) -> None:
        self.rows = PAGE_ROWS_FIRST

    def learn(self, page: Sequence[Sized]) -> None:
        """Take a page that came."""
        each = max(1, sum(map(len, page)) // len(page))
        self.rows = max(1, min(PAGE_ROWS, PAGE_BYTES // each, 2 * self.rows))


def _page_end(sizes: Sequence[tuple[int, int]]) -> int:
    """The last position of a page that starts with the first of these (position, size)."""
    end, total = sizes[0]
    for position, size in sizes[1:]:
        total += size
        if total > PAGE_BYTES:
            break
        end = position
    return end
