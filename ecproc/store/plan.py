"""What a group of batches does to the store, worked out in memory before anything is written."""

from __future__ import annotations

import re
from collections.abc import Sequence, Set
from typing import Final, Protocol, TypeAlias

import msgspec

from ecproc.domain.log import Batch, RecordedEvent, Row, Snapshot, StreamCounters
from ecproc.store.base import Committed, Head, Tables
from ecproc.store.chain import link, payload_hash

ROW_OVERHEAD_BYTES: Final = 256
"""Counted for each event and row beside its bytes, so that many small ones weigh something too."""

_NAME: Final = re.compile(r"[a-z]+(_[a-z]+)*")
_OWN_TABLES: Final = frozenset({"event", "stream", "compact", "snapshot", "meta"})
_INT64: Final = range(-(2**63), 2**63)


class Prepared(msgspec.Struct, frozen=True):
    """A batch that can be written as it is; `size` is about how many bytes that writes."""

    batch: Batch
    at: int
    payload_hashes: list[bytes]
    size: int
    has_messages: bool


EventRow: TypeAlias = tuple[int, str, int, int, int, str, bytes | None, bytes, bytes, bytes]
"""One row of the event table: position, stream, version, prev, at, kind, message_key, payload, payload_hash, hash."""


class Lookup(Protocol):
    """What a plan asks of the store as it stood before the group."""

    def highest_key(self) -> bytes:
        """The highest message key of the log; what is above it is new without a look."""

    def holds_key(self, message_key: bytes) -> bool:
        """Whether an event with that key is in the log."""

    def stream_state(self, stream: str) -> StreamCounters:
        """The stream's counters."""

    def holds_elsewhere(self, table: str, id: str, *, stream: str) -> bool:
        """Whether another stream has a row of that id, in a table that is searched by id."""


def prepare(batch: Batch, at: int, tables: Tables) -> Prepared:
    """Check a batch and hash its payloads, so that the writer's thread can fail only for the storage's sake.

    Raises ValueError for an unknown table, a number beyond 64 bits, or text that is not Unicode.
    """
    size = ROW_OVERHEAD_BYTES * len(batch.events) + _weigh_rows(batch.rows, tables) + len(batch.compact or b"")
    has_messages = False
    hashes: list[bytes] = []
    for event in batch.events:
        if not (event.stream.isascii() and event.kind.isascii()):
            _check_text(event.stream, event.kind)
        has_messages |= event.message_key is not None
        hashes.append(payload_hash(event.payload))
        size += len(event.payload)
    if batch.fence is not None:
        _check_text(batch.fence.stream)
        _check_numbers(batch.fence.expected, batch.fence.through)
    if batch.snapshot is not None:
        _check_text(batch.snapshot.stream)
        _check_numbers(batch.snapshot.version, batch.snapshot.snapshot_version)
        size += len(batch.snapshot.data)
    at = at if batch.foreseen is None else batch.foreseen.at
    _check_numbers(at)
    return Prepared(batch, at, hashes, size, has_messages)


