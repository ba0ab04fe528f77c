"""The HTTP server as one task of ours: no signal handlers, no log lines of its own, no exit behind our back."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import socket
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

import anyio
import uvicorn
from anyio.abc import TaskStatus
from starlette.types import ASGIApp

from ecproc.config import Limits
from ecproc.descriptors import Reserve, raise_limit
from ecproc.errors import ConfigError, ConfigProblem
from ecproc.network import bracket
from ecproc.web.connection import WebConnection
from ecproc.web.guard import Refusals
from ecproc.web.listener import Listener

_KEEP_ALIVE_SECONDS: Final = 5
_BACKLOG: Final = 1024
"""Connections that the system keeps until they are taken."""
_UNREAD_BYTES: Final = 128 * 1024
"""How much of an answer that is not read the system holds for a connection."""
_GRACE_SECONDS: Final = 1


async def serve(
    app: ASGIApp,
    host: str,
    port: int,
    *,
    limits: Limits,
    reserve: Reserve,
    refusals: Refusals,
    option: str = "web.listen",
    task_status: TaskStatus[int] = anyio.TASK_STATUS_IGNORED,
) -> None:
    """Serve `app` until cancelled; `task_status` gets the port once connections are taken.

    Raises `ConfigError` if the address cannot be bound. Cancelled, it gives answers under way one second to finish.
    `reserve` is spent where no more files can be open, `refusals` hears of every connection that had to end; `option`
    is where the address was configured.
    """
    listening = await _bind(host, port, option)
    bound_port: int = listening.getsockname()[1]
    most = min(limits.web_connections, raise_limit() // 4)
    listener = Listener(listening, most=most, reserve=reserve, refusals=refusals)
    with listening:
        await serve_on(listening, app, listener, limits=limits, on_started=lambda: task_status.started(bound_port))


async def serve_on(
    listening: socket.socket, app: ASGIApp, listener: Listener, *, limits: Limits, on_started: Callable[[], None]
) -> None:
    """Serve `app` on a socket that listens until cancelled, which gives answers under way one second to finish."""
    server = _Server(_settings(app, limits), listener, limits=limits, on_started=on_started)
    try:
        await server.serve(sockets=[listening])
    finally:
        with anyio.CancelScope(shield=True):
            await server.close(listening)


class _Server(uvicorn.Server):
    """uvicorn without its hold on the process: signals are ours, connections are taken by us, and it says when."""

    def __init__(
        self, config: uvicorn.Config, listener: Listener, *, limits: Limits, on_started: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self._listener = listener
        self._limits = limits
        self._on_started = on_started

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self.servers: list[asyncio.base_events.Server] = []
        listener = self._listener
        made = partial(WebConnection, self.config, self.server_state, keeper=listener, limits=self._limits)
        listener.start(partial(made, role=listener.role))
        self.started = True
        self._on_started()

    async def close(self, listening: socket.socket) -> None:
        """Stop listening, let answers finish, and leave no task behind."""
        if not self.started:
            return
        await self._listener.stop()
        await self.shutdown([listening])
        if tasks := set(self.server_state.tasks):
            await asyncio.wait(tasks, timeout=_GRACE_SECONDS)
        self._listener.abort()


def _settings(app: ASGIApp, limits: Limits) -> uvicorn.Config:
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)  # what strangers send wrong is counted, not told
    return uvicorn.Config(
        app,
        http="h11",  # the parser whose header size can be bounded
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        h11_max_incomplete_event_size=limits.web_header_bytes,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )


async def _bind(host: str, port: int, option: str) -> socket.socket:
    try:
        addresses = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        family, _, _, _, address = addresses[0]
        listening = socket.create_server(address, family=family, backlog=_BACKLOG)  # a link-local one with its zone
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _UNREAD_BYTES)  # what is taken there inherits it
        return listening
    except (OSError, UnicodeError) as error:
        reason = _explain(error)
    place = f"{bracket(host)}:{port}"
    raise ConfigError(ConfigProblem(f"cannot listen on {place}: {reason}", help=f"set {option} to another HOST:PORT"))


def _explain(error: OSError | UnicodeError) -> str:
    if isinstance(error, UnicodeError):
        return "that is not a host name"
    if error.errno == errno.EADDRINUSE:
        return "another process listens there"
    number = error.errno or 0
    # A failed look-up of the host carries a negative number of its own, not an errno.
    return os.strerror(number) if number > 0 else str(error.strerror)
