"""When the write-ahead log is moved into the database's file, and how its own file is kept short."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import Final

from ecproc.wal import checkpoint, measure_wal

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
        self._database = database
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

    def checkpoint(self, connection: sqlite3.Connection) -> bool:
        """Move what no reader holds back into the database's file; whether that was all of it."""
        size = self._measure()
        self._tried = time.monotonic()
        mode = "PASSIVE" if size <= RESTART_BYTES else "TRUNCATE" if size > LONGEST_BYTES else "RESTART"
        is_all = checkpoint(connection, mode, wait_ms=LONG_WAIT_MS if size > FAR_TOO_LONG_BYTES else WAIT_MS)
        self._size = self._measure()
        return is_all

    def _measure(self) -> int:
        return measure_wal(self._database)
