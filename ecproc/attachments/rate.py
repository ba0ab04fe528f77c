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
"""How long a host may be behind that rate once its file has begun to come."""
CONNECT_SECONDS: Final = 0.4 * PATIENCE_SECONDS
"""Within which there has to be a connection, and then TLS on it: both end by themselves, long before patience does."""
FIRST_SECONDS: Final = 60.0
"""From the beginning to the first byte of the file: a proxy that scans it has it whole before it passes anything on."""


class TooSlow(Exception):
    """The host was behind the least rate, or silent, for too long."""


class Patience:
    """The time that a host has left: so much to begin with its file, then each byte of it buys some, up to a bound.

    `asked` says that the host has our request.
    """

    def __init__(self) -> None:
        self.asked = False
        self._has_begun = False
        self._scope = anyio.CancelScope()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run the block while there is patience; raises TooSlow out of it at the end of that."""
        self._scope.deadline = anyio.current_time() + FIRST_SECONDS
        with self._scope:
            yield
        if self._scope.cancelled_caught:
            raise TooSlow

    def note_asked(self) -> None:
        """Note that the request is on its way to the host."""
        self.asked = True

    def describe(self) -> str:
        """What the host did not do in its time."""
        if self._has_begun:
            return f"too slow: {PATIENCE_SECONDS:g} s behind {LEAST_RATE} bytes per second"
        if self.asked:
            return f"too slow: nothing of the file within {FIRST_SECONDS:g} s"
        return f"timeout: no connection within {FIRST_SECONDS:g} s"

    def writing(self, write: Callable[[bytes], Awaitable[None]]) -> Callable[[bytes], Awaitable[None]]:
        """That writer, for pieces of the body as they come: what writing takes is not the host's time."""

        async def write_piece(piece: bytes) -> None:
            left = self._scope.deadline - anyio.current_time() if self._has_begun else PATIENCE_SECONDS
            self._has_begun = True
            self._scope.deadline = math.inf
            await write(piece)
            left = min(left + len(piece) / LEAST_RATE, PATIENCE_SECONDS)
            self._scope.deadline = anyio.current_time() + left

        return write_piece

    def rest(self) -> None:
        """Let the host have nothing more to do: what follows is ours."""
        self._scope.deadline = math.inf
