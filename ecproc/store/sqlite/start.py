"""How a data directory becomes an open log: locked, created or checked, and refused where it is not what we left."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

from ecproc import __version__
from ecproc.errors import LogDamaged, OutOfStep
from ecproc.store.base import Head, Tables
from ecproc.store.sqlite.datadir import AnchorUnreadable, DataDir, read_anchor
from ecproc.store.sqlite.extent import describe_shortage
from ecproc.store.sqlite.logfile import LogFile, close_as_it_is
from ecproc.store.sqlite.schema import NO_FOLD, add_missing_tables, connect_reader, connect_writer, translate_errors
from ecproc.store.sqlite.sql import log
from ecproc.store.sqlite.verify import check_anchor, check_emptied, check_tail, read_head


def open_log(directory: Path, tables: Tables, *, accept_loss: bool, require_known: Callable[[int], None]) -> LogFile:
    """Lock, create or check the log of a data directory; what was newly created is durable on return.

    `require_known` may refuse the version of the fold that wrote the live rows, before anything is changed. Raises
    DataDirInUse, StoreUnavailable, StoreError, NewerFormat, or LogDamaged: with `accept_loss` not for a log behind its
    anchor or without one; and without it OutOfStep for a backup.
    """
    with translate_errors(f"{directory} cannot be opened", position=1):
        data_dir = DataDir.acquire(directory)
        try:
            data_dir.prepare()
            data_dir.check_files()
            if not accept_loss:
                check_emptied(directory)
            return _open_checked(data_dir, tables, accept_loss=accept_loss, require_known=require_known)
        except BaseException:
            data_dir.release()
            raise


def _open_checked(
    data_dir: DataDir, tables: Tables, *, accept_loss: bool, require_known: Callable[[int], None]
) -> LogFile:
    is_as_left = data_dir.is_as_left()
    connection = connect_writer(data_dir.database, tables, accept_loss=accept_loss)
    guard: sqlite3.Connection | None = None
    try:
        guard = connect_reader(data_dir.database)
        data_dir.sync()
        lost = _check(connection, data_dir, accept_loss=accept_loss)
        if not accept_loss:
            _refuse_backup(connection, directory=data_dir.path)
        for (fold_version,) in connection.execute(log.READ_FOLD_VERSION).fetchall():
            require_known(fold_version)
        add_missing_tables(connection, tables)  # first: what was lost is forgotten in this code's form
        if accept_loss:
            _accept_loss(connection, is_seen=lost is not None)
        _sign(connection)
        opened = LogFile(data_dir, connection, guard, tables, accepted_loss=lost, is_as_left=is_as_left)
        opened.write_anchor()
        data_dir.sync()  # so that there is no event without an anchor, whatever happens to the machine
    except BaseException:
        close_as_it_is(connection, guard)
        raise
    return opened


def _check(connection: sqlite3.Connection, data_dir: DataDir, *, accept_loss: bool) -> Head | None:
    """Look at the file's extent, the log's end and its anchor; the loss that was accepted, if there is one."""
    shortage = describe_shortage(connection, data_dir.database)
    if shortage is not None:
        raise LogDamaged(0, shortage)
    damage = check_tail(connection)
    if damage is not None:
        raise LogDamaged(damage.position, damage.reason)
    head = read_head(connection)
    anchor, missed = _compare_anchor(connection, data_dir.path, head)
    if missed is None:
        return None
    if not accept_loss:
        raise missed
    return anchor or head


def _refuse_backup(connection: sqlite3.Connection, *, directory: Path) -> None:
    """A backup knows nothing of what came after it: whoever puts it back says so. Raises OutOfStep."""
    if connection.execute(log.FIND_COPIED).fetchone() is not None:
        raise OutOfStep(f"{directory} is a backup: what was received and given out since it was made is not in it")


def _compare_anchor(
    connection: sqlite3.Connection, directory: Path, head: Head
) -> tuple[Head | None, LogDamaged | None]:
    try:
        anchor = read_anchor(directory)
    except AnchorUnreadable as error:
        return None, LogDamaged(0, str(error))
    damage = check_anchor(connection, anchor, head)
    return anchor, None if damage is None else LogDamaged(damage.position, damage.reason)


def _sign(connection: sqlite3.Connection) -> None:
    """Say in the file which version writes it, for one that is too old to read it."""
    if connection.execute(log.READ_WRITER).fetchone() != (__version__,):
        connection.execute(log.PUT_WRITER, (__version__,))


def _accept_loss(connection: sqlite3.Connection, *, is_seen: bool) -> None:
    """Note that what follows from a loss is to be done, before the loss can no longer be seen."""
    connection.execute("BEGIN IMMEDIATE")
    connection.execute(log.PUT_LOSS)
    connection.execute(log.DELETE_COPIED)
    if is_seen:
        _forget_lost(connection)
    connection.execute("COMMIT")


def _forget_lost(connection: sqlite3.Connection) -> None:
    """Take back what live rows know of lost events: counters to the log's, and a fold version that no code has."""
    for statement in log.FORGET_LOST:
        connection.execute(statement)
    connection.execute(log.DELETE_SNAPSHOTS)
    connection.execute(log.PUT_FOLD_VERSION, (NO_FOLD,))
