"""A ticket while it is being folded, and what one event changed in it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final
from zlib import crc32

import msgspec

from ecproc.domain.effects import Effect, EffectKind
from ecproc.domain.entry import DEAD, Entry
from ecproc.domain.events import ApprovalRequest, AttachmentInfo, Message, Note, TicketType
from ecproc.domain.ids import NO_SEQUENCE, ClientNumber, EffectKey, TicketNumber

FOLD_VERSION: Final = 2
"""Grows with every change to what a fold makes of a log: live rows of another version are rebuilt at start."""


_TOLD: Final = 1_000


class ClientTicket(msgspec.Struct, frozen=True):
    """One ticket of ours for this ticket. `returned`: Ensono has the number; `returned_at`: when it took it from us, in
    microseconds UTC, None where a message of its own was first to show it."""

    number: ClientNumber
    generation: int
    returned: bool
    state: str
    returned_at: int | None = None


class Attachment(msgspec.Struct, frozen=True):
    """An announced file: `status` is pending, stored or failed; `size` the real one once stored; `announced` is the
    position of the message that announced it last."""

    id: str
    name: str
    type: str
    size: int | None
    status: str
    order: int
    sha256: str | None = None
    path: str | None = None
    announced: int = 0


class Approval(msgspec.Struct, frozen=True):
    """One approver's request: `state` is requested, approved, rejected, superseded or void."""

    id: str
    name: str
    email: str
    generation: int
    state: str
    order: int


class TicketState(msgspec.Struct):
    """The state of one stream's ticket. Owned by whoever folds it: `evolve` updates it in place.

    `opened` turns true with the first message that is understood. `started` is the last generation that has (or is
    getting) a client ticket, 0 for none; `live` says that this client ticket was not ended yet. `left_draft` says that
    the current generation of a change was seen outside Draft, `began` with which sequence it started. `sequence` is the
    highest folded. `rejected` says that the client's answer to this generation was no, `held_back` names the generation
    whose cancel was left to the client for that. `opened_at` is 0 while nothing readable says it. `notes` are the
    digests of their texts by id, `creates` those of Create messages, `dedups` when each of the last few minutes'
    deduplication ids was sent; `told` holds what is said once per ticket.
    """

    stream: str
    ticket: TicketNumber = TicketNumber("")
    type: TicketType | None = None
    state: str | None = None
    opened: bool = False
    generation: int = 1
    started: int = 0
    live: bool = False
    left_draft: bool = False
    version: int = 0
    position: int = 0
    opened_at: int = 0
    updated_at: int = 0
    sequence: bytes = NO_SEQUENCE
    began: bytes = NO_SEQUENCE
    cancels: int = 0
    rejected: bool = False
    held_back: int = 0
    fields: dict[str, str] = {}
    field_sequences: dict[str, bytes] = {}
    client_tickets: list[ClientTicket] = []
    attachments: dict[str, Attachment] = {}
    approvals: dict[str, Approval] = {}
    held_notes: list[Note] = []
    notes: dict[str, int] = {}
    message_ids: set[str] = set()
    creates: set[int] = set()
    dedups: dict[int, int] = {}
    told: set[str] = set()
    history_count: int = 0
    anomaly_count: int = 0
    planned: int = 0
    entries: dict[EffectKey, Entry] = {}

    @property
    def client_ticket(self) -> ClientTicket | None:
        """The newest generation's client ticket."""
        return self.client_tickets[-1] if self.client_tickets else None

    def number_of(self, generation: int) -> str | None:
        """The client number of a generation, where it is known."""
        return next((item.number for item in self.client_tickets if item.generation == generation), None)


class Moved(msgspec.Struct, frozen=True):
    """The ticket went from one state to another (`before` None: its first state)."""

    before: str | None
    after: str
    event: str
    position: int
    at: int
    order: int


class Flagged(msgspec.Struct, frozen=True):
    """An anomaly: something the protocol does not foresee, applied and recorded."""

    code: str
    detail: str
    position: int
    order: int


class FieldsChanged(msgspec.Struct, frozen=True):
    """Fields that got another value."""

    fields: dict[str, str]


class NoteAdded(msgspec.Struct, frozen=True):
    """A note the ticket did not have."""

    note: Note
    at: int
    order: int


class AttachmentChanged(msgspec.Struct, frozen=True):
    """A file was announced (`announced`) or its download ended."""

    attachment: Attachment
    announced: AttachmentInfo | None = None


class ApprovalChanged(msgspec.Struct, frozen=True):
    """An approval was asked for (`asked`) or got another state."""

    approval: Approval
    asked: ApprovalRequest | None = None


class ClientTicketChanged(msgspec.Struct, frozen=True):
    """A client ticket became known (`created` by us, or `adopted` with a number that Ensono had) or changed."""

    client_ticket: ClientTicket
    created: bool = False
    adopted: bool = False


class GenerationStarted(msgspec.Struct, frozen=True):
    """A client ticket is needed for this generation; `notes` came while there was none to put them on."""

    generation: int
    notes: tuple[Note, ...] = ()


