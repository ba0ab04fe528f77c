"""The rows of one live table."""

from __future__ import annotations

from functools import cache
from typing import Final

from ecproc.store.sqlite.sql.log import Beyond

_ROW: Final = "stream, id, ordinal, CAST(data AS BLOB), tag"
"""The columns of a Row behind its table, in the order of its fields."""


@cache
def put_row(table: str) -> str:
    """A row takes the place of one of the same stream and id."""
    return f"""\
INSERT INTO {table} (stream, id, ordinal, tag, data)
VALUES (?, ?, ?, ?, CAST(? AS TEXT))
ON CONFLICT (stream, id) DO UPDATE SET
    ordinal = excluded.ordinal, tag = excluded.tag, data = excluded.data"""


@cache
def put_newer_row(table: str) -> str:
    """The same, unless the one that stands there has a higher ordinal."""
    return f"{put_row(table)}\nWHERE excluded.ordinal >= {table}.ordinal"


@cache
def delete_row(table: str) -> str:
    """A row is gone."""
    return f"DELETE FROM {table} WHERE stream = ? AND id = ?"


def read_row(table: str) -> str:
    """One row by stream and id."""
    return f"SELECT {_ROW} FROM {table} WHERE stream = ? AND id = ?"


def read_rows_by_id(table: str) -> str:
    """The rows of an id, by stream."""
    return f"SELECT {_ROW} FROM {table} WHERE id = ? ORDER BY stream"


def read_rows_of_stream(table: str) -> str:
    """A stream's rows from the newest back."""
    return f"SELECT {_ROW} FROM {table} WHERE stream = ? ORDER BY ordinal DESC, id DESC LIMIT ?"


def count_rows(table: str) -> str:
    """How many rows a stream has."""
    return f"SELECT count(*) FROM {table} WHERE stream = ?"


def scan_rows(table: str, beyond: Beyond, *, tagged: bool = False) -> str:
    """A page of rows by stream and ordinal; with `tagged` of those that have a tag."""
    return f"""\
SELECT {_ROW}
FROM {table}
WHERE {"tag IS NOT NULL AND " if tagged else ""}(stream, ordinal, id) {beyond} (?, ?, ?)
ORDER BY stream, ordinal, id
LIMIT ?"""


def list_rows(table: str, beyond: Beyond) -> str:
    """A page of rows by stream and id."""
    return f"""\
SELECT {_ROW}
FROM {table}
WHERE (stream, id) {beyond} (?, ?)
ORDER BY stream, id
LIMIT ?"""
