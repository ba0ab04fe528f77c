"""Histories of tickets, sensible and absurd, for property tests."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final, NamedTuple

import msgspec
from hypothesis import strategies as st

from ecproc.domain import change as change_machine
from ecproc.domain import incident as incident_machine
from ecproc.domain.commands import ClientLinked, CommandAccepted, CommandKind, Comment, EnsonoNumberReturned
from ecproc.domain.effects import Effect, EffectKind
from ecproc.domain.events import (
    Act,
    ApprovalRequest,
    AttachmentInfo,
    Decided,
    EffectFailed,
    EffectStarted,
    EffectSucceeded,
    EffectUnknown,
    Fact,
    Message,
    Note,
    Noticed,
    OperatorActed,
    Outcome,
    PolicyChanged,
    Quarantined,
    Released,
    Scope,
    TicketType,
    TimerElapsed,
    TimerName,
    Transaction,
    Undecodable,
)
from ecproc.domain.ids import ClientNumber, EffectKey, TicketNumber
from ecproc.testing.ticket import Event, Life, Sent, approver, change, file, incident, note, sent

_TRANSACTIONS: Final = st.sampled_from([*(item.value for item in Transaction), *["Update"] * 4])
_CHANGE_STATES: Final = st.sampled_from(["New", *(item.value for item in change_machine.State), "", "On Ice"])
_INCIDENT_STATES: Final = [*(item.value for item in incident_machine.State), "", "on ice"]
_ENVELOPES: Final = st.sampled_from(
    [
        *[sent()] * 12,
        *(sent(sequence=number) for number in (1, 2, 3, 5, 8)),
        *(sent(message_id=f"m{number}") for number in (1, 2, 4)),
        *(sent(at=seconds) for seconds in (0, 400, 800)),
        sent(SequenceNumber=None),
        sent(at=4000, ClientReferenceAvailable=False),
    ]
)
_EXTRAS: Final[list[Sent]] = [
    *[{}] * 6,
    *({"notes": [note(name), note("n0")]} for name in ("n1", "n2")),
    *(file(name) for name in ("f1", "f2")),
    *({"clientTicketNumber": number} for number in ("LOCAL-1", "LOCAL-2", "OTHER")),
    *({"ticketType": name} for name in (None, "Request", "Incident", "Change", "Task")),
    *({"cis": value} for value in ("a,b", "", None, 7, ["a"])),
    *({"offHoldDate": date} for date in ("2023-02-08 16:25:44", "2030-01-01T00:00:00Z", "soon")),
    {"statusNextAction": "pending-caller", "notes": note("n3"), **file("f1")},
]
_EXTRA: Final = st.sampled_from(_EXTRAS)
_CHANGES: Final = st.sampled_from(
    [
        *[None] * 4,
        {},
        {"updatedOn": None},
        {"priority": "2", "statusNextAction": "pending-vendor"},
        *({"status": state, "priority": "1"} for state in _INCIDENT_STATES),
    ]
)
_TYPES: Final = st.sampled_from(["Normal", "Normal", "Standard", "Emergency", "Odd", ""])
_APPROVALS: Final[list[Sent]] = [
    *(approver(name, word) for name in ("a1", "a2", "a3") for word in ("Requested", "Approved", "Rejected")),
    *({"startDate": date, **approver("a4")} for date in ("2023-02-08 16:25:44", "2030-01-01T00:00:00Z")),
]


class History(NamedTuple):
    """A ticket's facts in order, its life with a step for each of them, and the effects that each of them led to."""

    life: Life
    events: tuple[Event, ...]
    planned: tuple[tuple[EffectKey, ...], ...]

    def cause_of(self, index: int) -> int:
        """The last fact before this one that planned the effect this one is the outcome of; -1 if it is a message."""
        event = self.events[index]
        key = getattr(event, "key", None)
        return max((cause for cause in range(index) if key in self.planned[cause]), default=-1)


def messages() -> st.SearchStrategy[Sent]:
    """A message of an incident or a change, mostly as the guide has it; identity and order are sometimes odd."""
    return st.one_of(incident_messages(), change_messages())


def incident_messages() -> st.SearchStrategy[Sent]:
    """A message of one incident."""
    return st.builds(_incident, _TRANSACTIONS, st.sampled_from(_INCIDENT_STATES), _CHANGES, _EXTRA, _ENVELOPES)


def change_messages() -> st.SearchStrategy[Sent]:
    """A message of one change."""
    extra = st.sampled_from([*_EXTRAS, *_APPROVALS])
    return st.builds(_change, _TRANSACTIONS, _CHANGE_STATES, _TYPES, extra, _ENVELOPES)


