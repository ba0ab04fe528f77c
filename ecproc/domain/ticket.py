"""Any ticket: whose message it is, whether it is news, its number, notes and files; the rest is its type's own.

`evolve` folds any fact and `decide` names what it leads to; each asks the file of the ticket's type, `incident` or
`change`, for what is special to it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import Final, Protocol, assert_never
from zlib import crc32

import msgspec

from ecproc.domain import change, incident
from ecproc.domain.adoption import adopt, compare_numbers, evolve_import
from ecproc.domain.anomalies import Anomaly
from ecproc.domain.commands import ClientLinked, CommandAccepted, EnsonoNumberReturned
from ecproc.domain.decisions import Draft, decide_own
from ecproc.domain.dedups import flag_repeated, remember_dedup
from ecproc.domain.deltas import (
    Attachment,
    AttachmentChanged,
    CallsDue,
    CommandCall,
    Delta,
    Echoed,
    NoteAdded,
    QuarantineLeft,
    Refused,
)
from ecproc.domain.echoes import find_echo, make_print
from ecproc.domain.effects import Effect, EffectKind
from ecproc.domain.events import (
    OTHER_BODY,
    Act,
    AttachmentInfo,
    EffectFailed,
    EffectStarted,
    EffectSucceeded,
    EffectUnknown,
    Fact,
    Message,
    Noticed,
    OperatorActed,
    OwnFact,
    Place,
    Quarantined,
    QuarantineReason,
    Released,
    TicketType,
    TimerElapsed,
    Transaction,
    Undecodable,
)
from ecproc.domain.external import ExternalReceived
from ecproc.domain.ids import NO_SEQUENCE, TicketNumber
from ecproc.domain.linking import NAMING, evolve_linked, tell_create
from ecproc.domain.outcomes import evolve_outcome
from ecproc.domain.policy import Policy
from ecproc.domain.sending import draft_calls, evolve_command, note_message, release_waiting
from ecproc.domain.shadow import evolve_external
from ecproc.domain.state import AttachmentStatus, TicketState, digest, flag, flag_once
from ecproc.domain.timers import confirm_calls, evolve_elapsed, expect_confirmation, follow_timers, watch_call

FOLD_VERSION: Final = 5
"""Grows with every change to what a fold makes of a ticket's events: live rows of another version are rebuilt."""

# A member of an enum looked up by its class costs CPython 3.11 as much as twenty attributes.
_CHANGE: Final = TicketType.CHANGE
_CREATE: Final = Transaction.CREATE
_UNKNOWN: Final = Transaction.UNKNOWN
_UPDATE: Final = Transaction.UPDATE
_RECORDS: Final = frozenset({Transaction.CREATE, Transaction.UPDATE, Transaction.CLOSURE, Transaction.REDRAFT})
_encode = msgspec.msgpack.Encoder().encode


class TicketKind(Protocol):
    """What a type of ticket has of its own: its transitions, and what they lead to."""

    @property
    def FINAL(self) -> Set[str]:
        """States that end a ticket."""

    @property
    def DRAFTS(self) -> Set[str]:
        """States in which the same Create may come again and be news (C20)."""

    def open_ticket(self, state: TicketState, message: Message) -> list[Delta]:
        """Take the first message's state and fields."""

    def apply_record(self, state: TicketState, message: Message, *, late: bool) -> list[Delta]:
        """Apply a later message that carries the ticket's record."""

    def apply_extras(self, state: TicketState, message: Message, *, late: bool) -> list[Delta]:
        """Apply what messages of this type alone may carry beside the record."""

    def decide(self, draft: Draft, message: Message, deltas: Sequence[Delta]) -> None:
        """Draft what these deltas of a message lead to."""


KINDS: Final[Mapping[TicketType, TicketKind]] = {
    TicketType.INCIDENT: incident,
    TicketType.REQUEST: incident,
    TicketType.CHANGE: change,
}


def evolve(state: TicketState, fact: Fact, place: Place) -> list[Delta]:
    """Fold one fact into the state in place and return what it changed. Never raises on any history."""
    match fact:
        case Message():
            deltas = evolve_ordinary(state, fact)
            return evolve_in_full(state, fact) if deltas is None else deltas
        case Undecodable():
            return [Refused(fact.reason, fact.detail)]
        case Quarantined():
            return []
        case Released(position=position, fact=released):
            return _evolve_released(state, released, position, place)
        case _:
            state.touch(place)
            return _evolve_own(state, fact, place) + follow_timers(state)


