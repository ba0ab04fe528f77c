"""The store in memory: the shared suite, and what its users may set."""

from __future__ import annotations

from itertools import count
from pathlib import Path

from ecproc.store.base import Tables
from ecproc.store.memory import MemoryStore
from ecproc.testing.store import SUITE_TABLES, StoreTests


class TestMemoryStore(StoreTests):
    async def open_store(self, directory: Path, tables: Tables) -> MemoryStore:
        return MemoryStore(count(1_700_000_000_000_000).__next__, tables)

    async def test_room_is_what_the_test_says(self, tmp_path: Path) -> None:
        store = await self.open_store(tmp_path, SUITE_TABLES)
        store.room = False
        assert not store.has_room()
