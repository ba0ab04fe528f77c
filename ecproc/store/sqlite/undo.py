"""What is done where there is no room: all that was begun is undone, and the file is as it was."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from ecproc.errors import NoRoom
from ecproc.room import is_no_room


@contextmanager
def undoing(connection: sqlite3.Connection) -> Iterator[None]:
    """Undo the transaction that fails before its COMMIT. Raises NoRoom if that is all that it fails for (decision 13).

    A COMMIT does not belong into the block: what became of one that failed, nobody knows.
    """
    with naming_no_room():
        try:
            yield
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


@contextmanager
def naming_no_room() -> Iterator[None]:
    """Raise NoRoom for what fails for want of room and leaves nothing half done."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        if is_no_room(error):
            raise NoRoom(f"there is no room to write: {error}") from error
        raise
