"""One circuit breaker per destination: while it is open nothing is sent there, then one entry tries for all. Pure."""

from __future__ import annotations

from random import Random
from typing import Final

from ecproc.domain.attempt import Attempt, Held, Postponed, Uncertain
from ecproc.outbox.retry import back_off

_TROUBLES: Final = 5
"""Attempts in a row without an answer before the breaker opens."""


class Breaker:
    """Closed until five attempts in a row failed for the destination's sake, or one said that it is down for all."""

    def __init__(self, *, longest: float, rng: Random) -> None:
        self._longest = longest
        self._rng = rng
        self._troubles = 0
        self._openings = 0
        self._open_until: float | None = None
        self._probing = False

    @property
    def is_open(self) -> bool:
        """Whether the destination is held to be down."""
        return self._open_until is not None

    def may_send(self, now: float) -> bool:
        """Whether an entry may be attempted now; when the rest is over, exactly one may."""
        if self._open_until is None:
            return True
        return now >= self._open_until and not self._probing

    def sending(self) -> bool:
        """Note that an entry is being attempted; True if it is the one that tries for all."""
        probe = self.is_open
        self._probing = self._probing or probe
        return probe

    def leave(self, *, probe: bool) -> None:
        """Note that an attempt was not made after all; the next one tries for all in its place."""
        self._probing = self._probing and not probe

    def wait(self, now: float) -> float:
        """Seconds until the next attempt could be allowed."""
        return max(0.0, (self._open_until or now) - now)

    def note(self, attempt: Attempt, now: float, *, probe: bool = False) -> None:
        """Learn from how an attempt went; `probe` is what `sending` said about it."""
        self._probing = self._probing and not probe
        if isinstance(attempt, Postponed):
            return  # our own configuration says nothing about the destination
        if not isinstance(attempt, (Held, Uncertain)):
            self._troubles = self._openings = 0
            self._open_until = None
            return
        asked = attempt.wait if isinstance(attempt, Held) else 0.0
        if self._open_until is not None and not probe:
            # It was on its way when the breaker opened: the same trouble once more, not a longer one.
            self._open_until = max(self._open_until, now + asked)
            return
        self._troubles += 1
        down = isinstance(attempt, Held) and attempt.down
        if probe or down or self._troubles >= _TROUBLES:
            self._openings += 1
            rest = back_off(self._openings, rng=self._rng, longest=self._longest)
            self._open_until = now + max(rest, asked)
