"""Incidents and requests: this file is the whole truth about their transitions, and what these lead to (Appendix B).

Open, work in progress and pending are one another's neighbours: Ensono moves a ticket among them as it likes, and out
of each into resolved or cancelled. Resolved is not the end: the ticket is closed from there, or comes back into work.

*What a message sets.* With `changed` only that counts, the body repeats the whole record (R61); without it the body is
compared field by field (R63). A Create tells how the ticket began, which is old news to one that has a state.

*Expected or not, it is applied.* A transition that `EXPECTED` does not have happened at Ensono all the same: it is
applied and flagged, as is anything said about a ticket that is final. A state that nobody knows changes nothing.

*Late.* A message that was sent before one we have folded sets no state, and only fields that nothing newer set.

*One client ticket.* An incident is generation 1 for ever. Coming back re-opens the same client ticket (R213); cancelled
once more after that it is cancelled there once more, under a key of its own.

*Our own changes* that come back are folded as any others; the desk, which they came from, is not told (`echoes.py`).

*Pending* has a reason and an end of its own; both are dropped when the ticket goes on, and the desk is told so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Final

from ecproc.domain.adoption import is_news, keep_news
from ecproc.domain.anomalies import Anomaly
from ecproc.domain.decisions import Draft, begin, hand_over, list_news
from ecproc.domain.deltas import Delta, FieldsChanged, Moved
from ecproc.domain.effects import EffectKind
from ecproc.domain.events import Message, Transaction
from ecproc.domain.ids import EffectKey, generation_key, message_effect_key
from ecproc.domain.state import (
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
DRAFTS: Final[frozenset[State]] = frozenset()
"""An incident is no draft: the same Create twice is a repetition."""
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
_DRIFT: Final = f"{Anomaly.DRIFT} "
_SHOWN: Final = 80
_NAMES: Final[Mapping[str, State]] = {**{item.value: item for item in State}, "canceled": State.CANCELLED}


def parse_state(text: str) -> State | None:
    """The state a wire text names, case and spaces aside; None for an unknown one (R56)."""
    word = text.strip().lower().replace(" ", "").replace("_", "").replace("-", "")
    return _NAMES.get(word)


def open_ticket(state: TicketState, message: Message) -> list[Delta]:
    """Take the first message's state and fields, and ask for a client ticket unless one was adopted."""
    deltas: list[Delta] = set_fields(state, message, message.fields, late=False)
    if is_news(state, message):
        deltas = keep_news(deltas, message)
    deltas += flag_unknown_values(state, deltas, VALUES, message.position)
    text = message.status
    if message.transaction is Transaction.RETURN_ENSONO_NUM and text is None:
        text = State.OPEN
    if text is not None:
        deltas += _enter(state, message, text)
    elif message.transaction in _WITH_STATUS:
        deltas += flag_once(state, Anomaly.UNKNOWN_VALUE, "no status", message.position)
    if state.generation.started == 0:
        deltas.append(start_generation(state))
    return deltas


def apply_ordinary(state: TicketState, message: Message, changed: Mapping[str, str]) -> list[Delta] | None:
    """What `apply_record` makes of a newer update that leaves a ticket in its state, and no value of which could be
    unknown; of any other None, with the state as it was."""
    status, known = message.status, state.state
    if "status" in changed or "offHoldDate" in changed or known in FINAL or not VALUES.keys().isdisjoint(changed):
        return None
    if status and known is not None and status != known:
        return None
    return set_fields(state, message, changed, late=False) + _find_field_drift(state, message, changed)


def apply_record(state: TicketState, message: Message, *, late: bool) -> list[Delta]:
    """Apply a message that carries the ticket's record: only `changed` where it has one, else the body (R61, R63)."""
    known = message.transaction is Transaction.CREATE and bool(state.state) and not late
    again = [flag(state, Anomaly.DUPLICATE, "a Create of a ticket that is known", message.position)] if known else []
    return [*again, *_apply(state, message, late=late)]


def apply_extras(_state: TicketState, _message: Message, *, late: bool) -> list[Delta]:
    """Nothing: only changes are approved."""
    return []


def _apply(state: TicketState, message: Message, *, late: bool) -> list[Delta]:
    fields, status = _read_record(state, message)
    if late and state.state != State.PENDING:
        # They were cleared, or never set, by what came before this message but was sent after it.
        fields = {name: value for name, value in fields.items() if name not in _PENDING_FIELDS}
    deltas: list[Delta] = set_fields(state, message, fields, late=late)
    deltas += flag_unknown_values(state, deltas, VALUES, message.position)
    if late:
        return deltas
    deltas += _enter(state, message, status) if status else _flag_final(state, message)
    return deltas + (_find_drift(state, message, message.changed) if message.changed is not None else [])


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
    deltas: list[Delta] = []
    status = parse_state(message.status) if message.status and "status" not in changed else None
    if status is not None and state.state is not None and status != state.state:
        detail = f"status is {status} in the message, {state.state} here"
        deltas += flag_once(state, Anomaly.DRIFT, detail, message.position, about="status")
    return deltas + _find_field_drift(state, message, changed)


