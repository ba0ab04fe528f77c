"""The rows of one live table."""

from __future__ import annotations

from functools import cache
from typing import Final

from ecproc.store.sqlite.sql.log import Beyond

_ROW: Final = "stream, id, ordinal, CAST(data AS BLOB), tag"
"""The columns of a Row behind its table, in the order of its fields."""
_OPEN_ROW: Final = "4294967296 + ordinal"
"""What a tagged row counts for: one, and its ordinal."""


@cache
def put_row(table: str) -> str:
    """A row, its checksum behind its data, takes the place of one of the same stream and id."""
    return f"""\
INSERT INTO {table} (stream, id, ordinal, tag, data)
VALUES (?, ?, ?, ?, CAST(? AS TEXT) || ?)
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


def tell_open(table: str) -> str:
    """What the table's tagged rows come to: their number, and the sum of their ordinals."""
    return f"SELECT coalesce(sum({_OPEN_ROW}), 0) FROM {table} WHERE tag IS NOT NULL"


def compare_open(table: str) -> str:
    """What they come to and what they should, at one moment."""
    return f"SELECT ({tell_open(table)}), (SELECT value FROM meta WHERE key = '{name_open(table)}')"


@cache
def put_open(table: str) -> str:
    """What they come to is right from now on."""
    return f"INSERT OR REPLACE INTO meta (key, value) VALUES ('{name_open(table)}', ({tell_open(table)}))"


@cache
def take_open(table: str) -> str:
    """A row that is about to be written or deleted is not among them for now."""
    return _change_open(table, "-")


@cache
def give_open(table: str) -> str:
    """The row as it stands there now is among them, if it has a tag."""
    return _change_open(table, "+")


def name_open(table: str) -> str:
    """Under what key that is kept."""
    return f"open_{table}"


def _change_open(table: str, sign: str) -> str:
    row = f"SELECT {_OPEN_ROW} FROM {table} WHERE stream = ? AND id = ? AND tag IS NOT NULL"
    return f"UPDATE meta SET value = value {sign} coalesce(({row}), 0) WHERE key = '{name_open(table)}'"


def read_row(table: str) -> str:
    """One row by stream and id."""
    return f"SELECT {_ROW} FROM {table} WHERE stream = ? AND id = ?"


@cache
def find_other_row(table: str) -> str:
    """Whether there is a row of that id that is not that stream's."""
    return f"SELECT 1 FROM {table} WHERE id = ? AND stream <> ? LIMIT 1"


def read_rows_by_id(table: str) -> str:
    """The rows of an id, by stream."""
    return f"SELECT {_ROW} FROM {table} WHERE id = ? ORDER BY stream"


def list_later(table: str) -> str:
    """The keys of rows with ids between two, which are longer than another or as long and behind it."""
    return f"""\
SELECT stream, id
FROM {table}
WHERE id >= ?1 AND id < ?2 AND (length(id), id) > (?3, ?4)"""


def read_rows_of_stream(table: str) -> str:
    """A stream's rows from the newest back."""
    return f"SELECT {_ROW} FROM {table} WHERE stream = ? ORDER BY ordinal DESC, id DESC LIMIT ?"


def count_rows(table: str) -> str:
    """How many rows a stream has."""
    return f"SELECT count(*) FROM {table} WHERE stream = ?"


def count_tags(table: str) -> str:
    """How many rows have each tag."""
    return f"SELECT tag, count(*) FROM {table} WHERE tag IS NOT NULL GROUP BY tag"


def scan_rows(table: str, beyond: Beyond, *, tagged: bool = False) -> str:
    """A page of rows by stream and ordinal; with `tagged` of those that have a tag."""
    return f"""\
SELECT {_ROW}
FROM {table}
WHERE {"tag IS NOT NULL AND " if tagged else ""}(stream, ordinal, id) {beyond} (?, ?, ?)
ORDER BY stream, ordinal, id
LIMIT ?"""


def scan_tags(table: str, beyond: Beyond, count: int) -> str:
    """A page of rows that have one of so many tags, by stream and ordinal: each tag's are merged with the others'."""
    rows = f"""\
SELECT {_ROW}
FROM {table}
WHERE tag = ? AND (stream, ordinal, id) {beyond} (?, ?, ?)"""
    return "\nUNION ALL\n".join([rows] * count) + "\nORDER BY stream, ordinal, id\nLIMIT ?"


def list_rows(table: str, beyond: Beyond) -> str:
    """A page of rows by stream and id."""
    return f"""\
SELECT {_ROW}
FROM {table}
WHERE (stream, id) {beyond} (?, ?)
ORDER BY stream, id
LIMIT ?"""
