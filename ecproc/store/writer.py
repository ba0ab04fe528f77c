"""The one thread that writes: batches that wait at the same time share a transaction and its sync."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import groupby, islice
from queue import Empty, SimpleQueue
from typing import Any, Final, NamedTuple, TypeVar

import anyio

from ecproc.errors import StoreError, StoreUnavailable
from ecproc.store.base import Committed
from ecproc.store.logfile import LogFile
from ecproc.store.plan import Prepared

MAX_WORKS: Final = 256
MAX_BYTES: Final = 16 * 1024 * 1024
"""What one transaction takes at most; what is larger and waits for one answer goes alone."""

T = TypeVar("T")


class _Work(NamedTuple):
    """Batches to commit, or a call to make, or (with neither) the end of the thread."""

    future: asyncio.Future[Any]
    batches: Sequence[Prepared] = ()
    call: Callable[[LogFile], object] | None = None


class Writer:
    """Commits batches on its own thread and answers in the event loop it was made in.

    The first storage error ends all writing: that call and every later one raise StoreUnavailable.
    """

    def __init__(self, on_commit: Callable[[float, int], None] | None = None) -> None:
        self.failed = anyio.Event()
        self._failure: Exception | None = None
        self._loop = asyncio.get_running_loop()
        self._queue: SimpleQueue[_Work] = SimpleQueue()
        self._on_commit = on_commit
        self._ended: asyncio.Future[None] | None = None

    @property
    def is_open(self) -> bool:
        """Whether a batch would be taken now."""
        return self._failure is None and self._ended is None

    async def start(self, open_log: Callable[[], LogFile]) -> LogFile:
        """Run `open_log` on the new thread and keep what it returns there until `stop`; raises what it raises."""
        opened: asyncio.Future[LogFile] = self._loop.create_future()
        threading.Thread(target=self._run, args=(open_log, opened), name="ecproc-store", daemon=True).start()
        try:
            with anyio.CancelScope(shield=True):
                await opened
        except asyncio.CancelledError:
            self._put(_Work(self._loop.create_future()))
            raise
        return opened.result()

    def commit(self, batches: Sequence[Prepared]) -> asyncio.Future[list[Committed]]:
        """Have batches written, whether or not the caller is cancelled; what became of each, once that is durable."""
        self._check_open()
        future: asyncio.Future[list[Committed]] = self._loop.create_future()
        if not batches:
            future.set_result([])
            return future
        return self._put(_Work(future, batches))

    async def call(self, function: Callable[[LogFile], T]) -> T:
        """Run a function on the thread between transactions; a StoreError is an answer, any other error is fatal."""
        self._check_open()
        with anyio.CancelScope(shield=True):
            result: T = await self._put(_Work(self._loop.create_future(), call=function))
        return result

    async def stop(self) -> None:
        """Write what waits, close the log and end the thread; raises StoreUnavailable if that failed."""
        if self._ended is None:
            self._ended = self._put(_Work(self._loop.create_future()))
        with anyio.CancelScope(shield=True):
            await asyncio.shield(self._ended)

    def _check_open(self) -> None:
        if self._failure is not None:
            raise self._refusal()
        if self._ended is not None:
            raise StoreUnavailable("the store is closed")

    def _put(self, work: _Work) -> asyncio.Future[Any]:
        self._queue.put(work)
        return work.future

    def _settle(self, answers: Sequence[tuple[asyncio.Future[Any], object]], seconds: float | None) -> None:
        """Hand out the thread's answers, in the event loop, for all of a commit at once."""
        for future, answer in answers:
            if future.done():
                continue
            if isinstance(answer, BaseException):
                future.set_exception(answer)
            else:
                future.set_result(answer)
        if seconds is not None and self._on_commit is not None:
            self._on_commit(seconds, len(answers))

    # What follows runs on the thread.

    def _run(self, open_log: Callable[[], LogFile], opened: asyncio.Future[LogFile]) -> None:
        try:
            log = open_log()
        except Exception as error:
            self._answer([(opened, error)])
            return
        self._answer([(opened, log)])
        while self._serve(log):
            pass

    def _serve(self, log: LogFile) -> bool:
        """Do what waits, and what is due besides; False at the end of the thread."""
        for are_batches, works in groupby(self._take(log), key=lambda work: bool(work.batches)):
            if are_batches:
                self._commit(log, list(works))
                continue
            for work in works:
                if work.call is None:
                    self._end(log, work.future)
                    return False
                self._answer([(work.future, self._try(log, work.call))])
        self._try(log, LogFile.keep_up)
        return True

    def _take(self, log: LogFile) -> list[_Work]:
        works: list[_Work] = []
        size = 0
        with suppress(Empty):
            works.append(self._queue.get(timeout=log.idle_seconds() if self._failure is None else None))
            size += _size(works[-1])
            while len(works) < MAX_WORKS and size < MAX_BYTES:
                works.append(self._queue.get_nowait())
                size += _size(works[-1])
        return works

    def _commit(self, log: LogFile, works: list[_Work]) -> None:
        batches = [batch for work in works for batch in work.batches]
        began = time.monotonic()
        outcome = self._try(log, lambda log: log.commit(batches))
        seconds = time.monotonic() - began
        if isinstance(outcome, list):
            rest = iter(outcome)
            self._answer([(work.future, list(islice(rest, len(work.batches)))) for work in works], seconds)
        else:
            self._answer([(work.future, self._refusal()) for work in works])

    def _try(self, log: LogFile, call: Callable[[LogFile], object]) -> object:
        """The call's result or the StoreError to answer with; any other error is the storage's and ends all writing."""
        if self._failure is not None:
            return self._refusal()
        try:
            return call(log)
        except StoreError as refused:
            return refused
        except Exception as error:
            self._failure = error
            with suppress(Exception):
                log.abandon()
            self._tell(self.failed.set)
            return self._refusal()

    def _end(self, log: LogFile, future: asyncio.Future[None]) -> None:
        failed_before = self._failure is not None
        outcome = self._try(log, LogFile.close)
        log.release()
        self._answer([(future, None if failed_before else outcome)])

    def _refusal(self) -> StoreUnavailable:
        refusal = StoreUnavailable(f"the storage failed and nothing more is written: {self._failure}")
        refusal.__cause__ = self._failure
        return refusal

    def _answer(self, answers: Sequence[tuple[asyncio.Future[Any], object]], seconds: float | None = None) -> None:
        self._tell(self._settle, answers, seconds)

    def _tell(self, function: Callable[..., object], *arguments: object) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody is left to hear it
            self._loop.call_soon_threadsafe(function, *arguments)


def _size(work: _Work) -> int:
    return sum([batch.size for batch in work.batches])
