"""The SQLite store when space runs short and when the storage fails: nothing is acknowledged that is not durable."""

from __future__ import annotations

import errno
import math
import os
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path
from typing import Any, cast

import anyio
import pytest

from ecproc.domain.log import Batch, Fence, NewEvent, RecordedEvent
from ecproc.errors import NoRoom, StoreFailed, StoreUnavailable
from ecproc.room import is_no_room
from ecproc.store.base import VerifiedLog
from ecproc.store.sqlite.logfile import LogFile
from ecproc.store.sqlite.store import SqliteStore
from ecproc.store.sqlite.verify import verify_log
from ecproc.testing.store import STREAM, append, make_message, read_all
from tests.conformance.sqlite_stores import sqlite_store


async def on_writer(store: SqliteStore, statement: str) -> list[tuple[Any, ...]]:
    """Run a statement on the one connection that writes."""
    return await store._writer.call(lambda log: log._connection.execute(statement).fetchall())


async def wait_until(condition: Callable[[], bool]) -> None:
    with anyio.fail_after(10):
        while not condition():  # noqa: ASYNC110 - what is waited for has no signal
            await anyio.sleep(0.01)


# --- room


@pytest.mark.requirement("I0")
async def test_room_follows_free_space_down_and_up_again(tmp_path: Path) -> None:
    free = 1000
    async with sqlite_store(tmp_path, reserve_bytes=1000, free_bytes=lambda _: free) as store:
        assert store.has_room()
        free = 999
        await wait_until(lambda: not store.has_room())
        await append(store, make_message(1))
        free = 1000
        await wait_until(store.has_room)


@pytest.mark.requirement("I0")
async def test_space_that_cannot_be_measured_is_no_room(tmp_path: Path) -> None:
    def fail(_: Path) -> int:
        raise OSError

    async with sqlite_store(tmp_path, free_bytes=fail) as store:
        assert not store.has_room()


async def test_free_space_is_looked_at_once_in_a_while(tmp_path: Path) -> None:
    looks: list[Path] = []

    def look(path: Path) -> int:
        looks.append(path)
        return 1

    async with sqlite_store(tmp_path, free_bytes=look) as store:
        for _ in range(1000):
            store.has_room()
    assert len(looks) < 100


# --- fail-stop


class FailingConnection:
    """The writer's connection, but a statement that begins so fails, so many times, with that code of SQLite's."""

    def __init__(self, connection: sqlite3.Connection, failing: str, code: int, times: float) -> None:
        self.connection = connection
        self.failing = failing
        self.code = code
        self.left = times

    def execute(self, statement: str, *parameters: Any) -> Any:
        self.refuse(statement)
        return self.connection.execute(statement, *parameters)

    def executemany(self, statement: str, parameters: Sequence[Any]) -> Any:
        if parameters:
            self.refuse(statement)
        return self.connection.executemany(statement, parameters)

    def refuse(self, statement: str) -> None:
        if statement.startswith(self.failing) and self.left > 0:
            self.left -= 1
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = self.code
            raise error

    def __getattr__(self, name: str) -> Any:
        return getattr(self.connection, name)


async def break_statement(
    store: SqliteStore, failing: str, *, code: int = sqlite3.SQLITE_IOERR, times: float = math.inf
) -> None:
    def fail(log: LogFile) -> None:
        broken = FailingConnection(log._connection, failing, code, times)
        log._connection = cast("sqlite3.Connection", broken)

    await store._writer.call(fail)


async def break_commits(store: SqliteStore) -> None:
    await break_statement(store, "COMMIT")


async def break_inserts(store: SqliteStore) -> None:
    await break_statement(store, "INSERT INTO event")


async def fill_at_commit(store: SqliteStore) -> None:
    await break_statement(store, "COMMIT", code=sqlite3.SQLITE_FULL)


async def fill_up(store: SqliteStore) -> None:
    ((pages,),) = await on_writer(store, "PRAGMA page_count")
    await on_writer(store, f"PRAGMA max_page_count = {pages}")


def break_anchor(directory: Path) -> None:
    (directory / "anchor.new").mkdir()


