"""A data directory opened to be asked, beside a running processor or without one; nothing is written to it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ecproc.config import Config
from ecproc.fold.tables import TABLES
from ecproc.fold.tickets import MACHINES
from ecproc.reading.queries import Queries
from ecproc.store.base import Reader
from ecproc.store.opening import open_reader


@asynccontextmanager
async def open_reading(config: Config) -> AsyncIterator[Reader]:
    """The log and the live rows as they are stored; every read sees the newest commit. Raises StoreError."""
    async with open_reader(config.data, TABLES) as reader:
        MACHINES.require_known(await reader.fold_version())
        yield reader


@asynccontextmanager
async def open_queries(config: Config, *, reveal: bool = False) -> AsyncIterator[Queries]:
    """The same, to be asked as people do. Raises StoreError."""
    async with open_reading(config) as reader:
        yield Queries(
            reader, tables=TABLES.names, machines=MACHINES, entries=config.limits.document_entries, reveal=reveal
        )