def _evolve_own(state: TicketState, fact: OwnFact, place: Place) -> list[Delta]:
    match fact:
        case Noticed(position=position, code=code, detail=detail):
            return flag_once(state, code, detail, position)
        case OperatorActed(act=Act.LINK):
            return evolve_import(state, fact, place) + release_waiting(state)
        case EffectStarted() | EffectSucceeded() | EffectFailed() | EffectUnknown() | OperatorActed():
            return evolve_outcome(state, fact, place) + release_waiting(state)
        case CommandAccepted():
            return evolve_command(state, fact, place)
        case ClientLinked():
            if not state.opened:
                watch_call(state, EffectKind.CREATE_TICKET, fact.key, make_print({}, (), place.at))
                expect_confirmation(state, fact.key, place.at)
            return evolve_linked(state, fact, place) + release_waiting(state)
        case EnsonoNumberReturned():
            return []
        case TimerElapsed():
            return evolve_elapsed(state, fact, place)
        case ExternalReceived():
            return evolve_external(state, fact, place) + release_waiting(state)
        case _:
            assert_never(fact)


def decide(state: TicketState, fact: Fact, deltas: Sequence[Delta], place: Place, policy: Policy) -> list[Effect]:
    """The effects of one fact, given the state just after it and what it changed. Never reads former decisions."""
    if not deltas:
        return []
    draft = Draft(state, place)
    due: list[CommandCall] = []
    for delta in deltas:
        if type(delta) is Echoed:
            draft.echo = delta
        elif type(delta) is CallsDue:
            due += delta.calls
    if isinstance(fact, Released):
        fact = fact.fact
    if isinstance(fact, Message):
        if state.type is not None:
            KINDS[state.type].decide(draft, fact, deltas)
    else:
        decide_own(draft, fact, deltas)
    if due:
        draft_calls(draft, due)
    return draft.effects


def evolve_ordinary(state: TicketState, message: Message) -> list[Delta] | None:
    """What `evolve_in_full` makes of what most messages are: a newer update of a known incident, odd in nothing, that
    says what it changed and brings no note or file. Of any other None, with the state as it was."""
    record, memory, known, theirs = state.record, state.memory, state.type, message.client_number
    ours = state.client_tickets[-1] if state.client_tickets else None
    if (
        message.changed is None
        or message.transaction is not _UPDATE
        or known is not message.ticket_type
        or known is _CHANGE
        or not (state.opened and state.opened_at and state.ticket)
        or message.sequence < record.sequence
        or message.notes
        or message.attachment is not None
        or message.remarks
        or message.message_id in memory.message_ids
        or message.dedup in memory.dedups
        or (state.commands.prints or state.commands.overlay or state.commands.unconfirmed)
        or (theirs if ours is None else theirs != ours.number or message.number_missing or not ours.returned)
    ):
        return None
    deltas = incident.apply_ordinary(state, message, message.changed)
    if deltas is not None:
        state.touch(message)
        memory.message_ids.add(message.message_id)
        record.sequence = message.sequence
        if message.dedup:
            remember_dedup(memory, message.dedup, message.at)
    return deltas


def _evolve_released(state: TicketState, fact: Message | Undecodable, position: int, place: Place) -> list[Delta]:
    """Fold a message that left quarantine: it comes behind all that came meanwhile. One that still cannot be taken
    changes nothing."""
    state.touch(place)
    deltas = evolve_in_full(state, fact, released=True) if isinstance(fact, Message) else []
    if not deltas or any(isinstance(delta, Refused) for delta in deltas):
        return []
    return [QuarantineLeft(position), *deltas]


def evolve_in_full(state: TicketState, message: Message, *, released: bool = False) -> list[Delta]:
    """Fold any message; one that was `released` out of quarantine is late whatever its number."""
    known = state.type or message.ticket_type
    if known is None:
        detail = "no known ticketType in this message or any before it"
        return [Refused(QuarantineReason.NO_TICKET_TYPE, detail)]
    state.touch(message)
    state.type = known
    state.ticket = state.ticket or TicketNumber(message.ticket_number or state.stream)
    state.opened_at = state.opened_at or message.opened_at or (0 if _names_opening(message) else message.at)
    memory, record = state.memory, state.record
    if OTHER_BODY in message.remarks:
        return _flag_other_body(state, message)
    if message.message_id in memory.message_ids:
        detail = f"message {message.message_id[:80]} came under another number"
        return [flag(state, Anomaly.DUPLICATE, detail, message.position)]
    memory.message_ids.add(message.message_id)
    late = released or NO_SEQUENCE != message.sequence < record.sequence
    record.sequence = max(record.sequence, message.sequence)
    deltas = _flag_oddities(state, message, known, late=late)
    if message.transaction is _UNKNOWN:
        detail = f"TransactionType {message.transaction_name[:80]!r}"
        return [*deltas, flag(state, Anomaly.UNKNOWN_TYPE, detail, message.position)]
    kind = KINDS[known]
    if message.transaction is _CREATE and _is_repeat(state, message, kind):
        detail = "the Create came again under another MessageId"
        return [*deltas, flag(state, Anomaly.DUPLICATE, detail, message.position)]
    deltas += _apply_message(state, message, kind, late=late)
    commands = state.commands
    if commands.prints:
        deltas += find_echo(commands, message, deltas)
    if not late:
        note_message(state, message, deltas)
    if commands.waiting:
        deltas += release_waiting(state)
    confirm_calls(state, message, deltas)
    return deltas + follow_timers(state)


