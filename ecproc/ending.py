"""When the process ends, and with which exit code: at a signal, or once a drain has nothing left to do."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator

import anyio
import structlog
from anyio.abc import TaskStatus

from ecproc.clock import Clock
from ecproc.errors import ExitCode
from ecproc.pipeline import Pipeline
from ecproc.reporting import Reporting

log = structlog.get_logger()


class Ending:
    """The end of a running pipeline, and the process's `exit_code` then; SIGHUP calls `reread` and ends nothing."""

    def __init__(self, pipeline: Pipeline, reporting: Reporting, *, reread: Callable[[], None], clock: Clock) -> None:
        self.exit_code = ExitCode.OK
        self._pipeline = pipeline
        self._reporting = reporting
        self._reread = reread
        self._clock = clock
        self._ended = anyio.Event()

    async def wait(self) -> None:
        """Return when it is time to end."""
        await self._ended.wait()

    async def watch_signals(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """End in order at SIGTERM and SIGINT, and the process at once at a second one; runs until cancelled."""
        try:
            with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
                task_status.started()
                async for number in signals:
                    self.take_signal(number)
        finally:
            signal.signal(signal.SIGHUP, signal.SIG_IGN)  # nobody listens any more, and it is to end nothing

    async def watch_drain(self, seconds: float) -> None:
        """End when the queue, the actors and the outbox have nothing left, or when the time is up."""
        self.exit_code = ExitCode.TEMPORARY
        started = self._clock.monotonic()
        with anyio.move_on_after(seconds):
            await self._pipeline.wait_drained()
        if self._ended.is_set():
            return  # a signal came first: it has said how this ends
        waiting = tuple(self._list_waiting())
        if not waiting:
            self.exit_code = ExitCode.OK
        await self._reporting.tell_drained(self._clock.monotonic() - started, waiting=waiting)
        self._ended.set()

    def take_signal(self, number: signal.Signals) -> None:
        """Do what this one asks for."""
        if number is signal.SIGHUP:
            self._reread()
            return
        if self._ended.is_set():
            os._exit(ExitCode.INTERRUPTED)
        log.info("draining", signal=number.name)
        self.exit_code = ExitCode.INTERRUPTED if number is signal.SIGINT else ExitCode.OK
        self._ended.set()

    def _list_waiting(self) -> Iterator[str]:
        if not self._pipeline.ingest.drained:
            yield "the queue was not seen empty for a whole visibility window"
        if not self._pipeline.idle:
            yield "tickets or entries are unfinished"
