"""When the process ends, and with which exit code: at a signal, or once a drain has nothing left to do."""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable, Iterator

import anyio
import structlog

from ecproc.clock import Clock
from ecproc.errors import ExitCode
from ecproc.interrupts import Interrupts
from ecproc.pipeline import Pipeline
from ecproc.reporting import Reporting
from ecproc.runtime.watch import Watching

log = structlog.get_logger()


class Ending:
    """The end of a running pipeline, and the process's `exit_code` then; SIGHUP calls `reread` and ends nothing."""

    def __init__(
        self,
        pipeline: Pipeline,
        reporting: Reporting,
        *,
        watching: Watching | None = None,
        reread: Callable[[], None],
        clock: Clock,
    ) -> None:
        self.exit_code = ExitCode.OK
        self._pipeline = pipeline
        self._reporting = reporting
        self._watching = watching
        self._polled = watching is None
        self._reread = reread
        self._clock = clock
        self._ended = anyio.Event()
        self._draining_since: float | None = None
        self._stopped_by = ""

    async def wait(self) -> None:
        """Return when it is time to end; a drain that a signal cut short says so first."""
        await self._ended.wait()
        if self._stopped_by and self._draining_since is not None:
            waiting = (f"stopped by {self._stopped_by}", *self._list_waiting())
            seconds = self._clock.monotonic() - self._draining_since
            await self._reporting.tell_drained(seconds, done=self._pipeline.done, waiting=waiting)

    async def watch_signals(self, interrupts: Interrupts) -> None:
        """End in order at SIGTERM and SIGINT, those that came before included; runs until cancelled."""

        def look() -> None:
            if interrupts.take_hangup():
                self._reread()
            if interrupts.stop is not None:
                self.take_signal(interrupts.stop, ExitCode(interrupts.stopped_code))

        await interrupts.watch(look)

    async def watch_drain(self, seconds: float) -> None:
        """End when the queue, the actors and the outbox have nothing left, or when the time is up."""
        self.exit_code = ExitCode.TEMPORARY
        started = self._draining_since = self._clock.monotonic()
        with anyio.move_on_after(seconds):
            await self._wait_drained()
        if self._ended.is_set():
            return  # a signal came first: it has said how this ends
        waiting = tuple(self._list_waiting())
        if not waiting:
            self.exit_code = ExitCode.OK
        seconds = self._clock.monotonic() - started
        await self._reporting.tell_drained(seconds, done=self._pipeline.done, waiting=waiting)
        self._ended.set()

    async def _wait_drained(self) -> None:
        """Return when nothing is left, and the desk told nothing in a whole poll that began after that."""
        await self._pipeline.wait_drained()
        while self._watching is not None and not self._polled:
            await self._watching.wait_whole_poll()
            self._polled = self._pipeline.drained
            await self._pipeline.wait_drained()

    async def watch_errand(self, errand: Callable[[], Awaitable[ExitCode]]) -> None:
        """End when that is done, with the exit code that it gives."""
        code = await errand()
        if not self._ended.is_set():
            self.exit_code = code
            self._ended.set()

    def take_signal(self, number: signal.Signals, stopped: ExitCode = ExitCode.OK) -> None:
        """End because of this one, unless the end has begun; with `stopped` unless it is SIGINT."""
        if not self._ended.is_set():
            log.info("draining", signal=number.name)
            self.exit_code = exit_code_of(number, stopped)
            self._stopped_by = number.name
            self._ended.set()

    def _list_waiting(self) -> Iterator[str]:
        if not self._pipeline.ingest.drained:
            yield "the queue was not seen empty for a whole visibility window"
        if not self._pipeline.idle:
            yield "tickets or entries are unfinished"
        if not self._polled:
            yield "the desk has not told all that changed there"


def exit_code_of(number: signal.Signals | None, stopped: ExitCode) -> ExitCode:
    """What a process returns that this one ended in order, where others end it with `stopped`."""
    return ExitCode.INTERRUPTED if number is signal.SIGINT else stopped
