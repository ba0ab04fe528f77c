"""A stream's state while it is being folded: what every kind of stream has, and what a ticket has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Final
from zlib import crc32

import msgspec
from msgspec import field

from ecproc.domain.anomalies import Anomaly
from ecproc.domain.commands import KnownCommand
from ecproc.domain.deltas import (
    Approval,
    Attachment,
    ClientTicket,
    CommandCall,
    Delta,
    FieldsChanged,
    Flagged,
    GenerationEnded,
    GenerationStarted,
    Moved,
    Timer,
)
from ecproc.domain.effects import EffectKind
from ecproc.domain.events import Message, Note, Place, Scope, TicketType
from ecproc.domain.external import Shadowed
from ecproc.domain.ids import NO_SEQUENCE, EffectKey, TicketNumber
from ecproc.domain.plans import Plans

_MOST_TOLD: Final = 1_000
"""Sayings a stream remembers before it forgets all of them: what is repeated after that is flagged once more."""


class Seen(msgspec.Struct):
    """The last fact that was folded, and the newest time of any, in microseconds UTC."""

    position: int = 0
    version: int = 0
    at: int = 0


class Journal(msgspec.Struct):
    """How many moves and anomalies there were; `told` holds what is said once per stream."""

    moves: int = 0
    anomalies: int = 0
    told: set[str] = set()


class StreamState(msgspec.Struct):
    """What every kind of stream has. Owned by whoever folds it: `evolve` updates it in place. `paused`: a person lets
    nothing more be performed of it. `scope` is what was decided last, None where nothing was: then it is inside."""

    stream: str
    seen: Seen = field(default_factory=Seen)
    journal: Journal = field(default_factory=Journal)
    plans: Plans = field(default_factory=Plans)
    paused: bool = False
    scope: Scope | None = None

    @property
    def is_inside(self) -> bool:
        """Whether it is in the client's scope."""
        return self.scope is None or self.scope.inside

    def touch(self, place: Place | Message) -> None:
        """Note where the fold has come to."""
        seen = self.seen
        seen.position, seen.version, seen.at = place.position, place.version, max(seen.at, place.at)


# --- tickets ----------------------------------------------------------------------------------------------------------


class AttachmentStatus(StrEnum):
    """How far a file's download is."""

    PENDING = "pending"
    STORED = "stored"
    FAILED = "failed"


class ApprovalState(StrEnum):
    """How far an approver's request is; the last two end it without the approver."""

    REQUESTED = "requested"
    APPROVED = "approved"
    REJECTED = "rejected"
    SUPERSEDED = "superseded"
    VOID = "void"


class Generation(msgspec.Struct):
    """Which client ticket a ticket is at.

    `number` counts generations, `started` is the last one that has (or is getting) a client ticket, 0 for none; `live`
    says that this client ticket was not ended yet. `left_draft` says that the current generation of a change was seen
    outside Draft, `began` with which sequence it started. `rejected` says that the client's answer to this generation
    was no, `held_back` names the generation whose cancel was left to the client for that. `cancels` counts how often an
    incident was cancelled.
    """

    number: int = 1
    started: int = 0
    live: bool = False
    left_draft: bool = False
    began: bytes = NO_SEQUENCE
    rejected: bool = False
    held_back: int = 0
    cancels: int = 0


class Record(msgspec.Struct):
    """The ticket's fields, and by which sequence each was set; `sequence` is the highest folded."""

    fields: dict[str, str] = {}
    sequences: dict[str, bytes] = {}
    sequence: bytes = NO_SEQUENCE


class Memory(msgspec.Struct):
    """What came before, to tell news from repetition: MessageIds, the digests of Creates and of notes' texts by id, and
    when each of the last few minutes' deduplication ids was sent."""

    message_ids: set[str] = set()
    creates: set[int] = set()
    notes: dict[str, int] = {}
    dedups: dict[int, int] = {}