class Group:
    """Batches that share one transaction: each sees what those before it did, and is planned whole or not at all."""

    def __init__(self, head: Head, lookup: Lookup, tables: Tables) -> None:
        self.events: list[EventRow] = []
        self.compact: list[tuple[int, str, bytes]] = []
        self.streams: dict[str, StreamCounters] = {}
        self.rows: dict[tuple[str, str, str], Row] = {}
        self.cleared: dict[tuple[str, str, str], Row] = {}
        """Deletions to make before `rows`: what stands there now would else outlive what came in its place."""
        self.snapshots: dict[str, Snapshot] = {}
        self._position = head.position
        self._hash = head.hash
        self._lookup = lookup
        self._newest_stays = tables.newest_stays
        self._searched_by_id = tables.searched_by_id
        self._holders: dict[tuple[str, str], set[str]] = {}
        self._keys: set[bytes] = set()
        self.highest_key = lookup.highest_key()

    @property
    def head(self) -> Head:
        """The end of the log once the group is durable."""
        return Head(self._position, self._hash)

    def add(self, prepared: Prepared) -> Committed:
        """Plan one batch and say what becomes of it once the group is durable."""
        batch = prepared.batch
        fence = batch.fence
        if fence is not None and not (
            self._state(fence.stream).through == fence.expected and self._came_as_foreseen(batch, fence.stream)
        ):
            return Committed(fenced=True)
        recorded = self._append(prepared)
        if fence is not None:
            state = self._state(fence.stream)
            self.streams[fence.stream] = StreamCounters(state.version, fence.through, state.wanted, state.last)
            if batch.compact is not None and any(recorded):
                self.compact.append((self._position, fence.stream, batch.compact))
        for row in prepared.batch.rows:
            self._put(row)
        if batch.snapshot is not None:
            self.snapshots[batch.snapshot.stream] = batch.snapshot
        return Committed(events=tuple(recorded))

    def _put(self, row: Row) -> None:
        key = (row.table, row.stream, row.id)
        standing = self.rows.get(key)
        if is_outdated(row, standing, self._newest_stays):
            return
        if row.table in self._newest_stays and standing is not None and standing.data is None:
            self.cleared[key] = standing
        self.rows[key] = row
        if row.table in self._searched_by_id:
            self._holders.setdefault((row.table, row.id), set()).add(row.stream)

    def _came_as_foreseen(self, batch: Batch, stream: str) -> bool:
        foreseen = batch.foreseen
        if foreseen is None:
            return True
        if (foreseen.position, foreseen.version) != (self._position + 1, self._state(stream).version + 1):
            return False
        keys = [event.message_key for event in batch.events if event.message_key is not None]
        return not any(map(self._knows, keys)) and not any(
            self._holders.get(row, set()) - {stream} or self._lookup.holds_elsewhere(*row, stream=stream)
            for row in foreseen.alone
        )

    def _knows(self, message_key: bytes) -> bool:
        return message_key <= self.highest_key and (message_key in self._keys or self._lookup.holds_key(message_key))

    def _append(self, prepared: Prepared) -> list[RecordedEvent | None]:
        recorded: list[RecordedEvent | None] = []
        streams, rows, keys = self.streams, self.events, self._keys
        stream_state, holds_key = self._lookup.stream_state, self._lookup.holds_key
        at, position, linked = prepared.at, self._position, self._hash
        for event, hashed in zip(prepared.batch.events, prepared.payload_hashes, strict=True):
            key = event.message_key
            if key is not None:
                if key > self.highest_key:
                    self.highest_key = key
                elif key in keys or holds_key(key):
                    recorded.append(None)
                    continue
                keys.add(key)
            stream, kind = event.stream, event.kind
            payload = event.payload if type(event.payload) is bytes else bytes(event.payload)
            state = streams.get(stream) or stream_state(stream)
            if event.if_held and not state.version:
                recorded.append(None)
                continue
            position, version = position + 1, state.version + 1
            linked = link(linked, position, at, kind, stream, version, key, hashed)
            wanted = version if event.wanted else state.wanted
            streams[stream] = StreamCounters(version, state.through, wanted, position)
            rows.append((position, stream, version, state.last, at, kind, key, payload, hashed, linked))
            recorded.append(RecordedEvent(position, stream, version, at, kind, payload, linked, key))
        self._position, self._hash = position, linked
        return recorded

    def _state(self, stream: str) -> StreamCounters:
        state = self.streams.get(stream)
        return self._lookup.stream_state(stream) if state is None else state


def is_outdated(row: Row, standing: Row | None, newest_stays: Set[str]) -> bool:
    """Whether the row is to leave the one that stands in its place as it is (see `Tables.newest_stays`)."""
    if standing is None or standing.data is None or row.data is None:
        return False
    return row.table in newest_stays and row.ordinal < standing.ordinal


def _weigh_rows(rows: Sequence[Row], tables: Tables) -> int:
    """About how many bytes the rows are, each checked; most need no more than a look, which is taken here."""
    size, names = ROW_OVERHEAD_BYTES * len(rows), tables.names
    for row in rows:
        tag, data = row.tag, row.data
        plain = row.stream.isascii() and row.id.isascii() and (tag is None or tag.isascii())
        if not plain or row.table not in names or row.ordinal not in _INT64:
            check_row(row, tables)
        if data is not None:
            size += len(data)
    return size


def check_row(row: Row, tables: Tables) -> None:
    """Raise ValueError unless the row can be stored as it is."""
    check_table(row.table, tables)
    _check_text(row.stream, row.id, row.tag or "")
    _check_numbers(row.ordinal)


def check_tables(tables: Tables) -> None:
    """Raise ValueError unless live tables can be called so: their names become part of statements."""
    for name in tables.names:
        if name in _OWN_TABLES or not _NAME.fullmatch(name):
            raise ValueError(f"a live table cannot be called {name!r}")
    asked = tables.searched_by_id | tables.searched_by_tag | tables.grouped_by_tag
    if not tables.names >= tables.later | tables.newest_stays | asked:
        raise ValueError("what is asked of a live table is asked of one that is not there")


def check_table(table: str, tables: Tables) -> None:
    """Raise ValueError unless that is the name of a live table."""
    if table not in tables.names:
        raise ValueError(f"there is no live table {table!r}")


def _check_text(*values: str) -> None:
    for value in values:
        if not value.isascii():
            value.encode()


def _check_numbers(*values: int) -> None:
    for value in values:
        if value not in _INT64:
            raise ValueError(f"{value} does not fit into 64 bits")
