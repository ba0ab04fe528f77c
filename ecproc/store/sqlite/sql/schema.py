"""What a file is made of. Columns, their order and the indexes of the log are frozen: they are the file's format."""

from __future__ import annotations

from typing import Final

CREATE_LOG: Final = (
    """\
CREATE TABLE event (
    position INTEGER PRIMARY KEY,
    stream TEXT NOT NULL,
    version INTEGER NOT NULL,
    prev INTEGER NOT NULL,
    at INTEGER NOT NULL,
    kind TEXT NOT NULL,
    message_key BLOB,
    payload BLOB NOT NULL,
    payload_hash BLOB NOT NULL,
    hash BLOB NOT NULL
)""",
    "CREATE UNIQUE INDEX event_message ON event (message_key) WHERE message_key IS NOT NULL",
    # Nothing reads by kind any more, but every file has this index.
    "CREATE INDEX event_quarantined ON event (kind) WHERE kind = 'MessageQuarantined'",
)

CREATE_STREAM: Final = """\
CREATE TABLE stream (
    stream TEXT PRIMARY KEY,
    version INTEGER NOT NULL,
    through INTEGER NOT NULL,
    wanted INTEGER NOT NULL,
    last INTEGER NOT NULL,
    crc INTEGER
) WITHOUT ROWID"""
UNDECIDED: Final = "stream_undecided"
CREATE_UNDECIDED: Final = f"CREATE INDEX IF NOT EXISTS {UNDECIDED} ON stream (stream) WHERE wanted > through"
"""Streams with something to decide are listed without a look at the others."""
FIND_COUNTERS_CHECKSUM: Final = "SELECT 1 FROM pragma_table_info('stream') WHERE name = 'crc'"
ADD_COUNTERS_CHECKSUM: Final = "ALTER TABLE stream ADD COLUMN crc INTEGER"
"""Files of before checksums lack the column."""

CREATE_COMPACT: Final = """\
CREATE TABLE compact (
    position INTEGER PRIMARY KEY,
    stream TEXT NOT NULL,
    data BLOB NOT NULL
)"""

CREATE_SNAPSHOT: Final = """\
CREATE TABLE snapshot (
    stream TEXT PRIMARY KEY,
    version INTEGER NOT NULL,
    fold_version INTEGER NOT NULL,
    data BLOB NOT NULL
)"""

CREATE_META: Final = """\
CREATE TABLE meta (
    key TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) WITHOUT ROWID"""

LIST_NAMES: Final = "SELECT name FROM sqlite_master"


def create_rows(table: str, *, schema: str = "main") -> str:
    """A live table, in the file or only for a connection (`temp`)."""
    return f"""\
CREATE TABLE IF NOT EXISTS {schema}.{table} (
    stream TEXT NOT NULL,
    id TEXT NOT NULL,
    ordinal INTEGER NOT NULL,
    tag TEXT,
    data TEXT NOT NULL,
    PRIMARY KEY (stream, id)
) WITHOUT ROWID"""


def name_id_index(table: str) -> str:
    """What the index over a live table's ids is called."""
    return f"{table}_id"


def create_id_index(table: str) -> str:
    """Rows are found by id without their stream."""
    return f"CREATE INDEX IF NOT EXISTS {name_id_index(table)} ON {table} (id)"


def name_group_index(table: str) -> str:
    """What the index over a live table's rows by tag is called."""
    return f"{table}_by_tag"


def create_group_index(table: str) -> str:
    """Rows are counted by tag without a look at them, and listed by tag as they stand in the table."""
    return f"CREATE INDEX IF NOT EXISTS {name_group_index(table)} ON {table} (tag, stream, ordinal)"


def name_tag_index(table: str) -> str:
    """What the index over a live table's tagged rows is called."""
    return f"{table}_tagged"


def create_tag_index(table: str) -> str:
    """The tagged rows are listed without a look at the others."""
    return f"CREATE INDEX IF NOT EXISTS {name_tag_index(table)} ON {table} (stream, ordinal) WHERE tag IS NOT NULL"
