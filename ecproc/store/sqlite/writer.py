"""The one thread that writes: batches that wait at the same time share a transaction and its sync."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import islice
from queue import Empty, SimpleQueue
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar, assert_never

import anyio

from ecproc.errors import NoRoom, StoreError, StoreFailed, StoreUnavailable
from ecproc.room import Room, estimate_bytes
from ecproc.store.base import Committed
from ecproc.store.plan import Prepared
from ecproc.store.sqlite.logfile import LogFile

MAX_WORKS: Final = 256
MAX_BYTES: Final = 16 * 1024 * 1024
"""What one transaction takes at most; what is larger and waits for one answer goes alone."""

RETRY_SECONDS: Final = 0.5
"""How long to wait where there is no room before it is tried again."""

T = TypeVar("T")


class _Commit(NamedTuple):
    """Write batches."""

    future: asyncio.Future[list[Committed]]
    batches: Sequence[Prepared]


class _Call(NamedTuple):
    """Run a function between transactions."""

    future: asyncio.Future[Any]
    function: Callable[[LogFile], object]


class _Stop(NamedTuple):
    """Close the log and end the thread."""

    future: asyncio.Future[None]


_Work: TypeAlias = _Commit | _Call | _Stop
_Answers: TypeAlias = Sequence[tuple[asyncio.Future[Any], object]]


class Outlook:
    """Where the log will end once all is written that was called for: `next_position` is then the next event's."""

    def __init__(self) -> None:
        self.next_position = 1
        self._counts: deque[int] = deque()

    def add(self, batches: Sequence[Prepared]) -> None:
        """A call would append all of these batches' events."""
        events = sum([one.batch.likely_events for one in batches])
        self._counts.append(events)
        self.next_position += events

    def settle(self, calls: int, position: int) -> None:
        """So many calls, the oldest ones, are written, and the log ends at that position."""
        for _ in range(calls):
            self._counts.popleft()
        self.next_position = position + 1 + sum(self._counts)