class GenerationEnded(msgspec.Struct, frozen=True):
    """The client ticket of this generation has come to its end: closed, or else to be cancelled. `rejected`: Ensono
    cancelled it after a rejection, with which the client closed it already (R190)."""

    generation: int
    closed: bool = False
    rejected: bool = False


class NumberMissing(msgspec.Struct, frozen=True):
    """Ensono does not have our number: it took it a while ago, or the return never succeeded."""

    client_ticket: ClientTicket


class Planned(msgspec.Struct, frozen=True):
    """An effect was written down; `entry` is its outbox entry."""

    entry: Entry


class Refused(msgspec.Struct, frozen=True):
    """The message cannot be taken: it belongs in quarantine, the state is as before."""

    reason: str
    detail: str


Delta = (
    Moved
    | Flagged
    | FieldsChanged
    | NoteAdded
    | AttachmentChanged
    | ApprovalChanged
    | ClientTicketChanged
    | GenerationStarted
    | GenerationEnded
    | NumberMissing
    | Planned
    | Refused
)


def flag(state: TicketState, code: str, detail: str, position: int) -> Flagged:
    """Record an anomaly in the state's counters and return it."""
    state.anomaly_count += 1
    return Flagged(code=code, detail=detail, position=position, order=state.anomaly_count)


def flag_once(state: TicketState, code: str, detail: str, position: int, *, about: str = "") -> list[Delta]:
    """Record an anomaly unless this ticket has it already: every message repeats the whole record. `about` is what it
    is known by, if not by its detail."""
    known = f"{code} {about or detail}"
    if known in state.told:
        return []
    if len(state.told) >= _TOLD:
        state.told.clear()
    state.told.add(known)
    return [flag(state, code, detail, position)]


def digest(text: str) -> int:
    """What tells one text from another of the same ticket."""
    return crc32(text.encode())


def move(state: TicketState, after: str, message: Message) -> Moved:
    """Put the ticket into a state and return the step for its history."""
    before, state.state = state.state, after
    state.history_count += 1
    return Moved(
        before=before,
        after=after,
        event=message.transaction_name,
        position=message.position,
        at=message.at,
        order=state.history_count,
    )


def start_generation(state: TicketState) -> GenerationStarted:
    """Mark the current generation as having a client ticket."""
    state.started = state.generation
    state.live = True
    notes, state.held_notes = tuple(state.held_notes), []
    return GenerationStarted(state.generation, notes)


def end_generation(state: TicketState, *, closed: bool = False, rejected: bool = False) -> list[Delta]:
    """End the current client ticket if it was not ended yet."""
    if not state.live:
        # What was left to the client is ended all the same when the change goes on without it.
        late, state.held_back = state.held_back == state.started > 0, 0
        return [GenerationEnded(state.started)] if late else []
    state.live = False
    state.held_back = state.started if rejected else 0
    return [GenerationEnded(state.started, closed, rejected)]


def set_fields(state: TicketState, message: Message, fields: Mapping[str, str], *, late: bool) -> list[Delta]:
    """Set fields that differ; a late message sets only those that no newer message did."""
    sequences, sequence = state.field_sequences, message.sequence
    if late:
        fields = {name: value for name, value in fields.items() if sequences.get(name, NO_SEQUENCE) <= sequence}
    if sequence != NO_SEQUENCE:
        sequences.update(dict.fromkeys(fields, sequence))
    changed = {name: value for name, value in fields.items() if state.fields.get(name) != value}
    state.fields.update(changed)
    return [FieldsChanged(changed)] if changed else []


def flag_unknown_values(
    state: TicketState, changes: Iterable[Delta], known: Mapping[str, frozenset[str]], position: int
) -> list[Delta]:
    """Flag what these changes set a field with a closed list to, where the list does not have it; it is kept as it
    came (R50)."""
    flags: list[Delta] = []
    for change in changes:
        if not isinstance(change, FieldsChanged):
            continue
        for name, values in known.items():
            value = change.fields.get(name, "").strip()
            if value and value.lower() not in values:
                flags += flag_once(state, "unknown_value", f"{name} {value[:80]!r}", position)
    return flags


def plan(state: TicketState, effects: list[Effect]) -> list[Effect]:
    """Write effects down as outbox entries and return those that were new.

    A key that exists is a no-op, except that a dead entry takes the new arguments, and with `rearm` any other one that
    is not a completed download (decision 8).
    """
    new: list[Effect] = []
    for effect in effects:
        entry = state.entries.get(effect.key)
        if entry is None or entry.state in DEAD or (effect.rearm and _takes_new(entry)):
            new.append(effect)
            add_entry(state, effect)
    return new


def _takes_new(entry: Entry) -> bool:
    return entry.finished != (entry.effect.kind is EffectKind.DOWNLOAD)


def add_entry(state: TicketState, effect: Effect) -> Entry:
    """The entry of a planned effect, behind all that were planned before it."""
    state.planned += 1
    entry = Entry(effect=effect, order=state.planned)
    state.entries[effect.key] = entry
    return entry