class Overlaid(msgspec.Struct, frozen=True):
    """What a command of ours set a field to, and which one."""

    value: str
    key: EffectKey


class NotePrint(msgspec.Struct, frozen=True):
    """What tells a comment of ours when it comes back: length and digest of its words, and what may follow them."""

    length: int
    text: int
    signature: tuple[str, ...] = ()


class Print(msgspec.Struct):
    """What a call of ours told, by digests, so that it is known when it comes back; `since` it was accepted, and `at`
    is when it was last heard of, in microseconds UTC. `done`: Ensono took it."""

    since: int
    at: int
    fields: dict[str, int] = {}
    notes: list[NotePrint] = []
    done: bool = False


class Unconfirmed(msgspec.Struct, frozen=True):
    """A call that no message has shown: what it tells, as a print has it. It was accepted at `since`; Ensono took it at
    `taken`, None while it did not. Times are microseconds UTC."""

    kind: EffectKind
    since: int
    fields: dict[str, int] = {}
    notes: tuple[NotePrint, ...] = ()
    taken: int | None = None


class Commands(msgspec.Struct):
    """What people asked of this ticket (`sending.py`).

    `dead` are the keys of calls that came to a bad end, `waiting` the calls that need our number; `comments` has the
    comments that were given, each with the call it went with, `unconfirmed` the calls that no message has shown. `turn`
    counts how often the ticket has been worked on: it grows when it comes back.
    """

    known: dict[EffectKey, KnownCommand] = {}
    dead: set[EffectKey] = set()
    waiting: list[CommandCall] = []
    overlay: dict[str, Overlaid] = {}
    prints: dict[EffectKey, Print] = {}
    comments: dict[str, EffectKey] = {}
    unconfirmed: dict[EffectKey, Unconfirmed] = {}
    turn: int = 1

    def is_dead(self, command: KnownCommand) -> bool:
        """Whether something that it led to came to a bad end."""
        return not self.dead.isdisjoint(command.entries)

    def list_given(self, command: EffectKey) -> set[str]:
        """The comments that were given by other commands, and did not come to a bad end."""
        known = self.known.get(command)
        own = set(known.entries) if known is not None else set[EffectKey]()
        return {comment for comment, call in self.comments.items() if call not in self.dead and call not in own}


class Reopened(msgspec.Struct, frozen=True):
    """A message that brought a ticket back into work."""

    message_id: str
    position: int


class TicketState(StreamState):
    """The state of one ticket.

    `opened` turns true with the first message that is understood; `opened_at` is 0 while nothing readable says it,
    `moved_at` is when it came into its state, `ended_at` when it last went out of work; `reopens` are what brought it
    back, in order. `held_notes` wait for a client ticket. `shadows` are what the desk has in the fields of each client
    ticket (`shadow.py`). Times are microseconds UTC.
    """

    ticket: TicketNumber = TicketNumber("")
    type: TicketType | None = None
    state: str | None = None
    opened: bool = False
    opened_at: int = 0
    moved_at: int = 0
    generation: Generation = field(default_factory=Generation)
    record: Record = field(default_factory=Record)
    memory: Memory = field(default_factory=Memory)
    client_tickets: list[ClientTicket] = []
    attachments: dict[str, Attachment] = {}
    approvals: dict[str, Approval] = {}
    held_notes: list[Note] = []
    commands: Commands = field(default_factory=Commands)
    timers: dict[str, Timer] = {}
    ended_at: int = 0
    reopens: list[Reopened] = []
    shadows: dict[str, dict[str, Shadowed]] = {}

    @property
    def client_ticket(self) -> ClientTicket | None:
        """The newest generation's client ticket."""
        return self.client_tickets[-1] if self.client_tickets else None

    @property
    def current_number(self) -> str | None:
        """The client number that calls about the current client ticket name; None while it is not known."""
        newest = self.client_ticket
        return newest.number if newest is not None and newest.generation == self.generation.started else None

    def client_ticket_of(self, generation: int) -> ClientTicket | None:
        """The newest client ticket of a generation, where one is known."""
        return next((item for item in reversed(self.client_tickets) if item.generation == generation), None)


