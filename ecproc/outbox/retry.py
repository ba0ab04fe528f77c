"""What one attempt leads to, and what a former process left. Pure: time and chance are passed in."""

from __future__ import annotations

from random import Random
from typing import Final, TypeAlias, assert_never

import msgspec

from ecproc.domain.attempt import (
    LONGEST_POSTPONED,
    Attempt,
    Blamed,
    Done,
    Held,
    Odd,
    Postponed,
    Uncertain,
)
from ecproc.domain.effects import Repeat
from ecproc.domain.entry import Entry
from ecproc.domain.events import EffectFailed, EffectSucceeded, EffectUnknown, Hold, Remark

SECOND: Final = 1_000_000
"""Microseconds."""

_FIRST: Final = 1.0
"""Seconds of the first back-off, at most."""
_LONGEST_HOLD: Final = 60.0
"""Seconds for which trouble of a destination holds an entry where it names no time of its own, at most."""
_LONGEST_TEXT: Final = 1_000
"""Characters of a receiver's words that are kept."""

Ended: TypeAlias = EffectSucceeded | EffectFailed | EffectUnknown
"""The event that an ended attempt leaves."""


class RetryPolicy(msgspec.Struct, frozen=True):
    """Bounds of retrying: attempts that blamed the entry, the wait of an unknown outcome, the longest back-off (s)."""

    max_attempts: int
    unknown_retry: tuple[float, float]
    longest: float


def bound_unknown(policy: RetryPolicy, ends_after: float) -> RetryPolicy:
    """The bounds for calls that have certainly ended after that many seconds, and are looked up no sooner."""
    first, last = policy.unknown_retry
    if ends_after <= first:
        return policy
    return msgspec.structs.replace(policy, unknown_retry=(ends_after, max(ends_after, last)))


def conclude(entry: Entry, attempt: Attempt, *, now: int, rng: Random, policy: RetryPolicy) -> Ended:
    """The event that records an attempt: only answers that blame the entry cost it one (decision 9).

    What is over is discarded only where it is lost; else it is parked for a person or a new fact (decision 22).
    """
    match attempt:
        case Done():
            return _succeed(entry, attempt)
        case Odd():
            at = None if attempt.final else now + int(LONGEST_POSTPONED * SECOND)
            return _hold(entry, attempt, at, held=Hold.ODD_ANSWER)
        case Postponed(wait=wait):
            return _hold(entry, attempt, now + int(min(wait, LONGEST_POSTPONED) * SECOND), held=Hold.CONFIGURATION)
        case Held():
            wait = max(attempt.wait, back_off(1, rng=rng, longest=_LONGEST_HOLD))
            return _hold(entry, attempt, now + int(wait * SECOND))
        case Blamed():
            return _blame(entry, attempt, now=now, rng=rng, policy=policy)
        case Uncertain():
            return _leave_unknown(entry, attempt, now + int(rng.uniform(*policy.unknown_retry) * SECOND))
        case _:
            assert_never(attempt)


def supersede(outcome: Ended, *, now: int) -> Ended:
    """The outcome of an attempt whose key was planned anew meanwhile: it ends nothing, the new plan is due at once."""
    if isinstance(outcome, EffectSucceeded):
        return outcome
    return EffectFailed(
        outcome.key,
        outcome.reason,
        blamed=False,
        next_attempt_at=now,
        request_id=outcome.request_id,
        cause=outcome.cause,
        call=outcome.call,
        remarks=outcome.remarks,
    )


def interrupt(entry: Entry, repeat: Repeat, *, now: int, rng: Random, policy: RetryPolicy) -> EffectUnknown:
    """What became of an attempt that a former process began: whether it took effect is to be found out."""
    wait = 0.0 if repeat.safe_at_once else rng.uniform(*policy.unknown_retry)
    effect = entry.effect
    return EffectUnknown(effect.key, "interrupted", now + int(wait * SECOND), cause=effect.position)


def take_up(entry: Entry, *, now: int, policy: RetryPolicy) -> Entry:
    """An entry as a new process has to see it: what our configuration held is due at once, it may be another one now.

    A time too far ahead is clipped to the longest back-off, for the clock may have been wrong (I13).
    """
    at = None if entry.held is Hold.CONFIGURATION else entry.next_attempt_at
    if at is not None:
        at = min(at, now + int(policy.longest * SECOND))
    return entry if at == entry.next_attempt_at else msgspec.structs.replace(entry, next_attempt_at=at)


def _succeed(entry: Entry, attempt: Done) -> EffectSucceeded:
    told = {**attempt.result, **({"request_id": attempt.request_id} if attempt.request_id else {})}
    result = {_clean(name): _clean(value) for name, value in told.items()}
    succeeded = EffectSucceeded(entry.effect.key, result, entry.effect.position, _list_remarks(attempt.remarks))
    if not attempt.view:
        return succeeded
    view = {_clean(name): _clean(value) for name, value in attempt.view.items()}
    return msgspec.structs.replace(succeeded, view=view, stamp=attempt.stamp)


def _leave_unknown(entry: Entry, attempt: Uncertain, at: int) -> EffectUnknown:
    return EffectUnknown(
        entry.effect.key,
        _clean(attempt.reason),
        at,
        _clean(attempt.request_id),
        cause=entry.effect.position,
        call=attempt.call,
        remarks=_list_remarks(attempt.remarks),
    )


def _hold(entry: Entry, attempt: Odd | Postponed | Held, at: int | None, *, held: Hold | None = None) -> EffectFailed:
    return EffectFailed(
        entry.effect.key,
        _clean(attempt.reason),
        blamed=False,
        next_attempt_at=at,
        parked=at is None,
        held=held,
        request_id=_clean(attempt.request_id),
        cause=entry.effect.position,
        call=attempt.call,
        remarks=_list_remarks(attempt.remarks if isinstance(attempt, Held) else ()),
    )


def _blame(entry: Entry, attempt: Blamed, *, now: int, rng: Random, policy: RetryPolicy) -> EffectFailed:
    over = attempt.final or attempt.lost or entry.blamed + 1 >= policy.max_attempts
    wait = back_off(entry.blamed + 1, rng=rng, longest=policy.longest)
    return EffectFailed(
        entry.effect.key,
        _clean(attempt.reason),
        blamed=True,
        next_attempt_at=None if over else now + int(wait * SECOND),
        parked=over and not attempt.lost,
        request_id=_clean(attempt.request_id),
        cause=entry.effect.position,
        call=attempt.call,
        remarks=_list_remarks(attempt.remarks),
    )


def back_off(attempt: int, *, rng: Random, longest: float) -> float:
    """Seconds before the next attempt: doubling from one, capped, with jitter over the upper half."""
    ceiling = min(longest, _FIRST * 2 ** min(attempt - 1, 30))
    return rng.uniform(ceiling / 2, ceiling)


def _list_remarks(remarks: tuple[Remark, ...]) -> tuple[Remark, ...] | msgspec.UnsetType:
    """Remarks as an outcome keeps them: most have none, and do not say so."""
    return tuple(Remark(remark.code, _clean(remark.detail)) for remark in remarks) or msgspec.UNSET


def _clean(text: str) -> str:
    """A stranger's text as the log can keep it: Unicode, and no longer than anyone reads."""
    return text[:_LONGEST_TEXT].encode(errors="replace").decode()
