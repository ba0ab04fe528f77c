"""How a process comes to its start: where there is no room for that yet it shows its pages, waits, and goes on."""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import anyio
import structlog
from anyio.abc import TaskGroup
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.types import ASGIApp, Receive, Scope, Send

from ecproc.clock import Clock
from ecproc.commands.intake import Intake
from ecproc.commands.steering import Steering
from ecproc.config import Config, Secret
from ecproc.descriptors import FEW_FILES, Reserve, raise_limit
from ecproc.ending import exit_code_of
from ecproc.errors import ExitCode, StoreError
from ecproc.interrupts import Interrupts
from ecproc.network import write_url
from ecproc.reading.queries import Queries
from ecproc.reporting import read_versions
from ecproc.room import is_no_room
from ecproc.telemetry.complaints import Complaints
from ecproc.telemetry.hooks import Telemetry
from ecproc.web.app import build_app
from ecproc.web.control import serve_control
from ecproc.web.guard import Refusals
from ecproc.web.hosts import HostRule
from ecproc.web.server import serve
from ecproc.web.state import Check, Health

log = structlog.get_logger()

T = TypeVar("T")

TRY_SECONDS: Final = 1.0
"""Until what there was no room for at the start is tried again; twice as long after each try that meets the same."""
LONGEST_TRY_SECONDS: Final = 60.0
"""What that grows to: a try may be a whole rebuild, which a disk that stays full lets fail at its end."""
QUIET_SECONDS: Final = 2.0
"""How long a start may take before its pages are shown: whoever probes them wants an answer."""
_SOCKET_HINT: Final = (
    "commands that change something cannot reach it now: see that data.dir is on a file system that has sockets and"
    " that nothing else stands there under that name, and start anew"
)
_HINT: Final = "free some space on the data directory's disk, or end what locks its files; it goes on by itself"


