"""What every store must do: subclass `StoreTests`, say how to open yours, and let pytest run it."""

from __future__ import annotations

from ecproc.testing.store_case import (
    OTHER,
    STREAM,
    append,
    copy_live,
    decide,
    list_compact,
    list_counters,
    make_key,
    make_message,
    make_row,
    read_all,
    read_by_stream,
    scan_all,
    sqlite_store,
)
from ecproc.testing.store_live import LiveTests
from ecproc.testing.store_log import LogTests
from ecproc.testing.store_streams import StreamTests

__all__ = [
    "OTHER",
    "STREAM",
    "StoreTests",
    "append",
    "copy_live",
    "decide",
    "list_compact",
    "list_counters",
    "make_key",
    "make_message",
    "make_row",
    "read_all",
    "read_by_stream",
    "scan_all",
    "sqlite_store",
]


class StoreTests(LogTests, StreamTests, LiveTests):
    """The suite, whole."""
