"""Copies of a log as of one moment: whole, checked, and made without moving a byte of what is copied."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Final

import anyio.to_thread
import pytest

from ecproc.config import DataConfig
from ecproc.domain.log import Batch, NewEvent
from ecproc.errors import LogDamaged, OutOfStep, StoreError
from ecproc.store.base import VerifiedLog
from ecproc.store.opening import holding_log
from ecproc.store.sqlite.datadir import read_anchor
from ecproc.store.sqlite.verify import verify_log
from ecproc.testing.store import append, make_message, make_row, read_all, scan_all
from tests.conformance.sqlite_stores import sqlite_store
from tests.scarcity import read_only_copy, without_privileges

LARGE: Final = b"x" * 100_000
"""A payload of which a few make a file of several steps."""


def copy(directory: Path, into: Path, on_copied: Callable[[int], None] = lambda copied: None) -> VerifiedLog:
    into.mkdir()
    with holding_log(DataConfig(dir=directory)) as held:
        return held.copy(into, on_copied)


def run_backup(directory: Path, into: Path) -> dict[str, object]:
    """The command in a process of its own, which is the last one to close the files where nobody writes them."""
    environment = {**os.environ, "ECPROC_DATA__DIR": str(directory), "ECPROC_DATA__RESERVE_BYTES": "0"}
    done = subprocess.run(
        [sys.executable, "-m", "ecproc", "log", "backup", str(into)],
        env=environment,
        cwd=into.parent,
        capture_output=True,
        check=True,
    )
    document: dict[str, object] = json.loads(done.stdout)
    return document


def read_files(directory: Path) -> dict[str, bytes]:
    """The database and its write-ahead log, whose header has the salts that a checkpoint's successor changes."""
    return {path.name: path.read_bytes() for path in directory.glob("ecproc.db*") if path.suffix != ".db-shm"}


async def test_a_copy_beside_a_writer_moves_nothing_of_the_live_log(tmp_path: Path) -> None:
    data = tmp_path / "data"
    async with sqlite_store(data) as store:
        await append(store, *[make_message(number, payload=LARGE) for number in range(30)])
        before = read_files(data)
        assert len(before["ecproc.db-wal"]) > len(LARGE)
        document = await anyio.to_thread.run_sync(run_backup, data, tmp_path / "copy")
        assert read_files(data) == before
        await append(store, make_message(31))
        assert (await store.head()).position == 31
    found = verify_log(tmp_path / "copy")
    assert isinstance(found, VerifiedLog)
    assert document["events"] == found.events == 30
    assert read_anchor(tmp_path / "copy") == found.head


@pytest.mark.parametrize("left", ["killed", "closed"])
async def test_a_copy_without_a_writer_leaves_the_files_as_they_are(tmp_path: Path, left: str) -> None:
    lived, killed = tmp_path / "lived", tmp_path / "killed"
    async with sqlite_store(lived) as store:
        await append(store, *[make_message(number) for number in range(10)])
        # What stands on the disk while it runs is what a kill leaves.
        shutil.copytree(lived, killed, ignore=shutil.ignore_patterns("*-shm"))
    data = killed if left == "killed" else lived
    before = read_files(data)
    assert bool(before.get("ecproc.db-wal")) is (left == "killed")
    document = run_backup(data, tmp_path / "copy")
    assert {name: content for name, content in read_files(data).items() if content} == before
    assert document["events"] == 10
    async with sqlite_store(data) as store:
        assert store.is_as_left is (left == "closed")
        assert len(await read_all(store)) == 10


async def test_a_copy_is_of_one_moment_however_much_is_written_meanwhile(tmp_path: Path) -> None:
    data, into = tmp_path / "data", tmp_path / "copy"
    into.mkdir()
    async with sqlite_store(data) as store:
        events: list[NewEvent] = [make_message(number, payload=LARGE) for number in range(60)]
        await store.commit(Batch(events=events, rows=[make_row("before")]))
        steps: list[int] = []
        with closing(sqlite3.connect(data / "ecproc.db", isolation_level=None)) as other:

            def write_beside(copied: int) -> None:
                steps.append(copied)
                other.execute("UPDATE note SET ordinal = ordinal + 1")

            with holding_log(DataConfig(dir=data)) as held:
                await store.commit(Batch(events=[make_message(61)], rows=[make_row("after")]))
                found = held.copy(into, write_beside)
        assert len(steps) > 2
        assert steps == sorted(set(steps))  # it never began anew
        assert steps[-1] == held.size == (into / "ecproc.db").stat().st_size
        assert found.events == 60
    async with sqlite_store(into, accept_loss=True) as store:
        assert [row.id for row in await scan_all(store, "note")] == ["before"]


