"""A stream's life, told event by event: what came, what it changed, what was done about it and what came of that."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Final, NamedTuple

import msgspec

from ecproc.domain.commands import ClientLinked, CommandAccepted, EnsonoNumberReturned
from ecproc.domain.deltas import (
    ApprovalChanged,
    AttachmentChanged,
    ClientTicketChanged,
    CommandChanged,
    Delta,
    FieldsChanged,
    Flagged,
    GenerationStarted,
    Moved,
    NoteAdded,
    TimerChanged,
)
from ecproc.domain.effects import Effect
from ecproc.domain.events import (
    Decided,
    EffectFailed,
    EffectStarted,
    EffectSucceeded,
    EffectUnknown,
    Fact,
    Message,
    OperatorActed,
    Quarantined,
    Released,
    TimerElapsed,
    Undecodable,
)
from ecproc.domain.external import ExternalReceived
from ecproc.domain.log import RecordedEvent
from ecproc.domain.state import StreamState
from ecproc.domain.times import format_time
from ecproc.fold.history import place_of, read_fact
from ecproc.fold.machine import AnyMachine, evolve_fact, write_down
from ecproc.fold.recorded import Kind

_TOLD: Final = ("number", "state", "answer", "request_id")
"""What of an effect's result says most, in this order."""
_CALL: Final = ("method", "path", "status")
"""What of a result, or of an attempt, tells the call."""


class Happening(StrEnum):
    """What an entry of a timeline is about: the closed set."""

    MESSAGE = "message"
    MOVE = "move"
    FIELDS = "fields"
    NOTE = "note"
    ATTACHMENT = "attachment"
    APPROVAL = "approval"
    NUMBER = "number"
    ANOMALY = "anomaly"
    EFFECT = "effect"
    COMMAND = "command"
    OPERATOR = "operator"
    DESK = "desk"
    TIMER = "timer"
    QUARANTINE = "quarantine"
    DEFECT = "defect"


class TimelineEntry(msgspec.Struct, frozen=True):
    """One thing that happened, by the event that tells it; `title` is one line, `text` what there is to read on.

    `took` are the microseconds since an effect was planned, on its outcomes; else None.
    """

    position: int
    at: str
    what: Happening
    title: str
    text: str = ""
    took: int | None = None


class Timeline(msgspec.Struct, frozen=True):
    """The newest entries of a life, oldest first, and how many it has."""

    entries: tuple[TimelineEntry, ...]
    count: int


class _Told(NamedTuple):
    """An entry less its place."""

    what: Happening
    title: str
    text: str = ""
    took: int | None = None


def tell_timeline(stream: str, events: Sequence[RecordedEvent], machine: AnyMachine, *, entries: int) -> Timeline:
    """What these events, all of a stream up to some point, tell; the newest `entries` of it.

    It ends with a defect where our code cannot take an event: a ticket that is parked for that is to be looked at.
    """
    told: list[TimelineEntry] = []
    skipped = _list_skipped(events)
    teller = _Teller(machine.new(stream), machine)
    for event in events:
        try:
            for item in teller.tell(event, taken=event.position not in skipped):
                told.append(_put_down(event, item))
        except Exception as error:
            text = "its defect keeps this event, and all behind it, from being told"
            told.append(_put_down(event, _Told(Happening.DEFECT, f"ecproc raised {type(error).__name__}", text)))
            break
    return Timeline(tuple(told[-entries:]), len(told))


def _list_skipped(events: Sequence[RecordedEvent]) -> set[int]:
    """The positions of what was quarantined."""
    facts = (read_fact(event) for event in events if event.kind == Kind.MESSAGE_QUARANTINED)
    return {fact.position for fact in facts if isinstance(fact, Quarantined)}


def _put_down(event: RecordedEvent, told: _Told) -> TimelineEntry:
    return TimelineEntry(event.position, format_time(event.at), *told)


class _Teller:
    """The stream's state as it goes, and the effects that were planned."""

    def __init__(self, state: StreamState, machine: AnyMachine) -> None:
        self._state = state
        self._machine = machine
        self._planned: dict[str, Effect] = {}
        self._tries: dict[str, int] = {}

    def tell(self, event: RecordedEvent, *, taken: bool) -> Iterator[_Told]:
        """What the event says, and what it changed if it was `taken`. Raises what our code does on it."""
        fact = read_fact(event)
        if fact is None:
            return
        if isinstance(fact, Decided):
            write_down(self._state, fact)
            yield from map(self._plan, fact.effects)
            return
        told = self._tell_outcome(fact, event.at) or _tell_fact(fact)
        if told is not None:
            yield told
        if taken:
            for delta in evolve_fact(self._machine, self._state, fact, place_of(event)):
                if (changed := _tell_delta(delta)) is not None:
                    yield changed

    def _plan(self, effect: Effect) -> _Told:
        self._planned[effect.key] = effect
        self._tries[effect.key] = 0
        return _Told(Happening.EFFECT, f"{effect.kind} {'seen done' if effect.done else 'planned'}", effect.key)

    def _tell_outcome(self, fact: Fact, at: int) -> _Told | None:
        """What came of an attempt, with its number."""
        if not isinstance(fact, (EffectStarted, EffectSucceeded, EffectFailed, EffectUnknown)):
            return None
        effect = self._planned.get(fact.key)
        kind = effect.kind if effect is not None else fact.key
        if isinstance(fact, EffectStarted):
            return _Told(Happening.EFFECT, f"{kind} started", fact.key)
        took = None if effect is None else at - effect.at
        tries = self._tries[fact.key] = self._tries.get(fact.key, 0) + 1
        attempt = f", attempt {tries}" if tries > 1 or not isinstance(fact, EffectSucceeded) else ""
        title, text = _tell_end(fact)
        return _Told(Happening.EFFECT, f"{kind} {title}{attempt}", text, took)


