"""What one attempt leads to: pure, with time and chance passed in."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Final, assert_never

import msgspec

from ecproc.domain.effects import PARKED_WHEN_DEAD
from ecproc.domain.entry import Entry
from ecproc.domain.events import EffectFailed, EffectSucceeded, EffectUnknown

SECOND: Final = 1_000_000
_FIRST: Final = 1.0
_LONGEST_HOLD: Final = 60.0
_LONGEST_ASKED: Final = 300.0
_LONGEST_TEXT: Final = 1_000


class Done(msgspec.Struct, frozen=True):
    """It took effect; what the receiver told."""

    result: Mapping[str, str] = {}


class Blamed(msgspec.Struct, frozen=True):
    """The receiver said no to this entry; `final` when asking again cannot help."""

    reason: str
    final: bool = False


class Held(msgspec.Struct, frozen=True):
    """The destination was in trouble and certainly did nothing. `down`: no entry would fare better there."""

    reason: str
    retry_after: float | None = None
    down: bool = False

    @property
    def wait(self) -> float:
        """The seconds it asked for, 300 at most."""
        return min(self.retry_after or 0.0, _LONGEST_ASKED)


class Uncertain(msgspec.Struct, frozen=True):
    """Sent, no trusted answer: it may have taken effect."""

    reason: str


Attempt = Done | Blamed | Held | Uncertain


class RetryPolicy(msgspec.Struct, frozen=True):
    """Bounds of retrying: attempts that blamed the entry, the wait of an unknown outcome, the longest back-off (s)."""

    max_attempts: int
    unknown_retry: tuple[float, float]
    longest: float


def conclude(
    entry: Entry, attempt: Attempt, *, now: int, rng: Random, policy: RetryPolicy
) -> EffectSucceeded | EffectFailed | EffectUnknown:
    """The event that records an attempt: only answers that blame the entry cost it one (decision 9)."""
    key = entry.effect.key
    reason = "" if isinstance(attempt, Done) else _clean(attempt.reason)
    match attempt:
        case Done(result=result):
            return EffectSucceeded(key, {_clean(name): _clean(value) for name, value in result.items()})
        case Uncertain():
            wait = rng.uniform(*policy.unknown_retry)
            return EffectUnknown(key, reason, next_attempt_at=now + int(wait * SECOND))
        case Held():
            wait = max(attempt.wait, back_off(1, rng=rng, longest=_LONGEST_HOLD))
            return EffectFailed(key, reason, blamed=False, next_attempt_at=now + int(wait * SECOND))
        case Blamed(final=final):
            if final or entry.blamed + 1 >= policy.max_attempts:
                return EffectFailed(key, reason, blamed=True, parked=entry.effect.kind in PARKED_WHEN_DEAD)
            wait = back_off(entry.blamed + 1, rng=rng, longest=policy.longest)
            return EffectFailed(key, reason, blamed=True, next_attempt_at=now + int(wait * SECOND))
        case _:
            assert_never(attempt)


def back_off(attempt: int, *, rng: Random, longest: float) -> float:
    """Seconds before the next attempt: doubling from one, capped, with jitter over the upper half."""
    ceiling = min(longest, _FIRST * 2 ** min(attempt - 1, 30))
    return rng.uniform(ceiling / 2, ceiling)


def _clean(text: str) -> str:
    """A stranger's text as the log can keep it: Unicode, and no longer than anyone reads."""
    return text[:_LONGEST_TEXT].encode(errors="replace").decode()
