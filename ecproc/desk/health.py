"""The built-in desk's file, looked at from outside, beside a running desk or without one."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import msgspec

from ecproc.desk.numbers import DeskStand, read_stand
from ecproc.errors import StoreUnavailable


class DeskHealth(msgspec.Struct, frozen=True):
    """How many tickets the desk has, how far it has counted, and what SQLite finds wrong in its file, empty if
    nothing."""

    tickets: int
    stand: DeskStand
    damage: str = ""


def look_at_desk(path: Path) -> DeskHealth | None:
    """The desk in that file, None if there is no file yet. Raises StoreUnavailable where it cannot be read."""
    if not path.exists():
        return None
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)) as file:
            file.execute("PRAGMA busy_timeout = 2000")
            (found,) = file.execute("PRAGMA quick_check(1)").fetchone()
            damage = "" if found == "ok" else str(found)
            (tickets,) = file.execute("SELECT count(*) FROM ticket").fetchone()
            return DeskHealth(tickets, read_stand(file), damage)
    except (sqlite3.Error, OSError) as error:
        raise StoreUnavailable(f"the local desk cannot be read: {path}: {error}") from error
