"""The same store in memory, for tests and simulations: nothing of it outlives the object."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager, nullcontext

import anyio
from anyio.lowlevel import checkpoint

from ecproc.domain.log import Batch, Compact, RecordedEvent, Row, Snapshot, StreamCounters
from ecproc.errors import RowDamaged, StoreError, StoreUnavailable
from ecproc.store.base import ALL, Committed, Difference, Head, Reader, RebuildPart, Span, Tables
from ecproc.store.canonical import compare_rows, counters_row, digest_rows, sort_rows
from ecproc.store.chain import NO_HASH
from ecproc.store.plan import Group, check_row, check_table, check_tables, is_outdated, prepare

_PAGE = 1000


class _Live:
    """Live rows and stream counters, of the store or of a rebuild."""

    def __init__(self, tables: Tables) -> None:
        self.tables = tables
        self.rows: dict[str, dict[tuple[str, str], Row]] = {table: {} for table in tables.names}
        self.streams: dict[str, StreamCounters] = {}

    def copy(self) -> _Live:
        twin = _Live(self.tables)
        twin.rows = {table: dict(rows) for table, rows in self.rows.items()}
        twin.streams = dict(self.streams)
        return twin

    def put(self, row: Row) -> None:
        if row.data is None:
            self.rows[row.table].pop((row.stream, row.id), None)
        elif not is_outdated(row, self.rows[row.table].get((row.stream, row.id)), self.tables.newest_stays):
            self.rows[row.table][row.stream, row.id] = row

    async def canonical_rows(self) -> AsyncIterator[list[Row]]:
        counters = [counters_row(name, state) for name, state in self.streams.items() if state.version]
        yield sort_rows([*counters, *(row for rows in self.rows.values() for row in rows.values())])


class _State:
    """All that a store holds; a copy of it is one moment."""

    def __init__(self, tables: Tables) -> None:
        self.events: list[RecordedEvent] = []
        self.keys: dict[bytes, int] = {}
        self.highest = b""
        self.live = _Live(tables)
        self.snapshots: dict[str, Snapshot] = {}
        self.compact: list[Compact] = []
        self.fold_version = 0

    def copy(self) -> _State:
        twin = _State(self.live.tables)
        twin.events = list(self.events)
        twin.keys, twin.highest = dict(self.keys), self.highest
        twin.live = self.live.copy()
        twin.snapshots = dict(self.snapshots)
        twin.compact = list(self.compact)
        twin.fold_version = self.fold_version
        return twin

    def highest_key(self) -> bytes:
        return self.highest

    def holds_key(self, message_key: bytes) -> bool:
        return message_key in self.keys

    def stream_state(self, stream: str) -> StreamCounters:
        return self.live.streams.get(stream, StreamCounters())

    def holds_elsewhere(self, table: str, id: str, *, stream: str) -> bool:
        return any(row.id == id and row.stream != stream for row in self.live.rows[table].values())


def _row_order(row: Row) -> tuple[str, int, str]:
    return row.stream, row.ordinal, row.id


def _compact_order(one: Compact) -> tuple[str, int]:
    return one.stream, one.position


class MemoryReader:
    """The Reader of one state in memory."""

    def __init__(self, state: _State) -> None:
        self._state = state

    async def head(self) -> Head:
        await checkpoint()
        return self._head()

    async def read_event(self, position: int) -> RecordedEvent | None:
        await checkpoint()
        events = self._state.events
        return events[position - 1] if 0 < position <= len(events) else None

    async def read_message(self, message_key: bytes) -> RecordedEvent | None:
        await checkpoint()
        position = self._state.keys.get(message_key)
        return None if position is None else self._state.events[position - 1]

    async def read_stream(self, stream: str, *, after: int = 0, limit: int | None = None) -> list[RecordedEvent]:
        await checkpoint()
        return [event for event in self._state.events if event.stream == stream and event.version > after][:limit]

    async def read_log(self, *, after: int = 0, until: int | None = None) -> AsyncIterator[list[RecordedEvent]]:
        last = self._head().position if until is None else until
        while page := self._state.events[after : min(after + _PAGE, last)]:
            await checkpoint()
            yield page
            after = page[-1].position

    async def read_compact(self, *, span: Span = ALL) -> AsyncIterator[list[Compact]]:
        await checkpoint()
        yield sorted((one for one in self._state.compact if span.holds(one.stream)), key=_compact_order)

    async def list_streams(self, *, span: Span = ALL) -> AsyncIterator[list[tuple[str, StreamCounters]]]:
        await checkpoint()
        streams = self._state.live.streams.items()
        yield sorted((name, state) for name, state in streams if state.version and span.holds(name))

    async def read_streams(self, *, until: int | None = None, span: Span = ALL) -> AsyncIterator[list[RecordedEvent]]:
        chosen = (event for event in self._state.events[:until] if span.holds(event.stream))
        events = sorted(chosen, key=lambda event: (event.stream, event.version))
        for start in range(0, len(events), _PAGE):
            await checkpoint()
            yield events[start : start + _PAGE]

    async def stream_state(self, stream: str) -> StreamCounters:
        await checkpoint()
        return self._state.stream_state(stream)

    async def undecided_streams(self) -> list[str]:
        await checkpoint()
        return sorted(name for name, state in self._state.live.streams.items() if state.wanted > state.through)

    async def read_rows(
        self, table: str, *, stream: str | None = None, id: str | None = None, last: int | None = None
    ) -> list[Row]:
        check_table(table, self._state.live.tables)
        if stream is None and id is None:
            raise ValueError("rows are read by stream, by id, or by both")
        await checkpoint()
        rows = sorted(self._find(table, stream, id), key=_row_order)
        return rows if last is None else rows[max(len(rows) - last, 0) :]

    async def list_later(self, table: str, prefix: str, id: str) -> list[tuple[str, str]]:
        await checkpoint()
        keys = [(row.stream, row.id) for row in self._listed(table) if row.id.startswith(prefix)]
        return sorted(key for key in keys if (len(key[1]), key[1]) > (len(id), id))

    async def count_rows(self, table: str, stream: str) -> int:
        return len(await self.read_rows(table, stream=stream))

    async def count_tags(self, table: str) -> dict[str, int]:
        check_table(table, self._state.live.tables)
        await checkpoint()
        return dict(Counter(row.tag for row in self._listed(table) if row.tag is not None))

    async def scan_rows(
        self, table: str, *, tagged: bool = False, tags: Collection[str] | None = None, after: str = ""
    ) -> AsyncIterator[list[Row]]:
        check_table(table, self._state.live.tables)
        listed = [row for row in self._listed(table) if row.stream > after or not after]
        rows = [row for row in listed if (row.tag is not None or not tagged) and (tags is None or row.tag in tags)]
        for start in range(0, len(rows), _PAGE):
            await checkpoint()
            yield rows[start : start + _PAGE]

    async def read_snapshot(self, stream: str, *, snapshot_version: int) -> Snapshot | None:
        await checkpoint()
        snapshot = self._state.snapshots.get(stream)
        return snapshot if snapshot is not None and snapshot.snapshot_version == snapshot_version else None

    async def read_tail(self, stream: str, *, snapshot_version: int) -> tuple[Snapshot | None, list[RecordedEvent]]:
        snapshot = await self.read_snapshot(stream, snapshot_version=snapshot_version)
        return snapshot, await self.read_stream(stream, after=snapshot.version if snapshot else 0)

    async def fold_version(self) -> int:
        await checkpoint()
        return self._state.fold_version

    async def size_bytes(self) -> int:
        await checkpoint()
        return sum(len(event.payload) for event in self._state.events)

    def canonical_rows(self) -> AsyncIterator[list[Row]]:
        """All live rows and stream counters, in canonical order."""
        return self._state.live.canonical_rows()

    def _head(self) -> Head:
        events = self._state.events
        return Head(events[-1].position, events[-1].hash) if events else Head(0, NO_HASH)

    def _listed(self, table: str) -> list[Row]:
        return sorted(self._state.live.rows[table].values(), key=_row_order)

    def _find(self, table: str, stream: str | None, id: str | None) -> list[Row]:
        rows = self._state.live.rows[table]
        if stream is not None and id is not None:
            return [rows[stream, id]] if (stream, id) in rows else []
        return [row for row in rows.values() if stream in (None, row.stream) and id in (None, row.id)]


class MemoryRebuildWriter:
    """A RebuildWriter into memory."""

    def __init__(self, tables: Tables) -> None:
        self.live = _Live(tables)
        self.compact: list[Compact] = []

    async def write(
        self,
        rows: Sequence[Row],
        streams: Sequence[tuple[str, StreamCounters]] = (),
        compact: Sequence[Compact] = (),
    ) -> None:
        for row in rows:
            check_row(row, self.live.tables)
        await checkpoint()
        self.compact += compact
        for row in rows:
            self.live.put(row)
        self.live.streams.update(streams)


class MemoryPart:
    """A RebuildPart of this process."""

    def __init__(self, tables: Tables) -> None:
        self.written = MemoryRebuildWriter(tables)

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[MemoryRebuildWriter]:
        """See RebuildPart."""
        await checkpoint()
        yield self.written


class MemoryRebuild(MemoryRebuildWriter):
    """A SwappableRebuild of a MemoryStore."""

    def __init__(self, store: MemoryStore, reader: MemoryReader, tables: Tables) -> None:
        super().__init__(tables)
        self._store = store
        self._reader = reader

    @asynccontextmanager
    async def open_part(self) -> AsyncIterator[MemoryPart]:
        """See Rebuild."""
        await checkpoint()
        yield MemoryPart(self.live.tables)

    async def absorb(self, part: RebuildPart) -> None:
        """See Rebuild."""
        if not isinstance(part, MemoryPart):
            raise TypeError("a rebuild absorbs its own parts")
        rows = [row for table in part.written.live.rows.values() for row in table.values()]
        await self.write(rows, list(part.written.live.streams.items()), part.written.compact)

    async def digest(self) -> str:
        return await digest_rows(self.live.canonical_rows())

    async def live_digest(self) -> str:
        return await digest_rows(self._reader.canonical_rows())

    async def differences(self, limit: int) -> tuple[int, list[Difference]]:
        return await compare_rows(self._reader.canonical_rows(), self.live.canonical_rows(), limit=limit)

    async def swap(self, *, fold_version: int) -> None:
        await checkpoint()
        self._store.replace_live(self.live.copy(), self.compact, fold_version)


class MemoryStore(MemoryReader):
    """A Store of one test: `room` is what `has_room` and `may_perform` answer, `is_open` may be cleared to have every
    commit refused, `accepted_loss` set as if it was opened with its loss accepted."""

    waits = ""
    is_as_left = False

    def __init__(self, now: Callable[[], int], tables: Tables) -> None:
        check_tables(tables)
        super().__init__(_State(tables))
        self.failed = anyio.Event()
        self.room = True
        self.is_open = True
        self.accepted_loss = False
        self._now = now

    async def commit(self, batch: Batch) -> Committed:
        """See Store; a cancellation comes before anything is written or not at all."""
        await checkpoint()
        if not self.is_open:
            raise StoreUnavailable("the store is closed")
        tables = self._state.live.tables
        group = Group(self._head(), self._state, tables)
        committed = group.add(prepare(batch, self._now(), tables))
        self._apply(group, committed)
        return committed

    def foresee(self) -> tuple[int, int] | None:
        """See Store."""
        return self._head().position + 1, self._now()

    async def commit_all(self, batches: Sequence[Batch]) -> list[Committed]:
        """See Store."""
        for batch in batches:
            prepare(batch, 0, self._state.live.tables)
        return [await self.commit(batch) for batch in batches]

    def copying(self) -> AbstractAsyncContextManager[MemoryReader]:
        """See ReadableStore."""
        return self.reading()

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[MemoryReader]:
        """See Store."""
        await checkpoint()
        yield MemoryReader(self._state.copy())

    @asynccontextmanager
    async def rebuilding(self, reader: Reader | None = None) -> AsyncIterator[MemoryRebuild]:
        """See Store."""
        if reader is not None and not isinstance(reader, MemoryReader):
            raise TypeError("a rebuild is compared with a reader of its own store")
        await checkpoint()
        yield MemoryRebuild(self, reader or self, self._state.live.tables)

    async def owes_for_loss(self) -> bool:
        """See Store."""
        await checkpoint()
        return self.accepted_loss

    async def settle_loss(self) -> None:
        """See Store."""
        await checkpoint()
        self.accepted_loss = False

    async def check_rows(self) -> AsyncIterator[list[RowDamaged]]:
        """See Store; nobody can come at these."""
        await checkpoint()
        yield []

    def has_room(self) -> bool:
        """See Store."""
        return self.is_open and self.room

    def may_perform(self) -> bool:
        """See Store."""
        return self.is_open and self.room

    def taking(self, content: int) -> AbstractContextManager[bool]:
        """See Store."""
        return nullcontext(self.may_perform())

    async def aclose(self) -> None:
        """See Store; what was written can still be read."""
        self.is_open = False

    def replace_live(self, live: _Live, compact: Sequence[Compact], fold_version: int) -> None:
        """Swap a rebuild in; raises StoreError if its counters do not cover the whole log."""
        ends = {event.stream: (event.position, event.version) for event in self._state.events}
        held = live.streams.items()
        covered = sum(state.version for name, state in held if ends.get(name) == (state.last, state.version))
        if covered != len(self._state.events):
            raise StoreError(f"a rebuild covers {covered} of {len(self._state.events)} events: nothing was replaced")
        state = self._state
        state.live = live
        renewed = {one.stream for one in compact}
        state.compact = [one for one in state.compact if one.stream not in renewed] + list(compact)
        state.fold_version = fold_version

    def _apply(self, group: Group, committed: Committed) -> None:
        recorded = [event for event in committed.events if event is not None]
        self._state.events.extend(recorded)
        self._state.highest = group.highest_key
        self._state.keys |= {event.message_key: event.position for event in recorded if event.message_key is not None}
        self._state.live.streams.update(group.streams)
        for row in (*group.cleared.values(), *group.rows.values()):
            self._state.live.put(row)
        self._state.snapshots.update(group.snapshots)
        self._state.compact += [Compact(stream, position, data) for position, stream, data in group.compact]
