"""The control socket: the same pages, for whoever may write to the data directory."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import anyio
from anyio.abc import TaskStatus
from starlette.types import ASGIApp

from ecproc.config import Limits
from ecproc.control import CONTROL, shorten_path
from ecproc.descriptors import Reserve, raise_limit
from ecproc.web.connection import LOCAL
from ecproc.web.guard import Refusals
from ecproc.web.listener import Listener
from ecproc.web.server import serve_on

_MODE: Final = 0o600
_BACKLOG: Final = 128


async def serve_control(
    app: ASGIApp,
    directory: Path,
    *,
    limits: Limits,
    reserve: Reserve,
    refusals: Refusals,
    task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
) -> None:
    """Serve `app` on the control socket of a data directory until cancelled, to this user only.

    Whoever calls holds the directory's lock: what stands there under that name was left by a process that died. It is
    gone afterwards. Requests that come by it have the role `LOCAL`. Raises OSError where it cannot be made.
    """
    with _bind(directory) as listening:
        most = min(limits.control_connections, raise_limit() // 8)
        listener = Listener(listening, most=most, reserve=reserve, refusals=refusals, role=LOCAL)
        await serve_on(listening, app, listener, limits=limits, on_started=task_status.started)


@contextmanager
def _bind(directory: Path) -> Iterator[socket.socket]:
    """A socket that listens, and takes its name from the one before it only then."""
    path = directory / CONTROL
    fresh = path.with_name(f"{CONTROL}.new")
    with socket.socket(socket.AF_UNIX) as listening:
        fresh.unlink(missing_ok=True)
        with shorten_path(directory) as folder:
            listening.bind(f"{folder}/{fresh.name}")
        try:
            fresh.chmod(_MODE)
            listening.listen(_BACKLOG)
            fresh.replace(path)
        except BaseException:
            fresh.unlink(missing_ok=True)
            raise
        try:
            yield listening
        finally:
            with suppress(OSError):
                path.unlink(missing_ok=True)
