"""The open database file of one data directory, as the writer's thread uses it; nothing here is asynchronous."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from msgspec.structs import astuple

from ecproc.domain.log import StreamCounters
from ecproc.errors import LogDamaged, StoreError
from ecproc.failpoints import failpoint
from ecproc.store.base import TABLES, Committed, Head
from ecproc.store.datadir import AnchorUnreadable, DataDir, read_anchor
from ecproc.store.plan import Group, Prepared
from ecproc.store.schema import (
    connect_reader,
    connect_writer,
    row_statements,
    sql,
    stream_statements,
    translate_errors,
)
from ecproc.store.verify import check_anchor, check_emptied, check_tail, read_head

ANCHOR_SECONDS: Final = 0.5
"""How long a commit may stand before the anchor names it or a later one."""

CHECKPOINT_BYTES: Final = 8 * 1024 * 1024
CHECKPOINT_COMMITS: Final = 500
"""How much is committed between two checkpoints, whichever comes first; both keep the write-ahead log short."""

CACHED_STREAMS: Final = 32_768


class LogFile:
    """One locked data directory with its one writing connection.

    After an error of `commit` or `replace_live` nothing may be written any more: call `abandon`.
    """

    def __init__(self, data_dir: DataDir, connection: sqlite3.Connection, guard: sqlite3.Connection) -> None:
        self.path = data_dir.path
        self.database = data_dir.database
        self.accepted_loss: Head | None = None
        self.head = read_head(connection)
        self._data_dir = data_dir
        self._connection = connection
        self._guard = guard
        self._streams: dict[str, StreamCounters] = {}
        self._anchored = Head(0, b"")
        self._highest_key: bytes = connection.execute(sql("read_highest_key")).fetchone()[0] or b""
        self._dirty_since: float | None = None
        self._bytes = 0
        self._commits = 0

    @classmethod
    def open(cls, directory: Path, *, accept_loss: bool) -> LogFile:
        """Lock, create or check the log of a data directory; what was newly created is durable on return.

        Raises DataDirInUse, StoreUnavailable, StoreError, or LogDamaged: with `accept_loss` not for a log behind its
        anchor.
        """
        with translate_errors(f"{directory} cannot be opened", position=1):
            data_dir = DataDir.acquire(directory)
            try:
                data_dir.prepare()
                if not accept_loss:
                    check_emptied(directory)
                return cls._open_checked(data_dir, accept_loss=accept_loss)
            except BaseException:
                data_dir.release()
                raise

    @classmethod
    def _open_checked(cls, data_dir: DataDir, *, accept_loss: bool) -> LogFile:
        connection = connect_writer(data_dir.database)
        guard: sqlite3.Connection | None = None
        try:
            guard = connect_reader(data_dir.database)
            data_dir.sync()
            log = cls(data_dir, connection, guard)
            log._check(accept_loss=accept_loss)
        except BaseException:
            _close_as_it_is(connection, guard)
            raise
        return log

    def _check(self, *, accept_loss: bool) -> None:
        damage = check_tail(self._connection)
        if damage is not None:
            raise LogDamaged(damage.position, damage.reason)
        anchor, missed = self._compare_anchor()
        if missed is not None:
            if not accept_loss:
                raise missed
            self.accepted_loss = anchor or self.head
            self._forget_lost()
        self._write_anchor()

    def _compare_anchor(self) -> tuple[Head | None, LogDamaged | None]:
        try:
            anchor = read_anchor(self.path)
        except AnchorUnreadable as error:
            return None, LogDamaged(0, str(error))
        damage = check_anchor(self._connection, anchor, self.head)
        return anchor, None if damage is None else LogDamaged(damage.position, damage.reason)

    def _forget_lost(self) -> None:
        """Take back what live rows know of lost events: counters to the log's, and a fold version that no code has."""
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.execute(sql("repair_versions"))
        self._connection.execute(sql("repair_counters"))
        self._connection.execute(sql("forget_compact"), (self.head.position,))
        self._connection.execute(sql("delete_snapshots"), (0,))
        self._connection.execute(sql("put_fold_version"), (0,))
        self._connection.execute("COMMIT")

    def highest_key(self) -> bytes:
        """The highest message key of the log."""
        return self._highest_key

    def holds_key(self, message_key: bytes) -> bool:
        """Whether an event with that key is in the log."""
        return self._connection.execute(sql("find_message"), (message_key,)).fetchone() is not None

    def stream_state(self, stream: str) -> StreamCounters:
        """The stream's counters, from memory if it is among those seen first lately."""
        state = self._streams.get(stream)
        if state is None:
            row = self._connection.execute(sql("read_stream_state"), (stream,)).fetchone()
            state = StreamCounters() if row is None else StreamCounters(*row)
            self._remember({stream: state})
        return state

    def commit(self, batches: Sequence[Prepared]) -> list[Committed]:
        """Write the batches in one synced transaction and say what became of each."""
        messages = any(batch.has_messages for batch in batches)
        self._connection.execute("BEGIN IMMEDIATE")
        if messages:
            failpoint("append.begun")
        group = Group(self.head, self)
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

        Raises StoreError, with nothing replaced, if the counters rebuilt do not cover the whole log.
        """
        self._connection.execute(sql("attach_rebuilt"), (str(rebuilt),))
        self._connection.execute("BEGIN IMMEDIATE")
        for table in TABLES:
            self._connection.execute(sql("swap_clear", table))
            self._connection.execute(sql("swap_rows", table))
        self._connection.execute(sql("swap_clear", "stream"))
        self._connection.execute(sql("swap_streams"))
        self._connection.execute(sql("drop_compact"))
        self._connection.execute(sql("swap_compact"))
        covered = self._connection.execute(sql("count_covered")).fetchone()[0]
        if covered == self.head.position:
            self._connection.execute(sql("delete_snapshots"), (fold_version,))
            self._connection.execute(sql("put_fold_version"), (fold_version,))
            self._connection.execute("COMMIT")
            self._streams.clear()
            self._checkpoint()
        else:
            self._connection.execute("ROLLBACK")
        self._connection.execute("DETACH DATABASE rebuilt")
        if covered != self.head.position:
            raise StoreError(f"a rebuild covers {covered} of {self.head.position} events: nothing was replaced")

    def keep_up(self) -> None:
        """Do what is due after a commit or while idle: checkpoint, anchor."""
        if self._bytes >= CHECKPOINT_BYTES or self._commits >= CHECKPOINT_COMMITS:
            self._checkpoint()
        if self.idle_seconds() == 0:
            self._write_anchor()

    def idle_seconds(self) -> float | None:
        """How long the thread may wait for work until the anchor is due; None for ever."""
        if self._dirty_since is None:
            return None
        return max(self._dirty_since + ANCHOR_SECONDS - time.monotonic(), 0)

    def close(self) -> None:
        """Checkpoint, write the anchor and close; the lock is held until `release`."""
        self._checkpoint()
        self._write_anchor()
        self._guard.close()
        self._connection.close()

    def abandon(self) -> None:
        """Close without touching the files: a checkpoint after a failed write might trust pages that were lost."""
        _close_as_it_is(self._connection, self._guard)

    def release(self) -> None:
        """Let go of the directory's lock."""
        self._data_dir.release()

    def _write(self, group: Group) -> None:
        execute_many = self._connection.executemany
        execute_many(sql("insert_event"), group.events)
        execute_many(sql("insert_compact"), group.compact)
        rows = row_statements((*group.cleared.values(), *group.rows.values()))
        for statement, parameters in (*rows, *stream_statements(group.streams.items())):
            execute_many(statement, parameters)
        execute_many(sql("put_snapshot"), [astuple(snapshot) for snapshot in group.snapshots.values()])

    def _note_commit(self, group: Group, size: int) -> None:
        self._commits += 1
        self._bytes += size
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
        self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        self._bytes = self._commits = 0

    def _write_anchor(self) -> None:
        self._dirty_since = None
        if self._anchored != self.head:
            self._data_dir.write_anchor(self.head)
            self._anchored = self.head


def _close_as_it_is(connection: sqlite3.Connection, guard: sqlite3.Connection | None) -> None:
    """Close so that nothing is checkpointed: only the last connection does that, and the guard cannot write."""
    connection.close()
    if guard is not None:
        guard.close()
