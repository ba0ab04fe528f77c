"""A ticket that the client opens at Ensono's: this file is the whole truth about its transitions (decision 11).

Ensono opens a ticket by a POST that must not be sent twice, and may have been applied although its answer was lost
(R96, R97). So the request is a stream of its own, `client:{number}`, and waits there for what came of it:

*Requested* when the command was accepted, *sent* when the first byte may have left, *unknown* when no answer came that
can be trusted. From then on the queue may tell what came of it: a message of Ensono's ticket that names our
number (R97, C25) settles it in every state, for good, and the POST is not sent again. So does its answer, which names
Ensono's number. Either makes it *linked*: the ticket's own stream is told, and shows the ticket from then on. A refusal
that no repeat will mend makes it *rejected*, until somebody tries again or a message knows better.

*Two numbers.* What was asked for twice may have been made twice: a second number of Ensono's for ours is an anomaly in
all three streams, for a person has to close one of the tickets. The first number stays.

*One create.* A number that is linked, or on its way, is not opened again under another key (R96).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Final, assert_never

import msgspec
from msgspec import field

from ecproc.domain.anomalies import Anomaly
from ecproc.domain.commands import (
    ClientLinked,
    CommandAccepted,
    CommandKind,
    Comment,
    EnsonoNumberReturned,
    KnownCommand,
)
from ecproc.domain.deltas import CallsDue, CommandCall, CommandChanged, Delta, Moved, Refused, Tells
from ecproc.domain.effects import Effect, EffectKind
from ecproc.domain.events import (
    Act,
    EffectFailed,
    EffectStarted,
    EffectSucceeded,
    EffectUnknown,
    Fact,
    Message,
    Noticed,
    OperatorActed,
    Outcome,
    Place,
    PolicyChanged,
    Quarantined,
    QuarantineReason,
    Released,
    TimerElapsed,
    Undecodable,
)
from ecproc.domain.external import ExternalReceived
from ecproc.domain.ids import CLIENT_PREFIX, ClientNumber, EffectKey, TicketNumber, identity, normalise_number
from ecproc.domain.policy import Policy
from ecproc.domain.sending import encode_call, list_calls, name_wanted_group
from ecproc.domain.state import StreamState, flag, flag_once

FOLD_VERSION: Final = 1
"""Grows with every change to what a fold makes of such a stream's events."""


class State(StrEnum):
    """How far the request is."""

    REQUESTED = "requested"
    SENT = "sent"
    UNKNOWN = "unknown"
    LINKED = "linked"
    REJECTED = "rejected"


class Word(StrEnum):
    """What may be heard of it."""

    ACCEPTED = "accepted"
    STARTED = "started"
    WAITS = "waits"
    LOST = "lost"
    REFUSED = "refused"
    ANSWERED = "answered"
    RETURNED = "returned"


_NAMED: Final = {Word.ANSWERED: State.LINKED, Word.RETURNED: State.LINKED}
EXPECTED: Final[Mapping[State | None, Mapping[Word, State]]] = {
    None: {Word.ACCEPTED: State.REQUESTED},
    State.REQUESTED: {
        Word.STARTED: State.SENT,
        Word.LOST: State.UNKNOWN,
        Word.REFUSED: State.REJECTED,
        **_NAMED,
    },
    State.SENT: {
        Word.WAITS: State.REQUESTED,
        Word.LOST: State.UNKNOWN,
        Word.REFUSED: State.REJECTED,
        **_NAMED,
    },
    State.UNKNOWN: {Word.REFUSED: State.REJECTED, **_NAMED},
    State.LINKED: {},
    State.REJECTED: {
        Word.ACCEPTED: State.REQUESTED,
        Word.STARTED: State.SENT,
        Word.WAITS: State.REQUESTED,
        Word.LOST: State.UNKNOWN,
        **_NAMED,
    },
}
"""Where each word leads; a word that does not stand there leaves the state as it is. What is unknown once stays so
through its repeats, until one of them or the queue knows more."""
TYPES: Final = frozenset({"Incident", "Request"})
"""What a client can open; a change is asked for by a request (R87, R144)."""
_SHOWN: Final = 80


