"""The SQLite schema, its statements, and the settings every connection runs under."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator, Set
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, TypeAlias

from msgspec.structs import astuple

from ecproc import __version__
from ecproc.domain.log import Row, StreamCounters
from ecproc.errors import LogDamaged, NewerFormat, StoreError, StoreUnavailable
from ecproc.room import primary_code
from ecproc.store.base import Tables
from ecproc.store.seals import checksum_counters, seal_row
from ecproc.store.sqlite.sql import live, log, schema

SCHEMA_VERSION: Final = 2
"""Kept as the file's `user_version`; a file with a higher one was written by newer code and is refused, and so is 1,
which no release ever wrote."""

Statement: TypeAlias = tuple[str, list[tuple[object, ...]]]

BUSY_TIMEOUT_MS: Final = 5000
"""How long a start or a read waits for a lock that another program (a backup, a shell) holds before that is no room."""

_EVERY_CONNECTION: Final = (
    f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}",
    "PRAGMA trusted_schema = OFF",
    "PRAGMA cell_size_check = ON",
)
_WRITER: Final = (
    "PRAGMA page_size = 8192",
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA fullfsync = ON",  # only macOS tells a flush to the drive from a flush to the platter
    "PRAGMA wal_autocheckpoint = 0",  # SQLite swallows the errors of automatic checkpoints; ours are explicit
    "PRAGMA cache_size = -32768",
    "PRAGMA temp_store = MEMORY",  # a file that is opened in the middle of a statement may find no descriptor
)
_SCRATCH: Final = ("PRAGMA journal_mode = OFF", "PRAGMA synchronous = OFF", "PRAGMA cache_size = -32768")

_DAMAGE_CODES: Final = frozenset(
    {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT, sqlite3.SQLITE_ERROR}
)
"""What says that the content is not ours any more; SQLITE_ERROR is a table or column that is gone."""

NO_FOLD: Final = 0
"""The fold version of live rows that are to be rebuilt."""
_READ_ONLY_CODES: Final = frozenset({sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN})


def connect_writer(path: Path, tables: Tables, *, accept_loss: bool = False) -> sqlite3.Connection:
    """The one connection that writes and checkpoints; it may be used by one thread at a time. What it creates with
    `accept_loss` says so from its first moment."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        _check_version(connection, path)
        _apply(connection, *_EVERY_CONNECTION, *_WRITER)
        mode = connection.execute("PRAGMA journal_mode").fetchone()[0]
        if mode != "wal":
            raise StoreError(f"{path} is on a file system where SQLite cannot keep a write-ahead log")
        if _user_version(connection) == 0:
            _create(connection, tables, *([log.PUT_LOSS] if accept_loss else []))
    except BaseException:
        connection.close()
        raise
    return connection


def add_missing_tables(connection: sqlite3.Connection, tables: Tables) -> None:
    """Give a file the live tables that came later than it, and have its live rows rebuilt: they may belong there, or
    have no checksum yet. Its format stays the same; one of the others that is gone is damage."""
    missing = _find_missing(connection, *tables.later)
    indexes = (
        *map(schema.name_id_index, tables.searched_by_id),
        *map(schema.name_tag_index, tables.searched_by_tag),
        *map(schema.name_group_index, tables.grouped_by_tag),
        schema.UNDECIDED,
    )
    # All is asked before anything is written: the fold's version that is put below says that the form is this code's.
    has_checksums = connection.execute(schema.FIND_COUNTERS_CHECKSUM).fetchone() is not None
    is_older = not has_checksums or connection.execute(log.FIND_OTHER_FORM).fetchone() is not None
    if not (is_older or missing or _find_missing(connection, *indexes)):
        return
    connection.execute("BEGIN IMMEDIATE")
    _create_tables(connection, missing, tables)
    _create_look_ups(connection, tables)
    if not has_checksums:
        connection.execute(schema.ADD_COUNTERS_CHECKSUM)
    if is_older:
        _count_open(connection, tables)
    if is_older or missing:
        connection.execute(log.PUT_FOLD_VERSION, (NO_FOLD,))
    connection.execute("COMMIT")


def connect_reader(path: Path, later: Iterable[str] = (), *, immutable: bool = False) -> sqlite3.Connection:
    """A read-only connection; `immutable` is for a file that nobody can change while it is open.

    Of the live tables that came `later` than the file, one that it does not have yet is an empty one.

    Raises StoreError if the file is no ecproc log or of a newer schema.
    """
    uri = f"{path.absolute().as_uri()}?mode=ro{'&immutable=1' if immutable else ''}"
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
    try:
        _check_version(connection, path)
        if _user_version(connection) == 0:
            raise StoreError(f"{path} holds no event log")
        _apply(connection, *_EVERY_CONNECTION)
        for table in _find_missing(connection, *later):
            connection.execute(schema.create_rows(table, schema="temp"))
        connection.execute("PRAGMA query_only = ON")
    except BaseException:
        connection.close()
        raise
    return connection


