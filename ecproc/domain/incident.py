"""Incidents and requests: this file is the whole truth about their transitions (Appendix B)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Final

from ecproc.domain.effects import EffectKind
from ecproc.domain.events import Message, Transaction
from ecproc.domain.state import (
    Delta,
    FieldsChanged,
    Moved,
    TicketState,
    flag,
    flag_once,
    flag_unknown_values,
    move,
    set_fields,
    start_generation,
)


class State(StrEnum):
    """States as on the wire."""

    OPEN = "open"
    WORK_IN_PROGRESS = "workinprogress"
    PENDING = "pending"
    RESOLVED = "resolved"
    CLOSED = "closed"
    CANCELLED = "cancelled"


_ACTIVE: Final = frozenset({State.OPEN, State.WORK_IN_PROGRESS, State.PENDING})

EXPECTED: Final[Mapping[State | None, frozenset[State]]] = {
    None: frozenset({State.OPEN}),
    State.OPEN: _ACTIVE | {State.RESOLVED, State.CANCELLED},
    State.WORK_IN_PROGRESS: _ACTIVE | {State.RESOLVED, State.CANCELLED},
    State.PENDING: _ACTIVE | {State.RESOLVED, State.CANCELLED},
    State.RESOLVED: _ACTIVE | {State.RESOLVED, State.CLOSED},
    State.CLOSED: frozenset({State.CLOSED}),
    State.CANCELLED: frozenset({State.CANCELLED, State.CLOSED}),
}
"""Where a ticket may go from a state; anything else is applied and flagged."""

FINAL: Final = frozenset({State.CLOSED, State.CANCELLED})
VALUES: Final[Mapping[str, frozenset[str]]] = {
    "priority": frozenset("1234"),
    "closeCode": frozenset({"resolved", "unresolved", "cancelled", "resolved*", "unresolved*"}),
}
"""Fields with a closed list of values (R50, R59), in lower case; impact and urgency may hold mapped ones (R51)."""
_PENDING_FIELDS: Final = ("statusNextAction", "offHoldDate")
_WITH_STATUS: Final = frozenset({Transaction.CREATE, Transaction.UPDATE, Transaction.CLOSURE, Transaction.NOTES})
_IGNORABLE: Final = frozenset(
    {"updatedOn", "openedTime", "urgency", "impact", "category", "origin", "ensonoGroup", *_PENDING_FIELDS}
)
"""Fields that the guide's table marks as such, or that go with the status: they show no drift (R46)."""
_SHOWN: Final = 80
_NAMES: Final[Mapping[str, State]] = {**{item.value: item for item in State}, "canceled": State.CANCELLED}


def parse_state(text: str) -> State | None:
    """The state a wire text names, case and spaces aside; None for an unknown one (R56)."""
    word = text.strip().lower().replace(" ", "").replace("_", "").replace("-", "")
    return _NAMES.get(word)


def open_ticket(state: TicketState, message: Message) -> list[Delta]:
    """Take the first message's state and fields, and ask for a client ticket unless one was adopted."""
    changes: list[Delta] = set_fields(state, message, message.fields, late=False)
    changes += flag_unknown_values(state, changes, VALUES, message.position)
    text = message.status
    if message.transaction is Transaction.RETURN_ENSONO_NUM and text is None:
        text = State.OPEN
    if text is not None:
        changes += _enter(state, message, text)
    elif message.transaction in _WITH_STATUS:
        changes += flag_once(state, "unknown_value", "no status", message.position)
    if state.started == 0:
        changes.append(start_generation(state))
    return changes


def apply_record(state: TicketState, message: Message, *, late: bool) -> list[Delta]:
    """Apply a message that carries the ticket's record: only `changed` where it has one, else the body (R61, R63)."""
    fields, status = _read_record(state, message)
    if late and state.state != State.PENDING:
        # They were cleared, or never set, by what came before this message but was sent after it.
        fields = {name: value for name, value in fields.items() if name not in _PENDING_FIELDS}
    changes: list[Delta] = set_fields(state, message, fields, late=late)
    changes += flag_unknown_values(state, changes, VALUES, message.position)
    if late:
        return changes
    changes += _enter(state, message, status) if status else _flag_final(state, message)
    return changes + (_find_drift(state, message, message.changed) if message.changed is not None else [])


def _read_record(state: TicketState, message: Message) -> tuple[Mapping[str, str], str | None]:
    """The fields and the status that a message sets. A Create tells how the ticket began, which is old news to one that
    has a state."""
    changed, status = message.changed, message.status
    if message.transaction is Transaction.CREATE:
        return message.fields, status if state.state is None else None
    if changed is None:
        return message.fields, status
    if "status" in changed:
        return {name: value for name, value in changed.items() if name != "status"}, changed["status"]
    return changed, status if message.transaction is Transaction.CLOSURE else None


def _find_drift(state: TicketState, message: Message, changed: Mapping[str, str]) -> list[Delta]:
    """Fields that the message has otherwise than the ticket although it does not say that it changed them: a message
    before it never came (R61)."""
    changes: list[Delta] = []
    status = parse_state(message.status) if message.status and "status" not in changed else None
    if status is not None and state.state is not None and status != state.state:
        detail = f"status is {status} in the message, {state.state} here"
        changes += flag_once(state, "drift", detail, message.position, about="status")
    for name, value in message.fields.items():
        ours = state.fields.get(name)
        if ours is None or ours == value or name in changed or name in _IGNORABLE:
            continue
        detail = f"{name[:_SHOWN]} is {value[:_SHOWN]!r} in the message, {ours[:_SHOWN]!r} here"
        changes += flag_once(state, "drift", detail, message.position, about=name)
    return changes


def _flag_final(state: TicketState, message: Message) -> list[Delta]:
    if state.state not in FINAL:
        return []
    detail = f"{message.transaction_name} on a {state.state} ticket"
    return [flag(state, "after_final", detail, message.position)]


def _enter(state: TicketState, message: Message, text: str) -> list[Delta]:
    target = parse_state(text)
    if target is None:
        unknown = flag(state, "unknown_value", f"status {text[:80]!r}", message.position)
        return [unknown, *_flag_final(state, message)]
    before = State(state.state) if state.state is not None else None
    changes: list[Delta] = []
    if target not in EXPECTED[before] and not (before is None and message.transaction is not Transaction.CREATE):
        code = "after_final" if before in FINAL else "unexpected_state"
        changes.append(flag(state, code, f"{before or 'start'} to {target}", message.position))
    if target != before:
        changes.append(move(state, target, message))
        state.cancels += target is State.CANCELLED
    if before is State.PENDING and target is not State.PENDING:
        changes += _clear(state, _PENDING_FIELDS)
    return changes


def _clear(state: TicketState, names: Iterable[str]) -> list[Delta]:
    """Drop these fields; the desk, which may have them, is told that they are empty now."""
    dropped = {name: "" for name in names if state.fields.pop(name, None)}
    return [FieldsChanged(dropped)] if dropped else []


def desk_kind(moved: Moved) -> EffectKind:
    """What the desk does about a transition; re-opening keeps the client ticket (default policy, R213)."""
    match State(moved.after):
        case State.RESOLVED:
            return EffectKind.RESOLVE
        case State.CLOSED:
            return EffectKind.CLOSE
        case State.CANCELLED:
            return EffectKind.CANCEL
        case _ if moved.before in (State.RESOLVED, State.CLOSED, State.CANCELLED):
            return EffectKind.REOPEN
        case _:
            return EffectKind.UPDATE
