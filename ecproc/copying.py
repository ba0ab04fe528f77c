"""A SQLite database copied as of one moment, beside the process that writes it, which is not held up by that.

Whoever reads only cannot move anything out of the write-ahead log, nor delete it when closing: what is copied stays
byte for byte as it is, in use or not.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from ecproc.failpoints import failpoint

OnCopied = Callable[[int], None]
"""Hears how many bytes of a file are copied so far."""

_STEP_PAGES: Final = 256
_CREATE: Final = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE_MODE: Final = 0o600


@contextmanager
def holding_moment(connection: sqlite3.Connection) -> Iterator[None]:
    """Let the connection see the database as it is now, until that is copied or the block ends. Meanwhile its
    write-ahead log grows by all that is written. Raises sqlite3.Error.
    """
    connection.execute("BEGIN")
    try:
        connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()  # the first read is what chooses it
        yield
    finally:
        _let_go(connection)


def measure_moment(connection: sqlite3.Connection) -> int:
    """The bytes of a copy of the database."""
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    (page_size,) = connection.execute("PRAGMA page_size").fetchone()
    return int(pages) * int(page_size)


def copy_moment(connection: sqlite3.Connection, target: Path, on_copied: OnCopied) -> None:
    """Copy what a connection that holds a moment sees into a new file that only its owner can read; durable on return.

    The moment is let go of then. Raises sqlite3.Error or OSError, FileExistsError if the file is there.
    """
    os.close(os.open(target, _CREATE, _FILE_MODE))
    (page_size,) = connection.execute("PRAGMA page_size").fetchone()

    def tell(_status: int, remaining: int, total: int) -> None:
        failpoint("backup.copying")
        on_copied((total - remaining) * int(page_size))

    with closing(sqlite3.connect(target, isolation_level=None)) as copy:
        copy.execute("PRAGMA journal_mode = OFF")
        copy.execute("PRAGMA synchronous = OFF")
        # Without a moment that is held this would begin anew at each commit of the writer, and never end under load.
        connection.backup(copy, pages=_STEP_PAGES, progress=tell)
    _let_go(connection)
    sync_path(target)


def _let_go(connection: sqlite3.Connection) -> None:
    if connection.in_transaction:
        connection.execute("ROLLBACK")


def sync_path(path: Path) -> None:
    """Make a file's content or a directory's names durable. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
