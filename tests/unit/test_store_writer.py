"""The writer's thread where commits succeed and what is due beside them finds no room."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import anyio
import pytest

from ecproc.domain.log import Batch
from ecproc.errors import NoRoom
from ecproc.room import Room
from ecproc.store.base import Committed, Head
from ecproc.store.chain import NO_HASH
from ecproc.store.plan import Prepared, prepare
from ecproc.store.sqlite import writer as module
from ecproc.store.sqlite.logfile import LogFile
from ecproc.store.sqlite.writer import Writer
from ecproc.testing.store import SUITE_TABLES

RESERVE = 160_000_000


class CountingLog:
    """A log that takes whatever comes; what is due beside it is due at once, and finds no room while it is `full`."""

    def __init__(self) -> None:
        self.name = "ecproc.db"
        self.head = Head(0, NO_HASH)
        self.full = False
        self.owed = 0
        self.rounds = 0
        self.tries = 0

    def commit(self, batches: Sequence[Prepared]) -> list[Committed]:
        return [Committed() for _ in batches]

    def keep_up(self) -> None:
        self.tries += 1
        if self.full:
            raise NoRoom("full")

    def idle_seconds(self) -> float | None:
        self.rounds += 1
        return 0 if self.full else None

    def close(self) -> None: ...

    def release(self) -> None: ...


@asynccontextmanager
async def writing(log: CountingLog, room: Room) -> AsyncIterator[Writer]:
    writer = Writer(room)
    await writer.start(lambda: cast("LogFile", log))
    try:
        yield writer
    finally:
        await writer.stop()


@pytest.fixture
def room() -> Room:
    return Room(Path(), reserve_bytes=RESERVE, free_bytes=lambda _: RESERVE, now=lambda: 0)


async def wait_until(condition: Callable[[], bool]) -> None:
    with anyio.fail_after(10):
        while not condition():  # noqa: ASYNC110 - what is waited for has no signal
            await anyio.sleep(0.005)


def one_batch() -> list[Prepared]:
    return [prepare(Batch(), 0, SUITE_TABLES)]


async def test_upkeep_that_finds_no_room_waits_however_many_commits_succeed(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.1)
    log = CountingLog()
    log.full = True
    async with writing(log, room) as writer:
        await writer.commit(one_batch())
        await wait_until(lambda: bool(writer.waits))
        for _ in range(5):
            await writer.commit(one_batch())
            assert writer.waits, "receiving goes on although nothing is moved or anchored"
        await wait_until(lambda: log.tries >= 3)
        assert log.rounds < 10, "the thread spins"
        log.full = False
        await wait_until(lambda: not writer.waits)


async def test_the_room_hears_what_is_owed_also_after_upkeep_and_calls(room: Room) -> None:
    def owe(log: LogFile) -> None:
        cast("CountingLog", log).owed = 0

    log = CountingLog()
    log.owed = RESERVE
    async with writing(log, room) as writer:
        await writer.commit(one_batch())
        await wait_until(lambda: not room.may_perform())
        await writer.call(owe)
        await wait_until(room.may_perform)