class ClientCreate(StreamState):
    """The state of one request. `ticket` is Ensono's number and `home` its stream, once they are known; `others` are
    further numbers; `key` is that of the create, `known` its commands by key."""

    state: State | None = None
    key: EffectKey = EffectKey("")
    type: str = ""
    fields: dict[str, str] = field(default_factory=dict)
    comments: tuple[Comment, ...] = ()
    ticket: TicketNumber = TicketNumber("")
    home: str = ""
    others: list[str] = field(default_factory=list)
    known: dict[EffectKey, KnownCommand] = field(default_factory=dict)
    opened_at: int = 0

    @property
    def number(self) -> ClientNumber:
        """The client's own number."""
        return ClientNumber(self.stream.removeprefix(CLIENT_PREFIX))

    @property
    def is_shown(self) -> bool:
        """Whether this stream shows the ticket: until Ensono's has it."""
        return bool(self.key) and self.state is not State.LINKED


class SeenDone(Delta, frozen=True):
    """The queue told what the create led to: whatever is under way for it is over."""

    key: EffectKey
    ticket: TicketNumber


def evolve(state: ClientCreate, fact: Fact, place: Place) -> list[Delta]:
    """Fold one fact into the state in place and return what it changed. Never raises on any history."""
    match fact:
        case Message() | Undecodable():
            detail = f"{state.stream[:_SHOWN]} is the name of a create of ours"
            return [Refused(QuarantineReason.RESERVED_GROUP, detail)]
        case Quarantined() | Released():
            return []
        case Noticed(position=position, code=code, detail=detail):
            state.touch(place)
            return flag_once(state, code, detail, position)
        case CommandAccepted():
            state.touch(place)
            return _accept(state, fact, place)
        case EnsonoNumberReturned(ticket=ticket, stream=home):
            state.touch(place)
            known = [SeenDone(state.key, ticket)] if state.state not in (None, State.LINKED) else []
            return _link(state, Word.RETURNED, (ticket, home), place) + known
        case EffectStarted() | EffectSucceeded() | EffectFailed() | EffectUnknown() | OperatorActed():
            state.touch(place)
            return _hear(state, fact, place) if fact.key == state.key else []
        case ClientLinked() | TimerElapsed() | PolicyChanged() | ExternalReceived():
            state.touch(place)
            return []
        case _:
            assert_never(fact)


def decide(state: ClientCreate, fact: Fact, deltas: Sequence[Delta], place: Place, policy: Policy) -> list[Effect]:
    """The effects of one fact, given the state just after it and what it changed."""
    effects: list[Effect] = []
    for delta in deltas:
        match delta:
            case CallsDue(calls=calls):
                effects += [_plan(state, call, place, ordinal) for ordinal, call in enumerate(calls, len(effects))]
            case SeenDone(key=key, ticket=ticket):
                result = {"number": ticket, "answer": "told by a message"}
                call = CommandCall(EffectKind.CREATE_TICKET, key, key, result)
                effects.append(msgspec.structs.replace(_plan(state, call, place, len(effects)), done=True))
            case _:
                pass
    return effects


def _plan(state: ClientCreate, call: CommandCall, place: Place, ordinal: int) -> Effect:
    creates = call.kind is EffectKind.CREATE_TICKET
    return Effect(
        key=call.key,
        kind=call.kind,
        generation=1,
        position=place.position,
        at=place.at,
        ticket=TicketNumber("") if creates else state.ticket,
        ticket_type=state.type,
        ordinal=ordinal,
        number=state.number,
        fields=encode_call(call),
    )


def _move(state: ClientCreate, word: Word, place: Place) -> list[Delta]:
    before = state.state
    after = EXPECTED[before].get(word, before)
    if after is None or after is before:
        return []
    state.state = after
    state.journal.moves += 1
    return [Moved(before, after, word, place.position, place.at, state.journal.moves)]


