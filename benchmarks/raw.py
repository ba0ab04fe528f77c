"""The raw side of storage comparisons: our schema and settings under plain sqlite3, with everything else left away."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from ecproc.store.base import NewEvent
from ecproc.store.chain import payload_hash
from ecproc.store.logfile import CHECKPOINT_BYTES, LogFile
from ecproc.store.schema import connect_writer, row_statements, sql, stream_statements

_OVERHEAD: Final = 256


class RawLog:
    """One connection as our writer opens it; each `commit` is one synced transaction of ready-made parameters."""

    def __init__(self, path: Path, *, fsync: float = 0.0) -> None:
        self._connection: sqlite3.Connection = connect_writer(path)
        self._fsync = fsync
        self._bytes = 0

    def commit(self, statements: Iterable[tuple[str, Sequence[Sequence[object]]]], *, size: int) -> None:
        """Execute each statement with all of its parameters; checkpoint as often as the store does."""
        self._connection.execute("BEGIN IMMEDIATE")
        for statement, parameters in statements:
            self._connection.executemany(statement, parameters)
        self._connection.execute("COMMIT")
        if self._fsync:
            time.sleep(self._fsync)
        self._bytes += size
        if self._bytes > CHECKPOINT_BYTES:
            self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            self._bytes = 0

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def event_parameters(events: Sequence[NewEvent], *, tickets: int) -> list[tuple[object, ...]]:
    """The rows of the event table for these events, made before the clock starts."""
    return [
        (
            index + 1,
            event.stream,
            index // tickets + 1,
            index,
            event.kind,
            event.message_key,
            event.payload,
            payload_hash(event.payload),
            bytes(32),
        )
        for index, event in enumerate(events)
    ]


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


__all__ = ["RawLog", "event_parameters", "row_statements", "slow_down_commits", "sql", "stream_statements", "weigh"]
