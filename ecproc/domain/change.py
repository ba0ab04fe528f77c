"""Changes: this file is the whole truth about their transitions, generations and approvals (Appendix C)."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

import msgspec

from ecproc.domain.events import ApprovalRequest, Message, Transaction
from ecproc.domain.state import (
    Approval,
    ApprovalChanged,
    Delta,
    TicketState,
    end_generation,
    flag,
    flag_once,
    flag_unknown_values,
    move,
    set_fields,
    start_generation,
)


class State(StrEnum):
    """States in our words; Draft is `New` on the wire (C10)."""

    DRAFT = "Draft"
    ASSESS = "Assess"
    AUTHORIZE = "Authorize"
    SCHEDULED = "Scheduled"
    IMPLEMENT = "Implement"
    REVIEW = "Review"
    CLOSED = "Closed"
    CANCELLED = "Cancelled"


class ChangeType(StrEnum):
    """The type picks the path."""

    NORMAL = "Normal"
    STANDARD = "Standard"
    EMERGENCY = "Emergency"


S = State
NEXT: Final[Mapping[ChangeType, Mapping[State, frozenset[State]]]] = {
    ChangeType.NORMAL: {
        S.DRAFT: frozenset({S.ASSESS}),
        S.ASSESS: frozenset({S.AUTHORIZE}),
        S.AUTHORIZE: frozenset({S.SCHEDULED}),
        S.SCHEDULED: frozenset({S.IMPLEMENT}),
        S.IMPLEMENT: frozenset({S.REVIEW}),
        S.REVIEW: frozenset({S.CLOSED}),
    },
    ChangeType.STANDARD: {
        S.DRAFT: frozenset({S.SCHEDULED}),
        S.SCHEDULED: frozenset({S.IMPLEMENT}),
        S.IMPLEMENT: frozenset({S.REVIEW}),
        S.REVIEW: frozenset({S.CLOSED}),
    },
    ChangeType.EMERGENCY: {
        S.DRAFT: frozenset({S.AUTHORIZE}),
        S.AUTHORIZE: frozenset({S.SCHEDULED, S.IMPLEMENT}),
        S.SCHEDULED: frozenset({S.IMPLEMENT}),
        S.IMPLEMENT: frozenset({S.REVIEW}),
        S.REVIEW: frozenset({S.CLOSED}),
    },
}
"""The step forward each type expects; Draft and Cancelled may follow any state that is not final. What stands under
Draft is where a change of that type is first sent from (C12); the diagrams are missing in the guide (C43)."""

ORDER: Final = (S.DRAFT, S.ASSESS, S.AUTHORIZE, S.SCHEDULED, S.IMPLEMENT, S.REVIEW, S.CLOSED)
"""Tells a jump forward from a jump back."""
FINAL: Final = frozenset({S.CLOSED, S.CANCELLED})
VALUES: Final[Mapping[str, frozenset[str]]] = {
    "priority": frozenset("1234"),
    "approval": frozenset({"approved", "rejected", "requested", "not yet requested", "not requested"}),
    "risk": frozenset({"low", "moderate", "high"}),
    "impact": frozenset({"low", "medium", "high"}),
    "closeCode": frozenset(
        {"successful", "successful with issues", "successful outside change window", "unsuccessful"}
    ),
}
"""Fields with a closed list of values (R152, R154, R161), in lower case; the category's is open (C16)."""
_DECISIONS: Final = frozenset({"approved", "rejected"})
_WITH_STATE: Final = frozenset({Transaction.CREATE, Transaction.UPDATE, Transaction.CLOSURE, Transaction.NOTES})
"""Transactions whose body has the change's state."""
_ASKING: Final = frozenset({S.ASSESS, S.AUTHORIZE})
_NAMES: Final[Mapping[str, State]] = {
    **{item.value.lower(): item for item in State},
    "new": S.DRAFT,
    "canceled": S.CANCELLED,
}
_TYPES: Final[Mapping[str, ChangeType]] = {item.value.lower(): item for item in ChangeType}


def parse_state(text: str) -> State | None:
    """The state a wire text names, case and spaces aside; None for an unknown one."""
    return _NAMES.get(text.strip().lower().replace(" ", ""))


def change_type(state: TicketState) -> ChangeType:
    """The type whose path is expected: Normal while none is known."""
    return _TYPES.get(state.fields.get("type", "").strip().lower(), ChangeType.NORMAL)


