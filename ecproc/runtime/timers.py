"""Timers told when they are due: a loop beside the actors that appends `TimerElapsed`, once for each wait.

It never decides anything: what a timer that elapsed means is the fold's, and a fact that came before makes it void.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Final

from ecproc.clock import Clock
from ecproc.domain.deltas import Timer, TimerChanged
from ecproc.domain.events import TimerElapsed
from ecproc.domain.log import Batch, NewEvent
from ecproc.errors import RowDamaged
from ecproc.fold.recorded import decode_timer, encode_event
from ecproc.runtime.timetable import Calendar, TimerKey, Timetable
from ecproc.signals import Signal
from ecproc.store.base import Store

_SECOND: Final = 1_000_000
_HELD: Final = 10_000
"""Timers of the store that are known by heart."""
_AT_ONCE: Final = 100
"""Timers that are told by one transaction."""
_LOOK_SECONDS: Final = 60.0
"""The longest until the calendar is looked at again, for it may be set; and the shortest until all timers are read
again, so that those which cannot be told keep nobody busy."""
_AGAIN_SECONDS: Final = 600
"""How long a timer waits that could not be told."""


class Timers:
    """Tells each ticket's timers when they are due, however many there are and whenever they came due."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._calendar = Calendar()
        self._table = Timetable(_HELD)
        self._news = Signal()
        self._read_at: float | None = None
        self._stopped = False

    def note(self, stream: str, changed: Sequence[TimerChanged]) -> None:
        """Go by what a step, which is durable, has changed."""
        for delta in changed:
            timer, key = delta.timer, (stream, delta.timer.key)
            if delta.over or timer.due_at is None or timer.elapsed_at is not None:
                self._table.drop(key)
            else:
                self._table.put(key, timer.due_at)
        self._tell()

    async def run(self, submit: Callable[[Batch], Awaitable[None]]) -> None:
        """Tell what is due until stopped; `submit` appends facts and returns when they are decided."""
        while not self._stopped:
            if self._table.needs_reading and self._may_read():
                await self._read()
            due = self._table.take(self._now(), _AT_ONCE)
            if due:
                await self._elapse(due, submit)
            else:
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._find_wait()):
                        await self._news.wait_until(lambda: self._table.has_news or self._stopped)

    def stop(self) -> None:
        """Tell nothing more."""
        self._stopped = True
        self._tell()

    def _now(self) -> int:
        return self._calendar.read(self._clock.now(), self._clock.monotonic())

    def _tell(self) -> None:
        if self._table.has_news or self._stopped:
            self._news.notify()

    def _find_wait(self) -> float | None:
        """Seconds until there is something to look at; None while there is no timer at all."""
        due_at = self._table.next_due
        if due_at is None:
            return _LOOK_SECONDS if self._table.needs_reading else None
        return min(max((due_at - self._now()) / _SECOND, 0.0), _LOOK_SECONDS)

    def _may_read(self) -> bool:
        return self._read_at is None or self._clock.monotonic() >= self._read_at + _LOOK_SECONDS

    async def _read(self) -> None:
        """Take the timers that the store has, as far as a row that is not as it was written: a start mends that."""
        self._read_at = self._clock.monotonic()
        self._table.begin_reading()
        with suppress(RowDamaged):
            async for rows in self._store.scan_rows("timer", tagged=True):
                self._table.add(((row.stream, row.id), row.ordinal) for row in rows)

    async def _elapse(self, due: Sequence[TimerKey], submit: Callable[[Batch], Awaitable[None]]) -> None:
        events: list[NewEvent] = []
        for stream, key in due:
            timer = await self._find(stream, key)
            if timer is None or timer.due_at is None:
                continue
            if timer.due_at > self._now():
                self._table.put((stream, key), timer.due_at)
                continue
            self._table.put((stream, key), self._now() + _AGAIN_SECONDS * _SECOND)
            if await self._is_at_rest(stream):
                events.append(NewEvent(stream, *encode_event(TimerElapsed(timer.timer, timer.about)), wanted=True))
        if events:
            await submit(Batch(events=events))

    async def _find(self, stream: str, key: str) -> Timer | None:
        """The timer as its row has it; None where it is over, or was told."""
        try:
            rows = await self._store.read_rows("timer", stream=stream, id=key)
        except RowDamaged:
            return None
        return decode_timer(rows[0].data or b"") if rows and rows[0].tag is not None else None

    async def _is_at_rest(self, stream: str) -> bool:
        """Whether all that the ticket holds is decided: what is not may end the wait, or have told of it already."""
        counters = await self._store.stream_state(stream)
        return counters.wanted <= counters.through
