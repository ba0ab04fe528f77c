"""When the write-ahead log is moved into the database's file, and how its own file is kept short."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import Final

GROWTH_BYTES: Final = 4 * 1024 * 1024
"""How much the file may grow between two checkpoints: its pages take more than the content that was committed."""

RESTART_BYTES: Final = 8 * 1024 * 1024
"""From this size on a checkpoint waits for readers, so that the file is begun anew however many of them there are."""

LONGEST_BYTES: Final = 24 * 1024 * 1024
"""Above this size the file is cut down, as soon as whoever reads from it is done."""

WAIT_MS: Final = 25
"""How long a checkpoint waits for readers: most of ours are done sooner."""

LONG_WAIT_MS: Final = 400
"""How long it waits while the file is far too long: load that outruns a reader is slowed down, and not stopped."""

FAR_TOO_LONG_BYTES: Final = 36 * 1024 * 1024
"""From this size on it waits for long."""

RETRY_SECONDS: Final = 0.5
"""How long after one try to cut it down the next one is made."""


class WalFile:
    """The write-ahead log of one database, as its one writer sees it."""

    def __init__(self, database: Path) -> None:
        self._path = database.with_name(f"{database.name}-wal")
        self._size = self._measure()
        self._tried = 0.0

    def is_due(self) -> bool:
        """Whether the file has grown, or is too long, so that a checkpoint is to be made."""
        wait = self.seconds_left()
        return wait == 0 if wait is not None else self._measure() - self._size >= GROWTH_BYTES

    def seconds_left(self) -> float | None:
        """How long until the next try to cut the file down; None while it is short enough."""
        if self._measure() <= LONGEST_BYTES:
            return None
        return max(self._tried + RETRY_SECONDS - time.monotonic(), 0)

    def checkpoint(self, connection: sqlite3.Connection) -> None:
        """Move what no reader holds back into the database's file; the connection must not be in a transaction."""
        size = self._measure()
        self._tried = time.monotonic()
        if size <= RESTART_BYTES:
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        else:
            mode = "TRUNCATE" if size > LONGEST_BYTES else "RESTART"
            _wait_for_readers(connection, mode, LONG_WAIT_MS if size > FAR_TOO_LONG_BYTES else WAIT_MS)
        self._size = self._measure()

    def _measure(self) -> int:
        try:
            return self._path.stat().st_size
        except FileNotFoundError:
            return 0


def _wait_for_readers(connection: sqlite3.Connection, mode: str, wait_ms: int) -> None:
    (usual,) = connection.execute("PRAGMA busy_timeout").fetchone()
    connection.execute(f"PRAGMA busy_timeout = {wait_ms}")
    try:
        connection.execute(f"PRAGMA wal_checkpoint({mode})").fetchone()
    finally:
        connection.execute(f"PRAGMA busy_timeout = {usual}")
