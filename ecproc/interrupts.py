"""Signals from a process's first moment on: kept until somebody can act on them, so that none falls between two."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Awaitable, Callable
from functools import partial
from types import FrameType
from typing import TypeVar

T = TypeVar("T")

_STOPPED_AT_ONCE = 130
"""`ExitCode.INTERRUPTED`, without loading its module before the first signal is held."""

START_SECONDS = 20.0
"""How long a process that is asked to stop may take until its loop can hear of it, as while a file does not answer."""

REPEAT_SECONDS = 0.5
"""Within which a signal that comes again is the same one: a group and who forwards to it are often both sent it."""

_HELD = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupts:
    """What signals ask of this process.

    `stop` is the first that asks to stop since `hold`; a second one ends the process at once, wherever it is, unless it
    is only the first one come twice. A SIGHUP is never the second: a terminal that closes may send several. Where no
    loop watches, the first ends the process after `START_SECONDS`, with `stopped_code` unless it is SIGINT.
    """

    def __init__(self) -> None:
        self.stop: signal.Signals | None = None
        self.stopped_code = 1
        self._stopped_at = 0.0
        self._hangups = 0
        self._hangup_stops = False
        self._tell: Callable[[], object] | None = None
        self._former: dict[signal.Signals, signal._HANDLER] = {}

    def hold(self) -> None:
        """Keep SIGTERM, SIGINT and SIGHUP from now on, instead of being ended by them."""
        for number in _HELD:
            self._former[number] = signal.signal(number, self._take)

    def release(self) -> None:
        """Let signals do again what they did before; what came meanwhile does it now."""
        self._end_bound()
        former, self._former = self._former, {}
        if not former:
            return
        for number, handler in former.items():
            signal.signal(number, handler)
        if self.stop is not None:
            signal.raise_signal(self.stop)
        if self.take_hangup():
            signal.raise_signal(signal.SIGHUP)

    def take_hangup(self) -> bool:
        """Whether SIGHUP came since the last time this was asked."""
        came, self._hangups = self._hangups > 0, 0
        return came

    def stop_at_hangup(self) -> None:
        """Let SIGHUP count as SIGTERM does, unless the process was started to ignore it, as by nohup."""
        if self._former.get(signal.SIGHUP) is not signal.SIG_IGN:
            self._hangup_stops = True
            if self.take_hangup():
                self._take(signal.SIGHUP, None)

    async def cut_short(self, work: Callable[[], Awaitable[T]]) -> T | None:
        """What `work` gives; None where a signal asked to stop first, which cancels it."""
        import anyio

        if self.stop is not None:
            return None
        result: T | None = None
        async with anyio.create_task_group() as tasks:

            def look() -> None:
                if self.stop is not None:
                    tasks.cancel_scope.cancel()

            tasks.start_soon(self.watch, look)
            result = await work()
            tasks.cancel_scope.cancel()
        return result

    async def watch(self, look: Callable[[], None]) -> None:
        """Call `look` now and after each signal, in the caller's loop, until cancelled; one at a time may watch."""
        import asyncio

        loop, told = asyncio.get_running_loop(), asyncio.Event()
        self._tell = partial(loop.call_soon_threadsafe, told.set)
        self._end_bound()
        try:
            while True:
                told.clear()
                look()
                await told.wait()
        finally:
            self._tell = None

    def _take(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGHUP and not self._hangup_stops:
            self._hangups += 1
        elif self.stop is None:
            self.stop = signal.Signals(number)
            self._stopped_at = time.monotonic()
            if self._tell is None:
                self._begin_bound()
        elif number != signal.SIGHUP and time.monotonic() - self._stopped_at >= REPEAT_SECONDS:
            os._exit(_STOPPED_AT_ONCE)
        if self._tell is not None:
            self._tell()

    def _begin_bound(self) -> None:
        code = _STOPPED_AT_ONCE if self.stop is signal.SIGINT else self.stopped_code
        signal.signal(signal.SIGALRM, lambda number, frame: os._exit(code))
        signal.setitimer(signal.ITIMER_REAL, START_SECONDS)

    def _end_bound(self) -> None:
        if self.stop is not None:
            signal.setitimer(signal.ITIMER_REAL, 0)
