"""The local desk: the shared suite, its numbers, its file as other programs read it, and its faults."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, cast

import anyio
import anyio.lowlevel
import pytest

from ecproc.clock import SystemClock
from ecproc.desk import local, walfile
from ecproc.desk.base import DeskAnswer, DeskRefused, DeskUnavailable
from ecproc.desk.local import LocalDesk
from ecproc.desk.numbers import DeskStand
from ecproc.errors import StoreError, StoreFailed, StoreUnavailable
from ecproc.room import Room, is_no_room
from ecproc.testing.desk import DeskTests, make_call


async def open_local(directory: Path) -> LocalDesk:
    return await LocalDesk.open(directory / "desk.db", clock=SystemClock(), room=Room(directory, reserve_bytes=0))


def read(directory: Path, query: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(directory / "desk.db")) as connection:
        return connection.execute(query).fetchall()


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold the file's write lock as another program."""
    with closing(sqlite3.connect(directory / "desk.db", isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield


class TestLocalDesk(DeskTests):
    async def open_desk(self, directory: Path) -> LocalDesk:
        return await open_local(directory)


async def test_numbers_grow_without_gaps(tmp_path: Path) -> None:
    numbers: list[str] = []
    for _ in range(3):
        desk = await open_local(tmp_path)
        for _ in range(2):
            key = f"create:e-CS{len(numbers)}:g1"
            numbers.append((await desk.perform(make_call(key))).number)
            with pytest.raises(DeskRefused):
                await desk.perform(make_call(f"bad {key}", "update_client_ticket", number="LOCAL-0009999"))
        await desk.aclose()
    assert numbers == [f"LOCAL-{serial:07d}" for serial in range(1, 7)]


@pytest.mark.parametrize("number", [None, "", "LOCAL-0000002"])
async def test_unknown_number_of_our_own_is_refused(tmp_path: Path, number: str | None) -> None:
    desk = await open_local(tmp_path)
    await desk.perform(make_call("create"))
    with pytest.raises(DeskRefused):
        await desk.perform(make_call("1", "close_client_ticket", number=number))
    await desk.aclose()
    assert read(tmp_path, "SELECT count(*) FROM action") == [(1,)]


async def test_adopted_ticket_is_kept_from_its_first_change_on(tmp_path: Path) -> None:
    desk = await open_local(tmp_path)
    update = make_call("1", "update_client_ticket", number="INC1235678", fields={"status": "pending", "priority": "2"})
    assert await desk.perform(update) == DeskAnswer("INC1235678", "pending")
    comment = make_call("2", "comment_client_ticket", number="INC1235678", fields={"body": "hello"})
    assert await desk.perform(comment) == DeskAnswer("INC1235678", "pending")
    assert (await desk.perform(make_call("3"))).number == "LOCAL-0000001"
    await desk.aclose()
    assert read(tmp_path, "SELECT number, serial, key, ensono, type, state FROM ticket ORDER BY number") == [
        ("INC1235678", None, None, "e-CS0879727", "Incident", "pending"),
        ("LOCAL-0000001", 1, "3", "e-CS0879727", "Incident", "open"),
    ]


async def test_file_can_be_read_beside_the_running_desk(tmp_path: Path) -> None:
    desk = await open_local(tmp_path)
    number = (await desk.perform(make_call("create", fields={"group": "a", "priority": "3"}))).number
    await desk.perform(make_call("u", "update_client_ticket", number=number, fields={"priority": "1"}))
    await desk.perform(make_call("n", "comment_client_ticket", number=number, fields={"body": "hello"}))
    await desk.perform(make_call("r", "resolve_client_ticket", number=number, fields={"resolution": "done"}))
    ((state, fields, opened_at),) = read(tmp_path, "SELECT state, fields, opened_at FROM ticket")
    assert state == "resolved"
    assert json.loads(str(fields)) == {"group": "a", "priority": "1", "resolution": "done"}
    assert isinstance(opened_at, int)
    assert read(tmp_path, "SELECT key, number, kind, state_after, fields FROM action ORDER BY at, key") == [
        ("create", number, "create_client_ticket", "open", '{"group":"a","priority":"3"}'),
        ("u", number, "update_client_ticket", "open", '{"priority":"1"}'),
        ("n", number, "comment_client_ticket", "open", '{"body":"hello"}'),
        ("r", number, "resolve_client_ticket", "resolved", '{"resolution":"done"}'),
    ]
    await desk.aclose()
    assert (tmp_path / "desk.db").stat().st_mode & 0o777 == 0o600


async def test_calls_that_wait_together_share_commits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commits: list[str] = []
    monkeypatch.setattr(local, "failpoint", commits.append)
    desk = await open_local(tmp_path)
    async with anyio.create_task_group() as tasks:
        for index in range(30):
            tasks.start_soon(desk.perform, make_call(str(index)))
    await desk.aclose()
    assert 1 <= len(commits) < 10
    assert set(commits) == {"desk.committed"}
    assert read(tmp_path, "SELECT count(*), max(serial) FROM ticket") == [(30, 30)]


async def test_refusal_does_not_touch_the_calls_it_shares_a_commit_with(tmp_path: Path) -> None:
    desk = await open_local(tmp_path)
    refused: list[str] = []

    async def perform(index: int) -> None:
        try:
            kind = "create_client_ticket" if index % 3 else "close_client_ticket"
            await desk.perform(make_call(str(index), kind, number=None if index % 3 else "LOCAL-0009999"))
        except DeskRefused:
            refused.append(str(index))

    async with anyio.create_task_group() as tasks:
        for index in range(30):
            tasks.start_soon(perform, index)
    await desk.aclose()
    assert len(refused) == 10
    assert read(tmp_path, "SELECT count(*), max(serial) FROM ticket") == [(20, 20)]


async def test_cancelled_call_is_applied_whole_or_not_at_all(tmp_path: Path) -> None:
    desk = await open_local(tmp_path)
    for steps in range(12):
        async with anyio.create_task_group() as tasks:
            for index in range(3):
                tasks.start_soon(desk.perform, make_call(f"{steps}-{index}"))
            for _ in range(steps):
                await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()
        number = (await desk.perform(make_call(f"{steps}-0"))).number
        assert await desk.look_up(make_call(f"{steps}-0")) == DeskAnswer(number, "open")
    await desk.aclose()
    ((tickets, last),) = read(tmp_path, "SELECT count(*), max(serial) FROM ticket")
    assert tickets == last
    assert read(tmp_path, "SELECT count(*) FROM action") == [(tickets,)]


async def test_lock_of_another_program_is_waited_for_then_told_as_not_applied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = tuple(each.replace("5000", "50") for each in local._SETTINGS)
    monkeypatch.setattr(local, "_SETTINGS", short)
    desk = await open_local(tmp_path)
    with locked(tmp_path), pytest.raises(DeskUnavailable) as caught:
        await desk.perform(make_call("create"))
    assert not caught.value.sent
    assert (await desk.perform(make_call("create"))).number == "LOCAL-0000001"
    await desk.aclose()


async def test_full_disk_is_told_as_not_applied_and_passes(tmp_path: Path) -> None:
    desk = await open_local(tmp_path)
    (pages,) = desk._connection.execute("PRAGMA page_count").fetchone()
    desk._connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(DeskUnavailable) as caught:
        await desk.perform(make_call("create", fields={"description": "x" * 100_000}))
    assert not caught.value.sent
    desk._connection.execute("PRAGMA max_page_count = 1000000")
    assert (await desk.perform(make_call("create"))).number == "LOCAL-0000001"
    await desk.aclose()


async def test_a_full_disk_at_a_checkpoint_takes_nothing_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walfile, "_CHECKPOINT_COMMITS", 1)
    desk = await open_local(tmp_path)
    full = Full(desk._connection, "PRAGMA wal_checkpoint")
    desk._wal._connection = cast("sqlite3.Connection", full)
    assert (await desk.perform(make_call("create"))).number == "LOCAL-0000001"
    assert (await desk.perform(make_call("2"))).number == "LOCAL-0000002"
    assert full.failed == 2
    await desk.aclose()


@pytest.mark.requirement("I1")
async def test_a_commit_that_fails_ends_the_desk_even_for_want_of_space(tmp_path: Path) -> None:
    desk = await open_local(tmp_path)
    desk._connection = cast("sqlite3.Connection", Full(desk._connection, "COMMIT"))
    for key in ("1", "2"):
        with pytest.raises(StoreUnavailable, match="full"):
            await desk.perform(make_call(key))
    await desk.aclose()


async def test_a_new_file_whose_commit_finds_no_space_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *given, **named: Full(real(*given, **named), "COMMIT"))
    with pytest.raises(StoreFailed, match="full") as caught:
        await open_local(tmp_path)
    assert not is_no_room(caught.value)


