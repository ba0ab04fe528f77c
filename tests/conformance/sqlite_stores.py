"""The SQLite store as our tests open it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

from ecproc.store.base import Tables
from ecproc.store.sqlite.store import SqliteStore, open_store
from ecproc.testing.store import SUITE_TABLES


@asynccontextmanager
async def sqlite_store(directory: Path, tables: Tables = SUITE_TABLES, **options: Any) -> AsyncIterator[SqliteStore]:
    """Have the store of a data directory open for a block, by default without identity and reserve."""
    given = {"identity": None, "reserve_bytes": 0, "now": count(1_700_000_000_000_000).__next__} | options
    store = await open_store(directory, tables, **given)
    try:
        yield store
    finally:
        await store.aclose()
