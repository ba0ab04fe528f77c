"""What one attempt leads to: pure, with time and chance passed in."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Final, assert_never

import msgspec

from ecproc.domain.entry import Entry
from ecproc.domain.events import EffectFailed, EffectSucceeded, EffectUnknown, Hold

SECOND: Final = 1_000_000
LONGEST_POSTPONED: Final = 3_600.0
"""Seconds after which what our configuration refuses, or what was answered oddly, is tried once more."""

_FIRST: Final = 1.0
_LONGEST_HOLD: Final = 60.0
_LONGEST_ASKED: Final = 300.0
_LONGEST_TEXT: Final = 1_000


class Done(msgspec.Struct, frozen=True):
    """It took effect; what the receiver told. `request_id`, here and below, is the receiver's own name for the call."""

    result: Mapping[str, str] = {}
    request_id: str = ""


class Odd(msgspec.Struct, frozen=True):
    """It was answered, in words nobody knows: not done, nobody's fault, and asked again once an hour at most."""

    text: str
    request_id: str = ""

    @property
    def reason(self) -> str:
        """The words, marked as what they are."""
        return f"odd answer: {self.text}"


class Blamed(msgspec.Struct, frozen=True):
    """The receiver said no to this entry; `final` when asking again cannot help, `lost` when nobody and nothing can.

    `hint`, here and below, is what a person can do about it.
    """

    reason: str
    final: bool = False
    lost: bool = False
    hint: str = ""
    request_id: str = ""


class Held(msgspec.Struct, frozen=True):
    """The destination was in trouble and certainly did nothing. `down`: no entry would fare better there."""

    reason: str
    retry_after: float | None = None
    down: bool = False
    hint: str = ""
    request_id: str = ""

    @property
    def wait(self) -> float:
        """The seconds it asked for, 300 at most."""
        return min(self.retry_after or 0.0, _LONGEST_ASKED)


class Postponed(msgspec.Struct, frozen=True):
    """Our own configuration refuses it; it is tried again after `wait` seconds, an hour at most, and at every start."""

    reason: str
    wait: float = LONGEST_POSTPONED
    hint: str = ""
    request_id: str = ""


class Uncertain(msgspec.Struct, frozen=True):
    """Sent, no trusted answer: it may have taken effect."""

    reason: str
    hint: str = ""
    request_id: str = ""


Attempt = Done | Odd | Blamed | Held | Postponed | Uncertain
Ended = EffectSucceeded | EffectFailed | EffectUnknown


class RetryPolicy(msgspec.Struct, frozen=True):
    """Bounds of retrying: attempts that blamed the entry, the wait of an unknown outcome, the longest back-off (s)."""

    max_attempts: int
    unknown_retry: tuple[float, float]
    longest: float


def conclude(entry: Entry, attempt: Attempt, *, now: int, rng: Random, policy: RetryPolicy) -> Ended:
    """The event that records an attempt: only answers that blame the entry cost it one (decision 9).

    What is over is discarded only where it is lost; else it is parked for a person or a new fact (decision 22).
    """
    match attempt:
        case Done():
            return _succeed(entry, attempt)
        case Odd():
            return _hold(entry, attempt, now + int(LONGEST_POSTPONED * SECOND), held=Hold.ODD_ANSWER)
        case Postponed(wait=wait):
            return _hold(entry, attempt, now + int(min(wait, LONGEST_POSTPONED) * SECOND), held=Hold.CONFIGURATION)
        case Held():
            wait = max(attempt.wait, back_off(1, rng=rng, longest=_LONGEST_HOLD))
            return _hold(entry, attempt, now + int(wait * SECOND))
        case Blamed():
            return _blame(entry, attempt, now=now, rng=rng, policy=policy)
        case Uncertain(reason=reason, request_id=request_id):
            at = now + int(rng.uniform(*policy.unknown_retry) * SECOND)
            effect = entry.effect
            return EffectUnknown(effect.key, _clean(reason), at, _clean(request_id), cause=effect.position)
        case _:
            assert_never(attempt)


def supersede(outcome: Ended, *, now: int) -> Ended:
    """The outcome of an attempt whose key was planned anew meanwhile: it ends nothing, the new plan is due at once."""
    if isinstance(outcome, EffectSucceeded):
        return outcome
    reason, request_id = outcome.reason, outcome.request_id
    return EffectFailed(
        outcome.key, reason, blamed=False, next_attempt_at=now, request_id=request_id, cause=outcome.cause
    )


def _succeed(entry: Entry, attempt: Done) -> EffectSucceeded:
    told = {**attempt.result, **({"request_id": attempt.request_id} if attempt.request_id else {})}
    result = {_clean(name): _clean(value) for name, value in told.items()}
    return EffectSucceeded(entry.effect.key, result, cause=entry.effect.position)


def _hold(entry: Entry, attempt: Odd | Postponed | Held, at: int, *, held: Hold | None = None) -> EffectFailed:
    return EffectFailed(
        entry.effect.key,
        _clean(attempt.reason),
        blamed=False,
        next_attempt_at=at,
        held=held,
        request_id=_clean(attempt.request_id),
        cause=entry.effect.position,
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
    )


def back_off(attempt: int, *, rng: Random, longest: float) -> float:
    """Seconds before the next attempt: doubling from one, capped, with jitter over the upper half."""
    ceiling = min(longest, _FIRST * 2 ** min(attempt - 1, 30))
    return rng.uniform(ceiling / 2, ceiling)


def _clean(text: str) -> str:
    """A stranger's text as the log can keep it: Unicode, and no longer than anyone reads."""
    return text[:_LONGEST_TEXT].encode(errors="replace").decode()
