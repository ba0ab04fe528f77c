"""Every ticket of every history as a test of its own: with all texts replaced it lives the same life."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ecproc.fold.tables import TABLES
from ecproc.reading.opening import open_reading
from ecproc.store.base import ReadableStore
from ecproc.store.opening import open_reader
from ecproc.support.fixture import NoFixture, collect_fixture, fold_states, read_fixture
from tests.replay.histories import list_histories, unpack


async def list_streams(store: ReadableStore) -> AsyncIterator[str]:
    async for page in store.list_streams():
        for stream, _ in page:
            yield stream


@pytest.mark.parametrize("name", list_histories())
async def test_each_ticket_of_a_history_makes_a_test(tmp_path: Path, name: str) -> None:
    config = unpack(name, tmp_path / "data")
    made = 0
    async with open_reader(config.data, TABLES) as store, open_reading(config) as reader:
        async for stream in list_streams(store):
            messages = [event for event in await store.read_stream(stream) if event.kind == "MessageReceived"]
            real = fold_states(stream, messages)
            if real is None and messages:
                with pytest.raises(NoFixture, match="makes it a ticket"):
                    await collect_fixture(reader, stream)
            elif real is not None:
                fixture = await collect_fixture(reader, stream)
                assert fixture is not None
                assert read_fixture(fixture.content) == (real, real)
                made += 1
    assert made > 10
