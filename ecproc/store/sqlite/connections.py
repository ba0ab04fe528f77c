"""Read-only aiosqlite connections: one each for whoever reads long or one moment, a few shared by short queries."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence, Set
from contextlib import asynccontextmanager
from functools import partial
from secrets import token_hex
from sqlite3 import Connection
from typing import Any, Final, Protocol

import aiosqlite
import anyio

from ecproc.errors import StoreUnavailable
from ecproc.store.sqlite.schema import translate_errors
from ecproc.store.sqlite.sql import moment

FETCHED_AT_ONCE: Final = 1000
POOLED_CONNECTIONS: Final = 4


class Fetch(Protocol):
    """Runs one query whole and returns all it found; `position` is where a damaged file is reported."""

    async def __call__(self, query: str, parameters: Sequence[object] = (), *, position: int = 0) -> list[Any]: ...


class Scan(Protocol):
    """Runs one long query and gives what it finds in pages of so many rows. With `aside` it is run to its end first, so
    that it holds up no checkpoint while the pages are used."""

    def __call__(
        self, query: str, parameters: Sequence[object], *, rows: int, aside: bool = False
    ) -> AsyncIterator[list[Any]]: ...


async def fetch_on(
    connection: aiosqlite.Connection, query: str, parameters: Sequence[object] = (), *, position: int = 0
) -> list[Any]:
    """Run a query on that connection, in one call to its thread, so that a cancellation leaves no open cursor."""
    with translate_errors("the database cannot be read", position):
        return list(await connection.execute_fetchall(query, parameters))


async def scan_on(
    connection: aiosqlite.Connection, query: str, parameters: Sequence[object], *, rows: int, aside: bool = False
) -> AsyncIterator[list[Any]]:
    """Run a long query on that connection, which must live no longer than whoever reads it."""
    with translate_errors("the database cannot be read"):
        if aside:
            async for kept in _scan_aside(connection, query, parameters, rows=rows):
                yield kept
            return
        cursor = await connection.execute(query, parameters)
        while page := await cursor.fetchmany(rows):
            yield list(page)


async def _scan_aside(
    connection: aiosqlite.Connection, query: str, parameters: Sequence[object], *, rows: int
) -> AsyncIterator[list[Any]]:
    table = f"scan_{token_hex(8)}"  # it goes with the connection
    await connection.execute_fetchall(moment.ALLOW_WRITING)
    await connection.execute_fetchall(moment.keep_result(table, query), parameters)
    await connection.execute_fetchall(moment.FORBID_WRITING)
    last = 0
    while found := list(await connection.execute_fetchall(moment.read_result(table), (last, rows))):
        yield [row[1:] for row in found]
        last = found[-1][0]


async def copy_tables(connection: aiosqlite.Connection, tables: Set[str]) -> None:
    """Let that connection see these tables as they are in its transaction, for as long as it is open."""
    with translate_errors("the database cannot be copied"):
        await connection.execute_fetchall(moment.ALLOW_WRITING)
        for name, definition in list(await connection.execute_fetchall(moment.LIST_TABLES)):
            if name in tables:
                await connection.execute_fetchall(moment.create_copy(definition))
                await connection.execute_fetchall(moment.fill_copy(name))
        await connection.execute_fetchall("COMMIT")
        await connection.execute_fetchall(moment.FORBID_WRITING)


@asynccontextmanager
async def connected(connect: Callable[[], Connection]) -> AsyncIterator[aiosqlite.Connection]:
    """A connection of its own, closed at the end also when cancelled."""
    connection = await open_connection(connect)
    try:
        yield connection
    finally:
        await close_connection(connection)


async def open_connection(connect: Callable[[], Connection]) -> aiosqlite.Connection:
    """A connection with its own thread; a cancellation waits until it is open."""
    connection = aiosqlite.Connection(connect, iter_chunk_size=FETCHED_AT_ONCE)
    with translate_errors("the database cannot be opened", position=1), anyio.CancelScope(shield=True):
        await connection
    return connection


async def close_connection(connection: aiosqlite.Connection) -> None:
    """Close the connection and end its thread, also when cancelled."""
    with translate_errors("the database cannot be closed"), anyio.CancelScope(shield=True):
        await connection.close()


class ReaderPool:
    """A few read-only connections, opened at once or when first needed; each query sees the newest commit."""

    def __init__(self, connect: Callable[[], Connection]) -> None:
        self._connect = connect
        self._slots = anyio.Semaphore(POOLED_CONNECTIONS, fast_acquire=True)
        self._idle: list[aiosqlite.Connection] = []
        self._closed = False
        self._closing = anyio.Lock()

    async def open(self) -> None:
        """Open all of them now, and have them open no file later: there may be no descriptors left then."""
        while len(self._idle) < POOLED_CONNECTIONS:
            connection = await open_connection(self._connect)
            self._idle.append(connection)
            await fetch_on(connection, "PRAGMA temp_store = MEMORY")

    async def fetch(self, query: str, parameters: Sequence[object] = (), *, position: int = 0) -> list[Any]:
        """Run one query on a free connection; raises StoreUnavailable after `aclose`."""
        async with self._slots:
            if self._closed:
                raise StoreUnavailable("the store is closed")
            connection = self._idle.pop() if self._idle else await open_connection(self._connect)
            try:
                return await fetch_on(connection, query, parameters, position=position)
            finally:
                self._idle.append(connection)

    async def scan(
        self, query: str, parameters: Sequence[object], *, rows: int, aside: bool = False
    ) -> AsyncIterator[list[Any]]:
        """Run one long query on a connection of its own; raises StoreUnavailable after `aclose`."""
        if self._closed:
            raise StoreUnavailable("the store is closed")
        async with connected(self._connect) as connection:
            async for page in scan_on(connection, query, parameters, rows=rows, aside=aside):
                yield page

    async def aclose(self) -> None:
        """Wait for the queries that run and close all connections."""
        with anyio.CancelScope(shield=True):
            async with self._closing:
                await self._close()

    async def _close(self) -> None:
        self._closed = True
        for _ in range(POOLED_CONNECTIONS):  # whoever holds a slot still reads
            await self._slots.acquire()
        try:
            while self._idle:
                await close_connection(self._idle.pop())
        finally:
            for _ in range(POOLED_CONNECTIONS):
                self._slots.release()


def make_fetch(connection: aiosqlite.Connection) -> Fetch:
    """The `fetch` of a reader that has one connection to itself."""
    return partial(fetch_on, connection)


def make_scan(connection: aiosqlite.Connection) -> Scan:
    """The `scan` of a reader that has one connection to itself."""
    return partial(scan_on, connection)
