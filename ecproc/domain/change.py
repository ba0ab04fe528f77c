"""Changes: this file is the whole truth about their transitions, and about what these lead to (Appendix C).

A change goes along the path of its type, Draft (`New` on the wire) → … → Review → Closed. `EXPECTED` has each step
forward; Draft and Cancelled may follow anything that is not final. Whatever Ensono reports is applied; what the path
does not have is flagged.

*Generations.* A draft has no client ticket. Leaving Draft creates one: that is generation 1. Back in Draft its client
ticket is cancelled, and leaving again is the next generation with a client ticket of its own: `left_draft` remembers
that the current generation was seen outside Draft, so that a change first seen there is not counted twice. A return to
the state a change is first sent from counts as a redraft whose Draft we did not see.

*Finality.* Closed closes the client ticket, Cancelled cancels it; unless the client itself said no to this generation,
for then it closed its ticket already (`rejected`, R190). What was left to it so is `held_back`, and is cancelled after
all if the change goes on.

*Approvals* are of a generation (`approvals.py`): the first decision counts, the step out of Assess and Authorize makes
open requests superseded, a redraft makes them void.

*Late.* A message that was sent before one we have folded sets only fields that nothing newer set, never the state.
*Unknown.* A state that nobody knows changes nothing, and creates nothing: the next message will say more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Final

import msgspec

from ecproc.domain.anomalies import Anomaly
from ecproc.domain.approvals import add_approval, close_approvals, note_answer
from ecproc.domain.decisions import Draft, begin, hand_over, list_news
from ecproc.domain.deltas import ApprovalChanged, Delta, GenerationEnded, Moved
from ecproc.domain.effects import EffectKind
from ecproc.domain.events import ApprovalRequest, Message, Transaction
from ecproc.domain.ids import generation_key, message_effect_key
from ecproc.domain.state import (
    ApprovalState,
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
EXPECTED: Final[Mapping[ChangeType, Mapping[State, frozenset[State]]]] = {
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
DRAFTS: Final = frozenset({S.DRAFT})
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
    return _TYPES.get(state.record.fields.get("type", "").strip().lower(), ChangeType.NORMAL)


def open_ticket(state: TicketState, message: Message) -> list[Delta]:
    """Take the first message's state and fields; ask for a client change unless one was adopted, or it is a draft or
    in no state that is known: what it does then says the next message (decision 21)."""
    deltas: list[Delta] = set_fields(state, message, message.fields, late=False)
    deltas += _check_values(state, message, deltas)
    note_answer(state, message.fields.get("approval", ""))
    target = _target(message)
    if target is not None:
        if message.transaction is Transaction.CREATE and target not in EXPECTED[change_type(state)][S.DRAFT] | {
            S.DRAFT
        }:
            deltas.append(flag(state, Anomaly.UNEXPECTED_STATE, f"first seen in {target}", message.position))
        deltas.append(move(state, target, message))
    deltas += _unknown_state(state, message, target)
    if target is S.DRAFT and state.generation.left_draft:  # its client ticket was imported, and it was drafted anew
        return deltas + end_generation(state)
    if target in (S.DRAFT, None):
        return deltas
    state.generation.left_draft = True
    if state.generation.started == 0:
        deltas.append(start_generation(state))
    if target in FINAL:
        deltas += _check_close_code(state, message, target) + end_generation(state, closed=target is S.CLOSED)
    return deltas


def apply_record(state: TicketState, message: Message, *, late: bool) -> list[Delta]:
    """Apply a message that carries the change's record: there is no `changed`, its body's fields count (R158)."""
    before = change_type(state)
    deltas: list[Delta] = set_fields(state, message, message.fields, late=late)
    if late:
        return deltas
    deltas += _check_values(state, message, deltas) + _compare_type(state, message, before)
    note_answer(state, message.fields.get("approval", ""))
    target = _target(message)
    deltas += _unknown_state(state, message, target)
    if state.state in FINAL:
        deltas.append(
            flag(state, Anomaly.AFTER_FINAL, f"{message.transaction_name} on a {state.state} change", message.position)
        )
    if target is not None and target != state.state:
        deltas += _enter(state, message, target)
    return deltas


def _target(message: Message) -> State | None:
    if message.status:
        return parse_state(message.status)
    return S.DRAFT if message.transaction is Transaction.REDRAFT else None


def _unknown_state(state: TicketState, message: Message, target: State | None) -> list[Delta]:
    if message.status and target is None:
        return [flag(state, Anomaly.UNKNOWN_VALUE, f"state {message.status[:80]!r}", message.position)]
    if target is None and message.transaction in _WITH_STATE and state.state is None:
        return flag_once(state, Anomaly.UNKNOWN_VALUE, "no state", message.position)
    return []


def _check_values(state: TicketState, message: Message, deltas: list[Delta]) -> list[Delta]:
    flags = flag_unknown_values(state, deltas, VALUES, message.position)
    named = message.fields.get("type", "").strip()
    if named and named.lower() not in _TYPES:
        flags.append(flag(state, Anomaly.UNKNOWN_VALUE, f"type {named[:80]!r}", message.position))
    return flags


def _compare_type(state: TicketState, message: Message, before: ChangeType) -> list[Delta]:
    """A change keeps its type, by which its path is judged (R151)."""
    after = change_type(state)
    if after is before or not message.fields.get("type"):
        return []
    return flag_once(
        state, Anomaly.TYPE_CHANGED, f"type {before} to {after}", message.position, about=message.message_id
    )


def _check_close_code(state: TicketState, message: Message, target: State) -> list[Delta]:
    """A change that is closed says how it went (R160)."""
    if target is not S.CLOSED or message.fields.get("closeCode", "").strip():
        return []
    return [flag(state, Anomaly.NO_CLOSE_CODE, "Closed without a closeCode", message.position)]


def _enter(state: TicketState, message: Message, target: State) -> list[Delta]:
    before = State(state.state) if state.state is not None else None
    deltas: list[Delta] = _judge(state, message, before, target)
    deltas.append(move(state, target, message))
    if target is S.DRAFT:
        deltas += end_generation(state) + close_approvals(state, ApprovalState.VOID)
    elif target in FINAL:
        rejected = target is S.CANCELLED and state.generation.rejected
        deltas += _check_close_code(state, message, target) + close_approvals(state, ApprovalState.SUPERSEDED)
        deltas += end_generation(state, closed=target is S.CLOSED, rejected=rejected)
    else:
        deltas += _leave_draft(state, message, before, target)
        if target not in _ASKING:
            deltas += close_approvals(state, ApprovalState.SUPERSEDED)
            state.generation.rejected = False  # whatever was answered, the change goes on
        state.generation.left_draft = True
    return deltas


def _leave_draft(state: TicketState, message: Message, before: State | None, target: State) -> list[Delta]:
    """Start the generation that begins with this step, if one does: a return to the first state counts as a redraft."""
    if before is S.DRAFT and state.generation.left_draft:
        return close_approvals(state, ApprovalState.VOID) + _next_generation(state, message)
    if state.generation.started == 0:
        return [start_generation(state)]
    back = before is not None and (before in FINAL or ORDER.index(target) < ORDER.index(before))
    if back and target in EXPECTED[change_type(state)][S.DRAFT]:
        return end_generation(state) + close_approvals(state, ApprovalState.VOID) + _next_generation(state, message)
    return []


def _next_generation(state: TicketState, message: Message) -> list[Delta]:
    deltas = end_generation(state)
    state.generation.number += 1
    state.generation.began, state.generation.rejected = message.sequence, False
    return [*deltas, start_generation(state)]


def _judge(state: TicketState, message: Message, before: State | None, target: State) -> list[Delta]:
    """The anomaly of a step that its type's path does not have; behind a final state, flagged already, only a return to
    the first one is another."""
    path = EXPECTED[change_type(state)]
    if before is None or target in (S.DRAFT, S.CANCELLED) or target in path.get(before, frozenset()):
        return []
    if before in FINAL and target not in path[S.DRAFT]:
        return []
    forward = before not in FINAL and ORDER.index(target) > ORDER.index(before)
    code = Anomaly.SKIPPED_STATE if forward else Anomaly.BACKWARD_STATE
    return [flag(state, code, f"{before} to {target}", message.position)]


def apply_extras(state: TicketState, message: Message, *, late: bool) -> list[Delta]:
    """Take an approval request, or the answer that Ensono reports."""
    if message.approval is None or not message.approval.state:
        return []
    unneeded = _why_unneeded(state)
    return add_approval(state, message, message.approval, late=late, unneeded=unneeded)


def _why_unneeded(state: TicketState) -> str:
    """Only a normal change is approved by the client, and only one that has left its draft (R172, R149)."""
    if state.state == S.DRAFT:
        return "an approval on a draft"
    kind = change_type(state)
    return "" if kind is ChangeType.NORMAL else f"an approval on a change of type {kind}"


# --- what it leads to -------------------------------------------------------------------------------------------------

_OVER: Final = frozenset({"closed", "cancelled", "canceled"})
"""What a desk calls a client ticket that has come to its end."""


def decide(draft: Draft, message: Message, deltas: Sequence[Delta]) -> None:
    """Draft what a message leads to: ends and beginnings of client tickets, the record's news, then notes and files."""
    fresh = False
    for delta in deltas:
        if isinstance(delta, GenerationEnded):
            _end_client_ticket(draft, delta, deltas)
        else:
            fresh |= begin(draft, delta)
    _follow_record(draft, message, deltas, fresh=fresh)
    for delta in deltas:
        if isinstance(delta, ApprovalChanged) and delta.asked is not None:
            _pass_approval(draft, message, delta.asked)
        else:
            hand_over(draft, delta)


