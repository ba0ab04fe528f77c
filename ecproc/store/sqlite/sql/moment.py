"""Copies in a connection's own temporary database: by their names they take the place of what they were copied from."""

from __future__ import annotations

from typing import Final

ALLOW_WRITING: Final = "PRAGMA query_only = OFF"
FORBID_WRITING: Final = "PRAGMA query_only = ON"
FAST_COPIES: Final = (
    "PRAGMA temp.journal_mode = OFF",
    "PRAGMA temp.synchronous = OFF",
    "PRAGMA temp.cache_size = -16384",
)
"""Nobody needs a copy again that was not finished."""
LIST_TABLES: Final = "SELECT name, sql FROM main.sqlite_master WHERE type = 'table'"

_CREATE: Final = "CREATE TABLE "


def create_copy(definition: str) -> str:
    """A temporary table like that one."""
    return f"CREATE TEMP TABLE {definition.removeprefix(_CREATE)}"


def fill_copy(table: str) -> str:
    """All its rows, in the order in which they are kept."""
    return f"INSERT INTO temp.{table} SELECT * FROM main.{table}"


def keep_result(table: str, query: str) -> str:
    """What a query finds, in its order."""
    return f"CREATE TEMP TABLE {table} AS {query}"


def read_result(table: str) -> str:
    """A page of it behind a row."""
    return f"SELECT rowid, * FROM temp.{table} WHERE rowid > ? ORDER BY rowid LIMIT ?"
