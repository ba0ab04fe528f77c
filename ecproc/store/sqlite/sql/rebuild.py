"""Putting the parts of a rebuild together, and a whole one in the place of the live rows."""

from __future__ import annotations

from typing import Final

ATTACH_PART: Final = "ATTACH DATABASE ? AS part"
DETACH_PART: Final = "DETACH DATABASE part"


def absorb_part(table: str) -> str:
    """All of a part's rows."""
    return f"INSERT INTO main.{table} SELECT * FROM part.{table}"


ATTACH_REBUILT: Final = "ATTACH DATABASE ? AS rebuilt"
DETACH_REBUILT: Final = "DETACH DATABASE rebuilt"


def clear_rows(table: str) -> str:
    """None of the live rows stay."""
    return f"DELETE FROM main.{table}"


def swap_rows(table: str) -> str:
    """The rows built aside, in the order in which they are kept."""
    return f"""\
INSERT INTO main.{table} (stream, id, ordinal, tag, data)
SELECT stream, id, ordinal, tag, data FROM rebuilt.{table} ORDER BY stream, id"""


SWAP_STREAMS: Final = (
    "DELETE FROM main.stream",
    """\
INSERT INTO main.stream (stream, version, through, wanted, last, crc)
SELECT stream, version, through, wanted, last, crc FROM rebuilt.stream ORDER BY stream""",
)

SWAP_COMPACT: Final = (
    "DELETE FROM main.compact WHERE stream IN (SELECT stream FROM rebuilt.compact)",
    """\
INSERT OR REPLACE INTO main.compact (position, stream, data)
SELECT position, stream, data FROM rebuilt.compact ORDER BY position""",
)

COUNT_COVERED: Final = """\
SELECT coalesce(sum(stream.version), 0)
FROM stream JOIN event ON event.position = stream.last
WHERE event.stream = stream.stream AND event.version = stream.version"""
