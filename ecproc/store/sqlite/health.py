"""The log's files as they stand on disk: how long they are, and how far the anchor is behind."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

from ecproc.errors import LogDamaged
from ecproc.store.base import LogHealth
from ecproc.store.sqlite.datadir import DATABASE, AnchorUnreadable, read_anchor
from ecproc.store.sqlite.schema import translate_errors
from ecproc.store.sqlite.sql import log
from ecproc.store.sqlite.verify import choose_connect, read_head
from ecproc.wal import measure_wal

_FORMATS: Final = slice(18, 20)
"""Where a database's header says how it is written and read."""
_WAL_FORMATS: Final = b"\x02\x02"


def look_at_log(directory: Path) -> LogHealth:
    """See `opening.look_at_log`."""
    database = directory / DATABASE
    try:
        with translate_errors("the log cannot be read"):
            anchor = read_anchor(directory)
            with closing(choose_connect(directory)()) as connection:
                behind = None if anchor is None else _read_time(connection, anchor.position + 1)
                newest = _read_time(connection, read_head(connection).position)
                is_backup = connection.execute(log.FIND_COPIED).fetchone() is not None
            with database.open("rb") as file:
                in_wal_mode = file.read(_FORMATS.stop)[_FORMATS] == _WAL_FORMATS
            return LogHealth(
                size_bytes=database.stat().st_size,
                wal_bytes=measure_wal(database),
                anchor=None if anchor is None else anchor.position,
                behind_at=behind,
                newest_at=newest or 0,
                odd="" if in_wal_mode else "it is not in the mode of a write-ahead log",
                is_backup=is_backup,
            )
    except AnchorUnreadable as error:
        raise LogDamaged(0, str(error)) from error


def _read_time(connection: sqlite3.Connection, position: int) -> int | None:
    row = connection.execute(log.READ_TIME, (position,)).fetchone()
    return None if row is None else int(row[0])