def connect_scratch(path: Path, tables: Tables) -> sqlite3.Connection:
    """A throw-away file with empty live tables and stream counters, inside an open transaction."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        _apply(connection, *_EVERY_CONNECTION, *_SCRATCH, "BEGIN")
        _create_live(connection, tables)
        connection.execute(schema.CREATE_COMPACT)
    except BaseException:
        connection.close()
        raise
    return connection


def row_statements(rows: Iterable[Row], newest_stays: Set[str], counted: Set[str] = frozenset()) -> list[Statement]:
    """What writes and deletes rows, each statement with all of its parameters, and counts the tagged ones of those
    tables. Of two rows with one key the last counts; one is deleted only before the other is put."""
    parameters: defaultdict[str, list[tuple[object, ...]]] = defaultdict(list)
    tagged: defaultdict[str, dict[tuple[str, str], None]] = defaultdict(dict)
    for row in rows:
        if row.table in counted:
            tagged[row.table][row.stream, row.id] = None
        if row.data is None:
            parameters[live.delete_row(row.table)].append((row.stream, row.id))
        else:
            put = live.put_newer_row if row.table in newest_stays else live.put_row
            parameters[put(row.table)].append((row.stream, row.id, row.ordinal, row.tag, row.data, seal_row(row)))
    # What was taken is given back as it then stands: whether a row takes the place of another is the database's word.
    taken: list[Statement] = [(live.take_open(table), list(keys)) for table, keys in tagged.items()]
    given: list[Statement] = [(live.give_open(table), list(keys)) for table, keys in tagged.items()]
    return [*taken, *parameters.items(), *given]


def stream_statements(states: Iterable[tuple[str, StreamCounters]]) -> list[Statement]:
    """What writes stream counters."""
    return [(log.PUT_STREAM, [(name, *astuple(state), checksum_counters(name, state)) for name, state in states])]


@contextmanager
def translate_errors(what: str, position: int = 0) -> Iterator[None]:
    """Rename SQLite's errors: a file we did not write so is LogDamaged at `position`, the rest StoreUnavailable."""
    try:
        yield
    except sqlite3.Error as error:
        if is_damage(error):
            raise LogDamaged(position, f"{what}: {error}") from error
        raise StoreUnavailable(f"{what}: {error}") from error
    except OSError as error:
        raise StoreUnavailable(f"{what}: {error}") from error


def is_damage(error: sqlite3.Error) -> bool:
    """Whether the file's content is at fault and not the machine; text that is no UTF-8 comes without a code."""
    code = primary_code(error)
    if code is None:
        return isinstance(error, sqlite3.OperationalError)
    return code in _DAMAGE_CODES


def is_read_only(error: sqlite3.Error) -> bool:
    """Whether SQLite could not make the files it needs beside the database."""
    return primary_code(error) in _READ_ONLY_CODES


def _apply(connection: sqlite3.Connection, *statements: str) -> None:
    for statement in statements:
        connection.execute(statement)


def _user_version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _check_version(connection: sqlite3.Connection, path: Path) -> None:
    has_tables = connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone() is not None
    version = _user_version(connection)  # read last: a first start may create both in between
    if version > SCHEMA_VERSION:
        raise NewerFormat(
            f"{path} was written by a newer ecproc ({_read_writer(connection)}schema {version}; "
            f"this one, {__version__}, knows up to {SCHEMA_VERSION})"
        )
    if version == SCHEMA_VERSION and connection.execute(log.FIND_NEWER_FORM).fetchone() is not None:
        raise NewerFormat(
            f"{path} was written by a newer ecproc ({_read_writer(connection)}whose live rows this one, {__version__}, "
            "does not know)"
        )
    if 0 < version < SCHEMA_VERSION:
        raise StoreError(f"{path} was written before the first release (schema {version}): use another data directory")
    if version == 0 and has_tables:
        raise StoreError(f"{path} is a database of another program")


def _read_writer(connection: sqlite3.Connection) -> str:
    """The version that wrote the file, where a newer format still says so in the same place."""
    with suppress(sqlite3.Error, IndexError):
        for (version,) in connection.execute(log.READ_WRITER):
            return f"{version}, "
    return ""


def _create(connection: sqlite3.Connection, tables: Tables, *statements: str) -> None:
    connection.execute("BEGIN IMMEDIATE")
    _apply(connection, *schema.CREATE_LOG, schema.CREATE_COMPACT, schema.CREATE_SNAPSHOT, schema.CREATE_META)
    _create_live(connection, tables)
    _create_look_ups(connection, tables)
    _count_open(connection, tables)
    _apply(connection, *statements)
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    connection.execute("COMMIT")


def _create_live(connection: sqlite3.Connection, tables: Tables) -> None:
    connection.execute(schema.CREATE_STREAM)
    _create_tables(connection, tables.names, tables)


def _create_tables(connection: sqlite3.Connection, names: Set[str], tables: Tables) -> None:
    _apply(connection, *map(schema.create_rows, sorted(names)))
    _apply(connection, *map(schema.create_id_index, sorted(tables.searched_by_id)))
    _apply(connection, *map(schema.create_tag_index, sorted(tables.searched_by_tag)))


def _create_look_ups(connection: sqlite3.Connection, tables: Tables) -> None:
    """What only the live rows are looked up by, and no rebuild of them."""
    _apply(connection, *map(schema.create_group_index, sorted(tables.grouped_by_tag)), schema.CREATE_UNDECIDED)


def _count_open(connection: sqlite3.Connection, tables: Tables) -> None:
    _apply(connection, *map(live.put_open, sorted(tables.searched_by_tag)))


def _find_missing(connection: sqlite3.Connection, *names: str) -> set[str]:
    return set(names) - {name for (name,) in connection.execute(schema.LIST_NAMES)}
