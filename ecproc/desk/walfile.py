"""How the write-ahead log of the built-in desk is moved into its file and kept short."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final

LONGEST_BYTES: Final = 16 * 1024 * 1024
"""Above this size it is cut down, as soon as whoever reads from it is done."""


def is_long(database: Path) -> bool:
    """Whether it is to be cut down."""
    try:
        return database.with_name(f"{database.name}-wal").stat().st_size > LONGEST_BYTES
    except FileNotFoundError:
        return False


def checkpoint(connection: sqlite3.Connection, database: Path) -> None:
    """Move what no reader holds back into the file; the connection must not be in a transaction."""
    if not is_long(database):
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
        return
    (usual,) = connection.execute("PRAGMA busy_timeout").fetchone()
    connection.execute("PRAGMA busy_timeout = 0")  # whoever reads for long would hold up every call
    try:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    finally:
        connection.execute(f"PRAGMA busy_timeout = {usual}")
