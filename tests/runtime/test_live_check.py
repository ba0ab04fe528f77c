"""When a start looks at live rows: before its work where somebody may have altered them, else beside it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from ecproc.clock import SystemClock
from ecproc.domain.log import Batch, Row
from ecproc.fold.tables import TABLES
from ecproc.fold.tickets import MACHINES
from ecproc.rebuild.live import LiveCheck, renew_live_state
from ecproc.rebuild.parts import Team
from ecproc.store.sqlite.datadir import DataDir
from ecproc.store.sqlite.store import SqliteStore, open_reader, open_store


async def start(directory: Path) -> tuple[SqliteStore, LiveCheck | None]:
    """Open the store and bring its rows up to this code, as a process does at its start."""
    store = await open_store(directory, TABLES, now=lambda: 1, identity=None, reserve_bytes=0)
    clock = SystemClock()
    team = Team(1, partial(open_reader, directory, TABLES), MACHINES, clock)
    return store, await renew_live_state(store, team)


@pytest.fixture
async def written(tmp_path: Path) -> Path:
    """A log with a row, closed in order."""
    store, check = await start(tmp_path)
    assert check is None, "all was made anew"
    await store.commit(Batch(rows=[Row("note", "s", "n", 1, b'{"b":1}')]))
    await store.aclose()
    return tmp_path


def alter(directory: Path, *, as_the_disk: bool) -> None:
    with closing(sqlite3.connect(directory / "ecproc.db")) as file:
        file.execute("UPDATE note SET data = replace(data, '1', '2')")
        file.commit()
    if as_the_disk:  # what the system says of the file is the same as before
        data_dir = DataDir.acquire(directory)
        data_dir.note_closed(is_sound=True)
        data_dir.release()


async def test_a_start_on_a_file_that_nobody_wrote_to_looks_beside_its_work(written: Path) -> None:
    store, check = await start(written)
    assert check is not None
    with capture_logs() as lines:
        await check.finish()
    assert lines == []
    await store.aclose()


async def test_a_row_that_somebody_altered_is_made_anew_before_the_work(written: Path) -> None:
    alter(written, as_the_disk=False)
    with capture_logs() as lines:
        store, check = await start(written)
    assert ([line["event"] for line in lines][:1], check) == (["rows_damaged"], None)
    assert await store.count_rows("note", "s") == 0, "the log knows of none"
    await store.aclose()


async def test_a_row_that_the_disk_altered_is_told_beside_the_work_and_made_anew_at_the_next_start(
    written: Path,
) -> None:
    alter(written, as_the_disk=True)
    store, check = await start(written)
    assert check is not None
    with capture_logs() as lines:
        await check.finish()
    assert [line["event"] for line in lines] == ["rows_damaged"]
    await store.aclose()
    store, check = await start(written)
    assert check is None
    assert await store.count_rows("note", "s") == 0
    await store.aclose()
    store, check = await start(written)
    assert check is not None, "all is well, so that it need not be looked at first"
    await store.aclose()