async def test_the_moment_is_let_go_of_once_it_is_copied(tmp_path: Path) -> None:
    data, into = tmp_path / "data", tmp_path / "copy"
    into.mkdir()
    async with sqlite_store(data) as store:
        await append(store, make_message(1))
        with (
            holding_log(DataConfig(dir=data)) as held,
            closing(sqlite3.connect(data / "ecproc.db", isolation_level=None)) as other,
        ):
            await append(store, make_message(2))
            assert other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 1
            held.copy(into, lambda copied: None)
            assert other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0


async def test_a_log_on_a_medium_that_cannot_be_written_is_held(tmp_path: Path) -> None:
    async with sqlite_store(tmp_path) as store:
        await append(store, make_message(1))
    with read_only_copy(tmp_path) as medium:
        with without_privileges(), holding_log(DataConfig(dir=medium)) as held:
            assert held.size == (medium / "ecproc.db").stat().st_size
        assert sorted(path.name for path in medium.iterdir()) == ["anchor", "ecproc.db"]


@pytest.mark.requirement("I4")
async def test_a_backup_is_opened_for_writing_only_where_its_loss_is_accepted_once(tmp_path: Path) -> None:
    data, into, again = (tmp_path / name for name in ("data", "copy", "again"))
    async with sqlite_store(data) as store:
        await append(store, make_message(1))
    found = copy(data, into)
    assert sorted(path.name for path in into.iterdir()) == ["anchor", "ecproc.db"]
    with pytest.raises(OutOfStep, match="is a backup"):
        async with sqlite_store(into):
            pass
    assert verify_log(into) == found == copy(into, again)  # reading is no start
    async with sqlite_store(into, accept_loss=True) as store:
        assert await store.owes_for_loss()
    async with sqlite_store(into) as store:
        assert await store.owes_for_loss()
        await append(store, make_message(2))
    async with sqlite_store(data) as store:  # the real one is none
        assert not await store.owes_for_loss()


@pytest.mark.requirement("I6")
@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("UPDATE event SET payload = x'7b7d20' WHERE position = 3", "position 3: the payload"),
        ("DELETE FROM event WHERE position = 4", "position 4: the event is missing"),
        ("DELETE FROM event WHERE position > 5", "ends at position 5, but its anchor says that it reached 6"),
    ],
)
async def test_what_does_not_hold_is_no_backup(tmp_path: Path, statement: str, reason: str) -> None:
    data = tmp_path / "data"
    async with sqlite_store(data) as store:
        await append(store, *[make_message(number) for number in range(6)])
    with closing(sqlite3.connect(data / "ecproc.db", isolation_level=None)) as other:
        other.execute(statement)
    with pytest.raises(LogDamaged, match=reason):
        copy(data, tmp_path / "copy")


@pytest.mark.requirement("I6")
async def test_a_page_of_live_rows_that_does_not_hold_is_found(tmp_path: Path) -> None:
    data = tmp_path / "data"
    async with sqlite_store(data) as store:
        await store.commit(Batch(events=[make_message(1)], rows=[make_row(str(number)) for number in range(2000)]))
    with closing(sqlite3.connect(data / "ecproc.db")) as file:
        (root,) = file.execute("SELECT rootpage FROM sqlite_master WHERE name = 'note'").fetchone()
    with (data / "ecproc.db").open("r+b") as raw:
        raw.seek((root - 1) * 8192 + 12)
        raw.write(b"\xff" * 64)
    assert isinstance(verify_log(data), VerifiedLog)
    with pytest.raises(LogDamaged, match="the database does not hold"):
        copy(data, tmp_path / "copy")


async def test_an_anchor_that_is_gone_or_cannot_be_read_is_damage(tmp_path: Path) -> None:
    data = tmp_path / "data"
    async with sqlite_store(data) as store:
        await append(store, make_message(1))
    (data / "anchor").write_bytes(b"{")
    with pytest.raises(LogDamaged, match="anchor cannot be read"):
        copy(data, tmp_path / "one")
    (data / "anchor").unlink()
    with pytest.raises(LogDamaged, match="file anchor beside it is gone"):
        copy(data, tmp_path / "two")


def test_nothing_is_made_of_no_log(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="holds no event log"):
        copy(tmp_path, tmp_path / "copy")
    assert list((tmp_path / "copy").iterdir()) == []
