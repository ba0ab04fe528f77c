"""An outbox entry: a planned effect and how far it got. This file is the whole truth about an entry's transitions."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, assert_never

import msgspec

from ecproc.domain.effects import Effect, EffectKind, Lane
from ecproc.domain.events import (
    Act,
    EffectFailed,
    EffectStarted,
    EffectSucceeded,
    EffectUnknown,
    Hold,
    OperatorActed,
    Outcome,
)


class EntryState(StrEnum):
    """available → executing → completed, with unknown and retryable on the way; the last four are ends.

    What was tried and waits is retryable, whether the try was spent or not; available is what was never tried.
    """

    AVAILABLE = "available"
    """Planned, and not tried yet."""
    EXECUTING = "executing"
    """Being tried now."""
    UNKNOWN = "unknown"
    """Tried, and nobody knows whether it was done: it is looked at again after `outbox.unknown_retry`."""
    RETRYABLE = "retryable"
    """Tried, certainly not done, and tried again."""
    COMPLETED = "completed"
    """Done."""
    CANCELLED = "cancelled"
    """Not needed any more."""
    DISCARDED = "discarded"
    """Given up: by a person, or because nobody can mend it."""
    PARKED = "parked"
    """Kept until a person has mended the cause and retries it."""


FINISHED: Final = frozenset({EntryState.COMPLETED, EntryState.CANCELLED, EntryState.DISCARDED, EntryState.PARKED})
"""States that nothing but a person or a new fact leads out of."""
_DISCARDED_BY: Final = "discarded by "
_OF_FILES: Final = frozenset({EffectKind.DOWNLOAD, EffectKind.ATTACH})
DEAD: Final = frozenset({EntryState.DISCARDED, EntryState.PARKED})
"""Ends without success: a new fact that plans the same key arms the entry again (decision 8), and so does a person."""


class Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    """`order` is the planned order within the ticket. `tries` counts all ended attempts, `attempts` those that reached
    a judgement, `blamed` those whose answer was this entry's own fault; `held` says what it waits for where that is no
    trouble of its destination. Times are microseconds UTC."""

    effect: Effect
    order: int
    state: EntryState = EntryState.AVAILABLE
    attempts: int = 0
    blamed: int = 0
    next_attempt_at: int | None = None
    reason: str = ""
    result: Mapping[str, str] = {}
    tries: int = 0
    held: Hold | None = None

    @property
    def lane(self) -> Lane:
        """The lane it runs in."""
        return self.effect.lane

    @property
    def finished(self) -> bool:
        """Whether the dispatcher has nothing left to do for it."""
        return self.state in FINISHED

    @property
    def is_dead_letter(self) -> bool:
        """Whether it came to a bad end that no person has looked at."""
        return self.state in DEAD and not self.reason.startswith(_DISCARDED_BY)


def apply_outcome(entry: Entry, outcome: Outcome) -> Entry:
    """The entry after that outcome. Total: an outcome counts whatever state the entry was in.

    Only that of another plan does not: the key was planned again while the attempt was under way, and what stands there
    now has another cause. So it makes no difference which of the two the log has first. And none is of a plan that was
    seen done: nobody performs it. What was discarded during an attempt stays so, unless that succeeded.
    """
    ended = _follow(entry, outcome)
    if entry.state is not EntryState.DISCARDED or isinstance(outcome, (EffectSucceeded, OperatorActed)):
        return ended
    return msgspec.structs.replace(entry, tries=ended.tries, attempts=ended.attempts, blamed=ended.blamed)


def _follow(entry: Entry, outcome: Outcome) -> Entry:
    change = msgspec.structs.replace
    if entry.effect.done:
        return entry
    if isinstance(outcome, EffectStarted):
        return change(entry, state=EntryState.EXECUTING, next_attempt_at=None)
    if outcome.cause not in (0, entry.effect.position):
        return entry
    if isinstance(outcome, OperatorActed):
        return _obey(entry, outcome)
    entry = change(entry, tries=entry.tries + 1, held=None)
    match outcome:
        case EffectSucceeded(result=result):
            return change(
                entry,
                effect=_forget_told(entry.effect),
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
                held=outcome.held,
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


def _obey(entry: Entry, acted: OperatorActed) -> Entry:
    """The entry as a person wants it; one that is done stays so."""
    change = msgspec.structs.replace
    if entry.state in (EntryState.COMPLETED, EntryState.CANCELLED):
        return entry
    match acted.act:
        case Act.RETRY:
            waits = entry.state in (EntryState.EXECUTING, EntryState.UNKNOWN)
            fresh = EntryState.RETRYABLE if entry.tries else EntryState.AVAILABLE
            return change(entry, state=entry.state if waits else fresh, blamed=0, next_attempt_at=None, held=None)
        case Act.DISCARD:
            reason = f"{_DISCARDED_BY}{acted.who}" + (f": {acted.note}" if acted.note else "")
            return change(entry, state=EntryState.DISCARDED, next_attempt_at=None, held=None, reason=reason)
        case _:
            return entry


def _forget_told(effect: Effect) -> Effect:
    """The effect without what was told, which may be long and stands in its plan's event for ever.

    The fields of a download and of a hand-over name a file.
    """
    return effect if effect.kind in _OF_FILES else msgspec.structs.replace(effect, fields={})


def _failed_state(outcome: EffectFailed) -> EntryState:
    if outcome.next_attempt_at is not None:
        return EntryState.RETRYABLE
    return EntryState.PARKED if outcome.parked else EntryState.DISCARDED
