"""An outbox entry: a planned effect and how far it got. This file is the whole truth about an entry's transitions."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, assert_never

import msgspec

from ecproc.domain.effects import Effect, Lane
from ecproc.domain.events import EffectFailed, EffectStarted, EffectSucceeded, EffectUnknown, Outcome


class EntryState(StrEnum):
    """available → executing → completed, with unknown and retryable on the way; the last four are ends."""

    AVAILABLE = "available"
    EXECUTING = "executing"
    UNKNOWN = "unknown"
    RETRYABLE = "retryable"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    DISCARDED = "discarded"
    PARKED = "parked"


FINISHED: Final = frozenset({EntryState.COMPLETED, EntryState.CANCELLED, EntryState.DISCARDED, EntryState.PARKED})
"""States that nothing but a person or a new fact leads out of."""
DEAD: Final = frozenset({EntryState.DISCARDED, EntryState.PARKED})
"""Ends without success: a new fact that plans the same key arms the entry again (decision 8)."""


class Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    """`order` is the planned order within the ticket. `attempts` counts ended attempts that reached a judgement,
    `blamed` those whose answer was this entry's own fault. Times are microseconds UTC."""

    effect: Effect
    order: int
    state: EntryState = EntryState.AVAILABLE
    attempts: int = 0
    blamed: int = 0
    next_attempt_at: int | None = None
    reason: str = ""
    result: Mapping[str, str] = {}

    @property
    def lane(self) -> Lane:
        """The lane it runs in."""
        return self.effect.lane

    @property
    def finished(self) -> bool:
        """Whether the dispatcher has nothing left to do for it."""
        return self.state in FINISHED


def apply_outcome(entry: Entry, outcome: Outcome) -> Entry:
    """The entry after that outcome. Total: an outcome counts whatever state the entry was in."""
    change = msgspec.structs.replace
    match outcome:
        case EffectStarted():
            return change(entry, state=EntryState.EXECUTING, next_attempt_at=None)
        case EffectSucceeded(result=result):
            return change(
                entry,
                state=EntryState.COMPLETED,
                attempts=entry.attempts + 1,
                next_attempt_at=None,
                reason="",
                result=result,
            )
        case EffectFailed():
            return change(
                entry,
                state=_failed_state(outcome),
                attempts=entry.attempts + outcome.blamed,
                blamed=entry.blamed + outcome.blamed,
                next_attempt_at=outcome.next_attempt_at,
                reason=outcome.reason,
            )
        case EffectUnknown():
            return change(
                entry,
                state=EntryState.UNKNOWN,
                attempts=entry.attempts + 1,
                next_attempt_at=outcome.next_attempt_at,
                reason=outcome.reason,
            )
        case _:
            assert_never(outcome)


def _failed_state(outcome: EffectFailed) -> EntryState:
    if outcome.next_attempt_at is not None:
        return EntryState.RETRYABLE if outcome.blamed else EntryState.AVAILABLE
    return EntryState.PARKED if outcome.parked else EntryState.DISCARDED
