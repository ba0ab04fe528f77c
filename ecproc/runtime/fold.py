"""One stream folded: evolve only, in the order in which its actor went, so that a rebuild equals live (I5)."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import msgspec

from ecproc.domain.entry import apply_outcome
from ecproc.domain.events import (
    Decided,
    EffectFailed,
    EffectStarted,
    EffectSucceeded,
    EffectUnknown,
    Fact,
    Quarantined,
)
from ecproc.domain.rows import Row, entry_row, project, quarantine_row
from ecproc.domain.state import FOLD_VERSION, Change, Planned, TicketState
from ecproc.domain.ticket import apply_decided, evolve
from ecproc.runtime.history import message_id_of, place_of, read_fact, wants_actor
from ecproc.store.base import RecordedEvent, Snapshot, StreamState

_encode_state = msgspec.msgpack.Encoder().encode
_decode_state = msgspec.msgpack.Decoder(TicketState).decode


class StreamFold:
    """A stream's state through its last decision, and the facts behind it.

    Facts wait in `pending` until a recorded decision covers them: what no actor has decided yet shows in no document.
    `seen` is the last version read, `through` the last one decided, `wanted` the last one that wants a decision.
    """

    def __init__(self, stream: str) -> None:
        self.state = TicketState(stream)
        self.pending: deque[tuple[RecordedEvent, Fact]] = deque()
        self.seen = 0
        self.through = 0
        self.wanted = 0
        self.snapshot_version = 0

    @classmethod
    def from_snapshot(cls, snapshot: Snapshot) -> StreamFold:
        """A fold that goes on behind a snapshot."""
        fold = cls(snapshot.stream)
        fold.state = _decode_state(snapshot.data)
        fold.seen = fold.through = fold.snapshot_version = snapshot.version
        return fold

    @property
    def undecided(self) -> bool:
        """Whether an actor has something to do here."""
        return self.wanted > self.through

    def extend(self, events: Sequence[RecordedEvent]) -> list[Change]:
        """Read the stream's next events, which must follow on `seen`; returns what recorded decisions changed."""
        changes: list[Change] = []
        read = [(event, read_fact(event)) for event in events]
        skipped = {fact.position for _, fact in read if isinstance(fact, Quarantined)}
        for event, fact in read:
            self.seen = event.version
            if isinstance(fact, Decided):
                changes += self._follow(fact, skipped)
            elif fact is not None:
                self.pending.append((event, fact))
                if wants_actor(fact):
                    self.wanted = event.version
        return changes

    def _follow(self, decided: Decided, skipped: set[int]) -> list[Change]:
        """Evolve what a recorded decision covers, as its actor did before it decided."""
        changes: list[Change] = []
        if decided.through <= self.through:
            return changes
        while self.pending and self.pending[0][0].version <= decided.through:
            event, fact = self.pending.popleft()
            if event.position not in skipped:
                changes += evolve(self.state, fact, place_of(event))
        self.through = decided.through
        return changes + apply_decided(self.state, decided)

    def snapshot(self) -> Snapshot:
        """The state through the last decision, as bytes."""
        return Snapshot(self.state.stream, self.through, FOLD_VERSION, _encode_state(self.state))


def fold_rows(stream: str, events: Sequence[RecordedEvent]) -> tuple[list[Row], StreamState]:
    """Everything live state holds of a whole stream, as its events left it."""
    fold = StreamFold(stream)
    changes = fold.extend(events)
    projected = project(fold.state, [change for change in changes if not isinstance(change, Planned)])
    rows = {(row.table, row.id): row for row in projected}
    rows |= {(row.table, row.id): row for row in _entry_rows(fold)}
    rows |= {(row.table, row.id): row for row in _quarantine_rows(stream, events)}
    return list(rows.values()), StreamState(version=fold.seen, through=fold.through, wanted=fold.wanted)


def _entry_rows(fold: StreamFold) -> list[Row]:
    """Entries as their last outcome left them: an outcome is written at once, decided or not."""
    entries = dict(fold.state.entries)
    for _, fact in fold.pending:
        if isinstance(fact, (EffectStarted, EffectSucceeded, EffectFailed, EffectUnknown)) and fact.key in entries:
            entries[fact.key] = apply_outcome(entries[fact.key], fact)
    return [entry_row(fold.state.stream, entry) for entry in entries.values()]


def _quarantine_rows(stream: str, events: Sequence[RecordedEvent]) -> list[Row]:
    ids = {event.position: message_id_of(event) for event in events}
    facts = (read_fact(event) for event in events if event.kind == "MessageQuarantined")
    return [
        quarantine_row(
            stream, fact.position, message_id=ids.get(fact.position, ""), reason=fact.reason, detail=fact.detail
        )
        for fact in facts
        if isinstance(fact, Quarantined)
    ]