def _incident(transaction: str, status: str, changed: Sent | None, extra: Sent, envelope: Sent) -> Sent:
    told = {} if changed is None else {"changed": changed}
    return incident(transaction, status=status, priority="3", **told, **extra, envelope=envelope)


def _change(transaction: str, state: str, type_: str, extra: Sent, envelope: Sent) -> Sent:
    return change(transaction, state=state, type=type_, **extra, envelope=envelope)


def outcomes(keys: st.SearchStrategy[EffectKey]) -> st.SearchStrategy[Outcome]:
    """Any outcome of an effect with one of these keys."""
    return st.builds(lambda key, outcome: outcome(key), keys, st.sampled_from(_OUTCOMES))


def _act(act: Act, key: EffectKey) -> Outcome:
    return OperatorActed(act, "somebody", key=key)


_RESULTS: Final[list[dict[str, str]]] = [
    *[{"number": "LOCAL-1"}, {"number": "LOCAL-2"}, {"number": "LOCAL-3", "state": "closed"}] * 2,
    {},
    {"number": ""},
    {"number": "LOCAL-1", "state": "cancelled"},
    {"size": "9" * 5000, "sha256": "00", "path": "p"},
]
_OUTCOMES: Final[list[Callable[[EffectKey], Outcome]]] = [
    EffectStarted,
    *(partial(EffectSucceeded, result=result) for result in _RESULTS),
    *(partial(EffectFailed, reason="x", blamed=blamed, next_attempt_at=1) for blamed in (True, False)),
    *(partial(EffectFailed, reason="x", blamed=True, parked=parked) for parked in (True, False)),
    partial(EffectUnknown, reason="timeout", next_attempt_at=1),
    *(partial(_act, act) for act in (Act.RETRY, Act.DISCARD)),
]


_COMMAND_FIELDS: Final[list[dict[str, str]]] = [
    {"priority": "2", "status": "pending"},
    {"priority": "1", "status": "open"},
    {"description": "d" * 9_000, "shortDescription": "s" * 300},
    {"closeNotes": "done"},
    {"closeNotes": "n" * 5_000, "resolveFirst": "true"},
    {"approver": "a@x.com", "approvalid": "a1", "comment": "yes"},
    {"name": "a.txt", "sha256": "00", "size": "1", "type": "text/plain"},
    {},
]
_COMMENTS: Final = st.sampled_from(
    [
        *[()] * 3,
        (Comment("text"),),
        (Comment("one", "c1", "Jason Doe"), Comment("two" * 2_000, "c2")),
        (Comment("one", "c1"),),
    ]
)


def commands(kinds: st.SearchStrategy[CommandKind] | None = None) -> st.SearchStrategy[CommandAccepted]:
    """Any command to a ticket, but returning a number that it does not have; keys come again."""
    ordinary = st.sampled_from([kind for kind in CommandKind if kind is not CommandKind.RETURN_NUMBER])
    return st.builds(
        CommandAccepted,
        key=st.sampled_from([EffectKey(f"ec-{number}") for number in range(6)]),
        command=kinds or ordinary,
        who=st.just("somebody"),
        fields=st.sampled_from(_COMMAND_FIELDS),
        comments=_COMMENTS,
    )


def links(stream: str = "e-1") -> st.SearchStrategy[ClientLinked]:
    """A create of ours that led to that ticket."""
    return st.builds(
        ClientLinked,
        ticket=st.just(TicketNumber(stream)),
        number=st.sampled_from([ClientNumber("LOCAL-1"), ClientNumber("OURS")]),
        ticket_type=st.sampled_from(["Incident", "Incident", "Request", "Change"]),
        key=st.just(EffectKey("ec-create:OURS")),
        fields=st.sampled_from([{}, {"priority": "3", "description": "d"}]),
        comments=_COMMENTS,
    )


@st.composite
def histories(draw: st.DrawFn, *, most: int = 25) -> History:
    """What could really happen to one ticket: any messages and commands, outcomes of what was planned because of them,
    and timers, due or not."""
    kind = draw(st.sampled_from([incident_messages(), change_messages()]))
    asked = commands() | links() if draw(st.booleans()) else kind
    kind = st.one_of(kind, kind, asked)
    life, events, planned = Life("e-1"), [], []
    for _ in range(draw(st.integers(1, most))):
        keys = [entry.effect.key for entry in life.state.plans.entries.values()]
        answered = bool(keys) and draw(st.booleans())
        timers = [TimerElapsed(timer.timer, timer.about) for timer in life.state.timers.values()]
        told = st.one_of(kind, kind, st.sampled_from(timers)) if timers else kind
        event: Event = draw(outcomes(st.sampled_from(keys)) if answered else told)
        life.when(event)
        events.append(event)
        planned.append(tuple(effect.key for effect in life.new))
    return History(life, tuple(events), tuple(planned))


