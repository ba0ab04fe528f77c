"""Time as an argument: the one place of the running code that reads a clock."""

from __future__ import annotations

import time
from typing import Protocol

import anyio


class Clock(Protocol):
    """Where running code gets time from, so that a simulation can stand in for it."""

    def now(self) -> int:
        """Wall-clock time in microseconds since the epoch; for records, never for waiting."""

    def monotonic(self) -> float:
        """Seconds on a clock that never jumps; for deadlines and durations (I13)."""

    async def sleep(self, seconds: float) -> None:
        """Wait that long on the monotonic clock."""


class SystemClock:
    """The machine's clocks."""

    def now(self) -> int:
        return time.time_ns() // 1000

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds)
