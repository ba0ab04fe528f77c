"""The event log and what goes with it: stream counters, compact forms, snapshots, the fold's version."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

Beyond: TypeAlias = Literal[">", ">="]
"""How a page begins: behind the last key of the page before it, or with the least key."""

_EVENT: Final = "position, stream, version, at, kind, payload, hash, message_key"
"""The columns of a RecordedEvent, in the order of its fields."""

INSERT_EVENT: Final = """\
INSERT INTO event (position, stream, version, prev, at, kind, message_key, payload, payload_hash, hash)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""

READ_HEAD: Final = "SELECT position, hash FROM event ORDER BY position DESC LIMIT 1"
READ_HASH: Final = "SELECT hash FROM event WHERE position = ?"
READ_HIGHEST_KEY: Final = "SELECT max(message_key) FROM event WHERE message_key IS NOT NULL"
FIND_MESSAGE: Final = "SELECT 1 FROM event WHERE message_key = ?"
READ_TIME: Final = "SELECT at FROM event WHERE position = ?"
READ_EVENT: Final = f"SELECT {_EVENT} FROM event WHERE position = ?"
READ_MESSAGE: Final = f"SELECT {_EVENT} FROM event WHERE message_key = ?"
READ_EVENTS: Final = f"SELECT {_EVENT} FROM event WHERE position IN (SELECT value FROM json_each(?))"
READ_LOG: Final = f"SELECT {_EVENT} FROM event WHERE position > ? AND position <= ? ORDER BY position"
LIST_SIZES: Final = """\
SELECT position, length(payload) FROM event WHERE position > ? AND position <= ? ORDER BY position LIMIT ?"""


def _follow(after: str) -> str:
    """A stream's events with `after` < version <= ?3, from its last one back, each with the version it should have."""
    return f"""\
WITH RECURSIVE tail (position, prev, expected) AS (
    SELECT stream.last, event.prev, stream.version
    FROM stream LEFT JOIN event ON event.position = stream.last
    WHERE stream.stream = ?1 AND stream.version > {after}
    UNION ALL
    SELECT tail.prev, event.prev, tail.expected - 1
    FROM tail LEFT JOIN event ON event.position = tail.prev
    WHERE tail.expected > {after} + 1
)
SELECT
    event.position, event.stream, event.version, event.at, event.kind, event.payload, event.hash, event.message_key,
    tail.expected
FROM tail LEFT JOIN event ON event.position = tail.position
WHERE tail.expected <= ?3"""


READ_STREAM: Final = _follow("?2")
READ_TAIL: Final = f"""\
{_follow("coalesce((SELECT version FROM snapshot WHERE stream = ?1 AND fold_version = ?2), 0)")}
UNION ALL
SELECT NULL, stream, version, fold_version, NULL, data, NULL, NULL, NULL
FROM snapshot
WHERE stream = ?1 AND fold_version = ?2"""
"""What is behind its snapshot, and that snapshot as the last row, if that fold wrote one."""

SCAN_ORDER: Final = """\
SELECT position
FROM event
WHERE position <= ?3 AND stream >= ?1 AND (?2 IS NULL OR stream < ?2)
ORDER BY stream, version"""

PUT_STREAM: Final = """\
INSERT INTO stream (stream, version, through, wanted, last, crc)
VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (stream) DO UPDATE SET
    version = excluded.version, through = excluded.through, wanted = excluded.wanted, last = excluded.last,
    crc = excluded.crc"""

READ_STREAM_STATE: Final = "SELECT version, through, wanted, last FROM stream WHERE stream = ?"
READ_UNDECIDED: Final = "SELECT stream FROM stream WHERE wanted > through ORDER BY stream"

INSERT_COMPACT: Final = "INSERT INTO compact (position, stream, data) VALUES (?, ?, ?)"
SCAN_COMPACT: Final = """\
SELECT stream, position, data
FROM compact
WHERE stream >= ?1 AND (?2 IS NULL OR stream < ?2)
ORDER BY stream, position"""

DELETE_SNAPSHOTS: Final = "DELETE FROM snapshot"
PUT_SNAPSHOT: Final = "INSERT OR REPLACE INTO snapshot (stream, version, fold_version, data) VALUES (?, ?, ?, ?)"
READ_SNAPSHOT: Final = """\
SELECT stream, version, fold_version, data FROM snapshot WHERE stream = ? AND fold_version = ?"""

_ROW_FORM: Final = 1
"""How live rows and counters are kept; 0 is without checksums. It stands above the fold's version, so that a program
that knows another form takes the rows for those of another fold, and writes them anew."""
PUT_FOLD_VERSION: Final = f"INSERT OR REPLACE INTO meta (key, value) VALUES ('fold_version', ? + ({_ROW_FORM} << 32))"
READ_FOLD_VERSION: Final = "SELECT value & 4294967295 FROM meta WHERE key = 'fold_version'"
FIND_NEWER_FORM: Final = f"SELECT 1 FROM meta WHERE key = 'fold_version' AND value >> 32 > {_ROW_FORM}"
FIND_OTHER_FORM: Final = f"SELECT 1 FROM meta WHERE key = 'fold_version' AND value >> 32 <> {_ROW_FORM}"
FIND_UNSEALED_FORM: Final = f"""\
SELECT 1 FROM meta WHERE key = 'fold_version' AND (value >> 32 <> {_ROW_FORM} OR value & 4294967295 = 0)"""
"""Whether rows may have no checksum: they are of an older form, or about to be made anew."""

COUNT_EVENTS: Final = """\
SELECT (SELECT coalesce(sum(version), 0) FROM stream), (SELECT coalesce(max(position), 0) FROM event)"""
"""How many events the counters speak of, and how many there are."""
CHECK_STREAMS: Final = """\
SELECT stream, version, through, wanted, last, crc FROM stream WHERE stream > ? ORDER BY stream LIMIT ?"""

PUT_WRITER: Final = "INSERT OR REPLACE INTO meta (key, value) VALUES ('writer', ?)"
READ_WRITER: Final = "SELECT value FROM meta WHERE key = 'writer'"

PUT_LOSS: Final = "INSERT OR REPLACE INTO meta (key, value) VALUES ('loss_accepted', 1)"
FIND_LOSS: Final = "SELECT 1 FROM meta WHERE key = 'loss_accepted'"
DELETE_LOSS: Final = "DELETE FROM meta WHERE key = 'loss_accepted'"

PUT_COPIED: Final = "INSERT OR REPLACE INTO meta (key, value) VALUES ('copied', 1)"
FIND_COPIED: Final = "SELECT 1 FROM meta WHERE key = 'copied'"
DELETE_COPIED: Final = "DELETE FROM meta WHERE key = 'copied'"
"""What a backup says of itself until it is started."""

FORGET_LOST: Final = (
    """\
UPDATE stream
SET version = coalesce(kept.version, 0), last = coalesce(kept.last, 0)
FROM
    stream AS old
    LEFT JOIN (SELECT stream, max(version) AS version, max(position) AS last FROM event GROUP BY stream) AS kept
    ON kept.stream = old.stream
WHERE old.stream = stream.stream""",
    "UPDATE stream SET through = min(through, version), wanted = min(wanted, version)",
    "DELETE FROM compact WHERE position > (SELECT coalesce(max(position), 0) FROM event)",
)
"""Counters and compact forms as the events tell them that are left."""


def list_streams(beyond: Beyond) -> str:
    """A page of streams that have events, with their counters."""
    return f"""\
SELECT stream, version, through, wanted, last
FROM stream
WHERE stream {beyond} ? AND version > 0
ORDER BY stream
LIMIT ?"""
