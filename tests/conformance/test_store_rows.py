"""Live rows that something outside altered: told where they are read, and found where all are looked at."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import pytest

from ecproc.domain.log import Batch, Fence, NewEvent, Row
from ecproc.errors import RowDamaged, StoreUnavailable
from ecproc.fold.tables import TABLES
from ecproc.store.sqlite.datadir import DataDir
from ecproc.store.sqlite.logfile import LogFile
from ecproc.store.sqlite.reader import SqliteReader
from ecproc.store.sqlite.sql import log
from ecproc.store.sqlite.store import SqliteStore, open_store

ALTERED: Final = {
    "data": "UPDATE outbox SET data = replace(data, '1', '2')",
    "no checksum": "UPDATE outbox SET data = rtrim(replace(data, '1', '2'), char(32, 9, 10, 13))",
    "a checksum alone": "UPDATE outbox SET data = data || ' '",
    "a tag": "UPDATE outbox SET tag = 'bridge'",
    "no tag": "UPDATE outbox SET tag = NULL",
    "an ordinal": "UPDATE outbox SET ordinal = 7",
    "no row": "DELETE FROM outbox WHERE id = 'k1'",
    "a row too many": "INSERT INTO outbox SELECT stream, 'k3', ordinal, tag, data FROM outbox LIMIT 1",
    "a stream": "UPDATE outbox SET stream = 't'",
    "no text": "UPDATE outbox SET id = CAST(x'ff' || id AS TEXT)",
    "another table": "UPDATE note SET data = '{}'",
    "counters": "UPDATE stream SET wanted = 0",
    "no counters": "DELETE FROM stream",
}


async def open_rows(path: Path) -> SqliteStore:
    return await open_store(path, TABLES, now=lambda: 1, identity=None, reserve_bytes=0)


async def find_damage(store: SqliteStore) -> list[RowDamaged]:
    return [damaged async for page in store.check_rows() for damaged in page]


async def write_rows(path: Path) -> None:
    store = await open_rows(path)
    outbox = [Row("outbox", "s", f"k{number}", number, b'{"n":1}', "desk") for number in (1, 2)]
    rows = [*outbox, Row("outbox", "s", "done", 3, b"{}", None), Row("note", "s", "n", 1, b'{"b":1}')]
    await store.commit(Batch([NewEvent("s", "X", b"{}", wanted=True)], rows))
    await store.commit(Batch(rows=[Row("outbox", "s", "k2", 2, b'{"n":1}', None)], fence=Fence("s", 0, 1)))
    assert await find_damage(store) == []
    await store.aclose()


@pytest.mark.requirement("I5")
@pytest.mark.parametrize("name", ALTERED)
async def test_what_was_altered_outside_is_found(tmp_path: Path, name: str) -> None:
    await write_rows(tmp_path)
    with closing(sqlite3.connect(tmp_path / "ecproc.db")) as file:
        assert file.execute(ALTERED[name]).rowcount, name
        file.commit()
    store = await open_rows(tmp_path)
    try:
        assert await find_damage(store)
    finally:
        await store.aclose()


async def test_a_file_that_nobody_wrote_to_is_known_when_it_is_opened_again(tmp_path: Path) -> None:
    await write_rows(tmp_path)
    store = await open_rows(tmp_path)
    assert store.is_as_left
    shutil.copytree(tmp_path, tmp_path / "copy")
    await store.aclose()
    copy = await open_rows(tmp_path / "copy")
    assert not copy.is_as_left, "another file"
    await copy.aclose()
    with closing(sqlite3.connect(tmp_path / "ecproc.db")) as file:
        file.execute("PRAGMA application_id = 1")
        file.commit()
    for _ in range(2):
        store = await open_rows(tmp_path)
        assert not store.is_as_left, "until all was seen"
        await store.aclose()
    store = await open_rows(tmp_path)
    assert await find_damage(store) == []
    await store.aclose()
    store = await open_rows(tmp_path)
    assert store.is_as_left
    await store.aclose()


async def test_a_process_that_dies_leaves_no_file_that_was_closed(tmp_path: Path) -> None:
    await write_rows(tmp_path)
    store = await open_rows(tmp_path)
    await store.commit(Batch(rows=[Row("note", "s", "n", 2, b"{}")]))
    await store._writer.call(LogFile.abandon)
    with pytest.raises(StoreUnavailable):
        await store.aclose()
    store = await open_rows(tmp_path)
    assert not store.is_as_left
    await store.aclose()


async def test_what_is_found_later_is_looked_for_first_at_the_next_start(tmp_path: Path) -> None:
    await write_rows(tmp_path)
    with closing(sqlite3.connect(tmp_path / "ecproc.db")) as file:
        file.execute(ALTERED["data"])
        file.commit()
    data_dir = DataDir.acquire(tmp_path)
    data_dir.note_closed(is_sound=True)  # as when the disk altered it
    data_dir.release()
    store = await open_rows(tmp_path)
    assert store.is_as_left
    assert await find_damage(store)
    await store.aclose()
    store = await open_rows(tmp_path)
    assert not store.is_as_left
    await store.aclose()


async def test_an_altered_row_is_named_where_it_is_read(tmp_path: Path) -> None:
    await write_rows(tmp_path)
    with closing(sqlite3.connect(tmp_path / "ecproc.db")) as file:
        file.execute("UPDATE outbox SET data = '{' WHERE id = 'k1'")
        file.commit()
    store = await open_rows(tmp_path)
    try:
        with pytest.raises(RowDamaged, match="row 'k1' of 's' in table outbox"):
            await store.read_rows("outbox", stream="s")
        assert [row.data for row in await store.read_rows("outbox", stream="s", id="k2")] == [b'{"n":1}']
    finally:
        await store.aclose()


@pytest.mark.parametrize("made_anew", [True, False])
async def test_a_reader_looks_again_before_it_calls_a_row_of_a_former_form_damaged(
    tmp_path: Path, made_anew: bool
) -> None:
    await write_rows(tmp_path)
    former, rows = connect_former(tmp_path)

    async def fetch(query: str, parameters: Sequence[object] = (), *, position: int = 0) -> list[Any]:
        if query == log.FIND_UNSEALED_FORM:  # the start beside us has made all rows anew since the last query
            former.executemany("UPDATE outbox SET data = ? WHERE id = ?", rows if made_anew else [])
            former.execute(log.PUT_FOLD_VERSION, (1,))
        return former.execute(query, parameters).fetchall()

    def scan(*_: object, **__: object) -> AsyncIterator[list[Any]]:
        raise AssertionError("only short reads are asked for")

    with closing(former):
        reader = SqliteReader(tmp_path, TABLES, fetch, scan)
        if made_anew:
            assert {row.data for row in await reader.read_rows("outbox", stream="s")} == {b'{"n":1}', b"{}"}
        else:
            with pytest.raises(RowDamaged, match="in table outbox"):
                await reader.read_rows("outbox", stream="s")


def connect_former(path: Path) -> tuple[sqlite3.Connection, list[tuple[str, str]]]:
    """The file with outbox rows of before checksums, and these rows' data and ids with theirs."""
    file = sqlite3.connect(path / "ecproc.db", isolation_level=None)
    rows = file.execute("SELECT data, id FROM outbox").fetchall()
    file.execute("UPDATE outbox SET data = rtrim(data, char(32, 9, 10, 13))")
    file.execute("INSERT OR REPLACE INTO meta (key, value) VALUES ('fold_version', 1)")
    return file, rows
