"""Waiting for a condition instead of for a moment: whoever changes something says so, whoever waits looks again."""

from __future__ import annotations

from collections.abc import Callable

import anyio


class Signal:
    """Told by `notify` that something changed; costs nothing while nobody waits."""

    __slots__ = ("_changed",)

    def __init__(self) -> None:
        self._changed: anyio.Event | None = None

    def notify(self) -> None:
        """Let all who wait look at their condition again."""
        if self._changed is not None:
            changed, self._changed = self._changed, None
            changed.set()

    async def wait_next(self) -> None:
        """Return when something changes."""
        if self._changed is None:
            self._changed = anyio.Event()
        await self._changed.wait()

    async def wait_until(self, holds: Callable[[], bool]) -> None:
        """Return at a moment when `holds` is true; at once where it is so already."""
        while not holds():
            await self.wait_next()