def open_ticket(state: TicketState, message: Message) -> list[Delta]:
    """Take the first message's state and fields; ask for a client change unless one was adopted, or it is a draft or
    in no state that is known: what it does then says the next message (decision 21)."""
    changes: list[Delta] = set_fields(state, message, message.fields, late=False)
    changes += _check_values(state, message, changes)
    _note_answer(state, message.fields.get("approval", ""))
    target = _target(message)
    if target is not None:
        if message.transaction is Transaction.CREATE and target not in NEXT[change_type(state)][S.DRAFT] | {S.DRAFT}:
            changes.append(flag(state, "unexpected_state", f"first seen in {target}", message.position))
        changes.append(move(state, target, message))
    changes += _unknown_state(state, message, target)
    if target in (S.DRAFT, None):
        return changes
    state.left_draft = True
    if state.started == 0:
        changes.append(start_generation(state))
    if target in FINAL:
        changes += _check_close_code(state, message, target) + end_generation(state, closed=target is S.CLOSED)
    return changes


def apply_record(state: TicketState, message: Message, *, late: bool) -> list[Delta]:
    """Apply a message that carries the change's record: there is no `changed`, its body's fields count (R158)."""
    before = change_type(state)
    changes: list[Delta] = set_fields(state, message, message.fields, late=late)
    if late:
        return changes
    changes += _check_values(state, message, changes) + _compare_type(state, message, before)
    _note_answer(state, message.fields.get("approval", ""))
    target = _target(message)
    changes += _unknown_state(state, message, target)
    if state.state in FINAL:
        changes.append(
            flag(state, "after_final", f"{message.transaction_name} on a {state.state} change", message.position)
        )
    if target is not None and target != state.state:
        changes += _enter(state, message, target)
    return changes


def _target(message: Message) -> State | None:
    if message.status:
        return parse_state(message.status)
    return S.DRAFT if message.transaction is Transaction.REDRAFT else None


def _unknown_state(state: TicketState, message: Message, target: State | None) -> list[Delta]:
    if message.status and target is None:
        return [flag(state, "unknown_value", f"state {message.status[:80]!r}", message.position)]
    if target is None and message.transaction in _WITH_STATE and state.state is None:
        return flag_once(state, "unknown_value", "no state", message.position)
    return []


def _check_values(state: TicketState, message: Message, changes: list[Delta]) -> list[Delta]:
    flags = flag_unknown_values(state, changes, VALUES, message.position)
    named = message.fields.get("type", "").strip()
    if named and named.lower() not in _TYPES:
        flags.append(flag(state, "unknown_value", f"type {named[:80]!r}", message.position))
    return flags


def _compare_type(state: TicketState, message: Message, before: ChangeType) -> list[Delta]:
    """A change keeps its type, by which its path is judged (R151)."""
    after = change_type(state)
    if after is before or not message.fields.get("type"):
        return []
    return flag_once(state, "type_changed", f"type {before} to {after}", message.position, about=message.message_id)


def _check_close_code(state: TicketState, message: Message, target: State) -> list[Delta]:
    """A change that is closed says how it went (R160)."""
    if target is not S.CLOSED or message.fields.get("closeCode", "").strip():
        return []
    return [flag(state, "no_close_code", "Closed without a closeCode", message.position)]


def _enter(state: TicketState, message: Message, target: State) -> list[Delta]:
    before = State(state.state) if state.state is not None else None
    changes: list[Delta] = _judge(state, message, before, target)
    changes.append(move(state, target, message))
    if target is S.DRAFT:
        changes += end_generation(state) + close_approvals(state, "void")
    elif target in FINAL:
        rejected = target is S.CANCELLED and state.rejected
        changes += _check_close_code(state, message, target) + close_approvals(state, "superseded")
        changes += end_generation(state, closed=target is S.CLOSED, rejected=rejected)
    else:
        changes += _leave_draft(state, message, before, target)
        if target not in _ASKING:
            changes += close_approvals(state, "superseded")
            state.rejected = False  # whatever was answered, the change goes on
        state.left_draft = True
    return changes


def _leave_draft(state: TicketState, message: Message, before: State | None, target: State) -> list[Delta]:
    """Start the generation that begins with this step, if one does: a return to the first state counts as a redraft."""
    if before is S.DRAFT and state.left_draft:
        return close_approvals(state, "void") + _next_generation(state, message)
    if state.started == 0:
        return [start_generation(state)]
    back = before is not None and (before in FINAL or ORDER.index(target) < ORDER.index(before))
    if back and target in NEXT[change_type(state)][S.DRAFT]:
        return end_generation(state) + close_approvals(state, "void") + _next_generation(state, message)
    return []