def flag(state: StreamState, code: Anomaly | str, detail: str, position: int) -> Flagged:
    """Record an anomaly in the state's counters and return it."""
    state.journal.anomalies += 1
    return Flagged(code=code, detail=detail, position=position, order=state.journal.anomalies)


def flag_once(state: StreamState, code: Anomaly | str, detail: str, position: int, *, about: str = "") -> list[Delta]:
    """Record an anomaly unless this stream has it already: every message repeats the whole record. `about` is what it
    is known by, if not by its detail."""
    known, told = f"{code} {about or detail}", state.journal.told
    if known in told:
        return []
    if len(told) >= _MOST_TOLD:
        told.clear()
    told.add(known)
    return [flag(state, code, detail, position)]


def digest(text: str) -> int:
    """What tells one text from another of the same ticket."""
    return crc32(text.encode())


def move(state: TicketState, after: str, message: Message) -> Moved:
    """Put the ticket into a state and return the step for its history."""
    before, state.state, state.moved_at = state.state, after, message.at
    state.journal.moves += 1
    return Moved(
        before=before,
        after=after,
        event=message.transaction_name,
        position=message.position,
        at=message.at,
        order=state.journal.moves,
    )


def start_generation(state: TicketState) -> GenerationStarted:
    """Mark the current generation as having a client ticket."""
    generation = state.generation
    generation.started, generation.live = generation.number, True
    notes, state.held_notes = tuple(state.held_notes), []
    return GenerationStarted(generation.number, notes)


def end_generation(state: TicketState, *, closed: bool = False, rejected: bool = False) -> list[Delta]:
    """End the current client ticket if it was not ended yet."""
    generation = state.generation
    if not generation.live:
        # What was left to the client is ended all the same when the change goes on without it.
        late, generation.held_back = generation.held_back == generation.started > 0, 0
        return [GenerationEnded(generation.started)] if late else []
    generation.live = False
    generation.held_back = generation.started if rejected else 0
    return [GenerationEnded(generation.started, closed, rejected)]


def set_fields(state: TicketState, message: Message, fields: Mapping[str, str], *, late: bool) -> list[Delta]:
    """Set fields that differ; a late message sets only those that no newer message did."""
    record, sequence = state.record, message.sequence
    if late:
        fields = {name: value for name, value in fields.items() if record.sequences.get(name, NO_SEQUENCE) <= sequence}
    known, sequences = record.fields, record.sequences
    changed: dict[str, str] = {}
    respelled: set[str] = set()
    for name, value in fields.items():
        if sequence != NO_SEQUENCE:
            sequences[name] = sequence
        before = known.get(name)
        if before != value:
            known[name] = changed[name] = value
            if name == "approval" and before is not None and _name_approval(before) == _name_approval(value):
                respelled.add(name)
    return [FieldsChanged(changed, frozenset(respelled))] if changed else []


def _name_approval(text: str) -> str:
    """The word that a change's approval means, however the guide spells it (C11)."""
    word = text.strip().lower()
    return "not requested" if word == "not yet requested" else word


def flag_unknown_values(
    state: TicketState, deltas: Iterable[Delta], known: Mapping[str, frozenset[str]], position: int
) -> list[Delta]:
    """Flag what these changes set a field with a closed list to, where the list does not have it; it is kept as it
    came (R50)."""
    flags: list[Delta] = []
    for delta in deltas:
        if not isinstance(delta, FieldsChanged):
            continue
        for name, values in known.items():
            value = delta.fields.get(name, "").strip()
            if value and value.lower() not in values:
                flags += flag_once(state, Anomaly.UNKNOWN_VALUE, f"{name} {value[:80]!r}", position)
    return flags
