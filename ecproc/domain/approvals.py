"""Approvals of a change: what was asked in a generation is answered there, the first decision counts (R172-R180)."""

from __future__ import annotations

from typing import Final

import msgspec

from ecproc.domain.anomalies import Anomaly
from ecproc.domain.deltas import Approval, ApprovalChanged, Delta
from ecproc.domain.events import ApprovalRequest, Message
from ecproc.domain.state import ApprovalState, TicketState, flag_once

DECISIONS: Final[frozenset[str]] = frozenset({ApprovalState.APPROVED, ApprovalState.REJECTED})
"""What an approver may answer."""


def add_approval(
    state: TicketState, message: Message, asked: ApprovalRequest, *, late: bool, unneeded: str
) -> list[Delta]:
    """Add a request to the generation it was asked in, or the answer that Ensono reports. What was asked in a former
    generation is answered there, where it decides nothing any more (R180); `unneeded` says why nobody should ask."""
    known = state.approvals.get(asked.id)
    if late and message.sequence < state.generation.began:
        return _add_former(state, asked, message.at) if known is None else []
    if known is not None and not _is_news(state, known, asked.state):
        return _flag_former(state, message, asked, known)
    word = ApprovalState.SUPERSEDED if asked.state in DECISIONS and _is_decided(state) else asked.state
    deltas = _put(state, asked, word, state.generation.number, at=message.at, asked=asked)
    if unneeded:
        deltas += flag_once(state, Anomaly.APPROVAL_UNEXPECTED, unneeded, message.position)
    if word not in DECISIONS:
        return deltas
    note_answer(state, word)
    return deltas + close_approvals(state, ApprovalState.SUPERSEDED)


def note_answer(state: TicketState, word: str) -> None:
    """Learn from the record, or from the first answer of an approver, whether the client said no."""
    word = word.strip().lower()
    if word in DECISIONS:
        state.generation.rejected = word == ApprovalState.REJECTED


def close_approvals(state: TicketState, word: ApprovalState) -> list[Delta]:
    """Give every approval of this generation that is still open that state."""
    deltas: list[Delta] = []
    for known in list(state.approvals.values()):
        if known.state == ApprovalState.REQUESTED and known.generation == state.generation.number:
            closed = msgspec.structs.replace(known, state=word)
            state.approvals[known.id] = closed
            deltas.append(ApprovalChanged(closed))
    return deltas


def _is_news(state: TicketState, known: Approval, word: str) -> bool:
    """Whether a word about a known approval changes anything: the same generation's answer, or asking once more in a
    later one."""
    if known.generation == state.generation.number:
        return known.state == ApprovalState.REQUESTED != word
    return word == ApprovalState.REQUESTED


def _flag_former(state: TicketState, message: Message, asked: ApprovalRequest, known: Approval) -> list[Delta]:
    """Flag an answer that comes to nothing: to a former generation, or after another answer (R177)."""
    if asked.state not in DECISIONS or asked.state == known.state:
        return []
    detail = f"{asked.state} for {known.id[:80]}, which is {known.state} in generation {known.generation}"
    return flag_once(state, Anomaly.APPROVAL_UNEXPECTED, detail, message.position)


def _add_former(state: TicketState, asked: ApprovalRequest, at: int) -> list[Delta]:
    word = ApprovalState.VOID if asked.state == ApprovalState.REQUESTED else ApprovalState.SUPERSEDED
    return _put(state, asked, word, state.generation.number - 1, at=at)


def _put(
    state: TicketState,
    told: ApprovalRequest,
    word: str,
    generation: int,
    *,
    at: int,
    asked: ApprovalRequest | None = None,
) -> list[Delta]:
    known = state.approvals.get(told.id)
    approval = Approval(
        id=told.id,
        name=told.name,
        email=told.email,
        generation=generation,
        state=word,
        order=known.order if known else len(state.approvals) + 1,
        asked_at=at,
    )
    state.approvals[told.id] = approval
    return [ApprovalChanged(approval, asked=asked)]


def _is_decided(state: TicketState) -> bool:
    current = state.generation.number
    return any(item.generation == current and item.state in DECISIONS for item in state.approvals.values())