def _flag_other_body(state: TicketState, message: Message) -> list[Delta]:
    """The first body under a number counts (decision 5): which of two is right nobody can tell."""
    named = f"message {message.message_id[:80]}"
    return [
        flag(state, Anomaly.DUPLICATE, f"{named} came again", message.position),
        flag(state, Anomaly.BODY_DIFFERS, f"{named}: {OTHER_BODY.detail}", message.position),
    ]


def _names_opening(message: Message) -> bool:
    return any(message.fields.get(name) for name in ("openedTime", "openedAt"))


def _flag_oddities(state: TicketState, message: Message, known: TicketType, *, late: bool) -> list[Delta]:
    """What is odd about a message whatever it says."""
    deltas: list[Delta] = []
    if late:
        detail = "a newer message of this ticket was folded before"
        deltas.append(flag(state, Anomaly.LATE, detail, message.position))
    for remark in message.remarks:
        deltas += flag_once(state, remark.code, remark.detail, message.position)
    deltas += flag_repeated(state, message)
    if message.ticket_type not in (None, known):
        detail = f"ticketType {message.ticket_type} on a ticket of type {known}"
        deltas += flag_once(state, Anomaly.TYPE_CHANGED, detail, message.position)
    return deltas


def _is_repeat(state: TicketState, message: Message, kind: TicketKind) -> bool:
    """Whether this very Create came before; a draft that leaves again may do so in the same words (C20). Any other news
    may come in the same words and be news: it is applied in its order (R41)."""
    creates = state.memory.creates
    known = crc32(_encode((message.status, message.fields, [note.body for note in message.notes])))
    repeated = known in creates and state.state not in kind.DRAFTS
    creates.add(known)
    return repeated


def _apply_message(state: TicketState, message: Message, kind: TicketKind, *, late: bool) -> list[Delta]:
    deltas: list[Delta] = []
    if not state.opened:
        state.opened = True
        if state.ticket != state.stream:
            detail = f"ticketNumber {state.ticket[:80]} in group {state.stream[:80]}"
            deltas.append(flag(state, Anomaly.LINK_MISMATCH, detail, message.position))
        deltas += adopt(state, message) + tell_create(state, message) + kind.open_ticket(state, message)
    else:
        if message.transaction in NAMING:
            deltas += tell_create(state, message)
        if not late:
            deltas += compare_numbers(state, message)
        if message.transaction in _RECORDS:
            deltas += kind.apply_record(state, message, late=late)
        elif state.state in kind.FINAL and not late:
            detail = f"{message.transaction_name} on a ticket that is {state.state}"
            deltas.append(flag(state, Anomaly.AFTER_FINAL, detail, message.position))
    if message.notes:
        deltas += _add_notes(state, message)
    if message.attachment is not None:
        deltas += _announce(state, message.attachment, message.position, late=late)
    return deltas + kind.apply_extras(state, message, late=late)


def _add_notes(state: TicketState, message: Message) -> list[Delta]:
    deltas: list[Delta] = []
    notes = state.memory.notes
    before = len(notes)
    for note in message.notes:
        text = digest(note.body)
        known = notes.setdefault(note.id, text)
        if known != text:
            detail = f"note {note.id[:80]} has another text than before"
            deltas += flag_once(state, Anomaly.BODY_DIFFERS, detail, message.position, about=f"{note.id} {text}")
        if len(notes) == before:
            continue
        before = len(notes)
        deltas.append(NoteAdded(note, message.at, before))
        if state.generation.started == 0:
            state.held_notes.append(note)
    return deltas


def _announce(state: TicketState, info: AttachmentInfo, position: int, *, late: bool) -> list[Delta]:
    """A file that is announced again while it is not here has a fresh address: the newest announcement's counts."""
    known = state.attachments.get(info.id)
    if known is not None:
        pending = known.status == AttachmentStatus.PENDING
        if known.status == AttachmentStatus.STORED or (late and pending):
            return []
    attachment = Attachment(
        id=info.id,
        name=info.name,
        type=info.type,
        size=info.size,
        status=AttachmentStatus.PENDING,
        order=known.order if known else len(state.attachments) + 1,
        announced=position,
    )
    state.attachments[info.id] = attachment
    return [AttachmentChanged(attachment, announced=info)]
