"""The SQLite store when space runs short and when the storage fails: nothing is acknowledged that is not durable."""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from ecproc.domain.log import Batch
from ecproc.errors import StoreUnavailable
from ecproc.store.base import VerifiedLog
from ecproc.store.sqlite.store import SqliteStore
from ecproc.store.sqlite.verify import verify_log
from ecproc.testing.store import append, make_message, read_all
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
    """The writer's connection, but one statement fails as after a failed sync."""

    def __init__(self, connection: sqlite3.Connection, failing: str) -> None:
        self.connection = connection
        self.failing = failing

    def execute(self, statement: str, *parameters: Any) -> Any:
        if statement == self.failing:
            raise sqlite3.OperationalError("disk I/O error")
        return self.connection.execute(statement, *parameters)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.connection, name)


async def break_statement(store: SqliteStore, failing: str) -> None:
    await store._writer.call(lambda log: setattr(log, "_connection", FailingConnection(log._connection, failing)))


async def break_commits(store: SqliteStore) -> None:
    await break_statement(store, "COMMIT")


async def fill_up(store: SqliteStore) -> None:
    ((pages,),) = await on_writer(store, "PRAGMA page_count")
    await on_writer(store, f"PRAGMA max_page_count = {pages}")


def break_anchor(directory: Path) -> None:
    (directory / "anchor.new").mkdir()


@pytest.mark.requirement("I1", "I0")
@pytest.mark.parametrize("break_storage", [break_commits, fill_up], ids=["sync", "full"])
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
            with pytest.raises(StoreUnavailable, match=r"disk I/O error|full") as caught:
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


async def test_closing_says_when_the_last_anchor_could_not_be_written(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable):
        async with sqlite_store(tmp_path) as store:
            await append(store, make_message(1))
            break_anchor(tmp_path)
    (tmp_path / "anchor.new").rmdir()
    async with sqlite_store(tmp_path) as store:
        assert len(await read_all(store)) == 1


async def test_another_program_that_holds_the_write_lock_too_long_is_a_storage_error(tmp_path: Path) -> None:
    async with sqlite_store(tmp_path) as store:
        await on_writer(store, "PRAGMA busy_timeout = 1")
        other = sqlite3.connect(tmp_path / "ecproc.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable, match="locked"):
            await append(store, make_message(1))
        other.close()
