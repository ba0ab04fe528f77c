"""SQLite's write-ahead logs, for whoever keeps a database of their own: how long one is, and how it is cut down."""

from __future__ import annotations

import sqlite3
from pathlib import Path


def measure_wal(database: Path) -> int:
    """The bytes of the database's write-ahead log; 0 if it has none."""
    try:
        return database.with_name(f"{database.name}-wal").stat().st_size
    except FileNotFoundError:
        return 0


def checkpoint(connection: sqlite3.Connection, mode: str = "PASSIVE", *, wait_ms: int = 0) -> bool:
    """Move what no reader holds back into the database's file; whether that was all of it.

    RESTART and TRUNCATE wait for readers, for so long at most. The connection must not be in a transaction.
    """
    (usual,) = connection.execute("PRAGMA busy_timeout").fetchone()
    connection.execute(f"PRAGMA busy_timeout = {wait_ms}")
    try:
        _, frames, moved = connection.execute(f"PRAGMA wal_checkpoint({mode})").fetchone()
    finally:
        connection.execute(f"PRAGMA busy_timeout = {usual}")
    return bool(frames == moved)
