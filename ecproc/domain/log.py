"""The event log's own values: what is appended, and what stands there. They know of no ticket."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec


class NewEvent(msgspec.Struct, frozen=True, gc=False):
    """An event to append. `wanted` marks a fact that an actor still has to decide (see StreamCounters); with `if_held`
    it is left out where its stream holds nothing yet."""

    stream: str
    kind: str
    payload: bytes
    message_key: bytes | None = None
    wanted: bool = False
    if_held: bool = False


class RecordedEvent(msgspec.Struct, frozen=True, gc=False):
    """An event as it stands in the log.

    `position` is the order in the log, `version` the gapless 1-based order in the stream, `at` microseconds UTC.
    `message_key` (messages only) is 16 big-endian bytes of SequenceNumber followed by the MessageId in UTF-8.
    """

    position: int
    stream: str
    version: int
    at: int
    kind: str
    payload: bytes
    hash: bytes
    message_key: bytes | None = None


class Fence(msgspec.Struct, frozen=True, gc=False):
    """Commit only if the stream's `through` is still `expected`; then set it to `through`."""

    stream: str
    expected: int
    through: int


class Foreseen(msgspec.Struct, frozen=True, gc=False):
    """What a batch was worked out for before its events were recorded: that its first one, of the fence's stream, gets
    this position and version, with this time, and that no other stream has a row of these tables and ids. Where any of
    it is otherwise, or a message is known already, nothing of the batch is written and it counts as fenced."""

    position: int
    version: int
    at: int
    alone: Sequence[tuple[str, str]] = ()


class Snapshot(msgspec.Struct, frozen=True, gc=False):
    """A folded state as bytes, good for code whose machine has the same `snapshot_version`."""

    stream: str
    version: int
    snapshot_version: int
    data: bytes


class StreamCounters(msgspec.Struct, frozen=True, gc=False):
    """A stream's counters: its last version, the last decided one, the last one that wants a decision, and the
    position of its last event."""

    version: int = 0
    through: int = 0
    wanted: int = 0
    last: int = 0


class Compact(msgspec.Struct, frozen=True, gc=False):
    """What a batch left as its compact form: `position` is its last event's."""

    stream: str
    position: int
    data: bytes


class Row(msgspec.Struct, frozen=True, gc=False):
    """One live row: unique by (table, stream, id), listed by `ordinal`, `data` one JSON document.

    `tag` is indexed while it is not None (an unfinished outbox entry, a ticket's type and state); `data=None` deletes.
    """

    table: str
    stream: str
    id: str
    ordinal: int
    data: bytes | None
    tag: str | None = None


class Batch(msgspec.Struct, frozen=True):
    """One transaction: all of it or nothing.

    `compact` says in few bytes what this batch's events say to a rebuild: a cache, kept under its last event.
    `foreseen` needs a `fence`.
    """

    events: Sequence[NewEvent] = ()
    rows: Sequence[Row] = ()
    fence: Fence | None = None
    snapshot: Snapshot | None = None
    compact: bytes | None = None
    foreseen: Foreseen | None = None

    @property
    def likely_events(self) -> int:
        """How many events it probably appends: what another stream is told if it holds something is nearly always told
        to nobody."""
        return len(self.events) - sum([event.if_held for event in self.events])