def _next_generation(state: TicketState, message: Message) -> list[Delta]:
    changes = end_generation(state)
    state.generation += 1
    state.began, state.rejected = message.sequence, False
    return [*changes, start_generation(state)]


def _judge(state: TicketState, message: Message, before: State | None, target: State) -> list[Delta]:
    """The anomaly of a step that its type's path does not have; behind a final state, flagged already, only a return to
    the first one is another."""
    path = NEXT[change_type(state)]
    if before is None or target in (S.DRAFT, S.CANCELLED) or target in path.get(before, frozenset()):
        return []
    if before in FINAL and target not in path[S.DRAFT]:
        return []
    forward = before not in FINAL and ORDER.index(target) > ORDER.index(before)
    code = "skipped_state" if forward else "backward_state"
    return [flag(state, code, f"{before} to {target}", message.position)]


def add_approval(state: TicketState, message: Message, *, late: bool) -> list[Delta]:
    """Add an approval request to the generation it was asked in, or the answer Ensono reports; the first decision
    counts. What was asked in a former generation is answered there, where it decides nothing any more (R180)."""
    asked = message.approval
    if asked is None or not asked.state:
        return []
    known = state.approvals.get(asked.id)
    if late and message.sequence < state.began:
        return _add_former(state, asked) if known is None else []
    if known is not None and not _is_news(state, known, asked.state):
        return _flag_former(state, message, known)
    word = "superseded" if asked.state in _DECISIONS and _is_decided(state) else asked.state
    changes = _put_approval(state, asked, word, state.generation, asked=asked) + _flag_unneeded(state, message)
    if word not in _DECISIONS:
        return changes
    _note_answer(state, word)
    return changes + close_approvals(state, "superseded")


def _is_news(state: TicketState, known: Approval, word: str) -> bool:
    """Whether a word about a known approval changes anything: the same generation's answer, or asking once more in a
    later one."""
    if known.generation == state.generation:
        return known.state == "requested" and word != "requested"
    return word == "requested"


def _flag_former(state: TicketState, message: Message, known: Approval) -> list[Delta]:
    """Flag an answer that comes to nothing: to a former generation, or after another answer (R177)."""
    asked = message.approval
    if asked is None or asked.state not in _DECISIONS or asked.state == known.state:
        return []
    detail = f"{asked.state} for {known.id[:80]}, which is {known.state} in generation {known.generation}"
    return flag_once(state, "approval_unexpected", detail, message.position)


def _flag_unneeded(state: TicketState, message: Message) -> list[Delta]:
    """Only a normal change is approved by the client, and only one that has left its draft (R172, R149)."""
    if state.state == S.DRAFT:
        return flag_once(state, "approval_unexpected", "an approval on a draft", message.position)
    kind = change_type(state)
    if kind is ChangeType.NORMAL:
        return []
    return flag_once(state, "approval_unexpected", f"an approval on a change of type {kind}", message.position)


def _add_former(state: TicketState, asked: ApprovalRequest) -> list[Delta]:
    word = "void" if asked.state == "requested" else "superseded"
    return _put_approval(state, asked, word, state.generation - 1)


def _put_approval(
    state: TicketState, told: ApprovalRequest, word: str, generation: int, *, asked: ApprovalRequest | None = None
) -> list[Delta]:
    known = state.approvals.get(told.id)
    approval = Approval(
        id=told.id,
        name=told.name,
        email=told.email,
        generation=generation,
        state=word,
        order=known.order if known else len(state.approvals) + 1,
    )
    state.approvals[told.id] = approval
    return [ApprovalChanged(approval, asked=asked)]


def _note_answer(state: TicketState, word: str) -> None:
    """Learn from the record, or from the first answer of an approver, whether the client said no."""
    word = word.strip().lower()
    if word in _DECISIONS:
        state.rejected = word == "rejected"


def _is_decided(state: TicketState) -> bool:
    return any(item.generation == state.generation and item.state in _DECISIONS for item in state.approvals.values())


def close_approvals(state: TicketState, word: str) -> list[Delta]:
    """Give every approval of this generation that is still open that state."""
    changes: list[Delta] = []
    for known in list(state.approvals.values()):
        if known.state == "requested" and known.generation == state.generation:
            closed = msgspec.structs.replace(known, state=word)
            state.approvals[known.id] = closed
            changes.append(ApprovalChanged(closed))
    return changes
