"""Reading every column of the log to check it."""

from __future__ import annotations

from typing import Final

_EVENT: Final = "position, stream, version, prev, at, kind, message_key, payload, payload_hash, hash"

VERIFY_LOG: Final = f"SELECT {_EVENT} FROM event WHERE position > ? ORDER BY position LIMIT ?"
VERIFY_EVENT: Final = f"SELECT {_EVENT} FROM event WHERE position = ?"

LIST_PLACES: Final = "SELECT position, stream, version, prev FROM event"
VERIFY_VERSIONS: Final = """\
SELECT min(position)
FROM (
    SELECT
        position,
        version,
        prev,
        row_number() OVER of_stream AS expected,
        lag(position, 1, 0) OVER of_stream AS before
    FROM temp.place
    WINDOW of_stream AS (PARTITION BY stream ORDER BY position)
)
WHERE version <> expected OR prev <> before"""
