"""What a group of batches does to the store, worked out in memory before anything is written."""

from __future__ import annotations

from typing import Final, NamedTuple, Protocol

import msgspec

from ecproc.store.base import TABLES, Batch, Committed, Head, NewEvent, RecordedEvent, Row, Snapshot, StreamState
from ecproc.store.chain import link, payload_hash

ROW_OVERHEAD_BYTES: Final = 256
"""Counted for each event and row beside its bytes, so that many small ones weigh something too."""

_TABLES: Final = frozenset(TABLES)
_INT64: Final = range(-(2**63), 2**63)


class Prepared(msgspec.Struct, frozen=True):
    """A batch that can be written as it is; `size` is about how many bytes that writes."""

    batch: Batch
    at: int
    payload_hashes: tuple[bytes, ...]
    rows: dict[tuple[str, str, str], Row]
    size: int
    has_messages: bool


class EventRow(NamedTuple):
    """One row of the event table, in the order of its columns."""

    position: int
    stream: str
    version: int
    prev: int
    at: int
    kind: str
    message_key: bytes | None
    payload: bytes
    payload_hash: bytes
    hash: bytes


class Lookup(Protocol):
    """What a plan asks of the store as it stood before the group."""

    def holds_key(self, message_key: bytes) -> bool:
        """Whether an event with that key is in the log."""

    def stream_state(self, stream: str) -> StreamState:
        """The stream's counters."""


def prepare(batch: Batch, at: int) -> Prepared:
    """Check a batch and hash its payloads, so that the writer's thread can fail only for the storage's sake.

    Raises ValueError for an unknown table, a number beyond 64 bits, or text that is not Unicode.
    """
    has_messages = False
    for event in batch.events:
        _check_text(event.stream, event.kind)
        has_messages |= event.message_key is not None
    for row in batch.rows:
        check_row(row)
    if batch.fence is not None:
        _check_text(batch.fence.stream)
        _check_numbers(batch.fence.expected, batch.fence.through)
    if batch.snapshot is not None:
        _check_text(batch.snapshot.stream)
        _check_numbers(batch.snapshot.version, batch.snapshot.fold_version)
    _check_numbers(at)
    return Prepared(
        batch=batch,
        at=at,
        payload_hashes=tuple([payload_hash(event.payload) for event in batch.events]),
        rows={(row.table, row.stream, row.id): row for row in batch.rows},
        size=_weigh(batch),
        has_messages=has_messages,
    )


class Group:
    """Batches that share one transaction: each sees what those before it did, and is planned whole or not at all."""

    def __init__(self, head: Head, lookup: Lookup) -> None:
        self.events: list[EventRow] = []
        self.compact: list[tuple[int, str, bytes]] = []
        self.streams: dict[str, StreamState] = {}
        self.rows: dict[tuple[str, str, str], Row] = {}
        self.snapshots: dict[str, Snapshot] = {}
        self._position = head.position
        self._hash = head.hash
        self._lookup = lookup
        self._keys: set[bytes] = set()

    @property
    def highest_key(self) -> bytes:
        """The highest message key of the group."""
        return max(self._keys, default=b"")

    @property
    def head(self) -> Head:
        """The end of the log once the group is durable."""
        return Head(self._position, self._hash)

    def add(self, prepared: Prepared) -> Committed:
        """Plan one batch and say what becomes of it once the group is durable."""
        batch = prepared.batch
        fence = batch.fence
        if fence is not None and self._state(fence.stream).through != fence.expected:
            return Committed(fenced=True)
        hashes = prepared.payload_hashes
        recorded = tuple([self._append(*pair, prepared.at) for pair in zip(batch.events, hashes, strict=True)])
        if fence is not None:
            state = self._state(fence.stream)
            self.streams[fence.stream] = StreamState(state.version, fence.through, state.wanted, state.last)
            if batch.compact is not None and any(recorded):
                self.compact.append((self._position, fence.stream, batch.compact))
        self.rows.update(prepared.rows)
        if batch.snapshot is not None:
            self.snapshots[batch.snapshot.stream] = batch.snapshot
        return Committed(events=recorded)

    def _append(self, event: NewEvent, payload_hash: bytes, at: int) -> RecordedEvent | None:
        key = event.message_key
        if key is not None:
            if key in self._keys or self._lookup.holds_key(key):
                return None
            self._keys.add(key)
        stream, kind = event.stream, event.kind
        state = self._state(stream)
        position, version = self._position + 1, state.version + 1
        payload = event.payload if type(event.payload) is bytes else bytes(event.payload)
        linked = link(
            self._hash,
            position,
            at=at,
            kind=kind,
            stream=stream,
            version=version,
            message_key=key,
            payload_hash=payload_hash,
        )
        self.streams[stream] = StreamState(version, state.through, version if event.wanted else state.wanted, position)
        self.events.append(
            EventRow(position, stream, version, state.last, at, kind, key, payload, payload_hash, linked)
        )
        self._position, self._hash = position, linked
        return RecordedEvent(position, stream, version, at, kind, payload, linked, key)

    def _state(self, stream: str) -> StreamState:
        state = self.streams.get(stream)
        return self._lookup.stream_state(stream) if state is None else state


def _weigh(batch: Batch) -> int:
    size = ROW_OVERHEAD_BYTES * (len(batch.events) + len(batch.rows))
    size += sum([len(event.payload) for event in batch.events])
    size += len(batch.compact or b"")
    size += sum([len(row.data) for row in batch.rows if row.data is not None])
    return size + (len(batch.snapshot.data) if batch.snapshot is not None else 0)


def check_row(row: Row) -> None:
    """Raise ValueError unless the row can be stored as it is."""
    check_table(row.table)
    _check_text(row.stream, row.id, row.tag or "")
    _check_numbers(row.ordinal)


def check_table(table: str) -> None:
    """Raise ValueError unless that is the name of a live table."""
    if table not in _TABLES:
        raise ValueError(f"there is no live table {table!r}")


def _check_text(*values: str) -> None:
    for value in values:
        if not value.isascii():
            value.encode()


def _check_numbers(*values: int) -> None:
    for value in values:
        if value not in _INT64:
            raise ValueError(f"{value} does not fit into 64 bits")
