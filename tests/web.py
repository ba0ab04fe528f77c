"""The application as it is served, over whatever log it is given, without a process around it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import anyio
import anyio.lowlevel
import httpx
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.types import Receive, Scope, Send

from ecproc.clock import Clock, SystemClock
from ecproc.commands.intake import Intake
from ecproc.commands.steering import Acting, Steering
from ecproc.config import Limits, Secret
from ecproc.fold.tables import TABLES
from ecproc.fold.tickets import MACHINES
from ecproc.reading.queries import Queries
from ecproc.store.base import Reader
from ecproc.telemetry.hooks import Telemetry
from ecproc.web.app import build_app
from ecproc.web.connection import LOCAL, ROLE
from ecproc.web.guard import Refusals
from ecproc.web.hosts import HostRule
from ecproc.web.state import Check


class Well:
    """A process that is."""

    registry = CollectorRegistry()

    def live(self) -> bool:
        return True

    def checks(self) -> Sequence[Check]:
        return [Check("store", True)]

    def version(self) -> Mapping[str, str]:
        return {"version": "0.1.0"}


class Restless(SystemClock):
    """A clock whose sleeps are over as soon as everyone else had a turn."""

    def __init__(self) -> None:
        self.passed = 0.0

    def monotonic(self) -> float:
        return self.passed

    async def sleep(self, seconds: float) -> None:
        self.passed += seconds
        await anyio.lowlevel.checkpoint()


def serve_log(
    reader: Reader,
    *,
    token: str = "",
    acting: Acting | None = None,
    intake: Intake | None = None,
    limits: Limits = Limits(),  # noqa: B008 - it is frozen
    clock: Clock | None = None,
) -> Starlette:
    """The application of a process that holds this log, on loopback; with `acting` and `intake` something can be
    changed, by bearers of the same token."""
    clock = clock or Restless()
    pausable = ("bridge", "desk", "attachments")
    return build_app(
        Queries(reader, tables=TABLES.names, machines=MACHINES, entries=limits.document_entries),
        Well(),
        steering=None if acting is None else Steering(reader, acting, machines=MACHINES, pausable=pausable),
        intake=intake,
        hosts=HostRule("127.0.0.1", ()),
        read_token=lambda: Secret(token),
        command_token=lambda: Secret(token),
        limits=limits,
        refusals=Refusals(Telemetry(), clock),
        clock=clock,
    )


def as_local(app: Starlette) -> Callable[[Scope, Receive, Send], object]:
    """The application as requests see it that come by the control socket."""

    async def call(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, "state": {ROLE: LOCAL}}, receive, send)

    return call


def call_app(app: object, host: str = "localhost") -> httpx.AsyncClient:
    """A client that calls an application without a socket."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)  # type: ignore[arg-type]
    return httpx.AsyncClient(transport=transport, base_url=f"http://{host}")