def _tell_end(fact: EffectSucceeded | EffectFailed | EffectUnknown) -> tuple[str, str]:
    """How an attempt ended, and what was said of it."""
    match fact:
        case EffectSucceeded(result=result):
            told = (f"{name} {result[name]}" for name in _TOLD if result.get(name))
            return "done", ", ".join(filter(None, (_tell_call(result), *told)))
        case EffectUnknown():
            return "may have been done", _tell_reason(fact)
        case EffectFailed(next_attempt_at=None, parked=parked):
            return "parked" if parked else "given up", _tell_reason(fact)
        case EffectFailed(held=held):
            return "failed" if held is None else "held", _tell_reason(fact)


def _tell_reason(fact: EffectFailed | EffectUnknown) -> str:
    again = fact.next_attempt_at
    then = "" if again is None else f"again at {format_time(again)[:19]}Z"
    asked = f"request {fact.request_id}" if fact.request_id else ""
    return "\n".join(filter(None, (fact.reason, _tell_call(fact.call), asked, then)))


def _tell_call(told: Mapping[str, str]) -> str:
    """The call and its answer's status, where there was one; a file's `path` is none."""
    return " ".join(told[name] for name in _CALL if told.get(name)) if "method" in told else ""


def _tell_fact(fact: Fact) -> _Told | None:
    match fact:
        case Message(transaction_name=name, transaction=transaction):
            return _Told(Happening.MESSAGE, name or transaction)
        case Undecodable(reason=reason, detail=detail):
            return _Told(Happening.MESSAGE, "cannot be read", f"{reason} {detail}".rstrip())
        case Quarantined(position=position, reason=reason, detail=detail):
            return _Told(Happening.QUARANTINE, f"the message at {position}", f"{reason} {detail}".rstrip())
        case Released(position=position):
            return _Told(Happening.MESSAGE, f"from quarantine, received at {position}")
        case OperatorActed():
            return _tell_act(fact)
        case _:
            return _tell_own(fact)


def _tell_own(fact: Fact) -> _Told | None:
    match fact:
        case CommandAccepted(command=command, who=who, fields=fields, comments=comments):
            text = _list_fields({**fields, **{f"comment {at}": item.body for at, item in enumerate(comments, 1)}})
            return _Told(Happening.COMMAND, f"{command} by {who or 'nobody named'}", text)
        case ClientLinked(ticket=ticket, number=number):
            return _Told(Happening.NUMBER, f"{number} is {ticket} at Ensono's")
        case EnsonoNumberReturned(ticket=ticket):
            return _Told(Happening.NUMBER, f"Ensono told its number, {ticket}")
        case ExternalReceived():
            return _tell_external(fact)
        case TimerElapsed(timer=timer, about=about):
            return _Told(Happening.TIMER, f"{timer} is overdue", about)
        case _:
            return None


def _tell_external(told: ExternalReceived) -> _Told:
    about = {name: f"{canonical} ({raw})" for name, (raw, canonical) in told.view.items()}
    text = told.note.body if told.note is not None else told.file.name if told.file is not None else _list_fields(about)
    return _Told(Happening.DESK, f"{told.kind} {told.number} by {told.by or told.source}", text)


def _tell_act(acted: OperatorActed) -> _Told:
    about = acted.key or acted.what or acted.number or (f"the message at {acted.position}" if acted.position else "")
    return _Told(Happening.OPERATOR, f"{acted.act} {about} by {acted.who}", acted.note)


def _tell_delta(delta: Delta) -> _Told | None:
    match delta:
        case Moved(before=before, after=after):
            return _Told(Happening.MOVE, f"{before} → {after}" if before else after)
        case FieldsChanged(fields=fields) if fields:
            return _Told(Happening.FIELDS, "", _list_fields(fields))
        case NoteAdded(note=note):
            return _Told(Happening.NOTE, note.author or note.email, note.body)
        case Flagged(code=code, detail=detail):
            return _Told(Happening.ANOMALY, code, detail)
        case GenerationStarted(generation=generation) if generation > 1:
            return _Told(Happening.MOVE, f"generation {generation} begins")
        case CommandChanged(command=command) if command.refused:
            return _Told(Happening.COMMAND, f"{command.command} refused", command.refused)
        case _:
            return _tell_part(delta)


def _tell_part(delta: Delta) -> _Told | None:
    match delta:
        case AttachmentChanged(attachment=file, announced=announced):
            state = "announced" if announced is not None else file.status
            return _Told(Happening.ATTACHMENT, f"{file.name} {state}")
        case ApprovalChanged(approval=approval):
            return _Told(Happening.APPROVAL, f"{approval.name or approval.id} {approval.state}", approval.email)
        case ClientTicketChanged(client_ticket=known, created=created, adopted=adopted):
            how = "created" if created else "adopted" if adopted else known.state
            told = "Ensono has it" if known.returned else "Ensono lacks it"
            return _Told(Happening.NUMBER, f"client ticket {known.number} {how}, {told}")
        case TimerChanged(timer=timer, over=False) if timer.due_at is not None and timer.elapsed_at is None:
            return _Told(Happening.TIMER, f"{timer.timer} until {format_time(timer.due_at)[:19]}Z", timer.about)
        case _:
            return None


def _list_fields(fields: Mapping[str, str]) -> str:
    return "\n".join(f"{name}: {value}" for name, value in fields.items() if value)
