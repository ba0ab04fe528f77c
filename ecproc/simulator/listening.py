"""What every simulator's server does: bind, serve, stop in time."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

import anyio

from ecproc.clock import SystemClock
from ecproc.simulator.connection import Connection, Service

BACKLOG: Final = 1024
FLUSH_SECONDS: Final = 0.8


def bind(host: str, port: int) -> socket.socket:
    """Give a socket bound to this address; port 0 takes any free one. OSError if it is taken."""
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener


@asynccontextmanager
async def serve(service: Service, listener: socket.socket, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[None]:
    """Serve while the block runs; leaving takes at most 2 s, also with answers held back."""
    connections: set[Connection] = set()
    server = await asyncio.get_running_loop().create_server(
        lambda: Connection(service, connections), sock=listener, backlog=BACKLOG, ssl=tls
    )
    try:
        yield
    finally:
        server.close()
        await _close_connections(connections)


def start_clock() -> Callable[[], float]:
    """Give epoch seconds that never run backwards, whatever happens to the machine's date."""
    clock = SystemClock()
    offset = clock.now() / 1_000_000 - clock.monotonic()
    return lambda: clock.monotonic() + offset


async def _close_connections(connections: set[Connection]) -> None:
    """Let answers that are written already leave, then cut what is left."""
    for connection in tuple(connections):
        connection.stop()
    await _wait_for_end(connections)
    for connection in tuple(connections):
        connection.abort()
    await _wait_for_end(connections)


async def _wait_for_end(connections: set[Connection]) -> None:
    with anyio.move_on_after(FLUSH_SECONDS, shield=True):
        for connection in tuple(connections):
            await connection.closed.wait()
