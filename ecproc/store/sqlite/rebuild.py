"""Live rows built aside in a SQLite file of their own, compared with the live ones, and put in their place."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from secrets import token_hex
from sqlite3 import Connection
from typing import Final

import aiosqlite
import anyio
import msgspec

from ecproc.domain.log import Compact, Row, StreamCounters
from ecproc.errors import StoreError
from ecproc.store.base import Difference, RebuildPart, Tables
from ecproc.store.canonical import STREAM_TABLE, compare_rows, digest_rows
from ecproc.store.plan import check_table
from ecproc.store.sqlite.connections import connected, make_fetch
from ecproc.store.sqlite.datadir import REBUILD_PREFIX, REBUILD_SUFFIX, create_file
from ecproc.store.sqlite.reader import SqliteReader, list_canonical
from ecproc.store.sqlite.schema import Statement, connect_scratch, row_statements, stream_statements, translate_errors
from ecproc.store.sqlite.sql import live, log, rebuild
from ecproc.store.sqlite.undo import naming_no_room, undoing

PARTS_PREFIX: Final = "ecproc-replay-"
"""How the directories of parts are called among the system's temporary ones."""


class SqlitePart(msgspec.Struct, frozen=True):
    """A RebuildPart in a file of its own."""

    path: Path
    tables: Tables

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[SqliteRebuildWriter]:
        """See RebuildPart."""
        async with connected(partial(_connect, self.path, self.tables, keep_name=True)) as scratch:
            yield SqliteRebuildWriter(scratch, self.tables)
            with translate_errors("the rebuild cannot be written"):
                await scratch.execute("COMMIT")


class SqliteRebuildWriter:
    """The RebuildWriter of a throw-away file."""

    def __init__(self, scratch: aiosqlite.Connection, tables: Tables) -> None:
        self._scratch = scratch
        self._tables = tables

    async def write(
        self,
        rows: Sequence[Row],
        streams: Sequence[tuple[str, StreamCounters]] = (),
        compact: Sequence[Compact] = (),
    ) -> None:
        for table in {row.table for row in rows}:
            check_table(table, self._tables)
        await self._execute(row_statements(rows, self._tables.newest_stays))
        await self._execute(stream_statements(streams))
        await self._execute([(log.INSERT_COMPACT, [(one.position, one.stream, one.data) for one in compact])])

    async def _execute(self, statements: Sequence[Statement]) -> None:
        with translate_errors("the rebuild cannot be written"):
            for statement, parameters in statements:
                await self._scratch.executemany(statement, parameters)


class SqliteRebuild(SqliteRebuildWriter):
    """A Rebuild in a throw-away file; `live` opens what it is compared to."""

    def __init__(
        self,
        scratch: aiosqlite.Connection,
        tables: Tables,
        *,
        live: Callable[[], AbstractAsyncContextManager[SqliteReader]],
    ) -> None:
        super().__init__(scratch, tables)
        self._fetch = make_fetch(scratch)
        self._live = live

    @asynccontextmanager
    async def open_part(self) -> AsyncIterator[SqlitePart]:
        """See Rebuild."""
        with tempfile.TemporaryDirectory(prefix=PARTS_PREFIX) as folder:
            yield SqlitePart(name_scratch(Path(folder)), self._tables)

    async def absorb(self, part: RebuildPart) -> None:
        """See Rebuild."""
        if not isinstance(part, SqlitePart):
            raise TypeError("a rebuild absorbs its own parts")
        await self._control("COMMIT")
        await self._control(rebuild.ATTACH_PART, str(part.path))
        await self._control("BEGIN")
        for table in (*sorted(self._tables.names), STREAM_TABLE, "compact"):
            await self._control(rebuild.absorb_part(table))
        await self._control("COMMIT")
        await self._control(rebuild.DETACH_PART)
        await self._control("BEGIN")

    async def digest(self) -> str:
        return await digest_rows(list_canonical(self._fetch, self._tables))

    async def live_digest(self) -> str:
        async with self._live() as reader:
            return await digest_rows(reader.canonical_rows())

    async def differences(self, limit: int) -> tuple[int, list[Difference]]:
        async with self._live() as reader:
            rebuilt = list_canonical(self._fetch, self._tables)
            return await compare_rows(reader.canonical_rows(), rebuilt, limit=limit)

    async def _control(self, statement: str, *parameters: str) -> None:
        with translate_errors("the rebuild cannot be written"):
            await self._scratch.execute(statement, parameters)


