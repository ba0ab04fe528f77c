"""The built-in desk's own numbers: how they are written, how far they were given, and which ones are skipped."""

from __future__ import annotations

import re
import sqlite3
from typing import Final

import msgspec

CREATE_SKIPPED: Final = "CREATE TABLE IF NOT EXISTS skipped (serial INTEGER PRIMARY KEY, at INTEGER NOT NULL)"
"""Files of the first builds lack it; once a number above was given, those count on from there too."""

_SKIP: Final = "INSERT OR IGNORE INTO skipped (serial, at) VALUES (?, ?)"
_READ_SKIPPED: Final = "SELECT coalesce(max(serial), 0) FROM skipped"
_READ_NEWEST: Final = """\
SELECT serial, number, key FROM ticket WHERE serial IS NOT NULL ORDER BY serial DESC LIMIT 1"""
_FIND_ANYTHING: Final = "SELECT 1 FROM skipped UNION ALL SELECT 1 FROM ticket LIMIT 1"
PREFIX: Final = "LOCAL-"
"""What the numbers of our own begin with."""
_OURS: Final = re.compile(rf"{PREFIX}([0-9]{{7,18}})")


class DeskStand(msgspec.Struct, frozen=True):
    """How far a desk has counted: the last serial that is given or skipped, and the newest ticket's number and key.

    These are empty if there is no ticket, or none since numbers were skipped.
    """

    last: int
    number: str = ""
    key: str = ""


def format_number(serial: int) -> str:
    """The number of our own with that serial."""
    return f"{PREFIX}{serial:07d}"


def read_serial(number: str) -> int:
    """The serial of a number that looks like one of our own, 0 for any other."""
    match = _OURS.fullmatch(number)
    return int(match[1]) if match else 0


def read_stand(connection: sqlite3.Connection) -> DeskStand:
    """How far the desk in this file has counted."""
    skipped = _read_skipped(connection)
    newest = connection.execute(_READ_NEWEST).fetchone()
    return DeskStand(skipped) if newest is None or newest[0] <= skipped else DeskStand(*newest)


def skip(connection: sqlite3.Connection, serial: int, *, at: int) -> None:
    """Give no number up to this one any more."""
    connection.execute(_SKIP, (serial, at))


def was_never_given(connection: sqlite3.Connection, number: str) -> bool:
    """Whether a number that the file lacks is one of our own that was not lost with what was skipped."""
    return read_serial(number) > _read_skipped(connection)


def is_new(connection: sqlite3.Connection) -> bool:
    """Whether nothing was ever done in this file: it has no ticket, and nothing was skipped, not even to 0."""
    return connection.execute(_FIND_ANYTHING).fetchone() is None


def _read_skipped(connection: sqlite3.Connection) -> int:
    return int(connection.execute(_READ_SKIPPED).fetchone()[0])
