"""A data directory of the SQLite store: its lock, its identity, its anchor, and what a start refuses."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from ecproc.domain.log import Batch, Compact, Fence, NewEvent, Snapshot, StreamCounters
from ecproc.errors import DataDirInUse, LogDamaged, NewerFormat, StoreError, StoreUnavailable, WrongEnvironment
from ecproc.store.base import Damage, Head, Tables, VerifiedLog
from ecproc.store.sqlite.datadir import DataDir, read_anchor
from ecproc.store.sqlite.logfile import ANCHOR_SECONDS
from ecproc.store.sqlite.schema import SCHEMA_VERSION, connect_reader, connect_writer
from ecproc.store.sqlite.sql.log import FIND_LOSS
from ecproc.store.sqlite.store import open_reader, open_store
from ecproc.store.sqlite.verify import verify_log
from ecproc.testing.store import (
    OTHER,
    STREAM,
    SUITE_TABLES,
    append,
    decide,
    list_compact,
    make_message,
    make_row,
    read_all,
    scan_all,
)
from ecproc.testing.store_tables import WIDER
from tests.conformance.sqlite_stores import sqlite_store

IDENTITY = {"host": "smconnect.ensono.com", "client": "YourCompanyName", "environment": "prod"}


def change(directory: Path, *statements: str) -> None:
    """Change a closed log behind the store's back."""
    with closing(sqlite3.connect(directory / "ecproc.db", isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


def list_files(directory: Path) -> list[tuple[str, int, int]]:
    stats = [(path.name, path.stat()) for path in directory.iterdir()]
    return sorted((name, stat.st_mtime_ns, stat.st_size) for name, stat in stats)


async def write_some(directory: Path, events: int = 10) -> None:
    async with sqlite_store(directory) as store:
        for number in range(events):
            await store.commit(
                Batch(
                    events=[make_message(number, stream=STREAM if number % 2 else OTHER)],
                    rows=[make_row(str(number))],
                    snapshot=Snapshot(STREAM, number, 3, b"s"),
                )
            )


# --- files and lock


@pytest.mark.requirement("I11")
async def test_only_the_owner_can_read_what_is_created(tmp_path: Path) -> None:
    directory = tmp_path / "new" / "data"
    async with sqlite_store(directory) as store:
        await append(store, make_message(1))
        modes = {path.name: path.stat().st_mode & 0o777 for path in directory.iterdir()}
    assert directory.stat().st_mode & 0o777 == 0o700
    assert modes == dict.fromkeys(["LOCK", "anchor", "ecproc.db", "ecproc.db-shm", "ecproc.db-wal"], 0o600)


@pytest.mark.requirement("I1")
async def test_everything_is_there_after_a_restart(tmp_path: Path) -> None:
    async with sqlite_store(tmp_path) as store:
        await store.commit(Batch(events=[make_message(1)], rows=[make_row("a")], snapshot=Snapshot(STREAM, 1, 2, b"s")))
        decided = NewEvent(STREAM, "Decided", b"")
        await store.commit(Batch(events=[decided], fence=Fence(STREAM, 0, 1), compact=b"c"))
        events, head = await read_all(store), await store.head()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["LOCK", "anchor", "closed", "ecproc.db"]
    async with sqlite_store(tmp_path) as store:
        assert await read_all(store) == events
        assert await store.head() == head
        assert await scan_all(store, "note") == [make_row("a")]
        assert await store.stream_state(STREAM) == StreamCounters(version=2, through=1, wanted=1, last=2)
        assert await list_compact(store) == [Compact(STREAM, 2, b"c")]
        assert await store.read_snapshot(STREAM, snapshot_version=2) == Snapshot(STREAM, 1, 2, b"s")
        again = await store.commit(Batch(events=[make_message(1), make_message(2), make_message(0)]))
        assert [event and event.version for event in again.events] == [None, 3, 4]
        assert [event.position for event in await store.read_stream(STREAM)] == [1, 2, 3, 4]


@pytest.mark.requirement("I12")
async def test_a_second_process_is_refused_and_touches_nothing(tmp_path: Path) -> None:
    script = (
        "import anyio, sys\n"
        "from pathlib import Path\n"
        "from ecproc.errors import DataDirInUse\n"
        "from ecproc.store.sqlite.store import open_store\n"
        "from ecproc.testing.store import SUITE_TABLES\n"
        "async def main():\n"
        "    try:\n"
        "        await open_store(Path(sys.argv[1]), SUITE_TABLES, now=lambda: 0, identity=None, reserve_bytes=0)\n"
        "    except DataDirInUse as refused:\n"
        "        print(refused.pid)\n"
        "anyio.run(main)\n"
    )
    async with sqlite_store(tmp_path) as store:
        await append(store, make_message(1))
        await wait_for_anchor(tmp_path, await store.head())
        before = list_files(tmp_path)
        second = await anyio.run_process([sys.executable, "-c", script, str(tmp_path)], stderr=subprocess.PIPE)
        assert second.stdout.decode().split() == [str(os.getpid())]
        assert list_files(tmp_path) == before
        with pytest.raises(DataDirInUse, match=str(os.getpid())):
            await open_store(tmp_path, SUITE_TABLES, now=lambda: 0, identity=None, reserve_bytes=0)
        assert list_files(tmp_path) == before
        await append(store, make_message(2))


async def test_the_lock_is_free_after_closing_and_after_a_refused_start(tmp_path: Path) -> None:
    async with sqlite_store(tmp_path, identity=IDENTITY):
        pass
    with pytest.raises(WrongEnvironment):
        async with sqlite_store(tmp_path, identity=IDENTITY | {"environment": "uat"}):
            pass
    async with sqlite_store(tmp_path, identity=IDENTITY) as store:
        await append(store, make_message(1))


async def test_an_opening_that_is_cancelled_gives_the_lock_back(tmp_path: Path) -> None:
    task = asyncio.create_task(open_store(tmp_path, SUITE_TABLES, now=lambda: 0, identity=IDENTITY, reserve_bytes=0))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with anyio.fail_after(10):
        while True:
            try:
                DataDir.acquire(tmp_path).release()
            except DataDirInUse:
                await anyio.sleep(0.01)
            else:
                break


async def test_a_directory_that_cannot_be_made_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreUnavailable, match="file"):
        async with sqlite_store(tmp_path / "file" / "data"):
            pass


# --- identity and schema


@pytest.mark.requirement("R6")
async def test_the_first_event_says_whose_log_it_is(tmp_path: Path) -> None:
    async with sqlite_store(tmp_path, identity=IDENTITY) as store:
        first = await store.read_event(1)
    assert first is not None
    assert (first.stream, first.kind, first.version) == ("ecproc", "LogIdentified", 1)
    assert first.payload == msgspec.json.encode(dict(sorted(IDENTITY.items())))
    async with sqlite_store(tmp_path, identity=dict(reversed(IDENTITY.items()))) as store:
        assert (await store.head()).position == 1


@pytest.mark.requirement("R6", "R83")
@pytest.mark.parametrize(("begun", "opened"), [("1.2", None), (None, "1.2"), ("1.2", "1.3")])
async def test_the_guides_version_is_recorded_and_makes_no_other_log(
    tmp_path: Path, begun: str | None, opened: str | None
) -> None:
    def with_guide(version: str | None) -> dict[str, str]:
        return IDENTITY if version is None else IDENTITY | {"guide": version}

    async with sqlite_store(tmp_path, identity=with_guide(begun)):
        pass
    async with sqlite_store(tmp_path, identity=with_guide(opened)) as store:
        first = await store.read_event(1)
        assert (await store.head()).position == 1
    assert first is not None
    assert msgspec.json.decode(first.payload) == with_guide(begun)


@pytest.mark.requirement("R6")
@pytest.mark.parametrize(
    ("part", "other"), [("environment", "uat"), ("host", "elsewhere.example"), ("client", "Other")]
)
async def test_a_log_of_another_environment_is_refused_by_both_names(tmp_path: Path, part: str, other: str) -> None:
    async with sqlite_store(tmp_path, identity=IDENTITY):
        pass
    with pytest.raises(WrongEnvironment, match=rf"'{IDENTITY[part]}'.*'{other}'"):
        async with sqlite_store(tmp_path, identity=IDENTITY | {part: other}):
            pass
    async with sqlite_store(tmp_path, identity=None) as store:
        assert (await store.head()).position == 1


async def test_a_log_that_names_no_environment_is_refused(tmp_path: Path) -> None:
    await write_some(tmp_path, 1)
    with pytest.raises(WrongEnvironment, match="no environment"):
        async with sqlite_store(tmp_path, identity=IDENTITY):
            pass


async def test_a_newer_schema_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    await write_some(tmp_path)
    change(tmp_path, f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    await refuse_unchanged(tmp_path, "newer ecproc")


async def test_the_schema_from_before_the_first_release_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    await write_some(tmp_path)
    change(tmp_path, "PRAGMA user_version = 1")
    await refuse_unchanged(tmp_path, "before the first release")


async def refuse_unchanged(directory: Path, reason: str) -> None:
    before = (directory / "ecproc.db").read_bytes()
    for opening in (sqlite_store(directory), open_reader(directory, SUITE_TABLES)):
        with pytest.raises(StoreError, match=reason) as caught:
            async with opening:
                pass
        assert not isinstance(caught.value, LogDamaged)
    with pytest.raises(StoreError, match=reason):
        verify_log(directory)
    assert (directory / "ecproc.db").read_bytes() == before


async def test_a_database_of_another_program_is_refused(tmp_path: Path) -> None:
    change(tmp_path, "CREATE TABLE theirs (a)")
    with pytest.raises(StoreError, match="another program"):
        async with sqlite_store(tmp_path):
            pass


def test_a_reader_that_meets_a_first_start_sees_no_log_or_a_whole_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ecproc.db"
    path.touch()

    class Overtaken(sqlite3.Connection):
        """The log is created behind its first look at the file."""

        def execute(self, *statement: Any) -> sqlite3.Cursor:
            rows = super().execute(*statement)
            if not path.stat().st_size:
                monkeypatch.undo()
                connect_writer(path, SUITE_TABLES).close()
            return rows

    monkeypatch.setattr(sqlite3, "connect", partial(sqlite3.connect, factory=Overtaken))
    with closing(connect_reader(path)) as reader:
        assert reader.execute("SELECT count(*) FROM event").fetchone() == (0,)


async def test_a_file_left_by_a_start_that_died_is_taken_over(tmp_path: Path) -> None:
    change(tmp_path, "PRAGMA journal_mode = WAL")
    async with sqlite_store(tmp_path, identity=IDENTITY) as store:
        assert (await store.head()).position == 1


# --- the anchor


async def wait_for_anchor(directory: Path, head: Head) -> None:
    with anyio.fail_after(10):
        while read_anchor(directory) != head:  # noqa: ASYNC110 - a file has no signal
            await anyio.sleep(0.01)


@pytest.mark.requirement("I6")
async def test_the_anchor_follows_the_log(tmp_path: Path) -> None:
    assert ANCHOR_SECONDS < 1
    async with sqlite_store(tmp_path, identity=IDENTITY) as store:
        await wait_for_anchor(tmp_path, await store.head())
        await append(store, make_message(1))
        await wait_for_anchor(tmp_path, await store.head())
        await append(store, make_message(2))
        head = await store.head()
    assert read_anchor(tmp_path) == head


@pytest.mark.requirement("I6")
async def test_the_anchor_follows_a_log_that_is_never_idle(tmp_path: Path) -> None:
    async with sqlite_store(tmp_path) as store:
        with anyio.fail_after(10):
            while (read_anchor(tmp_path) or Head(0, b"")).position < 2:
                await append(store, NewEvent(STREAM, "X", b""))


@pytest.mark.requirement("I6")
async def test_a_log_behind_its_anchor_is_opened_only_with_its_loss_accepted(tmp_path: Path) -> None:
    await write_some(tmp_path)
    anchor = read_anchor(tmp_path)
    change(tmp_path, "DELETE FROM event WHERE position > 7", "UPDATE stream SET through = version, wanted = version")
    with pytest.raises(LogDamaged, match="reached 10") as caught:
        async with sqlite_store(tmp_path):
            pass
    assert caught.value.position == 8
    async with sqlite_store(tmp_path, accept_loss=True) as store:
        assert store.accepted_loss == anchor
        assert await store.stream_state(STREAM) == StreamCounters(version=3, through=3, wanted=3, last=6)
        assert await store.fold_version() == 0
        assert await store.read_snapshot(STREAM, snapshot_version=3) is None
        recorded = await append(store, make_message(9), make_message(99))
        assert [(event.position, event.version) for event in recorded] == [(8, 4), (9, 5)]
        assert [event.position for event in await store.read_stream(STREAM)] == [2, 4, 6, 8, 9]
    assert isinstance(verify_log(tmp_path), VerifiedLog)
    async with sqlite_store(tmp_path, accept_loss=True) as store:
        assert store.accepted_loss is None


@pytest.mark.parametrize("accept_loss", [False, True])
async def test_rows_of_a_newer_fold_are_refused_before_anything_is_changed(tmp_path: Path, accept_loss: bool) -> None:
    await write_some(tmp_path)
    version = "SELECT value FROM meta WHERE key = 'fold_version'"
    change(tmp_path, *OLDER, "INSERT OR REPLACE INTO meta (key, value) VALUES ('fold_version', 99)")
    (tmp_path / "anchor").unlink()

    def require_known(fold_version: int) -> None:
        raise NewerFormat(f"fold {fold_version}")

    with pytest.raises(NewerFormat if accept_loss else LogDamaged):
        async with sqlite_store(tmp_path, accept_loss=accept_loss, require_known=require_known):
            pass
    with closing(sqlite3.connect(tmp_path / "ecproc.db")) as file:
        assert file.execute(version).fetchone() == (99,)
        assert file.execute(FIND_LOSS).fetchone() is None


@pytest.mark.requirement("I4")
@pytest.mark.parametrize("is_seen", [False, True])
async def test_that_a_loss_was_accepted_is_known_until_what_follows_is_done(tmp_path: Path, is_seen: bool) -> None:
    await write_some(tmp_path)
    async with sqlite_store(tmp_path) as store:
        assert not await store.owes_for_loss()
    if is_seen:
        (tmp_path / "anchor").unlink()
    async with sqlite_store(tmp_path, accept_loss=True) as store:
        assert await store.owes_for_loss()
    async with sqlite_store(tmp_path) as store:
        assert await store.owes_for_loss(), "a start that died"
        with closing(sqlite3.connect(tmp_path / "ecproc.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            await store.settle_loss()
            assert await store.owes_for_loss(), "there was no room"
        await store.settle_loss()
        assert not await store.owes_for_loss()
    async with sqlite_store(tmp_path) as store:
        assert not await store.owes_for_loss()


@pytest.mark.requirement("I4")
def test_a_new_log_knows_from_its_first_moment_that_a_loss_was_accepted(tmp_path: Path) -> None:
    for accept_loss in (True, False):
        with closing(connect_writer(tmp_path / f"{accept_loss}.db", SUITE_TABLES, accept_loss=accept_loss)) as file:
            assert bool(file.execute(FIND_LOSS).fetchone()) is accept_loss


@pytest.mark.requirement("I6")
async def test_what_is_lost_with_its_loss_accepted_leaves_no_compact_form(tmp_path: Path) -> None:
    async with sqlite_store(tmp_path) as store:
        for number in range(5):
            await decide(store, expected=number, compact=b"%d" % number)
        await decide(store, stream=OTHER, compact=b"lost with all of its stream")
    change(tmp_path, "DELETE FROM event WHERE position > 3")
    async with sqlite_store(tmp_path, accept_loss=True) as store:
        kept = [Compact(STREAM, position, b"%d" % (position - 1)) for position in (1, 2, 3)]
        assert await list_compact(store) == kept
        assert await store.stream_state(OTHER) == StreamCounters()
        for number in (3, 4):
            await decide(store, expected=number, compact=b"new")
        assert await list_compact(store) == [*kept, Compact(STREAM, 4, b"new"), Compact(STREAM, 5, b"new")]
        (begun,) = await append(store, NewEvent(OTHER, "X", b""))
        assert await store.read_stream(OTHER) == [begun]
    assert isinstance(verify_log(tmp_path), VerifiedLog)


OLDER = ("ALTER TABLE stream DROP COLUMN crc", "DELETE FROM meta WHERE key <> 'fold_version'")
"""What makes a log one of before checksums; it may lack the rows' version too, or a live table."""
WITH_VERSION = "INSERT OR REPLACE INTO meta (key, value) VALUES ('fold_version', 2)"
WITHOUT_VERSION = "DELETE FROM meta WHERE key = 'fold_version'"


@pytest.mark.requirement("I6")
@pytest.mark.parametrize("version", [WITH_VERSION, WITHOUT_VERSION], ids=["version", "no version"])
@pytest.mark.parametrize("tables", [SUITE_TABLES, WIDER], ids=["all tables", "a later table"])
@pytest.mark.parametrize("accept_loss", [False, True])
async def test_a_log_of_before_checksums_is_brought_to_this_form(
    tmp_path: Path, accept_loss: bool, tables: Tables, version: str
) -> None:
    await write_some(tmp_path)
    change(tmp_path, *OLDER, version)
    if accept_loss:
        change(tmp_path, "DELETE FROM event WHERE position > 7")
    for _ in range(2):
        async with sqlite_store(tmp_path, tables, accept_loss=accept_loss) as store:
            assert await store.fold_version() == 0, "its rows are to be rebuilt"
            (known,) = await append(store, make_message(100 + (await store.head()).position))
            assert (await store.stream_state(STREAM)).last == known.position
    assert isinstance(verify_log(tmp_path), VerifiedLog)


@pytest.mark.requirement("I6")
async def test_a_log_with_another_hash_at_its_anchor_is_refused(tmp_path: Path) -> None:
    await write_some(tmp_path)
    data_dir = DataDir.acquire(tmp_path)
    data_dir.write_anchor(Head(6, bytes(32)))
    data_dir.release()
    with pytest.raises(LogDamaged, match="another hash") as caught:
        async with sqlite_store(tmp_path):
            pass
    assert caught.value.position == 6


@pytest.mark.requirement("I6")
@pytest.mark.parametrize("body", [b"", b"{}", b'{"position":1,"hash":"zz"}', b'{"position":1,"hash":"00"}'])
async def test_an_anchor_that_is_no_anchor_is_refused(tmp_path: Path, body: bytes) -> None:
    await write_some(tmp_path)
    (tmp_path / "anchor").write_bytes(body)
    with pytest.raises(LogDamaged, match="anchor"):
        async with sqlite_store(tmp_path):
            pass
    assert isinstance(verify_log(tmp_path), Damage)
    async with sqlite_store(tmp_path, accept_loss=True) as store:
        assert len(await read_all(store)) == 10
    assert isinstance(verify_log(tmp_path), VerifiedLog)


@pytest.mark.requirement("I6")
async def test_an_emptied_file_is_not_taken_for_a_new_one(tmp_path: Path) -> None:
    await write_some(tmp_path)
    (tmp_path / "ecproc.db").write_bytes(b"")
    for _ in range(2):
        with pytest.raises(LogDamaged) as caught:
            async with sqlite_store(tmp_path):
                pass
        assert caught.value.position == 1
    assert verify_log(tmp_path) == Damage(1, caught.value.reason)
    async with sqlite_store(tmp_path, accept_loss=True) as store:
        assert await read_all(store) == []


@pytest.mark.requirement("I6")
async def test_events_without_an_anchor_are_refused_and_a_finding_until_that_is_accepted(tmp_path: Path) -> None:
    await write_some(tmp_path)
    (tmp_path / "anchor").unlink()
    for _ in range(2):
        with pytest.raises(LogDamaged, match="anchor beside it is gone"):
            async with sqlite_store(tmp_path):
                pass
        found = verify_log(tmp_path)
        assert isinstance(found, Damage)
        assert (found.position, "anchor" in found.reason) == (0, True)
    async with sqlite_store(tmp_path, accept_loss=True) as store:
        assert read_anchor(tmp_path) == await store.head()
    assert isinstance(verify_log(tmp_path), VerifiedLog)


@pytest.mark.requirement("I6")
async def test_the_anchor_stands_before_the_first_event_does(tmp_path: Path) -> None:
    async with sqlite_store(tmp_path):
        assert read_anchor(tmp_path) == Head(0, bytes(32))
        assert verify_log(tmp_path) == VerifiedLog(0, Head(0, bytes(32)))
    (tmp_path / "anchor").unlink()
    async with sqlite_store(tmp_path) as store:
        await append(store, make_message(1))


@pytest.mark.requirement("I6")
async def test_a_log_that_begins_while_it_is_verified_has_its_anchor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await write_some(tmp_path)
    seen = [None, *[read_anchor(tmp_path)] * 2]
    monkeypatch.setattr("ecproc.store.sqlite.verify.read_anchor", lambda path: seen.pop(0))
    found = verify_log(tmp_path)
    assert isinstance(found, VerifiedLog)


@pytest.mark.requirement("I6")
@pytest.mark.parametrize("pages", [1, 2, 0.5])
async def test_a_file_that_lacks_pages_is_refused_unless_the_write_ahead_log_holds_them(
    tmp_path: Path, pages: float
) -> None:
    async with sqlite_store(tmp_path / "live") as store:
        await append(store, *[make_message(number, payload=b"x" * 9000) for number in range(20)])
        await store._writer.call(lambda log: log._checkpoint())
        await append(store, make_message(99))
        shutil.copytree(tmp_path / "live", tmp_path / "begun")
    cut = 8192 * (1 if pages == 0.5 else int(pages)) - (4000 if pages == 0.5 else 0)
    for name in ("live", "begun"):
        path = tmp_path / name / "ecproc.db"
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) - cut])
        with pytest.raises(LogDamaged):
            async with sqlite_store(tmp_path / name, accept_loss=True):
                pass
        assert isinstance(verify_log(tmp_path / name), Damage), name
        path.write_bytes(whole)
        assert isinstance(verify_log(tmp_path / name), VerifiedLog), name


@pytest.mark.requirement("I6")
@pytest.mark.parametrize("left", [8192, 2 * 8192, 3 * 8192 + 100])
async def test_pages_that_are_still_in_the_write_ahead_log_are_not_missed(tmp_path: Path, left: int) -> None:
    """A checkpoint that was killed leaves a file that is short, or ends within a page, and a log with all there is."""
    async with sqlite_store(tmp_path / "live") as store:
        await append(store, *[make_message(number, payload=b"x" * 9000) for number in range(20)])
        await wait_for_anchor(tmp_path / "live", await store.head())
        shutil.copytree(tmp_path / "live", tmp_path / "killed")
        await store._writer.call(lambda log: log._checkpoint())
        whole = (tmp_path / "live" / "ecproc.db").read_bytes()
    (tmp_path / "killed" / "ecproc.db").write_bytes(whole[:left])
    assert isinstance(verify_log(tmp_path / "killed"), VerifiedLog)
    async with sqlite_store(tmp_path / "killed") as store:
        assert len(await read_all(store)) == 20


# --- damage at the start


@pytest.mark.requirement("I6")
@pytest.mark.parametrize("accept_loss", [False, True])
async def test_a_changed_event_near_the_end_is_found_at_the_start(tmp_path: Path, accept_loss: bool) -> None:
    await write_some(tmp_path)
    change(tmp_path, "UPDATE event SET payload = x'00' WHERE position = 4")
    database = (tmp_path / "ecproc.db").read_bytes()
    with pytest.raises(LogDamaged) as caught:
        async with sqlite_store(tmp_path, accept_loss=accept_loss):
            pass
    assert caught.value.position == 4
    assert (tmp_path / "ecproc.db").read_bytes() == database


@pytest.mark.requirement("I6")
async def test_a_start_checks_the_last_thousand_events(tmp_path: Path) -> None:
    async with sqlite_store(tmp_path) as store:
        await append(store, *[NewEvent(STREAM, "X", b"") for _ in range(1500)])
    change(tmp_path, "UPDATE event SET at = at + 1 WHERE position = 501")
    with pytest.raises(LogDamaged) as caught:
        async with sqlite_store(tmp_path):
            pass
    assert caught.value.position == 501
    change(tmp_path, "UPDATE event SET at = at - 1 WHERE position = 501", "DELETE FROM event WHERE position = 500")
    with pytest.raises(LogDamaged) as caught:
        async with sqlite_store(tmp_path):
            pass
    assert caught.value.position == 500


@pytest.mark.requirement("I6")
@pytest.mark.parametrize("other", ["'text'", "x'00'", "CAST(hash || x'00' AS BLOB)", "1"])
async def test_a_hash_of_another_shape_is_damage_wherever_the_start_begins_to_check(tmp_path: Path, other: str) -> None:
    async with sqlite_store(tmp_path) as store:
        await append(store, *[NewEvent(STREAM, "X", b"") for _ in range(1500)])
    change(tmp_path, f"UPDATE event SET hash = {other} WHERE position = 500")  # noqa: S608
    with pytest.raises(LogDamaged):
        async with sqlite_store(tmp_path):
            pass
    assert verify_log(tmp_path).position == 500  # type: ignore[union-attr]


@pytest.mark.requirement("I6")
async def test_a_file_that_is_no_database_is_damage(tmp_path: Path) -> None:
    await write_some(tmp_path)
    (tmp_path / "ecproc.db").write_bytes(b"not a database" * 1000)
    with pytest.raises(LogDamaged):
        async with sqlite_store(tmp_path):
            pass
    with pytest.raises(LogDamaged):
        async with open_reader(tmp_path, SUITE_TABLES):
            pass
    assert isinstance(verify_log(tmp_path), Damage)