@pytest.mark.requirement("I1", "I0")
@pytest.mark.parametrize(
    "break_storage", [break_commits, break_inserts, fill_at_commit], ids=["sync", "write", "full at COMMIT"]
)
async def test_nothing_is_acknowledged_after_a_storage_error(
    tmp_path: Path, break_storage: Callable[[SqliteStore], Awaitable[None]]
) -> None:
    refused: list[StoreUnavailable] = []
    files = [tmp_path / name for name in ("ecproc.db", "ecproc.db-wal")]
    async with sqlite_store(tmp_path) as store:
        await append(store, make_message(1))
        await break_storage(store)
        database, _ = (path.read_bytes() for path in files)

        async def receive(number: int) -> None:
            with pytest.raises(StoreUnavailable, match="disk I/O error") as caught:
                await store.commit(Batch(events=[make_message(number, payload=bytes(100_000))]))
            refused.append(caught.value)

        async with anyio.create_task_group() as group:
            for number in range(2, 10):
                group.start_soon(receive, number)
        await receive(10)
        with anyio.fail_after(10):
            await store.failed.wait()
        assert not store.has_room()
        assert [event.position for event in await read_all(store)] == [1]
        with pytest.raises(StoreUnavailable):
            async with store.rebuilding() as rebuild:
                await rebuild.swap(fold_version=1)
    assert len(refused) == 9
    assert files[0].read_bytes() == database
    assert files[1].stat().st_size
    async with sqlite_store(tmp_path) as store:
        assert [event.position for event in await read_all(store)] == [1]
        await append(store, make_message(2))
    assert isinstance(verify_log(tmp_path), VerifiedLog)


@pytest.mark.requirement("I1")
async def test_an_anchor_that_cannot_be_written_is_a_storage_error(tmp_path: Path) -> None:
    async with sqlite_store(tmp_path) as store:
        break_anchor(tmp_path)
        await append(store, make_message(1))
        with anyio.fail_after(10):
            await store.failed.wait()
        with pytest.raises(StoreUnavailable):
            await append(store, make_message(2))
    (tmp_path / "anchor.new").rmdir()
    async with sqlite_store(tmp_path) as store:
        assert len(await read_all(store)) == 1


@pytest.mark.requirement("I1")
async def test_a_checkpoint_that_fails_is_a_storage_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ecproc.store.sqlite.logfile.CHECKPOINT_COMMITS", 3)
    async with sqlite_store(tmp_path) as store:
        await break_statement(store, "PRAGMA wal_checkpoint(PASSIVE)")
        for number in range(3):
            await append(store, make_message(number))
        with anyio.fail_after(10):
            await store.failed.wait()
        assert not store.has_room()
    async with sqlite_store(tmp_path) as store:
        assert len(await read_all(store)) == 3


async def swap_empty(store: SqliteStore) -> None:
    async with store.rebuilding() as rebuild:
        await rebuild.swap(fold_version=7)


@pytest.mark.requirement("I1")
async def test_a_swap_whose_commit_finds_no_space_ends_the_store_and_is_not_waited_for(tmp_path: Path) -> None:
    async with sqlite_store(tmp_path) as store:
        await fill_at_commit(store)
        for _ in range(2):
            with pytest.raises(StoreFailed) as caught:
                await swap_empty(store)
            assert not is_no_room(caught.value)
        assert store.failed.is_set()


async def test_a_swap_that_cannot_open_what_was_rebuilt_has_no_room_and_is_tried_again(tmp_path: Path) -> None:
    async with sqlite_store(tmp_path) as store:
        await break_statement(store, "ATTACH", code=sqlite3.SQLITE_CANTOPEN, times=1)
        with pytest.raises(NoRoom):
            await swap_empty(store)
        await swap_empty(store)
        assert await store.fold_version() == 7


async def test_closing_says_when_the_last_anchor_could_not_be_written(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable):
        async with sqlite_store(tmp_path) as store:
            await append(store, make_message(1))
            break_anchor(tmp_path)
    (tmp_path / "anchor.new").rmdir()
    async with sqlite_store(tmp_path) as store:
        assert len(await read_all(store)) == 1


# --- no room


