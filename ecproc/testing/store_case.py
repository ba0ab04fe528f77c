"""What the suite for stores is made of: messages and rows to store, reads in one go, a store for a block."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from ecproc.domain.log import Batch, Compact, Fence, NewEvent, RecordedEvent, Row, StreamCounters
from ecproc.fold.tables import LiveTables
from ecproc.store.base import (
    ALL,
    Committed,
    LogReader,
    Reader,
    RebuildWriter,
    ScanReader,
    Span,
    Store,
    Tables,
)
from ecproc.testing.suite import Suite

STREAM = "e-CS0879727"
OTHER = "e-CS0879728"

SUITE_TABLES = LiveTables(
    names=frozenset({"note", "outbox", "ticket"}),
    newest_stays=frozenset({"outbox"}),
    searched_by_id=frozenset({"ticket"}),
    searched_by_tag=frozenset({"outbox"}),
    grouped_by_tag=frozenset({"ticket"}),
)
"""The live tables that the suite writes to."""


def make_key(number: int, message_id: str) -> bytes:
    """A message's key, as RecordedEvent says."""
    return number.to_bytes(16, "big") + message_id.encode()


def make_message(number: int, message_id: str = "id", *, stream: str = STREAM, payload: bytes = b"{}") -> NewEvent:
    """A received message that wants a decision."""
    return NewEvent(stream, "MessageReceived", payload, make_key(number, message_id), wanted=True)


def make_row(id: str, *, ordinal: int = 0, table: str = "note", stream: str = STREAM, tag: str | None = None) -> Row:
    """A row whose data names it."""
    return Row(table, stream, id, ordinal, f'{{"id":"{id}","ordinal":{ordinal}}}'.encode(), tag)


async def append(store: Store, *events: NewEvent) -> list[RecordedEvent]:
    """Commit events of which none is a duplicate."""
    committed = await store.commit(Batch(events=events))
    recorded = [event for event in committed.events if event is not None]
    assert len(recorded) == len(events)
    return recorded


async def decide(
    store: Store, *events: NewEvent, stream: str = STREAM, expected: int = 0, compact: bytes | None = None
) -> Committed:
    """Commit a decision of that stream, behind its fence, and such events beside it."""
    decided = NewEvent(stream, "Decided", b"{}")
    batch = Batch(events=[decided, *events], fence=Fence(stream, expected, expected + 1), compact=compact)
    return await store.commit(batch)


async def read_all(reader: LogReader, *, after: int = 0, until: int | None = None) -> list[RecordedEvent]:
    """The log in one list."""
    return [event async for page in reader.read_log(after=after, until=until) for event in page]


async def read_by_stream(reader: ScanReader, *, until: int | None = None, span: Span = ALL) -> list[RecordedEvent]:
    """The log of those streams, stream by stream, in one list."""
    return [event async for page in reader.read_streams(until=until, span=span) for event in page]


async def list_compact(reader: ScanReader, span: Span = ALL) -> list[Compact]:
    """The compact forms of those streams in one list."""
    return [one async for page in reader.read_compact(span=span) for one in page]


async def list_counters(reader: ScanReader, span: Span = ALL) -> list[tuple[str, StreamCounters]]:
    """Those streams with their counters in one list."""
    return [one async for page in reader.list_streams(span=span) for one in page]


async def scan_all(reader: Reader, table: str, *, tagged: bool = False) -> list[Row]:
    """A table in one list."""
    return [row async for page in reader.scan_rows(table, tagged=tagged) for row in page]


async def copy_live(reader: Reader, rebuild: RebuildWriter, tables: Tables = SUITE_TABLES) -> None:
    """Write into the rebuild what stands in the live tables."""
    streams = {event.stream for event in await read_all(reader)}
    states = [(stream, await reader.stream_state(stream)) for stream in streams]
    await rebuild.write([row for table in tables.names for row in await scan_all(reader, table)], states)


class StoreCase(Suite, ABC):
    """Tests of a store that may already hold events of streams not named here."""

    @abstractmethod
    async def open_store(self, directory: Path, tables: Tables) -> Store:
        """Give an open store without live rows; the same directory is asked for once."""

    @asynccontextmanager
    async def store_in(self, directory: Path, tables: Tables = SUITE_TABLES) -> AsyncIterator[Store]:
        """Have a store open for a block."""
        store = await self.open_store(directory, tables)
        try:
            yield store
        finally:
            await store.aclose()
