"""Live rows built aside in a SQLite file of their own, compared with the live ones, and put in their place."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from secrets import token_hex
from sqlite3 import Connection

import aiosqlite
import anyio

from ecproc.domain.log import Compact, Row, StreamCounters
from ecproc.store.base import TABLES, Difference
from ecproc.store.canonical import STREAM_TABLE, compare_rows, digest_rows
from ecproc.store.datadir import REBUILD_PREFIX, REBUILD_SUFFIX, create_file
from ecproc.store.plan import check_row
from ecproc.store.reader import SqliteReader, connected, list_canonical, make_fetch
from ecproc.store.schema import (
    Statement,
    connect_scratch,
    row_statements,
    sql,
    stream_statements,
    translate_errors,
)


class SqliteRebuild:
    """A Rebuild in a throw-away file; `live` opens what it is compared to, `replace` puts the file's rows in place."""

    def __init__(
        self,
        scratch: aiosqlite.Connection,
        *,
        live: Callable[[], AbstractAsyncContextManager[SqliteReader]],
        replace: Callable[[int], Awaitable[None]],
    ) -> None:
        self._scratch = scratch
        self._fetch = make_fetch(scratch)
        self._live = live
        self._replace = replace

    async def write(
        self,
        rows: Sequence[Row],
        streams: Sequence[tuple[str, StreamCounters]] = (),
        compact: Sequence[Compact] = (),
    ) -> None:
        for row in rows:
            check_row(row)
        newest = {(row.table, row.stream, row.id): row for row in rows}
        await self._execute(row_statements(newest.values()))
        await self._execute(stream_statements(streams))
        await self._execute([(sql("insert_compact"), [(one.position, one.stream, one.data) for one in compact])])

    async def digest(self) -> str:
        return await digest_rows(list_canonical(self._fetch))

    async def live_digest(self) -> str:
        async with self._live() as reader:
            return await digest_rows(reader.canonical_rows())

    async def differences(self, limit: int) -> tuple[int, list[Difference]]:
        async with self._live() as reader:
            return await compare_rows(reader.canonical_rows(), list_canonical(self._fetch), limit=limit)

    async def absorb(self, path: Path) -> None:
        """Take everything that `open_part` left in that file."""
        await self._control("COMMIT")
        await self._control(sql("attach_part"), str(path))
        await self._control("BEGIN")
        for table in (*TABLES, STREAM_TABLE, "compact"):
            await self._control(sql("absorb_part", table))
        await self._control("COMMIT")
        await self._control("DETACH DATABASE part")
        await self._control("BEGIN")

    async def swap(self, *, fold_version: int) -> None:
        await self._control("COMMIT")
        try:
            await self._replace(fold_version)
        finally:
            with anyio.CancelScope(shield=True):
                await self._control("BEGIN")

    async def _execute(self, statements: Sequence[Statement]) -> None:
        with translate_errors("the rebuild cannot be written"):
            for statement, parameters in statements:
                await self._scratch.executemany(statement, parameters)

    async def _control(self, statement: str, *parameters: str) -> None:
        with translate_errors("the rebuild cannot be written"):
            await self._scratch.execute(statement, parameters)


@asynccontextmanager
async def open_part(path: Path) -> AsyncIterator[SqliteRebuild]:
    """A Rebuild of some streams in a file of its own, which stays, for another process to absorb."""
    async with connected(partial(_connect, path, keep_name=True)) as scratch:
        yield SqliteRebuild(scratch, live=_no_live, replace=_no_replace)
        with translate_errors("the rebuild cannot be written"):
            await scratch.execute("COMMIT")


def _no_live() -> AbstractAsyncContextManager[SqliteReader]:
    raise TypeError("a part of a rebuild is compared with nothing")


async def _no_replace(_fold_version: int) -> None:
    raise TypeError("a part of a rebuild replaces nothing")


def name_scratch(directory: Path) -> Path:
    """A file of that directory that nobody uses; the next start sweeps it from a data directory if we die."""
    return directory / f"{REBUILD_PREFIX}{token_hex(8)}{REBUILD_SUFFIX}"


@asynccontextmanager
async def open_scratch(path: Path, *, keep_name: bool) -> AsyncIterator[aiosqlite.Connection]:
    """A scratch database that is gone at the end; without `keep_name` it has no name even while it is used."""
    try:
        async with connected(partial(_connect, path, keep_name=keep_name)) as connection:
            yield connection
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.Path(path).unlink(missing_ok=True)


def _connect(path: Path, *, keep_name: bool) -> Connection:
    create_file(path)
    try:
        return connect_scratch(path)
    finally:
        if not keep_name:
            path.unlink()