class Writer:
    """Commits batches on its own thread and answers in the event loop it was made in.

    Where there is no room, what waits is tried again until there is, or until `stop`; `waits` says why meanwhile. Any
    other storage error ends all writing: that call and every later one raise StoreUnavailable.
    """

    def __init__(self, room: Room, on_commit: Callable[[float, int], None] | None = None) -> None:
        self._commit_waits = ""
        self._upkeep_waits = ""
        self._room = room
        self._stopping = threading.Event()
        self._again_at = float("-inf")
        self.failed = anyio.Event()
        self._failure: Exception | None = None
        self._loop = asyncio.get_running_loop()
        self._queue: SimpleQueue[_Work] = SimpleQueue()
        self._on_commit = on_commit
        self._ended: asyncio.Future[None] | None = None
        self.outlook = Outlook()

    @property
    def waits(self) -> str:
        """Why nothing can be written just now; empty while nothing is in the way."""
        return self._commit_waits or self._upkeep_waits

    @property
    def is_open(self) -> bool:
        """Whether a batch would be taken now; it may wait."""
        return self._failure is None and self._ended is None

    async def start(self, open_log: Callable[[], LogFile]) -> LogFile:
        """Run `open_log` on the new thread and keep the file there until `stop`; raises what it raises."""
        opened: asyncio.Future[LogFile] = self._loop.create_future()
        threading.Thread(target=self._run, args=(open_log, opened), name="ecproc-store", daemon=True).start()
        try:
            with anyio.CancelScope(shield=True):
                await opened
        except asyncio.CancelledError:
            self._queue.put(_Stop(self._loop.create_future()))
            raise
        log = opened.result()
        self.outlook.settle(0, log.head.position)
        return log

    def commit(self, batches: Sequence[Prepared]) -> asyncio.Future[list[Committed]]:
        """Have batches written, whether or not the caller is cancelled; what became of each, once that is durable."""
        self._check_open()
        future: asyncio.Future[list[Committed]] = self._loop.create_future()
        if not batches:
            future.set_result([])
            return future
        self.outlook.add(batches)
        self._queue.put(_Commit(future, batches))
        return future

    async def call(self, function: Callable[[LogFile], T]) -> T:
        """Run a function on the thread between transactions; a StoreError is an answer, any other error is fatal."""
        self._check_open()
        future: asyncio.Future[T] = self._loop.create_future()
        self._queue.put(_Call(future, function))
        with anyio.CancelScope(shield=True):
            await future
        return future.result()

    async def stop(self) -> None:
        """Write what waits, close the log and end the thread; raises StoreUnavailable if that failed.

        What there is no room for now is refused, with nothing written of it.
        """
        if self._ended is None:
            self._ended = self._loop.create_future()
            self._stopping.set()
            self._queue.put(_Stop(self._ended))
        with anyio.CancelScope(shield=True):
            await asyncio.shield(self._ended)

    def _check_open(self) -> None:
        if self._failure is not None:
            raise _refuse(self._failure)
        if self._ended is not None:
            raise StoreUnavailable("the store is closed")

    def _settle(self, answers: _Answers) -> None:
        """Hand out the thread's answers, in the event loop."""
        for future, answer in answers:
            if future.done():
                continue
            if isinstance(answer, BaseException):
                future.set_exception(answer)
            else:
                future.set_result(answer)

    def _settle_commits(self, answers: _Answers, seconds: float, position: int) -> None:
        """Hand out what became of calls that were written together, behind which the log ends at that position."""
        self.outlook.settle(len(answers), position)
        self._settle(answers)
        if self._on_commit is not None:
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
        commits: list[_Commit] = []
        idle = max(self._again_at - time.monotonic(), 0) if self._upkeep_waits else log.idle_seconds()
        for work in _take(self._queue, idle if self._failure is None else None):
            match work:
                case _Commit():
                    commits.append(work)
                case _Call():
                    self._commit(log, commits)
                    commits = []
                    self._answer([(work.future, self._try(log, work.function))])
                case _Stop():
                    self._commit(log, commits)
                    self._end(log, work.future)
                    return False
                case _:
                    assert_never(work)
        self._commit(log, commits)
        self._keep_up(log)
        self._room.owe(log.owed, by=log.name)
        return True

    def _commit(self, log: LogFile, works: list[_Commit]) -> None:
        """Write the batches of all of these in one transaction."""
        if not works:
            return
        batches = [batch for work in works for batch in work.batches]
        size = sum([batch.size for batch in batches])
        outcome, seconds = self._write(log, batches, size)
        while isinstance(outcome, NoRoom) and not self._stopping.wait(RETRY_SECONDS):
            outcome, seconds = self._write(log, batches, size)
        if isinstance(outcome, list):
            rest = iter(outcome)
            answers: _Answers = [(work.future, list(islice(rest, len(work.batches)))) for work in works]
            self._tell(self._settle_commits, answers, seconds, log.head.position)
        else:
            self._answer([(work.future, _refuse(self._failure, outcome)) for work in works])

    def _write(self, log: LogFile, batches: list[Prepared], size: int) -> tuple[object, float]:
        """One try at a transaction and its seconds."""
        began = time.monotonic()
        if self._room.fits(estimate_bytes(size)):
            outcome = self._try(log, lambda log: log.commit(batches))
        else:
            outcome = NoRoom("there is no room to write: the disk is full")
        self._commit_waits = str(outcome) if isinstance(outcome, NoRoom) else ""
        if isinstance(outcome, list):
            self._room.wrote(size, owed=log.owed, by=log.name)
        return outcome, time.monotonic() - began

    def _keep_up(self, log: LogFile) -> None:
        """Do what is due beside commits; what there is no room for stays due, and nothing new is taken meanwhile."""
        if time.monotonic() < self._again_at:
            return
        outcome = self._try(log, lambda log: log.keep_up())
        self._upkeep_waits = str(outcome) if isinstance(outcome, NoRoom) else ""
        self._again_at = time.monotonic() + RETRY_SECONDS if self._upkeep_waits else float("-inf")

    def _try(self, log: LogFile, call: Callable[[LogFile], object]) -> object:
        """The call's result or the StoreError to answer with; any other error is the storage's and ends all writing."""
        if self._failure is not None:
            return _refuse(self._failure)
        try:
            return call(log)
        except StoreError as refused:
            return refused
        except Exception as error:
            self._failure = error
            with suppress(Exception):
                log.abandon()
            self._tell(self.failed.set)
            return _refuse(self._failure)

    def _end(self, log: LogFile, future: asyncio.Future[None]) -> None:
        failed_before = self._failure is not None
        outcome = self._try(log, lambda log: log.close())
        log.release()
        self._answer([(future, None if failed_before else outcome)])

    def _answer(self, answers: _Answers) -> None:
        self._tell(self._settle, answers)

    def _tell(self, function: Callable[..., object], *arguments: object) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody is left to hear it
            self._loop.call_soon_threadsafe(function, *arguments)


def _take(queue: SimpleQueue[_Work], timeout: float | None) -> list[_Work]:
    """What waits, as much of it as may be done together; nothing if nothing comes in so many seconds."""
    works: list[_Work] = []
    size = 0
    with suppress(Empty):
        works.append(queue.get(timeout=timeout))
        size += _size(works[-1])
        while len(works) < MAX_WORKS and size < MAX_BYTES:
            works.append(queue.get_nowait())
            size += _size(works[-1])
    return works


def _size(work: _Work) -> int:
    return sum([batch.size for batch in work.batches]) if isinstance(work, _Commit) else 0


def _refuse(failure: Exception | None, outcome: object = None) -> StoreUnavailable:
    if isinstance(outcome, NoRoom):
        return NoRoom(f"the store is closed, and nothing of this was written: {outcome}")
    refusal = StoreFailed(f"the storage failed and nothing more is written: {failure}")
    refusal.__cause__ = failure
    return refusal
