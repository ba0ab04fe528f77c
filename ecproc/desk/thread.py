"""The thread that has the built-in desk's file to itself."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, Final, TypeAlias, TypeVar, cast

import msgspec

from ecproc.desk.base import DeskAnswer, DeskCall, DeskUnavailable

T = TypeVar("T")

_TOGETHER: Final = 256
"""Calls that share a commit, at most."""


class _Work(msgspec.Struct, frozen=True):
    future: asyncio.Future[Any]
    what: DeskCall | Callable[[], object]
    is_last: bool = False


_Answers: TypeAlias = list[tuple[asyncio.Future[Any], object]]


class DeskThread:
    """Runs what it is given in that order. Calls that wait at the same time are handed to `apply_all` together, but for
    those whose caller was cancelled; made in a running event loop, which hears the outcomes."""

    def __init__(self, apply_all: Callable[[Sequence[DeskCall]], Sequence[object]]) -> None:
        self._apply_all = apply_all
        self._loop = asyncio.get_running_loop()
        self._queue: SimpleQueue[_Work] = SimpleQueue()
        self.is_over = False
        """Whether nothing can be given to it any more."""
        threading.Thread(target=self._run, name="desk", daemon=True).start()

    async def perform(self, call: DeskCall) -> DeskAnswer:
        """The answer to the call, or the error that `apply_all` gave in its place."""
        return cast("DeskAnswer", await self._put(call))

    async def ask(self, work: Callable[[], T]) -> T:
        """What a function gives or raises on the thread; it runs whether or not the caller is cancelled."""
        return cast("T", await self._put(work))

    async def stop(self, last: Callable[[], None]) -> None:
        """Run what was given, then the last function, and end."""
        self.is_over = True
        await self._put(last, is_last=True)

    def _put(self, what: DeskCall | Callable[[], object], *, is_last: bool = False) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = self._loop.create_future()
        self._queue.put(_Work(future, what, is_last))
        return future

    # What follows runs on the thread.

    def _run(self) -> None:
        while self._serve(self._take()):
            pass

    def _take(self) -> list[_Work]:
        works = [self._queue.get()]
        with suppress(Empty):
            while len(works) < _TOGETHER:
                works.append(self._queue.get_nowait())
        return works

    def _serve(self, works: list[_Work]) -> bool:
        """Do what waits; False behind the last of all."""
        calls: list[_Work] = []
        for work in works:
            if isinstance(work.what, DeskCall):
                calls.append(work)
                continue
            self._perform(calls)
            calls = []
            self._answer([(work.future, _try(work.what))])
            if work.is_last:
                return False
        self._perform(calls)
        return True

    def _perform(self, works: list[_Work]) -> None:
        works = [work for work in works if not work.future.cancelled()]
        calls = [work.what for work in works if isinstance(work.what, DeskCall)]
        if not calls:
            return
        outcomes = _try(lambda: self._apply_all(calls))
        if isinstance(outcomes, BaseException):
            others = [DeskUnavailable("the call was cut off", sent=True) for _ in calls[1:]]
            self._answer([(work.future, each) for work, each in zip(works, (outcomes, *others), strict=True)])
        else:
            futures = [work.future for work in works]
            self._answer(list(zip(futures, cast("Sequence[object]", outcomes), strict=True)))

    def _answer(self, answers: _Answers) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody is left to hear it
            self._loop.call_soon_threadsafe(_settle, answers)


def _try(work: Callable[[], object]) -> object:
    """What it gives; an error is given too, for whoever waits to raise."""
    try:
        return work()
    except Exception as error:
        return error


def _settle(answers: _Answers) -> None:
    """Hand out outcomes, in the event loop."""
    for future, outcome in answers:
        if future.done():
            continue
        if isinstance(outcome, BaseException):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)
