"""What every store must do: subclass `StoreTests`, say how to open yours, and let pytest run it."""

from __future__ import annotations

from ecproc.testing.store_case import (
    OTHER,
    STREAM,
    SUITE_TABLES,
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
)
from ecproc.testing.store_live import LiveTests
from ecproc.testing.store_log import LogTests
from ecproc.testing.store_streams import StreamTests
from ecproc.testing.store_tables import TableTests

__all__ = [
    "OTHER",
    "STREAM",
    "SUITE_TABLES",
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
]


class StoreTests(LogTests, StreamTests, LiveTests, TableTests):
    """The suite, whole."""
