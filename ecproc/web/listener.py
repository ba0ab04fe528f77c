"""Taking connections: always, and never more than there is room for."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from ecproc.descriptors import Reserve, is_out_of_files
from ecproc.domain.refusals import WebRefusal
from ecproc.web.connection import WebConnection
from ecproc.web.guard import Refusals

ACCEPTED_AT_ONCE: Final = 16
"""Connections taken before those that are there get their turn."""
_PAUSE_SECONDS: Final = 0.1
"""How long taking rests where nothing could make room."""


class Listener:
    """Takes connections on a socket; `most` of them are open at once.

    Where there is no room, or no descriptor, the one that has asked nothing for the longest time makes way, then one
    whose answer is not read; so a request that comes whole is always answered. The last descriptors are the reserve's.
    What comes by it has that `role`.
    """

    def __init__(
        self, listening: socket.socket, *, most: int, reserve: Reserve, refusals: Refusals, role: str = ""
    ) -> None:
        self.role = role
        self._socket = listening
        self._most = most
        self._reserve = reserve
        self._refusals = refusals
        self._loop = asyncio.get_running_loop()
        self._open: dict[WebConnection, None] = {}  # who rested longest first
        self._opening: set[asyncio.Task[None]] = set()
        self._pause: asyncio.TimerHandle | None = None

    def start(self, make: Callable[[], WebConnection]) -> None:
        """Take connections from now on, each for a protocol of its own."""
        self._make = make
        self._socket.setblocking(False)
        self._resume()

    async def stop(self) -> None:
        """Take none any more; those that are open go on."""
        if self._pause is not None:
            self._pause.cancel()
        self._loop.remove_reader(self._socket.fileno())
        for task in self._opening:
            task.cancel()
        await asyncio.gather(*self._opening, return_exceptions=True)

    def abort(self) -> None:
        """End those that are still open."""
        for connection in tuple(self._open):
            connection.transport.abort()

    # What a connection tells.

    def opened(self, connection: WebConnection) -> None:
        self._open[connection] = None

    def rested(self, connection: WebConnection) -> None:
        if self._open.pop(connection, connection) is None:
            self._open[connection] = None

    def closed(self, connection: WebConnection) -> None:
        self._open.pop(connection, None)
        self._loop.call_soon(self._reserve.refill)

    def turned_away(self, refusal: WebRefusal, peer: str) -> None:
        self._refusals.note(refusal, peer=peer)

    def _resume(self) -> None:
        self._pause = None
        self._loop.add_reader(self._socket.fileno(), self._accept)

    def _accept(self) -> None:
        for _ in range(ACCEPTED_AT_ONCE):
            try:
                taken, peer = self._socket.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if is_out_of_files(error):
                    self._refusals.run_out()
                    if self._make_way() or self._reserve.spend():
                        return  # we are called again at once, when what was freed can be had
                self._rest()
                return
            self._take(taken, str(peer[0]) if peer else self.role)  # on a path of the system's nobody has an address

    def _take(self, taken: socket.socket, peer: str) -> None:
        if len(self._open) + len(self._opening) >= self._most and not self._make_way():
            self._refusals.note(WebRefusal.CROWDED, peer=peer)
            taken.close()
            return
        task = self._loop.create_task(self._connect(taken))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def _connect(self, taken: socket.socket) -> None:
        try:
            taken.setblocking(False)
            await self._loop.connect_accepted_socket(self._make, taken)
        except BaseException as error:
            taken.close()
            if not isinstance(error, OSError):
                raise

    def _make_way(self) -> bool:
        """End the connection that can best be spared; False if for each an answer is being made."""
        spared = next((one for one in self._open if not one.answering and not one.unread), None)
        spared = spared or next((one for one in self._open if one.unread), None)
        if spared is None:
            return False
        del self._open[spared]
        spared.give_up(WebRefusal.CROWDED)
        return True

    def _rest(self) -> None:
        with suppress(ValueError):
            self._loop.remove_reader(self._socket.fileno())
        self._pause = self._loop.call_later(_PAUSE_SECONDS, self._resume)
