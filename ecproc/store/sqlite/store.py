"""The store of one data directory, to read and to write."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path
from shutil import disk_usage
from sqlite3 import Connection
from typing import Final

import anyio
import structlog
from msgspec.structs import replace

from ecproc.domain.log import Batch
from ecproc.errors import NoRoom, RowDamaged
from ecproc.room import LOOK_SECONDS, Room, estimate_bytes
from ecproc.store.base import Committed, Head, Reader, Tables
from ecproc.store.canonical import STREAM_TABLE
from ecproc.store.identity import identify_log
from ecproc.store.plan import Prepared, check_tables, prepare
from ecproc.store.sqlite.check import check_rows
from ecproc.store.sqlite.connections import ReaderPool, connected, copy_tables, make_fetch, make_scan
from ecproc.store.sqlite.logfile import LogFile
from ecproc.store.sqlite.reader import SqliteReader
from ecproc.store.sqlite.rebuild import SqliteRebuild, SqliteSwappableRebuild, name_scratch, open_scratch
from ecproc.store.sqlite.schema import connect_reader
from ecproc.store.sqlite.sql import log as statements
from ecproc.store.sqlite.sql import moment
from ecproc.store.sqlite.start import open_log
from ecproc.store.sqlite.verify import choose_connect
from ecproc.store.sqlite.writer import Writer

lines = structlog.get_logger()

MAX_READING: Final = 8
"""How many `reading` contexts are open at once; one more waits."""


class ReadOnlyStore(SqliteReader):
    """The reads of a data directory that another process may be writing to; each sees the newest commit."""

    def __init__(self, directory: Path, tables: Tables, connect: Callable[[], Connection]) -> None:
        self._pool = ReaderPool(connect)
        self._connect = connect
        self._moments = anyio.Semaphore(MAX_READING)
        super().__init__(directory, tables, self._pool.fetch, self._pool.scan)

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[SqliteReader]:
        """A reader that sees one moment of the store for as long as it is open."""
        async with self._moments, connected(self._connect) as connection:
            fetch = make_fetch(connection)
            await fetch("BEGIN")
            await fetch(statements.READ_HEAD)  # a transaction sees the moment of its first read
            yield SqliteReader(self._directory, self._tables, fetch, make_scan(connection))

    @asynccontextmanager
    async def copying(self) -> AsyncIterator[SqliteReader]:
        """See ReadableStore; the copy is a temporary file, in which the live rows are read as they were."""
        async with self._moments, connected(self._connect) as connection:
            fetch = make_fetch(connection)
            for setting in moment.FAST_COPIES:
                await fetch(setting)
            await fetch("BEGIN")
            head = await SqliteReader(self._directory, self._tables, fetch, make_scan(connection)).head()
            await copy_tables(connection, {*self._tables.names, STREAM_TABLE})
            yield SqliteReader(self._directory, self._tables, fetch, make_scan(connection), head=head)

    @asynccontextmanager
    async def rebuilding(self, reader: Reader | None = None) -> AsyncIterator[SqliteRebuild]:
        """See ReadableStore; nothing of it stands in the data directory."""
        path = name_scratch(Path(tempfile.gettempdir()))
        async with open_scratch(path, self._tables, keep_name=False) as scratch:
            yield SqliteRebuild(scratch, self._tables, live=partial(self._live, reader))

    async def open_readers(self) -> None:
        """Open what short reads need, so that none of them opens a file."""
        await self._pool.open()

    async def aclose(self) -> None:
        """Close all connections."""
        await self._pool.aclose()

    def _live(self, reader: Reader | None) -> AbstractAsyncContextManager[SqliteReader]:
        if reader is None:
            return self.reading()
        if not isinstance(reader, SqliteReader):
            raise TypeError("a rebuild is compared with a reader of its own store")
        return nullcontext(reader)


class SqliteStore(ReadOnlyStore):
    """The Store of one locked data directory; made by `open_store`.

    `accepted_loss` is the anchor that the log did not reach, if it was opened in spite of that.
    """

    def __init__(
        self,
        writer: Writer,
        log: LogFile,
        tables: Tables,
        *,
        now: Callable[[], int],
        room: Room,
    ) -> None:
        super().__init__(log.path, tables, partial(connect_reader, log.database, tables.later))
        self.failed = writer.failed
        self.accepted_loss = log.accepted_loss
        self.is_as_left = log.is_as_left
        self._log = log
        self._writer = writer
        self._now = now
        self._room = room

    async def commit(self, batch: Batch) -> Committed:
        """See Store; a caller who is cancelled leaves its batch to be written whole."""
        return (await self.commit_all((batch,)))[0]

    async def commit_all(self, batches: Sequence[Batch]) -> list[Committed]:
        """See Store."""
        now = self._now()
        prepared = [prepare(batch, now, self._tables) for batch in batches]
        if any(batch.foreseen is not None for batch in batches):
            return await self._commit_foreseen(prepared)
        # An outcome of what is under way goes on: it is small, and there is room left for it.
        if not any(one.has_messages or one.batch.fence is not None for one in prepared):
            return await self._writer.commit(prepared)
        async with self._having_room(estimate_bytes(sum([one.size for one in prepared]))) as waited:
            if waited:
                now = self._now()  # what passed by meanwhile stands before it in the log
                prepared = [replace(one, at=now) for one in prepared]
            return await self._writer.commit(prepared)

    async def _commit_foreseen(self, prepared: Sequence[Prepared]) -> list[Committed]:
        with self._room.taking(estimate_bytes(sum([one.size for one in prepared]))) as taken:
            if taken:
                return await self._writer.commit(prepared)
        return [Committed(fenced=True) for _ in prepared]

    def foresee(self) -> tuple[int, int] | None:
        """See Store."""
        return (self._writer.outlook.next_position, self._now()) if self.has_room() else None

    @asynccontextmanager
    async def rebuilding(self, reader: Reader | None = None) -> AsyncIterator[SqliteSwappableRebuild]:
        """See Store; the rows stand in a file of the data directory until a swap or the end. Raises NoRoom."""
        path = name_scratch(self._directory)
        async with open_scratch(path, self._tables, keep_name=True) as scratch:
            yield SqliteSwappableRebuild(
                scratch,
                self._tables,
                live=partial(self._live, reader),
                replace=partial(self._replace_live, path),
                check_room=self._check_room,
            )

    async def owes_for_loss(self) -> bool:
        """See Store."""
        return bool(await self._fetch(statements.FIND_LOSS))

    async def settle_loss(self) -> None:
        """See Store."""
        if self._room.fits(0):
            with suppress(NoRoom):
                await self._writer.call(LogFile.settle_loss)

    async def check_rows(self) -> AsyncIterator[list[RowDamaged]]:
        """See Store; a page is one short read. What is found of it is there for the next start to find first."""
        found = False
        async for page in check_rows(self._fetch, self._tables):
            found = found or bool(page)
            self._log.is_sound &= not found
            yield page
        self._log.is_sound = not found

    def has_room(self) -> bool:
        """See Store; looks at the free space at most every 0.2 s."""
        return self._writes_now() and self._room.may_receive()

    def may_perform(self) -> bool:
        """See Store."""
        return self._writes_now() and self._room.may_perform()

    def taking(self, content: int) -> AbstractContextManager[bool]:
        """See Store."""
        return self._room.taking(estimate_bytes(content))

    @property
    def waits(self) -> str:
        """See Store."""
        return self._writer.waits

    async def aclose(self) -> None:
        """See Store; a second call does nothing."""
        with anyio.CancelScope(shield=True):
            await self._pool.aclose()
            await self._writer.stop()

    def _writes_now(self) -> bool:
        return self._writer.is_open and not self._writer.waits

    @asynccontextmanager
    async def _having_room(self, need: int) -> AsyncIterator[bool]:
        """Begin once so much can be written, or nothing any more, and say whether that took a while; a caller
        cancelled before has nothing written."""
        waited = False
        while True:
            with self._room.taking(need) as taken:
                if taken or not self._writer.is_open:
                    yield waited
                    return
            waited = True
            await anyio.sleep(LOOK_SECONDS)

    def _check_room(self, need: int = 0) -> None:
        if not self._room.may_perform(need):
            raise NoRoom("there is no room for a rebuild: the disk is near half of its reserve")

    async def _replace_live(self, path: Path, fold_version: int) -> None:
        self._check_room(estimate_bytes((await anyio.Path(path).stat()).st_size))
        await self._writer.call(lambda log: log.replace_live(path, fold_version=fold_version))


async def open_store(
    directory: Path,
    tables: Tables,
    *,
    now: Callable[[], int],
    identity: Mapping[str, str] | None,
    reserve_bytes: int,
    accept_loss: bool = False,
    require_known: Callable[[int], None] = lambda fold_version: None,
    free_bytes: Callable[[Path], int] = lambda path: disk_usage(path).free,
    room: Room | None = None,
    on_commit: Callable[[float, int], None] | None = None,
) -> SqliteStore:
    """Lock a data directory, check its log's end and anchor, and open it for writing; a new one is durable on return.

    `now` is microseconds UTC. `identity` is written into a new log and compared with an old one's, unless it is None.
    `accept_loss` opens a log that ends before its anchor. `require_known` may refuse the version of the fold that wrote
    the live rows, before anything is changed. `room` is the account of the directory's disk, where others
    have it too. `on_commit` hears each transaction's seconds and batches.
    Raises DataDirInUse with nothing touched, LogDamaged, WrongEnvironment, StoreUnavailable or StoreError.
    """
    check_tables(tables)
    room = room or Room(directory, reserve_bytes=reserve_bytes, free_bytes=free_bytes)
    writer = Writer(room, on_commit)
    log = await writer.start(partial(open_log, directory, tables, accept_loss=accept_loss, require_known=require_known))
    if log.accepted_loss is not None:
        lines.warning("loss_accepted", position=log.head.position, reason=_describe_loss(log.head, log.accepted_loss))
    store = SqliteStore(writer, log, tables, now=now, room=room)
    try:
        await store.open_readers()
        if identity is not None:
            await identify_log(store, identity, place=directory)
    except BaseException:
        await store.aclose()
        raise
    return store


@asynccontextmanager
async def open_reader(directory: Path, tables: Tables) -> AsyncIterator[ReadOnlyStore]:
    """Read a data directory without its lock, beside a running processor or when none runs; nothing is written to it.

    Raises StoreError if there is no log or it is of a newer schema, LogDamaged if it is no database any more.
    """
    check_tables(tables)
    connect = await anyio.to_thread.run_sync(choose_connect, directory, tables.later)
    store = ReadOnlyStore(directory, tables, connect)
    try:
        yield store
    finally:
        await store.aclose()


def _describe_loss(head: Head, anchor: Head) -> str:
    if anchor.position > head.position:
        return f"the log ends here, but its anchor says that it reached {anchor.position}"
    return "the log's anchor is gone, or another log's: events behind this one may be lost"
