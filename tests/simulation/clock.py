"""Clocks for tests."""

from __future__ import annotations

from typing import Final

import anyio

START: Final = 1_700_000_000
"""What the calendar shows when a virtual clock is made, in seconds UTC."""


class VirtualClock:
    """A Clock in the time of the running event loop, which a SimLoop makes virtual; its calendar may be set."""

    def __init__(self, start: float = START) -> None:
        self._calendar = int(start * 1_000_000)

    def now(self) -> int:
        return self._calendar + round(anyio.current_time() * 1_000_000)

    def monotonic(self) -> float:
        return anyio.current_time()

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds)

    def jump(self, seconds: float) -> None:
        """Set the calendar forward or back; nothing that waits notices."""
        self._calendar += int(seconds * 1_000_000)
