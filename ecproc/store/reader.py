"""Reads of the log and the live rows through read-only aiosqlite connections."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from sqlite3 import Connection
from typing import Any, Final, Protocol

import aiosqlite
import anyio
import msgspec

from ecproc.domain.log import Compact, RecordedEvent, Row, Snapshot, StreamCounters
from ecproc.errors import LogDamaged, StoreUnavailable
from ecproc.store.base import ALL, Head, Span
from ecproc.store.canonical import CANONICAL_TABLES, STREAM_TABLE, counters_row
from ecproc.store.chain import NO_HASH
from ecproc.store.datadir import measure_files
from ecproc.store.plan import check_table
from ecproc.store.schema import sql, translate_errors

PAGE_EVENTS: Final = 1000
PAGE_BYTES: Final = 4 * 1024 * 1024
"""What one page of the log holds at most; a single larger event is a page of its own."""

PAGE_STREAM_EVENTS: Final = 256
"""Events in a page by stream, whose size is not known before it is read."""

PAGE_ROWS: Final = 1000
POOLED_CONNECTIONS: Final = 4

_INDEXED_KIND: Final = "MessageQuarantined"
_NO_LIMIT: Final = -1
_LEAST: Final = -(2**63)
_LARGEST: Final = 2**63 - 1


class Fetch(Protocol):
    """Runs one query whole and returns all it found; `position` is where a damaged file is reported."""

    async def __call__(self, query: str, parameters: Sequence[object] = (), *, position: int = 0) -> list[Any]: ...


class Scan(Protocol):
    """Runs one long query and gives what it finds in pages of so many rows."""

    def __call__(self, query: str, parameters: Sequence[object], *, rows: int) -> AsyncIterator[list[Any]]: ...


class SqliteReader:
    """The Reader of a SQLite log; one moment or many, as the given `fetch` and `scan` see it."""

    def __init__(self, directory: Path, fetch: Fetch, scan: Scan) -> None:
        self._directory = directory
        self._fetch = fetch
        self._scan = scan

    async def head(self) -> Head:
        rows = await self._fetch(sql("read_head"))
        return Head(*rows[0]) if rows else Head(0, NO_HASH)

    async def read_event(self, position: int) -> RecordedEvent | None:
        rows = await self._fetch(sql("read_event"), (position,), position=position)
        return RecordedEvent(*rows[0]) if rows else None

    async def read_stream(self, stream: str, *, after: int = 0, limit: int | None = None) -> list[RecordedEvent]:
        until = _LARGEST if limit is None else after + limit
        rows = await self._fetch(sql("read_stream"), (stream, after, until))
        rows.reverse()  # a stream is followed from its last event back
        for position, of, version, *_, expected in rows:
            if (of, version) != (stream, expected):
                raise LogDamaged(position or 0, f"version {expected} of stream {stream!r} is not where it should be")
        return [RecordedEvent(*row[:-1]) for row in rows]

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
            async for places in self._scan(sql("scan_order"), bounds, rows=PAGE_STREAM_EVENTS):
                yield await self._read_places([place[0] for place in places])
                left -= len(places)
        except LogDamaged as damage:
            raise await self._find_gap(last) from damage
        if left and span == ALL:
            raise await self._find_gap(last)

    async def read_compact(self, *, span: Span = ALL) -> AsyncIterator[list[Compact]]:
        async for rows in self._scan(sql("scan_compact"), (span.first, span.end), rows=PAGE_EVENTS):
            yield [Compact(*row) for row in rows]

    async def list_streams(self, *, span: Span = ALL) -> AsyncIterator[list[tuple[str, StreamCounters]]]:
        async for page in _list_streams(self._fetch, span):
            yield page

    async def read_kind(self, kind: str) -> list[RecordedEvent]:
        if kind == _INDEXED_KIND:
            rows = await self._fetch(sql("read_quarantined"))
        else:
            rows = await self._fetch(sql("read_kind"), (kind,))
        return [RecordedEvent(*row) for row in rows]

    async def stream_state(self, stream: str) -> StreamCounters:
        rows = await self._fetch(sql("read_stream_state"), (stream,))
        return StreamCounters(*rows[0]) if rows else StreamCounters()

    async def undecided_streams(self) -> list[str]:
        return [row[0] for row in await self._fetch(sql("read_undecided"))]

    async def read_rows(
        self, table: str, *, stream: str | None = None, id: str | None = None, last: int | None = None
    ) -> list[Row]:
        check_table(table)
        if stream is not None and id is not None:
            rows = await self._fetch(sql("read_row", table), (stream, id))
        elif stream is not None:
            rows = await self._fetch(sql("read_rows_of_stream", table), (stream, _NO_LIMIT if last is None else last))
            rows.reverse()
        elif id is not None:
            rows = await self._fetch(sql("read_rows_by_id", table), (id,))
        else:
            raise ValueError("rows are read by stream, by id, or by both")
        return [Row(table, *row) for row in rows]

    async def count_rows(self, table: str, stream: str) -> int:
        check_table(table)
        rows = await self._fetch(sql("count_rows", table), (stream,))
        return int(rows[0][0])

    async def scan_rows(self, table: str, *, tagged: bool = False) -> AsyncIterator[list[Row]]:
        check_table(table)
        name = "scan_rows_tagged" if tagged else "scan_rows"
        key, beyond = ("", _LEAST, ""), ">="
        while rows := await self._fetch(sql(name, table, beyond), (*key, PAGE_ROWS)):
            page = [Row(table, *row) for row in rows]
            yield page
            key, beyond = (page[-1].stream, page[-1].ordinal, page[-1].id), ">"

    async def read_snapshot(self, stream: str, *, fold_version: int) -> Snapshot | None:
        rows = await self._fetch(sql("read_snapshot"), (stream, fold_version))
        return Snapshot(*rows[0]) if rows else None

    async def fold_version(self) -> int:
        rows = await self._fetch(sql("read_fold_version"))
        return rows[0][0] if rows else 0

    async def size_bytes(self) -> int:
        with translate_errors(f"{self._directory} cannot be measured"):
            return await anyio.to_thread.run_sync(measure_files, self._directory)

    async def canonical_rows(self) -> AsyncIterator[list[Row]]:
        """All live rows and stream counters, in canonical order, in pages."""
        async for page in list_canonical(self._fetch):
            yield page

    async def _read_page(self, after: int, last: int) -> list[RecordedEvent]:
        sizes = await self._fetch(sql("list_sizes"), (after, last, PAGE_EVENTS))
        if not sizes:
            return []
        rows = await self._fetch(sql("read_log"), (after, _page_end(sizes)))
        page = [RecordedEvent(*row) for row in rows]
        for position, event in enumerate(page, start=after + 1):
            if event.position != position:
                raise LogDamaged(position, "the event is missing")
        return page

    async def _read_places(self, positions: list[int]) -> list[RecordedEvent]:
        """The events at these positions, in this order."""
        rows = await self._fetch(sql("read_events"), (msgspec.json.encode(positions).decode(),))
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


async def list_canonical(fetch: Fetch) -> AsyncIterator[list[Row]]:
    """The live rows and stream counters of a database, in canonical order, in pages."""
    for table in CANONICAL_TABLES:
        if table == STREAM_TABLE:
            async for counters in _list_streams(fetch, ALL):
                yield [counters_row(name, state) for name, state in counters]
        else:
            async for page in _list_rows(fetch, table):
                yield page


async def _list_rows(fetch: Fetch, table: str) -> AsyncIterator[list[Row]]:
    key, beyond = ("", ""), ">="
    while rows := await fetch(sql("list_rows", table, beyond), (*key, PAGE_ROWS)):
        page = [Row(table, *row) for row in rows]
        yield page
        key, beyond = (page[-1].stream, page[-1].id), ">"


async def _list_streams(fetch: Fetch, span: Span) -> AsyncIterator[list[tuple[str, StreamCounters]]]:
    stream, beyond = span.first, ">="
    while rows := await fetch(sql("list_streams", "", beyond), (stream, PAGE_ROWS)):
        yield [(name, StreamCounters(*counters)) for name, *counters in rows if span.holds(name)]
        stream, beyond = rows[-1][0], ">"
        if not span.holds(stream):
            return


def _page_end(sizes: Sequence[tuple[int, int]]) -> int:
    """The last position of a page that starts with the first of these (position, size)."""
    end, total = sizes[0]
    for position, size in sizes[1:]:
        total += size
        if total > PAGE_BYTES:
            break
        end = position
    return end


async def fetch_on(
    connection: aiosqlite.Connection, query: str, parameters: Sequence[object] = (), *, position: int = 0
) -> list[Any]:
    """Run a query on that connection, in one call to its thread, so that a cancellation leaves no open cursor."""
    with translate_errors("the database cannot be read", position):
        return list(await connection.execute_fetchall(query, parameters))


async def scan_on(
    connection: aiosqlite.Connection, query: str, parameters: Sequence[object], *, rows: int
) -> AsyncIterator[list[Any]]:
    """Run a long query on that connection, which must live no longer than whoever reads it."""
    with translate_errors("the database cannot be read"):
        cursor = await connection.execute(query, parameters)
        while page := await cursor.fetchmany(rows):
            yield list(page)


@asynccontextmanager
async def connected(connect: Callable[[], Connection]) -> AsyncIterator[aiosqlite.Connection]:
    """A connection of its own, closed at the end also when cancelled."""
    connection = await open_connection(connect)
    try:
        yield connection
    finally:
        await close_connection(connection)


async def open_connection(connect: Callable[[], Connection]) -> aiosqlite.Connection:
    """A connection with its own thread; a cancellation waits until it is open."""
    connection = aiosqlite.Connection(connect, iter_chunk_size=PAGE_ROWS)
    with translate_errors("the database cannot be opened", position=1), anyio.CancelScope(shield=True):
        await connection
    return connection


async def close_connection(connection: aiosqlite.Connection) -> None:
    """Close the connection and end its thread, also when cancelled."""
    with translate_errors("the database cannot be closed"), anyio.CancelScope(shield=True):
        await connection.close()


class ReaderPool:
    """A few read-only connections, opened when first needed; each query sees the newest commit."""

    def __init__(self, connect: Callable[[], Connection]) -> None:
        self._connect = connect
        self._slots = anyio.Semaphore(POOLED_CONNECTIONS)
        self._idle: list[aiosqlite.Connection] = []
        self._closed = False
        self._closing = anyio.Lock()

    async def fetch(self, query: str, parameters: Sequence[object] = (), *, position: int = 0) -> list[Any]:
        """Run one query on a free connection; raises StoreUnavailable after `aclose`."""
        async with self._slots:
            if self._closed:
                raise StoreUnavailable("the store is closed")
            connection = self._idle.pop() if self._idle else await open_connection(self._connect)
            try:
                return await fetch_on(connection, query, parameters, position=position)
            finally:
                self._idle.append(connection)

    async def scan(self, query: str, parameters: Sequence[object], *, rows: int) -> AsyncIterator[list[Any]]:
        """Run one long query on a connection of its own; raises StoreUnavailable after `aclose`."""
        if self._closed:
            raise StoreUnavailable("the store is closed")
        async with connected(self._connect) as connection:
            async for page in scan_on(connection, query, parameters, rows=rows):
                yield page

    async def aclose(self) -> None:
        """Wait for the queries that run and close all connections."""
        with anyio.CancelScope(shield=True):
            async with self._closing:
                await self._close()

    async def _close(self) -> None:
        self._closed = True
        for _ in range(POOLED_CONNECTIONS):  # whoever holds a slot still reads
            await self._slots.acquire()
        try:
            while self._idle:
                await close_connection(self._idle.pop())
        finally:
            for _ in range(POOLED_CONNECTIONS):
                self._slots.release()


def make_fetch(connection: aiosqlite.Connection) -> Fetch:
    """The `fetch` of a reader that has one connection to itself."""
    return partial(fetch_on, connection)


def make_scan(connection: aiosqlite.Connection) -> Scan:
    """The `scan` of a reader that has one connection to itself."""
    return partial(scan_on, connection)
