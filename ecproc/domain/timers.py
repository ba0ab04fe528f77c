"""Timers: what a ticket waits for until a time, and what is told once when that has come (Appendix E).

*Confirmation.* Ensono took a call of ours, and within an hour no message showed it (R182). A message shows a call where
it has a value that the call set, or a comment's words; an answer to an approval where the change moves or has one; a
create where it is of the ticket at all. A ticket that has come to its end confirms everything.
*Approval.* An approver is asked, and the change starts within a day (R179).
*Off hold.* A pending ticket's date has come (R58).
*Presumed closed.* A ticket was resolved seven days ago and has not come back (R78).

Which timers there are follows from the state alone. One that elapsed is told once and moves nothing; it is kept until
its wait is over, or is for another time. Each is `about` what tells this wait from the next of its kind.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from ecproc.domain import change, incident
from ecproc.domain.approvals import DECISIONS
from ecproc.domain.deltas import Delta, Moved, Timer, TimerChanged
from ecproc.domain.echoes import CLOCK_SKEW, is_shown
from ecproc.domain.effects import EffectKind
from ecproc.domain.events import Message, Place, TimerElapsed, TimerName
from ecproc.domain.ids import EffectKey
from ecproc.domain.state import ApprovalState, Print, TicketState, Unconfirmed
from ecproc.domain.times import format_time, parse_time

CONFIRMED_WITHIN: Final = 3_600 * 1_000_000
"""Microseconds in which a message should show what Ensono took."""
APPROVED_BEFORE: Final = 24 * 3_600 * 1_000_000
"""Microseconds before a change's start by which its approvals should be answered."""
CLOSED_AFTER: Final = 7 * 24 * 3_600 * 1_000_000
"""Microseconds after which a resolved ticket is closed at Ensono's (R78)."""

_FINAL: Final[frozenset[str]] = incident.FINAL | change.FINAL
_TIMED: Final = frozenset({incident.State.PENDING.value, incident.State.RESOLVED.value})
_UNSHOWN: Final = frozenset({EffectKind.UPLOAD, EffectKind.RETURN_NUMBER})
"""Calls that no message confirms, or that are watched otherwise."""
_MOST: Final = 256
"""Calls of a ticket that are watched at once; the oldest go first."""


def list_timers(state: TicketState) -> Iterator[Timer]:
    """The ticket's timers, as none of them had elapsed."""
    for key, call in state.commands.unconfirmed.items():
        if call.taken is not None:
            yield Timer(TimerName.CONFIRMATION, key, since=call.taken, due_at=call.taken + CONFIRMED_WITHIN)
    starts_at = parse_time(state.record.fields.get("startDate", "")) if state.approvals else None
    for asked in state.approvals.values():
        if asked.state == ApprovalState.REQUESTED and asked.generation == state.generation.number:
            due_at = None if starts_at is None else starts_at - APPROVED_BEFORE
            yield Timer(TimerName.APPROVAL, asked.id, since=asked.asked_at, due_at=due_at)
    if state.state == incident.State.PENDING:
        date = state.record.fields.get("offHoldDate", "")
        if (due_at := parse_time(date)) is not None:
            yield Timer(TimerName.OFF_HOLD, date, since=state.moved_at, due_at=due_at)
    if state.state == incident.State.RESOLVED:
        at = state.moved_at
        yield Timer(TimerName.PRESUMED_CLOSED, format_time(at), since=at, due_at=at + CLOSED_AFTER)


def follow_timers(state: TicketState) -> list[Delta]:
    """Bring the ticket's timers up to its state, and return which began and which are over."""
    if not (state.timers or state.approvals or state.commands.unconfirmed or state.state in _TIMED):
        return []
    if state.state in _FINAL:
        state.commands.unconfirmed = {}
    known, timers = state.timers, {timer.key: timer for timer in list_timers(state)}
    deltas: list[Delta] = [TimerChanged(timer, over=True) for key, timer in known.items() if key not in timers]
    for key, timer in timers.items():
        before = known.get(key)
        if before is not None and (before.since, before.due_at) == (timer.since, timer.due_at):
            timers[key] = before
        else:
            deltas.append(TimerChanged(timer))
    state.timers = timers
    return deltas


def evolve_elapsed(state: TicketState, elapsed: TimerElapsed, place: Place) -> list[Delta]:
    """Note that a timer elapsed; one that is over, that elapsed before or is not due yet changes nothing."""
    timer = state.timers.get(f"{elapsed.timer}:{elapsed.about}")
    if timer is None or timer.elapsed_at is not None or timer.due_at is None or place.at < timer.due_at:
        return []
    state.timers[timer.key] = msgspec.structs.replace(timer, elapsed_at=place.at)
    return [TimerChanged(state.timers[timer.key])]


# --- confirmation -----------------------------------------------------------------------------------------------------


def watch_call(state: TicketState, kind: EffectKind, key: EffectKey, told: Print) -> None:
    """A message may show this call from now on, whose print that is: before its answer, too."""
    if kind in _UNSHOWN:
        return
    waiting = state.commands.unconfirmed
    waiting.pop(key, None)
    waiting[key] = Unconfirmed(kind, told.since, dict(told.fields), tuple(told.notes))
    while len(waiting) > _MOST:
        del waiting[next(iter(waiting))]


def expect_confirmation(state: TicketState, key: EffectKey, at: int) -> None:
    """Ensono took that call, at that time: a message should show it, if none has."""
    call = state.commands.unconfirmed.get(key)
    if call is not None:
        state.commands.unconfirmed[key] = msgspec.structs.replace(call, taken=at)


def confirm_calls(state: TicketState, message: Message, deltas: Sequence[Delta]) -> None:
    """Let what this message shows, which changed so much, wait no more."""
    waiting = state.commands.unconfirmed
    for key in [key for key, call in waiting.items() if _shows(state, message, deltas, call)]:
        del waiting[key]


def _shows(state: TicketState, message: Message, deltas: Sequence[Delta], call: Unconfirmed) -> bool:
    if message.at < call.since - CLOCK_SKEW:
        return False
    match call.kind:
        case EffectKind.CREATE_TICKET:
            return True
        case EffectKind.APPROVE_CHANGE | EffectKind.REJECT_CHANGE:
            answer = message.fields.get("approval", "").strip().lower()
            return answer in DECISIONS or any(isinstance(delta, Moved) for delta in deltas)
        case _:
            shown = {**message.fields, **(message.changed or {}), "status": state.state or ""}
            return is_shown(call, shown, [note.body for note in message.notes])