_TEXTS: Final = st.text(max_size=8) | st.sampled_from(["New", "Assess", "Closed", "open", "resolved", "Normal", "type"])
_KEYS: Final = st.sampled_from([EffectKey(text) for text in ("create:e-1:g1", "att:e-1:a", "upd:e-1:m", "x", "")])
_FIELDS: Final = st.dictionaries(_TEXTS, _TEXTS, max_size=3)
_COUNTS: Final = st.integers(0, 2**60)


def effects() -> st.SearchStrategy[Effect]:
    """Any effect, planned by no known rule."""
    return st.builds(
        Effect,
        key=_KEYS,
        kind=st.sampled_from(EffectKind),
        generation=st.integers(0, 3),
        position=_COUNTS,
        at=_COUNTS,
        ticket=_TEXTS,
        ticket_type=_TEXTS,
        number=st.none() | _TEXTS,
        fields=_FIELDS,
        rearm=st.booleans(),
    )


def any_messages() -> st.SearchStrategy[Message]:
    """Any message at all, as no translation would give it."""
    return st.builds(
        Message,
        position=_COUNTS,
        version=_COUNTS,
        at=_COUNTS,
        message_id=_TEXTS,
        ticket_number=_TEXTS,
        transaction=st.sampled_from(Transaction),
        transaction_name=_TEXTS,
        sequence=st.binary(min_size=16, max_size=16),
        ticket_type=st.none() | st.sampled_from(TicketType),
        client_number=_TEXTS,
        number_missing=st.booleans(),
        status=st.none() | _TEXTS,
        fields=_FIELDS,
        changed=st.none() | _FIELDS,
        notes=st.lists(st.builds(Note, _TEXTS, _TEXTS, _TEXTS, _TEXTS), max_size=2).map(tuple),
        attachment=st.none() | st.builds(AttachmentInfo, _TEXTS, _TEXTS, _TEXTS, st.none() | _COUNTS, st.none()),
        approval=st.none() | st.builds(ApprovalRequest, _TEXTS, _TEXTS, _TEXTS, _TEXTS),
        opened_at=st.none() | _COUNTS,
    )


def any_facts() -> st.SearchStrategy[Fact | Decided]:
    """Anything a stream can hold, in no sensible order."""
    undecodable = st.builds(Undecodable, position=_COUNTS, version=_COUNTS, at=_COUNTS, reason=_TEXTS, detail=_TEXTS)
    scopes = st.just(msgspec.UNSET) | st.builds(Scope, st.booleans(), _TEXTS)
    decided = st.builds(Decided, _COUNTS, st.lists(effects(), max_size=3).map(tuple), scopes)
    changed = st.builds(PolicyChanged, _TEXTS)
    quarantined = st.builds(Quarantined, _COUNTS, _TEXTS, _TEXTS)
    noticed = st.builds(Noticed, _COUNTS, _TEXTS, _TEXTS)
    acted = st.builds(OperatorActed, st.sampled_from(Act), _TEXTS, _TEXTS, _KEYS, _COUNTS, _COUNTS, _TEXTS)
    released = st.builds(Released, _COUNTS, any_messages() | undecodable)
    elapsed = st.builds(TimerElapsed, st.sampled_from(TimerName), _TEXTS)
    said = st.one_of(noticed, decided, acted, changed, released, elapsed)
    ours = st.one_of(outcomes(_KEYS), any_links(), undecodable, quarantined, said, said)
    return st.one_of(*[any_messages()] * 2, *[ours] * 5)


def any_links() -> st.SearchStrategy[CommandAccepted | ClientLinked | EnsonoNumberReturned]:
    """Commands and what links two streams, as nobody would write them."""
    comments = st.lists(st.builds(Comment, _TEXTS, _TEXTS, _TEXTS), max_size=2).map(tuple)
    told: st.SearchStrategy[dict[str, str]] = st.one_of(_FIELDS, *[st.just(fields) for fields in _COMMAND_FIELDS])
    typed = st.one_of(told, st.just({"ticketType": "Incident", "description": "d"}))
    return st.one_of(
        st.builds(CommandAccepted, _KEYS, st.sampled_from(CommandKind), _TEXTS, typed, comments, _TEXTS),
        st.builds(ClientLinked, _TEXTS, _TEXTS, _TEXTS | st.just("Incident"), _KEYS, told, comments),
        st.builds(EnsonoNumberReturned, _TEXTS, _TEXTS, _COUNTS),
    )