def _accept(state: ClientCreate, accepted: CommandAccepted, place: Place) -> list[Delta]:
    key, known = accepted.key, state.known.get(accepted.key)
    if known is not None and not known.refused and (key != state.key or state.state is not State.REJECTED):
        return []
    refused = _refuse(state, accepted)
    calls = [] if refused else list_calls(accepted)
    command = KnownCommand(
        key=key,
        command=accepted.command,
        at=place.at,
        order=known.order if known else len(state.known) + 1,
        who=accepted.who,
        digest=accepted.digest,
        client_ticket=state.number,
        entries=tuple(call.key for call in calls),
        refused=refused,
    )
    state.known[key] = command
    if refused:
        return [CommandChanged(command)]
    state.key, state.type = key, accepted.fields["ticketType"]
    state.fields = {name: value for name, value in accepted.fields.items() if name != "ticketType"}
    state.comments = calls[0].comments
    state.opened_at = state.opened_at or place.at
    return [CommandChanged(command), *_move(state, Word.ACCEPTED, place), CallsDue(tuple(calls))]


def _refuse(state: ClientCreate, accepted: CommandAccepted) -> str:
    if accepted.command is not CommandKind.CREATE:
        return f"{state.number} is not known to Ensono yet"
    if accepted.fields.get("ticketType") not in TYPES:
        return "only an Incident or a Request can be opened"
    if not identity(state.number):
        return "a ticket of ours has a number"
    if state.state not in (None, State.REJECTED):
        return f"{state.number} was opened under the key {state.key}"
    return ""


def _hear(state: ClientCreate, outcome: Outcome, place: Place) -> list[Delta]:
    match outcome:
        case EffectStarted():
            return _move(state, Word.STARTED, place)
        case EffectUnknown():
            return _move(state, Word.LOST, place)
        case EffectFailed(next_attempt_at=None):
            return _move(state, Word.REFUSED, place)
        case EffectFailed():
            return _move(state, Word.WAITS, place)
        case EffectSucceeded():
            return _take_answer(state, outcome, place)
        case OperatorActed(act=act):
            return _move(state, Word.REFUSED if act is Act.DISCARD else Word.WAITS, place)
        case _:
            assert_never(outcome)


def _take_answer(state: ClientCreate, outcome: EffectSucceeded, place: Place) -> list[Delta]:
    ticket = TicketNumber(identity(outcome.result.get("number")))
    if not ticket:
        return [flag(state, Anomaly.ODD_ANSWER, "opened, but the answer names no ticket", place.position)]
    note = name_wanted_group(state.key, outcome)
    if note is None or state.state is State.LINKED:
        return _link(state, Word.ANSWERED, (ticket, ticket), place)
    state.comments += note.comments
    command = state.known[state.key]
    state.known[state.key] = msgspec.structs.replace(command, entries=(*command.entries, note.key))
    deltas = _link(state, Word.ANSWERED, (ticket, ticket), place)
    return [*deltas, CommandChanged(state.known[state.key]), CallsDue((note,))]


def _link(state: ClientCreate, word: Word, found: tuple[TicketNumber, str], place: Place) -> list[Delta]:
    """Learn Ensono's number and the stream of that ticket, which is told."""
    ticket, home = found
    if state.state is None:  # nobody asked for it here
        return []
    if state.ticket:
        return _compare(state, ticket, home, place)
    state.ticket, state.home = ticket, home
    return [*_move(state, word, place), _tell_linked(state, ticket, home)]


def _compare(state: ClientCreate, ticket: TicketNumber, home: str, place: Place) -> list[Delta]:
    named = normalise_number(ticket)
    if named == normalise_number(state.ticket) or named in state.others:
        return []
    state.others.append(named)
    detail = f"{state.number[:_SHOWN]} is {state.ticket[:_SHOWN]} and {ticket[:_SHOWN]} at Ensono"
    notice = Noticed(place.position, Anomaly.DOUBLE_CREATE, detail)
    return [
        flag(state, Anomaly.DOUBLE_CREATE, detail, place.position),
        _tell_linked(state, ticket, home),
        Tells(state.home, notice),
        Tells(home, notice),
    ]


def _tell_linked(state: ClientCreate, ticket: TicketNumber, home: str) -> Tells:
    linked = ClientLinked(ticket, state.number, state.type, state.key, state.fields, state.comments)
    return Tells(home, linked)