class Front:
    """The pages' one server; what it shows changes with `show`. `reserve` is for when no more files can be open."""

    def __init__(
        self, config: Config, tasks: TaskGroup, *, reserve: Reserve, telemetry: Telemetry, clock: Clock
    ) -> None:
        self._config = config
        self._tasks = tasks
        self._reserve = reserve
        self._refusals = Refusals(telemetry, clock)
        self._clock = clock
        self._pages: list[ASGIApp] = []
        self._is_open = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with what is shown now."""
        await self._pages[-1](scope, receive, send)

    def build_pages(
        self,
        queries: Queries | None,
        health: Health,
        *,
        steering: Steering | None,
        intake: Intake | None,
        read_token: Callable[[], Secret],
        command_token: Callable[[], Secret],
    ) -> Starlette:
        """The pages that show and change these, for this address and these limits."""
        web = self._config.web
        return build_app(
            queries,
            health,
            steering=steering,
            intake=intake,
            hosts=HostRule(web.host, web.hosts),
            read_token=read_token,
            command_token=command_token,
            limits=self._config.limits,
            refusals=self._refusals,
            clock=self._clock,
        )

    async def show(self, pages: ASGIApp) -> None:
        """Serve these from now on, until the task group ends. Raises ConfigError if the address cannot be bound."""
        self._pages = [pages]
        if not self._is_open:
            web, limits = self._config.web, self._config.limits
            start = partial(
                serve, self, web.host, web.port, limits=limits, reserve=self._reserve, refusals=self._refusals
            )
            port: int = await self._tasks.start(start)
            self._is_open = True
            log.info("web", url=write_url(web.host, port))

    async def show_hooks(self, pages: ASGIApp) -> None:
        """Serve these on the hooks' own address, if there is one, until the task group ends. Raises ConfigError if it
        cannot be bound."""
        hooks, limits = self._config.hooks, self._config.limits
        if hooks.listen:
            start = partial(
                serve,
                pages,
                hooks.host,
                hooks.port,
                limits=limits,
                reserve=self._reserve,
                refusals=self._refusals,
                option="hooks.listen",
            )
            port: int = await self._tasks.start(start)
            log.info("hooks", url=write_url(hooks.host, port))

    async def show_locally(self, directory: Path) -> None:
        """Serve what is shown on that data directory's control socket too, until the task group ends.

        Where it cannot be made that is told, and all else goes on.
        """
        limits = self._config.limits
        start = partial(serve_control, self, directory, limits=limits, reserve=self._reserve, refusals=self._refusals)
        try:
            await self._tasks.start(start)
        except OSError as error:
            reason = f"the control socket in {directory} cannot be made: {error.strerror or error}"
            log.warning("web", reason=reason, hint=_SOCKET_HINT)

    async def show_start(self, start: Opening) -> None:
        """Serve the probes and metrics of a process that has not begun, and a word on every other page."""
        web = self._config.web
        pages = self.build_pages(
            None,
            start,
            steering=None,
            intake=None,
            read_token=lambda: web.read_token,
            command_token=lambda: web.command_token,
        )
        await self.show(pages)


class Opening:
    """A start under way: it is live, and says why it is not ready."""

    def __init__(self, registry: CollectorRegistry, *, front: Front, interrupts: Interrupts, clock: Clock) -> None:
        self.registry = registry
        self.front = front
        self.waits = "the store is being opened"
        self._cause = ""
        self._interrupts = interrupts
        self._clock = clock
        self._complaints = Complaints()

    @property
    def exit_code(self) -> ExitCode:
        """What the process ends with if the start came to nothing."""
        came = self._interrupts
        return ExitCode.TEMPORARY if came.stop is None else exit_code_of(came.stop, ExitCode(came.stopped_code))

    async def run(self, begin: Callable[[], Awaitable[T]], *, seconds: float | None) -> T | None:
        """What `begin` gives; None if a signal came first, or those seconds passed."""
        with anyio.move_on_after(math.inf if seconds is None else seconds) as limit:
            return await self._interrupts.cut_short(partial(self._begin, begin))
        if limit.cancelled_caught:
            log.warning("drained", reason=f"the start took all of the time: {self._cause or self.waits}", hint=_HINT)
        return None

    async def _begin(self, begin: Callable[[], Awaitable[T]]) -> T:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._show_when_slow)
            begun = await begin()
            tasks.cancel_scope.cancel()
        return begun

    async def when_there_is_room(self, begin: Callable[[], Awaitable[T]]) -> T:
        """What `begin` gives, tried until it fails for no want of room any more; raises what else it raises."""
        pause, met = TRY_SECONDS, ""
        while True:
            try:
                begun = await begin()
            except (StoreError, OSError) as error:
                if not is_no_room(error):
                    raise
                pause = min(2 * pause, LONGEST_TRY_SECONDS) if str(error) == met else TRY_SECONDS
                met = str(error)
                self._tell(met)
                await self._clock.sleep(pause)
                continue
            if met:
                log.info("store_goes_on")
            return begun

    def live(self) -> bool:
        """See Health."""
        return True

    def checks(self) -> Sequence[Check]:
        """See Health."""
        return (Check("store", False, self.waits),)

    def version(self) -> Mapping[str, str]:
        """See Health."""
        return read_versions()

    def _tell(self, cause: str) -> None:
        """Say why it waits: the whole of it in the log, and to whoever can reach the pages that it does."""
        self.waits, self._cause = "there is no room to start", cause
        reason = f"{self.waits}: {cause}"
        self._complaints.tell(logging.WARNING, "store_waits", reason, now=self._clock.monotonic(), hint=_HINT)

    async def _show_when_slow(self) -> None:
        await self._clock.sleep(QUIET_SECONDS)
        await self.front.show_start(self)


def raise_file_limit() -> None:
    """Open as many files as we may, and say so where that is hardly enough."""
    limit = raise_limit()
    if limit < FEW_FILES:
        reason = f"only {limit} files may be open at once, connections included"
        log.warning("config_warning", reason=reason, hint="raise the hard limit: LimitNOFILE= of a unit, ulimit -Hn")
