"""A copy of the built-in desk's file as of one moment."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Final

from ecproc.copying import copy_moment, holding_moment, measure_moment
from ecproc.errors import StoreError, StoreUnavailable

DESK_FILE: Final = "desk.db"
"""What the desk's file in a data directory is called."""
_READ_ONLY: Final = frozenset({sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN})


class HeldDesk:
    """A desk's file as of one moment, to be copied once; `size` is the bytes that a copy takes."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self._path = path
        self.size = measure_moment(connection)

    def copy(self, into: Path, on_copied: Callable[[int], None]) -> None:
        """Copy it into a directory, durably, and see that every page of the copy holds. Raises StoreError."""
        target = into / self._path.name
        with _naming(self._path):
            copy_moment(self._connection, target, on_copied)
            with closing(_open(target, "mode=ro&immutable=1")) as copy:
                finding = str(copy.execute("PRAGMA integrity_check(1)").fetchone()[0])
        if finding != "ok":
            raise StoreError(f"{self._path} does not hold: {finding}")


@contextmanager
def holding_desk(path: Path) -> Iterator[HeldDesk]:
    """The desk in that file as it is now, beside the process that has it or when none does; nothing is written to it.

    Raises StoreError.
    """
    with ExitStack() as stack:
        with _naming(path):
            connection = stack.enter_context(closing(_connect(path)))
            stack.enter_context(holding_moment(connection))
            held = HeldDesk(connection, path)
        yield held


def _connect(path: Path) -> sqlite3.Connection:
    connection = _open(path, "mode=ro")
    try:
        connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()
    except sqlite3.Error as error:
        connection.close()
        if error.sqlite_errorcode & 0xFF not in _READ_ONLY or path.with_name(f"{path.name}-wal").exists():
            raise
        return _open(path, "mode=ro&immutable=1")  # on a medium that nobody can write
    return connection


def _open(path: Path, how: str) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?{how}", uri=True, isolation_level=None)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise StoreUnavailable(f"{path} cannot be copied: {error}") from error
