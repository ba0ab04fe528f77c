"""Incidents and requests: this file is the whole truth about their transitions (Appendix B)."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from ecproc.domain.effects import EffectKind
from ecproc.domain.events import Message, Transaction
from ecproc.domain.state import Change, Moved, TicketState, flag, move, set_fields, start_generation


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
_PENDING_FIELDS: Final = ("statusNextAction", "offHoldDate")
_NAMES: Final[Mapping[str, State]] = {**{item.value: item for item in State}, "canceled": State.CANCELLED}


def parse_state(text: str) -> State | None:
    """The state a wire text names, case and spaces aside; None for an unknown one (R56)."""
    word = text.strip().lower().replace(" ", "").replace("_", "").replace("-", "")
    return _NAMES.get(word)


def open_ticket(state: TicketState, message: Message) -> list[Change]:
    """Take the first message's state and fields, and ask for a client ticket unless one was adopted."""
    changes: list[Change] = set_fields(state, message, message.fields, late=False)
    text = message.status
    if message.transaction is Transaction.RETURN_ENSONO_NUM and text is None:
        text = State.OPEN
    if text is not None:
        changes += _enter(state, message, text)
    if state.started == 0:
        changes.append(start_generation(state))
    return changes


def apply_record(state: TicketState, message: Message, *, late: bool) -> list[Change]:
    """Apply a message that carries the ticket's record: only `changed` where it has one, else the body (R61, R63)."""
    changed = message.changed
    status = message.status
    if changed is None:
        fields = message.fields
    elif "status" in changed:
        fields = {name: value for name, value in changed.items() if name != "status"}
        status = changed["status"]
    else:
        fields = changed
        status = status if message.transaction is Transaction.CLOSURE else None
    if late and state.state != State.PENDING:
        # They were cleared, or never set, by what came before this message but was sent after it.
        fields = {name: value for name, value in fields.items() if name not in _PENDING_FIELDS}
    changes: list[Change] = set_fields(state, message, fields, late=late)
    if late:
        return changes
    return changes + (_enter(state, message, status) if status else _flag_final(state, message))


def _flag_final(state: TicketState, message: Message) -> list[Change]:
    if state.state not in FINAL:
        return []
    detail = f"{message.transaction_name} on a {state.state} ticket"
    return [flag(state, "after_final", detail, message.position)]


def _enter(state: TicketState, message: Message, text: str) -> list[Change]:
    target = parse_state(text)
    if target is None:
        unknown = flag(state, "unknown_value", f"status {text[:80]!r}", message.position)
        return [unknown, *_flag_final(state, message)]
    before = State(state.state) if state.state is not None else None
    changes: list[Change] = []
    if target not in EXPECTED[before] and not (before is None and message.transaction is not Transaction.CREATE):
        code = "after_final" if before in FINAL else "unexpected_state"
        changes.append(flag(state, code, f"{before or 'start'} to {target}", message.position))
    if target != before:
        changes.append(move(state, target, message))
        state.cancels += target is State.CANCELLED
    if before is State.PENDING and target is not State.PENDING:
        for name in _PENDING_FIELDS:
            state.fields.pop(name, None)
    return changes


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
