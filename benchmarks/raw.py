"""The raw side of storage comparisons: our schema under plain sqlite3, with everything else left away."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from ecproc.domain.log import NewEvent
from ecproc.fold.tables import TABLES
from ecproc.store.chain import NO_HASH
from ecproc.store.sqlite.logfile import CHECKPOINT_BYTES, LogFile
from ecproc.store.sqlite.schema import Statement, connect_writer
from ecproc.store.sqlite.sql import log, schema

_OVERHEAD: Final = 256
_PLAIN: Final = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    *schema.CREATE_LOG,
    schema.CREATE_STREAM,
)
"""As durable as ours and with the same schema; pages, cache and checkpoints are SQLite's own."""


class RawLog:
    """One connection; each `commit` is one synced transaction of ready-made parameters.

    `tuned` opens it as our writer does, with its pages, cache and checkpoints.
    """

    def __init__(self, path: Path, *, tuned: bool, fsync: float = 0.0) -> None:
        self._connection: sqlite3.Connection = connect_writer(path, TABLES) if tuned else _connect_plain(path)
        self._checkpoints = tuned
        self._fsync = fsync
        self._bytes = 0

    def commit(self, statements: Iterable[tuple[str, Sequence[Sequence[object]]]], *, size: int) -> None:
        """Execute each statement with all of its parameters; if tuned, checkpoint as often as the store does."""
        self._connection.execute("BEGIN IMMEDIATE")
        for statement, parameters in statements:
            self._connection.executemany(statement, parameters)
        self._connection.execute("COMMIT")
        if self._fsync:
            time.sleep(self._fsync)
        self._bytes += size
        if self._checkpoints and self._bytes > CHECKPOINT_BYTES:
            self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            self._bytes = 0

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def _connect_plain(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    for statement in _PLAIN:
        connection.execute(statement)
    return connection


def append_statements(events: Sequence[NewEvent], *, start: int, tickets: int) -> list[Statement]:
    """The rows that appending these events writes: those of the event table and the counters of their streams, with
    constants for hashes and checksums. `start` is how many events of as many tickets in turn came before."""
    rows: list[tuple[object, ...]] = []
    counters: dict[str, tuple[object, ...]] = {}
    for index, event in enumerate(events, start=start):
        version, prev = index // tickets + 1, max(index + 1 - tickets, 0)
        place = (index + 1, event.stream, version, prev, index, event.kind, event.message_key)
        rows.append((*place, event.payload, NO_HASH, NO_HASH))
        counters[event.stream] = (event.stream, version, 0, version, index + 1, 0)
    return [(log.INSERT_EVENT, rows), (log.PUT_STREAM, list(counters.values()))]


def weigh(events: Sequence[NewEvent]) -> int:
    """About how many bytes these events are, as the store counts them."""
    return sum(len(event.payload) + _OVERHEAD for event in events)


def slow_down_commits(seconds: float) -> None:
    """Make this process's store behave as on a disk whose fsync takes that much longer: one sync per transaction."""
    commit = LogFile.commit

    def commit_slowly(self: LogFile, batches: Sequence[object]) -> object:
        outcomes = commit(self, batches)  # type: ignore[arg-type]
        time.sleep(seconds)
        return outcomes

    LogFile.commit = commit_slowly  # type: ignore[assignment,method-assign]
