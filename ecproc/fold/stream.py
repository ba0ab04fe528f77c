"""One stream being folded: evolve only, in the order in which its actor went, so that a rebuild equals live (I5)."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Final, TypeAlias
from zlib import crc32

import msgspec

from ecproc.domain.deltas import Delta
from ecproc.domain.events import Act, Decided, Fact, Message, OperatorActed, Place, Quarantined
from ecproc.domain.log import NewEvent, RecordedEvent, Snapshot, StreamCounters
from ecproc.domain.state import StreamState
from ecproc.fold.history import place_of, read_fact, wants_actor
from ecproc.fold.machine import AnyMachine, evolve_fact, write_down

_encode_state = msgspec.msgpack.Encoder().encode
_CRC_BYTES: Final = 4
_EMPTY_BYTES: Final = 2_000
"""What a state takes that holds nearly nothing."""
_AHEAD_BYTES: Final = 64 * 1024
"""Events of one stream that are read before they are recorded."""


Folded: TypeAlias = tuple[RecordedEvent, Fact, Place, list[Delta]]
"""A recorded fact, where it stands, and what it changed."""


class StreamFold:
    """A stream's state through its last decision, and the facts behind it.

    Facts wait in `pending` until a recorded decision covers them: what no actor has decided yet shows in no document.
    `seen` is the last version read, `through` the last one decided, `wanted` the last one that wants a decision;
    `fields` are the last message's, None while that is not known, and so is `highest_key` of all messages'. `history`
    are all of the stream's events, where somebody read them for an act that needs them.
    """

    def __init__(self, stream: str, machine: AnyMachine) -> None:
        self.machine = machine
        self.state: StreamState = machine.new(stream)
        self.pending: deque[tuple[RecordedEvent, Fact]] = deque()
        self.seen = 0
        self.last = 0
        self.through = 0
        self.wanted = 0
        self.snapshot_version = 0
        self.fields: Mapping[str, str] | None = {}
        self.highest_key: bytes | None = b""
        self.history: Sequence[RecordedEvent] | None = None
        self._largest = 0
        self._own_bytes = _EMPTY_BYTES

    @classmethod
    def from_snapshot(cls, snapshot: Snapshot, machine: AnyMachine) -> StreamFold:
        """A fold that goes on behind a snapshot, which must be of the machine's own snapshot version; one that is not
        as it was written is passed over, and the fold begins anew."""
        fold, state = cls(snapshot.stream, machine), snapshot.data[_CRC_BYTES:]
        if snapshot.data[:_CRC_BYTES] != _checksum(snapshot.stream, snapshot.version, state):
            return fold
        fold.state = _state_decoder(type(fold.state)).decode(state)
        fold.fields = fold.highest_key = None
        fold.seen = fold.through = fold.snapshot_version = snapshot.version
        fold._own_bytes += len(state)
        return fold

    @property
    def undecided(self) -> bool:
        """Whether an actor has something to do here."""
        return self.wanted > self.through

    @property
    def needs_history(self) -> bool:
        """Whether one of the facts that wait can be decided only with all of the stream's events."""
        known = self.history[-1].version if self.history else 0
        acts = ((event, fact) for event, fact in self.pending if isinstance(fact, OperatorActed))
        return any(fact.act is Act.RESCOPE and event.version > known for event, fact in acts)

    @property
    def counters(self) -> StreamCounters:
        """The stream's counters."""
        return StreamCounters(version=self.seen, through=self.through, wanted=self.wanted, last=self.last)

    def extend(self, events: Sequence[RecordedEvent]) -> list[Delta]:
        """Read the stream's next events, which must follow on `seen`; returns what recorded decisions changed."""
        deltas: list[Delta] = []
        read = [(event, read_fact(event)) for event in events]
        skipped: set[int] = set()
        if len(read) > 1:  # a message and its quarantine come in different events
            skipped = {fact.position for _, fact in read if isinstance(fact, Quarantined)}
        for event, fact in read:
            self.seen, self.last = event.version, event.position
            self._note(event)
            if isinstance(fact, Decided):
                deltas += self._follow(fact, skipped)
            elif fact is not None:
                self.pending.append((event, fact))
                if wants_actor(fact):
                    self.wanted = event.version
        return deltas

    def is_followed_by(self, events: Sequence[NewEvent], *, limit: int) -> bool:
        """Whether a step of so many facts at most can decide these before they are recorded: nothing is undecided,
        messages come in order and behind all that came, and they are small enough that nobody waits for that."""
        waiting = sum([not isinstance(fact, Quarantined) for _, fact in self.pending])
        if self.undecided or waiting + len(events) > limit:
            return False
        before = self.highest_key
        for event in events:
            key = event.message_key
            if key is not None:
                if before is None or key <= before:
                    return False
                before = key
        return sum([len(event.payload) for event in events]) <= _AHEAD_BYTES

    def pass_own(self, event: RecordedEvent) -> bool:
        """Go past an event that this fold's own step wrote, which tells it nothing; False if others come before it."""
        if event.version != self.seen + 1:
            return False
        self.seen, self.last = event.version, event.position
        self._note(event)
        return True

    def weigh(self) -> int:
        """About how many bytes it takes: each message repeats the ticket's record, of which the state keeps the newest,
        and all that was decided stays."""
        return self._largest + self._own_bytes

    def take_next(self) -> Folded:
        """Evolve the first fact that waits."""
        event, fact = self.pending.popleft()
        place = place_of(event)
        return event, fact, place, evolve_fact(self.machine, self.state, fact, place)

    def evolve_rest(self) -> list[Delta]:
        """Evolve what no decision covers yet, to show what it says; the fold can go on with nothing after that."""
        deltas: list[Delta] = []
        while self.pending:
            deltas += self.take_next()[-1]
        return deltas

    def snapshot(self) -> Snapshot:
        """The state through the last decision, as bytes with a checksum before them."""
        stream, state = self.state.stream, _encode_state(self.state)
        data = _checksum(stream, self.through, state) + state
        return Snapshot(stream, self.through, self.machine.snapshot_version, data)

    def _note(self, event: RecordedEvent) -> None:
        size, key = len(event.payload), event.message_key
        if key is None:
            self._own_bytes += size
            return
        self._largest = max(self._largest, size)
        if self.highest_key is None or key > self.highest_key:
            self.highest_key = key

    def _follow(self, decided: Decided, skipped: set[int]) -> list[Delta]:
        """Evolve what a recorded decision covers, as its actor did before it decided."""
        deltas: list[Delta] = []
        if decided.through <= self.through:
            return deltas
        while self.pending and self.pending[0][0].version <= decided.through:
            if self.pending[0][0].position in skipped:
                self.pending.popleft()
                continue
            _, fact, _, changed = self.take_next()
            deltas += changed
            if isinstance(fact, Message):
                self.fields = fact.fields
        self.through = decided.through
        return deltas + write_down(self.state, decided)


def _checksum(stream: str, version: int, state: bytes) -> bytes:
    return crc32(state, crc32(f"{stream} {version}".encode())).to_bytes(_CRC_BYTES)


@cache
def _state_decoder(of: type[StreamState]) -> msgspec.msgpack.Decoder[StreamState]:
    return msgspec.msgpack.Decoder(of)