def _find_field_drift(state: TicketState, message: Message, changed: Mapping[str, str]) -> list[Delta]:
    deltas: list[Delta] = []
    known, told = state.record.fields, state.journal.told
    find = known.get
    for name, value in message.fields.items():
        if find(name) == value or name in changed or name not in known or name in _IGNORABLE or _DRIFT + name in told:
            continue
        detail = f"{name[:_SHOWN]} is {value[:_SHOWN]!r} in the message, {known[name][:_SHOWN]!r} here"
        deltas += flag_once(state, Anomaly.DRIFT, detail, message.position, about=name)
    return deltas


def _flag_final(state: TicketState, message: Message) -> list[Delta]:
    if state.state not in FINAL:
        return []
    detail = f"{message.transaction_name} on a {state.state} ticket"
    return [flag(state, Anomaly.AFTER_FINAL, detail, message.position)]


def _enter(state: TicketState, message: Message, text: str) -> list[Delta]:
    target = parse_state(text)
    if target is None:
        unknown = flag(state, Anomaly.UNKNOWN_VALUE, f"status {text[:80]!r}", message.position)
        return [unknown, *_flag_final(state, message)]
    before = State(state.state) if state.state is not None else None
    deltas: list[Delta] = []
    if target not in EXPECTED[before] and not (before is None and message.transaction is not Transaction.CREATE):
        code = Anomaly.AFTER_FINAL if before in FINAL else Anomaly.UNEXPECTED_STATE
        deltas.append(flag(state, code, f"{before or 'start'} to {target}", message.position))
    if target != before:
        deltas.append(move(state, target, message))
        state.generation.cancels += target is State.CANCELLED
    if before is State.PENDING and target is not State.PENDING:
        deltas += _clear(state, _PENDING_FIELDS)
    return deltas


def _clear(state: TicketState, names: Iterable[str]) -> list[Delta]:
    """Drop these fields; the desk, which may have them, is told that they are empty now."""
    dropped = {name: "" for name in names if state.record.fields.pop(name, None)}
    return [FieldsChanged(dropped)] if dropped else []


# --- what it leads to -------------------------------------------------------------------------------------------------


def decide(draft: Draft, message: Message, deltas: Sequence[Delta]) -> None:
    """Draft what a message leads to: the client ticket first, then its news in one effect, then notes and files."""
    fresh = False
    for delta in deltas:
        fresh |= begin(draft, delta)
    _follow_record(draft, message, deltas, fresh=fresh)
    for delta in deltas:
        hand_over(draft, delta)


def _follow_record(draft: Draft, message: Message, deltas: Sequence[Delta], *, fresh: bool) -> None:
    """Bring the client ticket to the ticket's new state and fields, in one effect."""
    moved = None if draft.echo.moved else next((delta for delta in deltas if isinstance(delta, Moved)), None)
    fields = list_news(deltas)
    if moved and moved.before is None and not fresh and _tells_no_status(message) and _desk_kind(moved) is _UPDATE:
        moved = None  # that is how an imported ticket stands, and no news
    kind = _desk_kind(moved) if moved else _UPDATE
    if kind is _UPDATE and (fresh or not (moved or fields)):
        return
    if moved:
        fields["state"] = moved.after
    draft.add(kind, _record_key(draft.state, kind, message), fields=fields)


def _tells_no_status(message: Message) -> bool:
    changed = message.changed
    return changed is not None and "status" not in changed


def _desk_kind(moved: Moved) -> EffectKind:
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


def _record_key(state: TicketState, kind: EffectKind, message: Message) -> EffectKey:
    if kind is EffectKind.CANCEL and state.generation.cancels <= 1:
        return generation_key("cancel", state.stream, state.generation.started)
    # An incident that came back and is cancelled again must be cancelled at the desk again.
    return message_effect_key(_VERBS[kind], state.stream, message.message_id)


_UPDATE: Final = EffectKind.UPDATE
_VERBS: Final = {
    EffectKind.UPDATE: "upd",
    EffectKind.RESOLVE: "resolve",
    EffectKind.CLOSE: "close",
    EffectKind.CANCEL: "cancel",
    EffectKind.REOPEN: "reopen",
}
