"""The least rate of a download: a host that drips holds a place that others need."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Final

import anyio

LEAST_RATE: Final = 1024
"""Bytes per second, far below what any network is worth; at less than that a file of a megabyte takes a quarter of an
hour, which is longer than a download may take anyway."""
PATIENCE_SECONDS: Final = 20.0
"""How long a host may be behind that rate: connecting, its head and its pauses are in it."""


class TooSlow(Exception):
    """The host was behind the least rate for too long."""


class Patience:
    """The time that a host has left. Each byte of a body buys some, and never more than it had at the beginning.

    `asked` says that the host has our request.
    """

    def __init__(self) -> None:
        self.asked = False
        self._scope = anyio.CancelScope()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run the block while there is patience; raises TooSlow out of it at the end of that."""
        self._scope.deadline = anyio.current_time() + PATIENCE_SECONDS
        with self._scope:
            yield
        if self._scope.cancelled_caught:
            raise TooSlow

    def note_asked(self) -> None:
        """Note that the request is on its way to the host."""
        self.asked = True

    def writing(self, write: Callable[[bytes], Awaitable[None]]) -> Callable[[bytes], Awaitable[None]]:
        """That writer, for pieces of the body as they come: what writing takes is not the host's time."""

        async def write_piece(piece: bytes) -> None:
            left = self._scope.deadline - anyio.current_time()
            self._scope.deadline = math.inf
            await write(piece)
            left = min(left + len(piece) / LEAST_RATE, PATIENCE_SECONDS)
            self._scope.deadline = anyio.current_time() + left

        return write_piece

    def rest(self) -> None:
        """Let the host have nothing more to do: what follows is ours."""
        self._scope.deadline = math.inf