@asynccontextmanager
async def waiting(store: SqliteStore) -> AsyncIterator[None]:
    """Have an append wait for as long as the block makes it; at the end of the block it must go on by itself."""
    appended: list[RecordedEvent] = []

    async def receive() -> None:
        appended.extend(await append(store, make_message(2, payload=bytes(100_000))))

    async with anyio.create_task_group() as group:
        group.start_soon(receive)
        await wait_until(lambda: bool(store.waits))
        assert not store.has_room()
        assert not store.may_perform()
        yield
        assert appended == []
    assert [event.position for event in appended] == [2]
    await wait_until(lambda: store.has_room() and store.may_perform())
    assert not store.failed.is_set()


NO_ROOM = {
    "locked": ("BEGIN IMMEDIATE", sqlite3.SQLITE_BUSY),
    "no index": ("BEGIN IMMEDIATE", 4874),
    "full": ("INSERT INTO event", sqlite3.SQLITE_FULL),
    "full for rows": ("INSERT INTO stream", sqlite3.SQLITE_FULL),
    "no descriptor": ("INSERT INTO event", sqlite3.SQLITE_CANTOPEN),
}


@pytest.mark.requirement("I0", "I1")
@pytest.mark.parametrize("name", NO_ROOM)
async def test_what_there_is_no_room_for_is_undone_and_tried_again(tmp_path: Path, name: str) -> None:
    statement, code = NO_ROOM[name]
    async with sqlite_store(tmp_path) as store:
        await append(store, make_message(1))
        await break_statement(store, statement, code=code)
        broken = await store._writer.call(lambda log: cast("FailingConnection", log._connection))
        async with waiting(store):
            assert not broken.in_transaction
            broken.left = 0
    assert isinstance(verify_log(tmp_path), VerifiedLog)


@pytest.mark.requirement("I0", "I1")
async def test_a_full_file_is_waited_for(tmp_path: Path) -> None:
    async with sqlite_store(tmp_path) as store:
        await append(store, make_message(1))
        await fill_up(store)
        log = await store._writer.call(lambda log: log)
        async with waiting(store):
            log._connection.execute("PRAGMA max_page_count = 1000000")
    assert isinstance(verify_log(tmp_path), VerifiedLog)


@pytest.mark.requirement("I0", "I1")
@pytest.mark.parametrize("begin", ["BEGIN IMMEDIATE", "BEGIN EXCLUSIVE"])
async def test_another_program_that_holds_the_write_lock_is_waited_for(tmp_path: Path, begin: str) -> None:
    async with sqlite_store(tmp_path) as store:
        await append(store, make_message(1))
        with closing(sqlite3.connect(tmp_path / "ecproc.db", isolation_level=None)) as other:
            other.execute(begin)
            async with waiting(store):
                other.execute("ROLLBACK")


@pytest.mark.requirement("I1")
async def test_what_still_waits_when_the_store_is_closed_is_refused_and_not_written(tmp_path: Path) -> None:
    refused: list[StoreUnavailable] = []

    async def receive(store: SqliteStore, number: int) -> None:
        with pytest.raises(NoRoom) as caught:
            await append(store, make_message(number))
        refused.append(caught.value)

    with closing(sqlite3.connect(tmp_path / "ecproc.db", isolation_level=None)) as other:
        async with anyio.create_task_group() as group, sqlite_store(tmp_path) as store:
            await append(store, make_message(1))
            other.execute("BEGIN IMMEDIATE")
            for number in range(2, 5):
                group.start_soon(receive, store, number)
            await wait_until(lambda: bool(store.waits))
        other.execute("ROLLBACK")
    assert len(refused) == 3
    async with sqlite_store(tmp_path) as store:
        assert [event.position for event in await read_all(store)] == [1]


async def test_a_checkpoint_and_an_anchor_that_find_no_room_are_made_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ecproc.store.sqlite.logfile.CHECKPOINT_COMMITS", 3)
    async with sqlite_store(tmp_path) as store:
        (tmp_path / "anchor").unlink()
        await break_statement(store, "PRAGMA wal_checkpoint", code=sqlite3.SQLITE_FULL, times=2)
        real, left = os.open, [errno.EMFILE, errno.ENOSPC]

        def refuse(path: Path, *arguments: int, **named: int) -> int:
            if str(path).endswith("anchor.new") and left:
                raise OSError(left.pop(), "no room")
            return real(path, *arguments, **named)

        monkeypatch.setattr(os, "open", refuse)
        for number in range(3):
            await append(store, make_message(number))
        await wait_until((tmp_path / "anchor").exists)
        await wait_until(store.has_room)
        assert not store.failed.is_set()
        assert left == []
        await append(store, make_message(4))


