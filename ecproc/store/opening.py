"""What stands behind the port: nobody above names an adapter, the configuration does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import assert_never

from ecproc.config import DataConfig
from ecproc.errors import DataDirInUse
from ecproc.room import Room
from ecproc.store.base import Damage, HeldLog, LogHealth, ReadableStore, Store, Tables, VerifiedLog


async def open_store(
    data: DataConfig,
    tables: Tables,
    *,
    now: Callable[[], int],
    identity: Mapping[str, str] | None,
    accept_loss: bool = False,
    require_known: Callable[[int], None] = lambda fold_version: None,
    room: Room | None = None,
    on_commit: Callable[[float, int], None] | None = None,
) -> Store:
    """The log of this configuration and its live rows, checked and open for writing; a new one is durable on return.

    `now` is microseconds UTC. `identity` is written into a new log and compared with an old one's, unless it is None.
    `accept_loss` opens a log that ends before its anchor. `require_known` may refuse the version of the fold that wrote
    the live rows, before anything is changed. `room` is the account of the data directory's disk, where
    others have it too. `on_commit` hears each transaction's seconds and batches.
    Raises DataDirInUse with nothing touched, LogDamaged, WrongEnvironment, StoreUnavailable or StoreError.
    """
    match data.store:
        case "sqlite":
            from ecproc.store.sqlite.store import open_store as open_sqlite

            return await open_sqlite(
                data.directory,
                tables,
                now=now,
                identity=identity,
                reserve_bytes=data.reserve_bytes,
                accept_loss=accept_loss,
                require_known=require_known,
                room=room,
                on_commit=on_commit,
            )
        case _:
            assert_never(data.store)


def open_reader(data: DataConfig, tables: Tables) -> AbstractAsyncContextManager[ReadableStore]:
    """The log of this configuration to read, beside a running processor or when none runs; nothing is written to it.

    Raises StoreError if there is no log or it is of a newer schema, LogDamaged if it is no database any more.
    """
    match data.store:
        case "sqlite":
            from ecproc.store.sqlite.store import open_reader as open_sqlite

            return open_sqlite(data.directory, tables)
        case _:
            assert_never(data.store)


def verify_log(data: DataConfig) -> Damage | VerifiedLog:
    """Read the whole log of this configuration and say where it first does not hold; nothing is written.

    Works beside a running processor. Position 0 is damage that belongs to no one event. Raises StoreError if there is
    no log, it is of a newer schema, or the machine cannot read it.
    """
    match data.store:
        case "sqlite":
            from ecproc.store.sqlite.verify import verify_log as verify_sqlite

            return verify_sqlite(data.directory)
        case _:
            assert_never(data.store)


def look_at_log(data: DataConfig) -> LogHealth:
    """This configuration's log as it stands on disk; nothing is written, and it works beside a running processor.

    Raises StoreError as `verify_log` does, and LogDamaged where what is looked at cannot be read.
    """
    match data.store:
        case "sqlite":
            from ecproc.store.sqlite.health import look_at_log as look_sqlite

            return look_sqlite(data.directory)
        case _:
            assert_never(data.store)


def holding_log(data: DataConfig) -> AbstractContextManager[HeldLog]:
    """The log of this configuration as it is now, to be copied beside a running processor or when none runs; nothing is
    written to it, and nothing in it moved.

    Raises StoreError if there is no log, it is of a newer schema, or the machine cannot read it, and LogDamaged.
    """
    match data.store:
        case "sqlite":
            from ecproc.store.sqlite.backup import holding_log as hold_sqlite

            return hold_sqlite(data.directory)
        case _:
            assert_never(data.store)


def measure_wal(data: DataConfig) -> int:
    """The bytes of the write-ahead log of this configuration's log; 0 if it has none."""
    match data.store:
        case "sqlite":
            from ecproc.store.sqlite.datadir import DATABASE
            from ecproc.wal import measure_wal as measure_sqlite

            return measure_sqlite(data.directory / DATABASE)
        case _:
            assert_never(data.store)


def find_holder(data: DataConfig) -> DataDirInUse | None:
    """Who writes to this log now, None if nobody does. Raises DataDirUnusable."""
    match data.store:
        case "sqlite":
            from ecproc.store.sqlite.datadir import find_holder as find_sqlite_holder

            return find_sqlite_holder(data.directory)
        case _:
            assert_never(data.store)


def holds_log(data: DataConfig) -> bool:
    """Whether there is something to read. Raises DataDirUnusable where something stands in the way of a look."""
    match data.store:
        case "sqlite":
            from ecproc.store.sqlite.datadir import holds_log as look_sqlite

            return look_sqlite(data.directory)
        case _:
            assert_never(data.store)


def read_anchor_time(data: DataConfig) -> float | None:
    """When this log's anchor was written last, in seconds UTC; None where there is none that can be looked at."""
    match data.store:
        case "sqlite":
            from ecproc.store.sqlite.datadir import ANCHOR

            try:
                return (data.directory / ANCHOR).stat().st_mtime
            except OSError:
                return None
        case _:
            assert_never(data.store)
