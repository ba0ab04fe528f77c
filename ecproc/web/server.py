"""The HTTP server as one task of ours: no signal handlers, no log lines of its own, no exit behind our back."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
from collections.abc import Callable, Iterator
from typing import Final

import anyio
import uvicorn
from anyio.abc import TaskStatus
from starlette.types import ASGIApp

from ecproc.config import Limits
from ecproc.errors import ConfigError, ConfigProblem

_KEEP_ALIVE_SECONDS: Final = 5
_GRACE_SECONDS: Final = 1


async def serve(
    app: ASGIApp, host: str, port: int, *, limits: Limits, task_status: TaskStatus[int] = anyio.TASK_STATUS_IGNORED
) -> None:
    """Serve `app` until cancelled; `task_status` gets the port once connections are taken.

    Raises `ConfigError` if the address cannot be bound. Cancelled, it gives answers under way one second to finish.
    """
    listener = await _bind(host, port)
    bound_port: int = listener.getsockname()[1]
    server = _Server(_settings(app, limits), lambda: task_status.started(bound_port))
    with listener:
        try:
            await server.serve(sockets=[listener])
        finally:
            with anyio.CancelScope(shield=True):
                await server.close(listener)


class _Server(uvicorn.Server):
    """uvicorn without its hold on the process: signals are ours, and it says when it listens."""

    def __init__(self, config: uvicorn.Config, on_started: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_started = on_started

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_started()

    async def close(self, listener: socket.socket) -> None:
        """Stop listening, let answers finish, and leave no task behind."""
        if not self.started:
            return
        await self.shutdown([listener])
        if tasks := set(self.server_state.tasks):
            await asyncio.wait(tasks, timeout=_GRACE_SECONDS)


def _settings(app: ASGIApp, limits: Limits) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http="h11",  # the parser whose header size can be bounded
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=limits.web_connections,
        h11_max_incomplete_event_size=limits.web_header_bytes,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )


async def _bind(host: str, port: int) -> socket.socket:
    try:
        addresses = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        family, _, _, _, address = addresses[0]
        return socket.create_server(address[:2], family=family)
    except (OSError, UnicodeError) as error:
        reason = _explain(error)
    address_text = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    raise ConfigError(
        ConfigProblem(f"cannot listen on {address_text}: {reason}", help="set web.listen to another HOST:PORT")
    )


def _explain(error: OSError | UnicodeError) -> str:
    if isinstance(error, UnicodeError):
        return "that is not a host name"
    if error.errno == errno.EADDRINUSE:
        return "another process listens there"
    number = error.errno or 0
    # A failed look-up of the host carries a negative number of its own, not an errno.
    return os.strerror(number) if number > 0 else str(error.strerror)