class Full:
    """The desk's connection, but for one statement the disk is full."""

    def __init__(self, connection: sqlite3.Connection, failing: str) -> None:
        self._connection = connection
        self._failing = failing
        self.failed = 0

    def execute(self, statement: str, *parameters: Any) -> Any:
        if statement.startswith(self._failing):
            self.failed += 1
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise error
        return self._connection.execute(statement, *parameters)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


async def test_after_a_broken_file_nothing_more_is_acknowledged(tmp_path: Path) -> None:
    desk = await open_local(tmp_path)
    await desk.perform(make_call("create"))
    desk._connection.execute("DROP TABLE action")
    faults: list[Exception] = []

    async def perform(index: int) -> None:
        try:
            await desk.perform(make_call(str(index)))
        except StoreUnavailable as error:
            faults.append(error)

    async with anyio.create_task_group() as tasks:
        for index in range(5):
            tasks.start_soon(perform, index)
    assert len(faults) == 5
    with pytest.raises(StoreUnavailable):
        await desk.look_up(make_call("create"))
    await desk.aclose()


async def test_closed_desk_says_so(tmp_path: Path) -> None:
    desk = await open_local(tmp_path)
    await desk.aclose()
    await desk.aclose()
    with pytest.raises(StoreUnavailable, match="closed"):
        await desk.perform(make_call("create"))


