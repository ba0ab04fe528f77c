"""The open database file of one data directory, as the writer's thread uses it; nothing here is asynchronous."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from msgspec.structs import astuple

from ecproc.domain.log import StreamCounters
from ecproc.errors import NoRoom
from ecproc.failpoints import failpoint
from ecproc.store.base import Committed, Head, Tables
from ecproc.store.plan import Group, Prepared
from ecproc.store.sqlite.datadir import DataDir
from ecproc.store.sqlite.rebuild import swap_live
from ecproc.store.sqlite.schema import row_statements, stream_statements
from ecproc.store.sqlite.sql import live, log
from ecproc.store.sqlite.undo import naming_no_room, undoing
from ecproc.store.sqlite.verify import read_head
from ecproc.store.sqlite.walfile import WalFile

ANCHOR_SECONDS: Final = 0.5
"""How long a commit may stand before the anchor names it or a later one."""

CHECKPOINT_BYTES: Final = 8 * 1024 * 1024
CHECKPOINT_COMMITS: Final = 500
"""How much is committed between two checkpoints, whichever comes first; both keep the write-ahead log short."""

CACHED_STREAMS: Final = 32_768

LOCK_MS: Final = 500
"""How long a transaction waits for another program's lock before that is no room: it is tried again, and nothing is
received meanwhile."""


class LogFile:
    """One locked data directory with its one writing connection.

    NoRoom means that nothing was changed. After any other error of a method that writes nothing may be written any
    more: call `abandon`.
    """

    def __init__(
        self,
        data_dir: DataDir,
        connection: sqlite3.Connection,
        guard: sqlite3.Connection,
        tables: Tables,
        *,
        accepted_loss: Head | None,
        is_as_left: bool,
    ) -> None:
        self.accepted_loss = accepted_loss
        self.is_as_left = self.is_sound = is_as_left
        """`is_sound`: whether all live rows are as they were written, since nobody else wrote or all were seen."""
        self.path = data_dir.path
        self.database = data_dir.database
        self.head = read_head(connection)
        self._data_dir = data_dir
        self._tables = tables
        self._connection = connection
        self._connection.execute(f"PRAGMA busy_timeout = {LOCK_MS}")
        self._guard = guard
        self._streams: dict[str, StreamCounters] = {}
        self._anchored = Head(0, b"")
        self._highest_key: bytes = connection.execute(log.READ_HIGHEST_KEY).fetchone()[0] or b""
        self._wal = WalFile(data_dir.database)
        self._dirty_since: float | None = None
        self._bytes = self._unmoved = 0
        self._commits = 0

    def highest_key(self) -> bytes:
        """The highest message key of the log."""
        return self._highest_key

    def holds_key(self, message_key: bytes) -> bool:
        """Whether an event with that key is in the log."""
        return self._connection.execute(log.FIND_MESSAGE, (message_key,)).fetchone() is not None

    def holds_elsewhere(self, table: str, id: str, *, stream: str) -> bool:
        """Whether another stream has a row of that id, in a table that is searched by id."""
        return self._connection.execute(live.find_other_row(table), (id, stream)).fetchone() is not None

    @property
    def name(self) -> str:
        """The file's name in its directory."""
        return self.database.name

    @property
    def owed(self) -> int:
        """The bytes of content that were committed since all of it was last moved into the database's file."""
        return self._unmoved

    def stream_state(self, stream: str) -> StreamCounters:
        """The stream's counters, from memory if it is among those seen first lately."""
        state = self._streams.get(stream)
        if state is None:
            row = self._connection.execute(log.READ_STREAM_STATE, (stream,)).fetchone()
            state = StreamCounters() if row is None else StreamCounters(*row)
            self._remember({stream: state})
        return state

    def commit(self, batches: Sequence[Prepared]) -> list[Committed]:
        """Write the batches in one synced transaction and say what became of each; raises NoRoom."""
        messages = any(batch.has_messages for batch in batches)
        with undoing(self._connection):
            self._connection.execute("BEGIN IMMEDIATE")
            if messages:
                failpoint("append.begun")
            group = Group(self.head, self, self._tables)
            outcomes = [group.add(batch) for batch in batches]
            self._write(group)
        if messages:
            failpoint("append.written")
        self._connection.execute("COMMIT")
        if messages:
            failpoint("append.committed")
        if any(batch.batch.fence is not None for batch in batches):
            failpoint("project.committed")
        self._note_commit(group, sum(batch.size for batch in batches))
        return outcomes

    def replace_live(self, rebuilt: Path, *, fold_version: int) -> None:
        """Put the live rows and counters of a rebuild in place of the present ones, in one transaction.

        Raises StoreError, with nothing replaced, if the counters rebuilt do not cover the whole log, and NoRoom.
        """
        size = rebuilt.stat().st_size
        swap_live(self._connection, rebuilt, self._tables, fold_version=fold_version, events=self.head.position)
        self._bytes += size
        self._unmoved += size
        self._streams.clear()
        self.is_sound = True
        with suppress(NoRoom), naming_no_room():
            self._checkpoint()

    def settle_loss(self) -> None:
        """Note that what followed from an accepted loss is done; raises NoRoom."""
        with undoing(self._connection):
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.execute(log.DELETE_LOSS)
        self._connection.execute("COMMIT")

    def keep_up(self) -> None:
        """Do what is due after a commit or while idle: checkpoint, anchor. Raises NoRoom: it stays due."""
        with naming_no_room():
            if self._bytes >= CHECKPOINT_BYTES or self._commits >= CHECKPOINT_COMMITS or self._wal.is_due():
                self._checkpoint()
            if self._anchor_seconds() == 0:
                self.write_anchor()

    def write_anchor(self) -> None:
        """Name the head in the anchor, if it does not yet."""
        if self._anchored != self.head:
            self._data_dir.write_anchor(self.head)
            self._anchored = self.head
        self._dirty_since = None

    def idle_seconds(self) -> float | None:
        """How long the thread may wait for work until something else is due; None for ever."""
        waits = [wait for wait in (self._anchor_seconds(), self._wal.seconds_left()) if wait is not None]
        return min(waits, default=None)

    def _anchor_seconds(self) -> float | None:
        if self._dirty_since is None:
            return None
        return max(self._dirty_since + ANCHOR_SECONDS - time.monotonic(), 0)

    def close(self) -> None:
        """Checkpoint, write the anchor and close; the lock is held until `release`.

        Without room for that the files stay as they are: the next start goes on from them.
        """
        with suppress(NoRoom), naming_no_room():
            self._checkpoint()
            self.write_anchor()
        self._guard.close()
        self._connection.close()
        self._data_dir.note_closed(is_sound=self.is_sound)

    def abandon(self) -> None:
        """Close without touching the files: a checkpoint after a failed write might trust pages that were lost."""
        close_as_it_is(self._connection, self._guard)

    def release(self) -> None:
        """Let go of the directory's lock."""
        self._data_dir.release()

    def _write(self, group: Group) -> None:
        execute_many = self._connection.executemany
        execute_many(log.INSERT_EVENT, group.events)
        execute_many(log.INSERT_COMPACT, group.compact)
        tables = self._tables
        changed = (*group.cleared.values(), *group.rows.values())
        rows = row_statements(changed, tables.newest_stays, tables.searched_by_tag)
        for statement, parameters in (*rows, *stream_statements(group.streams.items())):
            execute_many(statement, parameters)
        execute_many(log.PUT_SNAPSHOT, [astuple(snapshot) for snapshot in group.snapshots.values()])

    def _note_commit(self, group: Group, size: int) -> None:
        self._commits += 1
        self._bytes += size
        self._unmoved += size
        self._remember(group.streams)
        self._highest_key = group.highest_key
        if group.events:
            self.head = group.head
            self._dirty_since = self._dirty_since or time.monotonic()

    def _remember(self, states: dict[str, StreamCounters]) -> None:
        self._streams.update(states)
        while len(self._streams) > CACHED_STREAMS:
            del self._streams[next(iter(self._streams))]

    def _checkpoint(self) -> None:
        if self._wal.checkpoint(self._connection):
            self._unmoved = 0
        self._bytes = self._commits = 0


def close_as_it_is(connection: sqlite3.Connection, guard: sqlite3.Connection | None) -> None:
    """Close so that nothing is checkpointed: only the last connection does that, and the guard cannot write."""
    connection.close()
    if guard is not None:
        guard.close()
