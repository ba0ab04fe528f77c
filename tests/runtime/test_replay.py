"""Documents and rebuilds: what live rows say is what the log says, at its end and as of any moment."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from ecproc.errors import StoreError
from ecproc.runtime.documents import document_of, find_stream, list_documents, read_document
from ecproc.runtime.replay import Progress, rebuild
from ecproc.store.base import Batch, NewEvent, RecordedEvent
from ecproc.store.memory import MemoryReader
from ecproc.testing.simloop import simulated_backend
from ecproc.testing.world import World, WorldPlan

ENTRIES = 1000


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return simulated_backend()


async def make_world(*, tickets: int = 12) -> World:
    """A world that has come to rest."""
    world = World(WorldPlan(tickets=tickets, rate=50), seed=1)
    world.start()
    await world.finish(within=300)
    assert await world.books.check() == []
    return world


@pytest.mark.requirement("I5")
async def test_a_document_made_of_the_events_is_the_live_one() -> None:
    world = await make_world()

    for life in world.lives:
        events = await world.disk.read_stream(life.ticket)
        live = await read_document(world.disk, life.ticket, entries=ENTRIES)
        assert live is not None
        assert document_of(life.ticket, events, entries=ENTRIES) == live
        assert document_of(life.ticket, events, entries=2) == await read_document(world.disk, life.ticket, entries=2)


async def test_a_document_as_of_a_position_tells_what_was_decided_by_then() -> None:
    world = await make_world(tickets=1)
    (life,) = world.lives
    events = await world.disk.read_stream(life.ticket)
    versions = []

    for count in range(len(events) + 1):
        raw = document_of(life.ticket, events[:count], entries=ENTRIES)
        versions.append(msgspec.json.decode(raw)["version"] if raw is not None else 0)

    assert versions[0] == versions[1] == 0
    assert versions == sorted(versions)
    assert all(version <= count for count, version in enumerate(versions))
    assert versions[-1] > len(events) - 3


async def test_a_capped_document_shows_the_newest_and_counts_all() -> None:
    world = await make_world()
    ticket = max(world.lives, key=lambda life: len(life.outcome.history)).ticket

    whole, capped = [
        msgspec.json.decode(await read_document(world.disk, ticket, entries=entries) or b"") for entries in (ENTRIES, 1)
    ]

    assert capped["history"] == whole["history"][-1:]
    assert capped["effects"] == whole["effects"][-1:]
    assert capped["history_count"] == len(whole["history"]) > 1
    assert capped["effects_count"] == len(whole["effects"]) > 1
    assert capped["notes"] == whole["notes"]


@pytest.mark.requirement("R49")
async def test_a_ticket_is_found_by_either_number_however_it_is_spelled() -> None:
    world = await make_world(tickets=2)
    ticket = world.lives[0].ticket
    document = msgspec.json.decode(await read_document(world.disk, ticket, entries=ENTRIES) or b"")

    for number in (ticket, ticket.upper(), ticket.removeprefix("e-"), ticket.lower(), document["client_ticket"]):
        assert await find_stream(world.disk, number) == ticket
    assert await find_stream(world.disk, "e-CS0") is None
    assert await read_document(world.disk, "e-CS0", entries=ENTRIES) is None


async def test_documents_are_listed_by_ticket_type_and_state_and_from_where_one_left_off() -> None:
    world = await make_world()

    async def listed(**choice: Any) -> list[str]:
        documents = list_documents(world.disk, entries=ENTRIES, **choice)
        return [msgspec.json.decode(document)["ticket"] async for document in documents]

    tickets = sorted(life.ticket for life in world.lives)
    changes = sorted(life.ticket for life in world.lives if life.outcome.type == "Change")
    closed = sorted(life.ticket for life in world.lives if life.outcome.state == "Closed")
    assert await listed() == tickets
    assert await listed(ticket_type="Change") == changes
    assert await listed(ticket_type="Change", state="Closed") == closed
    assert await listed(after=tickets[4]) == tickets[5:]
    assert await listed(ticket_type="Task") == []


class OneByOne(MemoryReader):
    """Gives streams in pages that end anywhere."""

    async def read_streams(self, *, until: int | None = None) -> AsyncIterator[list[RecordedEvent]]:
        size = 1
        async for page in super().read_streams(until=until):
            rest = page
            while rest:
                yield rest[:size]
                rest, size = rest[size:], size % 7 + 1


@pytest.mark.requirement("I5")
async def test_a_rebuild_is_told_apart_by_what_differs_and_swapped_whole() -> None:
    world = await make_world()
    lost = (await world.disk.read_rows("history", stream=world.lives[0].ticket))[0]
    await world.disk.commit(Batch(rows=[msgspec.structs.replace(lost, data=None)]))
    progress: list[Progress] = []

    async with world.disk.reading() as reader, world.disk.rebuilding(reader) as aside:
        pages = OneByOne(reader._state)
        rebuilt = await rebuild(pages, aside, clock=world.clock, on_progress=progress.append)
        count, (first,) = await aside.differences(9)
        assert (count, first.table, first.live, first.rebuilt) == (1, "history", None, lost.data)
        await aside.swap(fold_version=7)

    head = await world.disk.head()
    assert (rebuilt.events, rebuilt.tickets) == (head.position, len(world.lives))
    assert (progress[-1].events, progress[-1].total) == (head.position, head.position)
    assert await world.books.check() == []
    assert await world.disk.fold_version() == 7


async def test_a_rebuild_up_to_a_position_replaces_nothing() -> None:
    world = await make_world(tickets=3)
    head = await world.disk.head()

    async with world.disk.reading() as reader, world.disk.rebuilding(reader) as aside:
        rebuilt = await rebuild(reader, aside, clock=world.clock, until=head.position // 2)
        with pytest.raises(StoreError):
            await aside.swap(fold_version=7)
        beyond = await rebuild(reader, aside, clock=world.clock, until=head.position + 5)

    assert rebuilt.events == head.position // 2
    assert beyond.events == head.position
    assert await world.books.check() == []


async def test_a_stream_that_is_no_ticket_is_counted_and_has_no_document() -> None:
    world = await make_world(tickets=1)
    await world.disk.commit(Batch(events=[NewEvent("ecproc", "LogIdentified", b"{}")]))

    async with world.disk.reading() as reader, world.disk.rebuilding(reader) as aside:
        rebuilt = await rebuild(reader, aside, clock=world.clock)
        assert await aside.differences(3) == (0, [])

    assert rebuilt.tickets == 1
    assert await read_document(world.disk, "ecproc", entries=ENTRIES) is None


def test_progress_tells_its_rate_and_what_is_left() -> None:
    assert (Progress(50, 200, 2.0).rate, Progress(50, 200, 2.0).eta) == (25.0, 6.0)
    assert (Progress(0, 200, 2.0).eta, Progress(5, 200, 0.0).rate) == (None, 0.0)