@pytest.mark.requirement("I1")
async def test_an_anchor_whose_sync_fails_is_a_storage_error_even_for_want_of_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "no room")

    async with sqlite_store(tmp_path) as store:
        monkeypatch.setattr(os, "fsync", refuse)
        await append(store, make_message(1))
        with anyio.fail_after(10):
            await store.failed.wait()
        monkeypatch.undo()


async def test_what_a_checkpoint_moved_is_not_owed_any_more(tmp_path: Path) -> None:
    free = 70_000_000
    async with sqlite_store(tmp_path, reserve_bytes=80_000_000, free_bytes=lambda _: free) as store:
        with anyio.fail_after(10):
            for number in range(3):  # each is more than is committed between two checkpoints
                await append(store, make_message(number, payload=bytes(10_000_000)))


@pytest.mark.requirement("I0")
async def test_near_half_of_the_reserve_only_outcomes_are_written(tmp_path: Path) -> None:
    free = 100_000_000
    step = Batch(fence=Fence(STREAM, expected=0, through=1))
    outcome = Batch(events=[NewEvent(STREAM, "EffectSucceeded", b"{}")])
    async with sqlite_store(tmp_path, reserve_bytes=80_000_000, free_bytes=lambda _: free) as store:
        await append(store, make_message(1))
        free = 60_000_000
        await wait_until(lambda: not store.has_room())
        assert store.may_perform()
        await append(store, make_message(2))
        with anyio.move_on_after(1) as large:  # would leave less than half
            await append(store, make_message(3, payload=bytes(10_000_000)))
        assert large.cancelled_caught
        free = 40_000_001
        await wait_until(lambda: not store.may_perform())
        for batch in (step, Batch(events=[make_message(4)])):
            with anyio.move_on_after(0.5) as small:
                await store.commit(batch)
            assert small.cancelled_caught
        await store.commit(outcome)
        free = 100_000_000
        await store.commit(step)
        assert [event.kind for event in await read_all(store)][2:] == ["EffectSucceeded"]


def size_of(file: Path) -> int:
    """Its bytes; 0 once it is gone."""
    with suppress(FileNotFoundError):
        return file.stat().st_size
    return 0


@pytest.mark.requirement("I0")
async def test_what_is_appended_at_one_time_shares_what_is_free(tmp_path: Path) -> None:
    free, appended = 80_000_000, 0
    size = 10_000_000

    def look(directory: Path) -> int:
        return free - 2 * max(map(size_of, directory.glob("ecproc.db*")), default=0)  # at whatever stage the file is

    async def append_one(number: int) -> None:
        nonlocal appended
        await append(store, make_message(number, payload=bytes(size)))
        appended += 1

    async with sqlite_store(tmp_path, reserve_bytes=80_000_000, free_bytes=look) as store:
        async with anyio.create_task_group() as group:
            for number in range(6):  # each needs 20 MB, and fewer than 40 MB may be had
                group.start_soon(append_one, number)
            await wait_until(lambda: appended > 0)
            await anyio.sleep(0.5)
            assert appended == 1, "two of them would leave less than half"
            assert store.has_room() is False
            free = 400_000_000
        assert appended == 6


async def test_what_waited_for_room_is_of_the_time_it_was_written_at(tmp_path: Path) -> None:
    free = 40_000_000
    outcome = Batch(events=[NewEvent(STREAM, "EffectSucceeded", b"{}")])
    async with sqlite_store(tmp_path, reserve_bytes=80_000_000, free_bytes=lambda _: free) as store:
        async with anyio.create_task_group() as group:
            group.start_soon(append, store, make_message(1))
            await anyio.wait_all_tasks_blocked()
            for _ in range(3):
                await store.commit(outcome)
            free = 100_000_000
        events = await read_all(store)
    assert [event.kind for event in events][:3] == ["EffectSucceeded"] * 3
    assert [event.at for event in events] == sorted(event.at for event in events)