async def test_many_commits_are_moved_out_of_the_write_ahead_log(tmp_path: Path) -> None:
    desk = await open_local(tmp_path)
    number = (await desk.perform(make_call("create"))).number
    for index in range(600):
        await desk.perform(make_call(str(index), "comment_client_ticket", number=number))
    assert (tmp_path / "desk.db-wal").stat().st_size < 256 * 6 * 4200
    await desk.aclose()
    assert not (tmp_path / "desk.db-wal").exists()


@pytest.mark.requirement("I0")
async def test_room_is_kept_for_what_is_not_yet_moved_into_its_file(tmp_path: Path) -> None:
    room = Room(tmp_path, reserve_bytes=160_000_000, free_bytes=lambda _: 90_000_000, now=lambda: 0)
    desk = await LocalDesk.open(tmp_path / "desk.db", clock=SystemClock(), room=room)
    assert room.may_perform()
    with closing(sqlite3.connect(tmp_path / "desk.db")) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM action").fetchone()  # nothing is moved while it stands here
        for index in range(3):
            await desk.perform(make_call(f"create{index}", fields={"description": "x" * 500_000}))
        assert not room.may_perform()
    await desk.aclose()


@pytest.mark.parametrize("content", [b"not a database at all" * 100, None])
async def test_unusable_file_is_told_at_open(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "desk.db").write_bytes(content)
        with pytest.raises(StoreUnavailable):
            await open_local(tmp_path)
    else:
        with pytest.raises(StoreUnavailable):
            await open_local(tmp_path / "missing")


async def test_newer_schema_is_refused(tmp_path: Path) -> None:
    desk = await open_local(tmp_path)
    await desk.aclose()
    read(tmp_path, "PRAGMA user_version = 2")
    with pytest.raises(StoreError, match="newer"):
        await open_local(tmp_path)


async def test_skipped_numbers_are_never_given_and_what_was_lost_can_be_changed(tmp_path: Path) -> None:
    desk = await open_local(tmp_path)
    assert await desk.is_new()
    first = await desk.perform(make_call("1"))
    assert await desk.read_stand() == DeskStand(1, first.number, "1")
    await desk.skip_to(1_000_001)
    assert await desk.read_stand() == DeskStand(1_000_001)
    await desk.aclose()
    desk = await open_local(tmp_path)
    assert not await desk.is_new()
    lost = make_call("u", "update_client_ticket", number="LOCAL-0000005", fields={"status": "pending"})
    assert await desk.perform(lost) == DeskAnswer("LOCAL-0000005", "pending")
    with pytest.raises(DeskRefused):
        await desk.perform(make_call("v", "close_client_ticket", number="LOCAL-1000002"))
    assert (await desk.perform(make_call("2"))).number == "LOCAL-1000002"
    assert (await desk.perform(make_call("1"))).number == first.number
    assert await desk.read_stand() == DeskStand(1_000_002, "LOCAL-1000002", "2")
    await desk.aclose()


async def test_a_file_of_the_first_builds_counts_on(tmp_path: Path) -> None:
    desk = await open_local(tmp_path)
    await desk.perform(make_call("1"))
    await desk.aclose()
    read(tmp_path, "DROP TABLE skipped")
    desk = await open_local(tmp_path)
    assert (await desk.perform(make_call("2"))).number == "LOCAL-0000002"
    await desk.aclose()


@pytest.mark.requirement("I7")
async def test_a_write_ahead_log_that_a_reader_made_long_is_cut_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(walfile, "_LONGEST_WAL", 1_000_000)
    monkeypatch.setattr(local, "_TEND_SECONDS", 0.01)
    wal = tmp_path / "desk.db-wal"
    desk = await open_local(tmp_path)
    await desk.perform(make_call("create"))
    with closing(sqlite3.connect(tmp_path / "desk.db", isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM ticket").fetchall()
        for number in range(5):
            await desk.perform(make_call(str(number), fields={"description": "x" * 500_000}))
        assert wal.stat().st_size > 2_000_000
    async with anyio.create_task_group() as tending:
        tending.start_soon(desk.keep_short)
        with anyio.fail_after(10):
            while wal.stat().st_size > 1_000_000:  # noqa: ASYNC110 - a file has no signal
                await anyio.sleep(0.01)
        tending.cancel_scope.cancel()
    await desk.aclose()
