"""The SQLite store: the shared suite, shared commits, settings, readers beside the writer."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from ecproc.domain.log import Batch, Compact, Fence, NewEvent, Row, StreamCounters
from ecproc.errors import LogDamaged, StoreError
from ecproc.fold.tables import TABLES, LiveTables
from ecproc.store.base import Reader, Span, Tables, VerifiedLog
from ecproc.store.sqlite import walfile
from ecproc.store.sqlite.schema import SCHEMA_VERSION
from ecproc.store.sqlite.sql import live, log
from ecproc.store.sqlite.store import SqliteStore, open_reader, open_store
from ecproc.store.sqlite.verify import verify_log
from ecproc.testing.store import (
    STREAM,
    SUITE_TABLES,
    StoreTests,
    append,
    copy_live,
    list_compact,
    make_message,
    make_row,
    read_all,
    read_by_stream,
    scan_all,
)
from tests.conformance.sqlite_stores import sqlite_store
from tests.scarcity import read_only_copy, without_privileges


async def on_writer(store: SqliteStore, statement: str) -> list[tuple[Any, ...]]:
    """Run a statement on the one connection that writes."""
    return await store._writer.call(lambda file: file._connection.execute(statement).fetchall())


class TestSqliteStore(StoreTests):
    async def open_store(self, directory: Path, tables: Tables) -> SqliteStore:
        now = count(1_700_000_000_000_000).__next__
        return await open_store(directory, tables, now=now, identity={"host": "smconnect.ensono.com"}, reserve_bytes=0)


# --- one writer, shared commits


@pytest.mark.requirement("I1")
async def test_callers_at_the_same_time_share_commits(tmp_path: Path) -> None:
    commits: list[int] = []
    async with sqlite_store(tmp_path, on_commit=lambda seconds, batches: commits.append(batches)) as store:

        async def receive(caller: int) -> None:
            for number in range(20):
                await append(store, make_message(caller * 1000 + number))

        async with anyio.create_task_group() as group:
            for caller in range(16):
                group.start_soon(receive, caller)
    assert sum(commits) == 320
    assert len(commits) <= 320 / 4


@pytest.mark.requirement("I1")
async def test_a_cancelled_task_leaves_its_batch_to_be_committed_whole(tmp_path: Path) -> None:
    async with sqlite_store(tmp_path) as store:
        batch = Batch(events=[make_message(1), make_message(2)], rows=[make_row("a")])
        task = asyncio.create_task(store.commit(batch))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await append(store, make_message(3))
        assert len(await store.read_stream(STREAM)) == 3
        assert await scan_all(store, "note") == [make_row("a")]


@pytest.mark.requirement("I1")
async def test_a_cancelled_scope_leaves_its_batch_to_be_committed_whole(tmp_path: Path) -> None:
    events = [make_message(1), NewEvent(STREAM, "Decided", b"{}")]
    batch = Batch(events=events, rows=[make_row("a")], fence=Fence(STREAM, 0, 1), compact=b"c")
    async with sqlite_store(tmp_path) as store, anyio.create_task_group() as group:
        group.start_soon(store.commit, batch)
        await anyio.lowlevel.checkpoint()
        group.cancel_scope.cancel()
    async with sqlite_store(tmp_path) as store:
        assert [event.kind for event in await store.read_stream(STREAM)] == ["MessageReceived", "Decided"]
        assert await store.stream_state(STREAM) == StreamCounters(version=2, through=1, wanted=1, last=2)
        assert await scan_all(store, "note") == [make_row("a")]
        assert await list_compact(store) == [Compact(STREAM, 2, b"c")]


@pytest.mark.requirement("I1")
async def test_settings_that_durability_rests_on_are_in_force(tmp_path: Path) -> None:
    async with sqlite_store(tmp_path) as store:
        await append(store, make_message(1))
        expected = {
            "journal_mode": "wal",
            "synchronous": 2,
            "page_size": 8192,
            "trusted_schema": 0,
            "cell_size_check": 1,
            "wal_autocheckpoint": 0,
            "user_version": SCHEMA_VERSION,
        }
        for pragma, value in expected.items():
            assert await on_writer(store, f"PRAGMA {pragma}") == [(value,)]


@pytest.mark.requirement("I7")
async def test_whoever_reads_for_long_holds_up_no_checkpoint(tmp_path: Path) -> None:
    async with sqlite_store(tmp_path) as store:
        await append(store, *[make_message(number) for number in range(600)])
        async with store.copying() as copy:
            by_stream = copy.read_streams()
            for pages in (by_stream, store.read_streams(), store.read_log(), store.scan_rows("note")):
                await anext(aiter(pages), None)
            await append(store, make_message(1000))
            ((busy, logged, moved),) = await on_writer(store, "PRAGMA wal_checkpoint(TRUNCATE)")
            assert (busy, logged, moved) == (0, 0, 0)
            assert sum([len(page) async for page in by_stream]) == 600 - 256
        async with store.reading():
            await append(store, make_message(1001))
            ((busy, *_),) = await on_writer(store, "PRAGMA wal_checkpoint(TRUNCATE)")
            assert busy == 1, "this one should: else nothing was shown above"


@pytest.mark.requirement("I7")
async def test_a_write_ahead_log_that_a_reader_made_long_is_cut_down_while_idle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(walfile, "RESTART_BYTES", 1_000_000)
    monkeypatch.setattr(walfile, "LONGEST_BYTES", 2_000_000)
    wal = tmp_path / "ecproc.db-wal"
    async with sqlite_store(tmp_path) as store:
        await append(store, make_message(1))
        async with store.reading():
            for number in range(4):
                await append(store, NewEvent(STREAM, "X", bytes(1_000_000)), make_message(10 + number))
            assert wal.stat().st_size > 4_000_000
        with anyio.fail_after(10):
            while wal.stat().st_size > 2_000_000:  # noqa: ASYNC110 - a file has no signal
                await anyio.sleep(0.01)


async def test_write_ahead_log_stays_short(tmp_path: Path) -> None:
    wal = tmp_path / "ecproc.db-wal"
    async with sqlite_store(tmp_path) as store:
        for number in range(40):
            await append(store, NewEvent(STREAM, "X", bytes(1_000_000)), make_message(number))
            assert wal.stat().st_size < 32_000_000
    assert not wal.exists()


async def test_counters_that_are_no_longer_in_memory_are_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ecproc.store.sqlite.logfile.CACHED_STREAMS", 3)
    async with sqlite_store(tmp_path) as store:
        for number in range(40):
            await append(store, NewEvent(f"s{number % 8}", "X", b""), NewEvent(f"s{number % 5}", "Y", b""))
        events = await read_all(store)
        assert len(events) == 80
        for stream in {event.stream for event in events}:
            versions = [event.version for event in events if event.stream == stream]
            assert versions == list(range(1, len(versions) + 1))
            assert await store.read_stream(stream) == [event for event in events if event.stream == stream]


@pytest.mark.parametrize(
    ("statement", "index"),
    [
        (log.FIND_MESSAGE, "event_message"),
        (log.READ_HIGHEST_KEY, "event_message"),
        (log.READ_STREAM_STATE, "PRIMARY KEY"),
        (log.READ_EVENTS, "INTEGER PRIMARY KEY"),
        (log.list_streams(">"), "PRIMARY KEY"),
        (live.scan_rows("outbox", ">", tagged=True), "outbox_tagged"),
        (live.read_rows_by_id("ticket"), "ticket_id"),
        (live.list_later("client_ticket"), "COVERING INDEX client_ticket_id"),
        (live.count_tags("ticket"), "COVERING INDEX ticket_by_tag"),
        (live.read_rows_by_id("client_ticket"), "client_ticket_id"),
        (live.scan_rows("note", ">"), "PRIMARY KEY"),
        (live.list_rows("note", ">"), "PRIMARY KEY"),
    ],
)
async def test_reads_on_the_way_use_their_index(tmp_path: Path, statement: str, index: str) -> None:
    async with sqlite_store(tmp_path, TABLES) as store:
        plan = await store._fetch(f"EXPLAIN QUERY PLAN {statement}", (None,) * statement.count("?"))
    assert f"{index} " in f"{plan[0][3]} "
    assert plan[0][3].startswith("SEARCH ")


async def test_rows_of_several_tags_are_merged_without_a_sort(tmp_path: Path) -> None:
    statement = live.scan_tags("ticket", ">", 3)
    async with sqlite_store(tmp_path, TABLES) as store:
        plan = await store._fetch(f"EXPLAIN QUERY PLAN {statement}", ("",) * statement.count("?"))
        undecided = await store._fetch(f"EXPLAIN QUERY PLAN {log.READ_UNDECIDED}")
    steps = [step for *_, step in plan if step.startswith(("SCAN", "SEARCH", "USE"))]
    assert steps == ["SEARCH ticket USING INDEX ticket_by_tag (tag=? AND (stream,ordinal,id)>(?,?,?))"] * 3
    assert [step for *_, step in undecided] == ["SCAN stream USING INDEX stream_undecided"]


@pytest.mark.requirement("I5")
async def test_a_log_of_before_the_look_ups_is_read_as_it_is_and_gets_them_when_it_is_written(tmp_path: Path) -> None:
    rows = [make_row(f"t{number}", table="ticket", tag=f"Incident:{number % 2}") for number in range(20)]
    async with sqlite_store(tmp_path, TABLES) as store:
        await store.commit(Batch(events=[make_message(1)], rows=rows))
    with closing(sqlite3.connect(tmp_path / "ecproc.db")) as file:
        file.execute("DROP INDEX ticket_by_tag")
        file.execute("DROP INDEX stream_undecided")
    async with open_reader(tmp_path, TABLES) as reader:
        await check_look_ups(reader)
    async with sqlite_store(tmp_path, TABLES) as store:
        await check_look_ups(store)
        names = await on_writer(store, "SELECT name FROM sqlite_master WHERE type = 'index'")
        assert {("ticket_by_tag",), ("stream_undecided",)} <= set(names)
        assert await anext(store.check_rows()) == []


async def check_look_ups(reader: Reader) -> None:
    assert await reader.count_tags("ticket") == {"Incident:0": 10, "Incident:1": 10}
    found = [row.id async for page in reader.scan_rows("ticket", tags=["Incident:1"]) for row in page]
    assert found == sorted(f"t{number}" for number in range(1, 20, 2))
    assert await reader.undecided_streams() == [STREAM]


async def test_a_stream_is_followed_by_keys_alone(tmp_path: Path) -> None:
    async with sqlite_store(tmp_path) as store:
        plan = await store._fetch(f"EXPLAIN QUERY PLAN {log.READ_STREAM}", (STREAM, 0, 9))
        tail = await store._fetch(f"EXPLAIN QUERY PLAN {log.READ_TAIL}", (STREAM, 1, 9))
    assert {step for *_, step in tail if "snapshot" in step} == {
        "SEARCH snapshot USING INDEX sqlite_autoindex_snapshot_1 (stream=?)"
    }
    steps = {step.removesuffix(" LEFT-JOIN") for *_, step in plan if step.startswith(("SCAN", "SEARCH", "USE"))}
    assert steps - {"SCAN tail"} == {
        "SEARCH event USING INTEGER PRIMARY KEY (rowid=?)",
        "SEARCH stream USING PRIMARY KEY (stream=?)",
    }


async def test_a_scan_that_is_left_early_lets_the_store_close(tmp_path: Path) -> None:
    async with sqlite_store(tmp_path) as store:
        await append(store, *[NewEvent(f"s{number % 7}", "X", b"{}") for number in range(1000)])
        for _ in range(3):
            async for _ in store.read_streams(span=Span("s2")):
                break
        with anyio.CancelScope() as scope:
            async for _ in store.read_streams():
                scope.cancel()
                await anyio.lowlevel.checkpoint()
        await append(store, make_message(1))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["LOCK", "anchor", "closed", "ecproc.db"]


# --- readers


@pytest.mark.requirement("I12")
async def test_a_reader_works_beside_the_writer_and_takes_no_lock(tmp_path: Path) -> None:
    async with sqlite_store(tmp_path) as store, open_reader(tmp_path, SUITE_TABLES) as reader:
        await append(store, make_message(1))
        assert await reader.head() == await store.head()
        async with reader.reading() as moment:
            await store.commit(Batch(events=[make_message(2)], rows=[make_row("a")]))
            assert len(await read_all(moment)) == 1
        assert len(await read_all(reader)) == 2


@pytest.mark.requirement("R230")
async def test_a_reader_rebuilds_and_compares_but_never_swaps(tmp_path: Path) -> None:
    async with sqlite_store(tmp_path) as store, open_reader(tmp_path, SUITE_TABLES) as reader:
        await store.commit(Batch(events=[make_message(1)], rows=[make_row("a")], fence=Fence(STREAM, 0, 1)))
        async with reader.reading() as moment, reader.rebuilding(moment) as rebuild:
            await copy_live(moment, rebuild)
            assert await rebuild.differences(1) == (0, [])
            assert not list(tmp_path.glob("rebuild-*"))
            assert not hasattr(rebuild, "swap")
            assert await rebuild.digest() == await rebuild.live_digest()


async def test_a_closed_log_is_read_and_left_as_it_is(tmp_path: Path) -> None:
    async with sqlite_store(tmp_path) as store:
        await append(store, make_message(1))
    before = (tmp_path / "ecproc.db").read_bytes()
    async with open_reader(tmp_path, SUITE_TABLES) as reader:
        assert len(await read_all(reader)) == 1
    assert (tmp_path / "ecproc.db").read_bytes() == before
    async with sqlite_store(tmp_path) as store:
        await append(store, make_message(2))


async def test_a_missing_log_is_said_so_and_nothing_is_created(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for directory in (tmp_path / "nowhere", tmp_path / "empty"):
        with pytest.raises(StoreError, match="holds no event log"):
            async with open_reader(directory, SUITE_TABLES):
                pass
    assert [path.name for path in tmp_path.rglob("*")] == ["empty"]


async def test_a_log_on_a_medium_that_cannot_be_written_is_read(tmp_path: Path) -> None:
    async with sqlite_store(tmp_path) as store:
        await append(store, make_message(1))
    with read_only_copy(tmp_path) as medium:
        with without_privileges():
            async with open_reader(medium, SUITE_TABLES) as reader:
                assert len(await read_all(reader)) == 1
            assert isinstance(verify_log(medium), VerifiedLog)
        assert sorted(path.name for path in medium.iterdir()) == ["anchor", "ecproc.db"]


@pytest.mark.requirement("I6")
async def test_a_deleted_event_is_found_by_whoever_reads(tmp_path: Path) -> None:
    async with sqlite_store(tmp_path) as store:
        await append(store, *[NewEvent(f"s{number % 2}", "X", b"") for number in range(30)])
        await on_writer(store, "DELETE FROM event WHERE position = 17")
        for pages in (store.read_log(), store.read_streams()):
            with pytest.raises(LogDamaged) as caught:
                [page async for page in pages]
            assert caught.value.position == 17
        with pytest.raises(LogDamaged):
            await store.read_stream("s0")


BROKEN_LINKS = {
    "prev-of-another-stream": "UPDATE event SET prev = 16 WHERE position = 17",
    "prev-of-another-streams-like-version": "UPDATE event SET prev = 14 WHERE position = 17",
    "prev-too-early": "UPDATE event SET prev = 13 WHERE position = 17",
    "prev-none": "UPDATE event SET prev = 0 WHERE position = 17",
    "prev-nowhere": "UPDATE event SET prev = 99 WHERE position = 17",
    "prev-negative": "UPDATE event SET prev = -1 WHERE position = 17",
    "prev-itself": "UPDATE event SET prev = 17 WHERE position = 17",
    "prev-later": "UPDATE event SET prev = 19 WHERE position = 17",
    "version-higher": "UPDATE event SET version = version + 1 WHERE position = 17",
    "version-lower": "UPDATE event SET version = version - 1 WHERE position = 17",
    "version-of-the-first": "UPDATE event SET version = 1 WHERE position = 17",
    "version-of-the-last": "UPDATE event SET version = version + 1 WHERE position = 29",
    "stream": "UPDATE event SET stream = 's0' WHERE position = 17",
    "last-of-another-stream": "UPDATE stream SET last = 30 WHERE stream = 's1'",
    "last-too-early": "UPDATE stream SET last = 27 WHERE stream = 's1'",
    "last-none": "UPDATE stream SET last = 0 WHERE stream = 's1'",
    "last-nowhere": "UPDATE stream SET last = 99 WHERE stream = 's1'",
    "last-event-gone": "DELETE FROM event WHERE position = 29",
}


@pytest.mark.requirement("I6", "I3")
@pytest.mark.parametrize("change", BROKEN_LINKS.values(), ids=BROKEN_LINKS.keys())
async def test_a_stream_whose_events_do_not_hang_together_is_not_read_as_a_shorter_one(
    tmp_path: Path, change: str
) -> None:
    followed = f"SELECT count(*) FROM ({log.READ_STREAM} LIMIT 100)"  # noqa: S608
    async with sqlite_store(tmp_path) as store:
        await append(store, *[NewEvent(f"s{number % 2}", "X", b"") for number in range(1, 31)])
        await on_writer(store, change)
        for after in (0, 3):
            ((steps,),) = await store._fetch(followed, ("s1", after, 100))
            assert steps <= 30, "reading it never ends"
            with pytest.raises(LogDamaged):
                await store.read_stream("s1", after=after)


@pytest.mark.requirement("I6")
@pytest.mark.parametrize("column", ["prev", "version"])
async def test_the_rest_of_a_stream_is_read_whatever_is_wrong_before_it(tmp_path: Path, column: str) -> None:
    async with sqlite_store(tmp_path) as store:
        recorded = await append(store, *[NewEvent(STREAM, str(number), b"") for number in range(9)])
        await on_writer(store, f"UPDATE event SET {column} = 0 WHERE position < 6")  # noqa: S608
        assert await store.read_stream(STREAM, after=5) == recorded[5:]


@pytest.mark.requirement("I6")
async def test_an_unreadable_event_is_named_by_its_position(tmp_path: Path) -> None:
    async with sqlite_store(tmp_path) as store:
        await append(store, *[NewEvent(STREAM, "X", b"") for _ in range(30)])
        await on_writer(store, "UPDATE event SET kind = CAST(x'ff' AS TEXT) WHERE position = 21")
        with pytest.raises(LogDamaged) as caught:
            await read_all(store)
        assert caught.value.position == 21
        with pytest.raises(LogDamaged) as caught:
            await read_by_stream(store)
        assert caught.value.position == 21
        with pytest.raises(LogDamaged):
            await store.read_stream(STREAM)


# --- tables that came later

WIDER = LiveTables(
    names=SUITE_TABLES.names | {"subject"},
    later=frozenset({"subject"}),
    newest_stays=SUITE_TABLES.newest_stays,
    searched_by_id=SUITE_TABLES.searched_by_id | {"subject"},
    searched_by_tag=SUITE_TABLES.searched_by_tag | {"note"},
)
"""A table more, and an index more on one that was there."""


async def write_narrow(directory: Path) -> str:
    """A log from before there was a subject, and the digest of its live rows."""
    async with sqlite_store(directory) as store:
        await store.commit(Batch(events=[make_message(1)], rows=[make_row("a", tag="t")]))
        async with store.rebuilding() as rebuild:
            return await rebuild.live_digest()


async def test_a_log_gets_the_tables_that_came_later_when_it_is_opened_for_writing(tmp_path: Path) -> None:
    digest = await write_narrow(tmp_path)
    async with sqlite_store(tmp_path, WIDER) as store:
        assert await on_writer(store, "PRAGMA user_version") == [(SCHEMA_VERSION,)]
        assert await scan_all(store, "subject") == []
        assert await store.fold_version() == 0, "its rows are still to be made"
        assert await scan_all(store, "note", tagged=True) == [make_row("a", tag="t")]
        for table in ("subject", "note"):
            index = await on_writer(store, f"SELECT count(*) FROM sqlite_master WHERE tbl_name = '{table}'")  # noqa: S608
            assert index == [(2,)]
        async with store.rebuilding() as rebuild:
            await copy_live(store, rebuild, WIDER)
            assert await rebuild.digest() == await rebuild.live_digest() == digest
            await rebuild.swap(fold_version=1)
        await store.commit(Batch(rows=[make_row("b", table="subject")]))
    async with sqlite_store(tmp_path) as store:
        assert await scan_all(store, "note") == [make_row("a", tag="t")]
    async with sqlite_store(tmp_path, WIDER) as store:
        assert await scan_all(store, "subject") == [make_row("b", table="subject")]
    assert isinstance(verify_log(tmp_path), VerifiedLog)


async def test_a_table_that_a_log_does_not_have_yet_is_read_as_an_empty_one(tmp_path: Path) -> None:
    digest = await write_narrow(tmp_path)
    before = (tmp_path / "ecproc.db").read_bytes()
    async with open_reader(tmp_path, WIDER) as reader, reader.reading() as moment:
        for one in (reader, moment):
            assert await scan_all(one, "subject") == await scan_all(one, "subject", tagged=True) == []
            assert await one.read_rows("subject", id="a") == await one.read_rows("subject", stream=STREAM) == []
            assert await one.count_rows("subject", STREAM) == 0
            assert await scan_all(one, "note", tagged=True) == [make_row("a", tag="t")]
        async with reader.rebuilding(moment) as rebuild:
            await copy_live(moment, rebuild, WIDER)
            assert await rebuild.differences(1) == (0, [])
            assert await rebuild.digest() == await rebuild.live_digest() == digest
            async with rebuild.open_part() as part:
                async with part.writing() as writer:
                    await writer.write([make_row("b", table="subject")])
                await rebuild.absorb(part)
            assert (await rebuild.differences(0))[0] == 1
    assert (tmp_path / "ecproc.db").read_bytes() == before


async def test_a_table_that_is_gone_is_damage_and_is_not_made_again(tmp_path: Path) -> None:
    await write_narrow(tmp_path)
    with closing(sqlite3.connect(tmp_path / "ecproc.db")) as connection:
        connection.execute("DROP TABLE note")
        connection.commit()
    for _ in range(2):
        async with open_reader(tmp_path, WIDER) as reader:
            with pytest.raises(LogDamaged, match="no such table: note"):
                await scan_all(reader, "note")
        with pytest.raises(LogDamaged, match="no such table"):
            async with sqlite_store(tmp_path, WIDER) as store:
                await scan_all(store, "note")


async def test_a_log_that_is_refused_gets_no_tables(tmp_path: Path) -> None:
    await write_narrow(tmp_path)
    (tmp_path / "anchor").write_bytes(b"")
    before = (tmp_path / "ecproc.db").read_bytes()
    with pytest.raises(LogDamaged):
        async with sqlite_store(tmp_path, WIDER):
            pass
    assert (tmp_path / "ecproc.db").read_bytes() == before


# --- rebuild files


async def test_a_rebuild_leaves_no_file_and_orphans_are_swept(tmp_path: Path) -> None:
    async with sqlite_store(tmp_path) as store, store.rebuilding() as rebuild:
        await rebuild.write([make_row("a")])
        (scratch,) = tmp_path.glob("rebuild-*")
        assert scratch.stat().st_mode & 0o777 == 0o600
    assert not scratch.exists()
    scratch.write_bytes(b"left by a process that died")
    async with sqlite_store(tmp_path):
        assert not scratch.exists()


async def test_a_cancelled_rebuild_leaves_no_file(tmp_path: Path) -> None:
    async with sqlite_store(tmp_path) as store:
        with anyio.CancelScope() as scope:
            async with store.rebuilding() as rebuild:
                scope.cancel()
                await rebuild.write([make_row("a")])
        assert not list(tmp_path.glob("rebuild-*"))
        await append(store, make_message(1))


async def test_data_can_be_queried_as_json(tmp_path: Path) -> None:
    async with sqlite_store(tmp_path) as store:
        await store.commit(Batch(rows=[Row("ticket", STREAM, "t", 0, b'{"state":"open"}', "Incident:open")]))
        rows = await store._fetch("SELECT typeof(data), json_extract(data, '$.state') FROM ticket")
        assert rows == [("text", "open")]
        assert await store.stream_state(STREAM) == StreamCounters()