def _end_client_ticket(draft: Draft, ended: GenerationEnded, deltas: Sequence[Delta]) -> None:
    if not ended.closed and (ended.rejected or _is_over(draft.state, ended.generation)):
        return
    verb, kind = ("close", EffectKind.CLOSE) if ended.closed else ("cancel", EffectKind.CANCEL)
    key = generation_key(verb, draft.state.stream, ended.generation)
    fields = {**list_news(deltas), "state": draft.state.state or ""}
    draft.add(kind, key, fields=fields, generation=ended.generation)


def _is_over(state: TicketState, generation: int) -> bool:
    """Whether the desk has told that this generation's client ticket came to its end already (R190, R191)."""
    known = [item for item in state.client_tickets if item.generation == generation]
    return bool(known) and all(item.state.strip().lower() in _OVER for item in known)


def _follow_record(draft: Draft, message: Message, deltas: Sequence[Delta], *, fresh: bool) -> None:
    """Bring the client ticket to the change's new state and fields, in one effect."""
    state = draft.state
    moved = next((delta for delta in deltas if isinstance(delta, Moved)), None)
    fields = list_news(deltas)
    if fresh or not state.generation.live or not (moved or fields):
        return
    if moved:
        fields["state"] = moved.after
    draft.add(EffectKind.UPDATE, message_effect_key("upd", state.stream, message.message_id), fields=fields)


def _pass_approval(draft: Draft, message: Message, asked: ApprovalRequest) -> None:
    if not draft.state.generation.live:
        return
    fields = {
        "approvalId": asked.id,
        "approverName": asked.name,
        "approverEmail": asked.email,
        "approvalState": asked.state,
    }
    key = message_effect_key("upd", draft.state.stream, message.message_id)
    for place, known in enumerate(draft.effects):
        if known.key == key:  # the message brought news of the record too: the desk gets all of it in one update
            draft.effects[place] = msgspec.structs.replace(known, fields={**known.fields, **fields})
            return
    draft.add(EffectKind.UPDATE, key, fields=fields)