class SqliteSwappableRebuild(SqliteRebuild):
    """A SwappableRebuild; `replace` puts the file's rows in place of the live ones, `check_room` raises NoRoom."""

    def __init__(
        self,
        scratch: aiosqlite.Connection,
        tables: Tables,
        *,
        live: Callable[[], AbstractAsyncContextManager[SqliteReader]],
        replace: Callable[[int], Awaitable[None]],
        check_room: Callable[[], None],
    ) -> None:
        super().__init__(scratch, tables, live=live)
        self._replace = replace
        self._check_room = check_room

    async def write(
        self,
        rows: Sequence[Row],
        streams: Sequence[tuple[str, StreamCounters]] = (),
        compact: Sequence[Compact] = (),
    ) -> None:
        self._check_room()
        await super().write(rows, streams, compact)

    async def swap(self, *, fold_version: int) -> None:
        await self._control("COMMIT")
        try:
            await self._replace(fold_version)
        finally:
            with anyio.CancelScope(shield=True):
                await self._control("BEGIN")


def swap_live(connection: Connection, rebuilt: Path, tables: Tables, *, fold_version: int, events: int) -> None:
    """Put what was rebuilt in that file in place of the live rows; raises StoreError, with nothing replaced, if its
    counters cover another number of `events` than the log has, and NoRoom."""
    with naming_no_room():
        connection.execute(rebuild.ATTACH_REBUILT, (str(rebuilt),))
    try:
        with undoing(connection):
            _replace_rows(connection, tables, fold_version=fold_version, events=events)
    except StoreError:  # undone: the next one may attach its own
        connection.execute(rebuild.DETACH_REBUILT)
        raise
    connection.execute("COMMIT")
    connection.execute(rebuild.DETACH_REBUILT)


def _replace_rows(connection: Connection, tables: Tables, *, fold_version: int, events: int) -> None:
    connection.execute("BEGIN IMMEDIATE")
    for table in sorted(tables.names):
        connection.execute(rebuild.clear_rows(table))
        connection.execute(rebuild.swap_rows(table))
    for statement in (*rebuild.SWAP_STREAMS, *rebuild.SWAP_COMPACT):
        connection.execute(statement)
    for table in sorted(tables.searched_by_tag):
        connection.execute(live.put_open(table))
    covered = connection.execute(rebuild.COUNT_COVERED).fetchone()[0]
    if covered != events:
        raise StoreError(f"a rebuild covers {covered} of {events} events: nothing was replaced")
    connection.execute(log.PUT_FOLD_VERSION, (fold_version,))


def name_scratch(directory: Path) -> Path:
    """A file of that directory that nobody uses; the next start sweeps it from a data directory if we die."""
    return directory / f"{REBUILD_PREFIX}{token_hex(8)}{REBUILD_SUFFIX}"


@asynccontextmanager
async def open_scratch(path: Path, tables: Tables, *, keep_name: bool) -> AsyncIterator[aiosqlite.Connection]:
    """A scratch database that is gone at the end; without `keep_name` it has no name even while it is used."""
    try:
        async with connected(partial(_connect, path, tables, keep_name=keep_name)) as connection:
            yield connection
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.Path(path).unlink(missing_ok=True)


def _connect(path: Path, tables: Tables, *, keep_name: bool) -> Connection:
    create_file(path)
    try:
        return connect_scratch(path, tables)
    finally:
        if not keep_name:
            path.unlink()
