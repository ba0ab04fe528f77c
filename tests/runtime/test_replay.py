"""Documents and rebuilds: what live rows say is what the log says, at its end and as of any moment."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
import pytest

from ecproc.domain.log import Batch, Compact, NewEvent, RecordedEvent, Row
from ecproc.errors import StoreError
from ecproc.fold.recorded import Kind
from ecproc.fold.tables import TABLES
from ecproc.fold.tickets import MACHINES
from ecproc.fold.whole import compact_events
from ecproc.reading.documents import document_of, find_stream, read_document
from ecproc.reading.filters import TicketFilter
from ecproc.reading.listing import list_documents
from ecproc.rebuild.parts import divide_streams
from ecproc.rebuild.streams import CompactUnusable, Progress, RebuildOrder, rebuild
from ecproc.store.base import ALL, Span
from ecproc.store.memory import MemoryReader, MemoryStore
from tests.simulation.simloop import simulated_backend
from tests.simulation.world import World, WorldPlan

ENTRIES = 1000


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return simulated_backend()


async def make_world(*, tickets: int = 12) -> World:
    """A world that has come to rest."""
    world = World(WorldPlan(tickets=tickets, rate=50), seed=2)  # of none is a step too long for a compact form
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
        assert document_of(life.ticket, events, machines=MACHINES, entries=ENTRIES) == live
        assert document_of(life.ticket, events, machines=MACHINES, entries=2) == await read_document(
            world.disk, life.ticket, entries=2
        )


async def test_a_document_as_of_a_position_counts_what_was_received_by_then_decided_or_not() -> None:
    world = await make_world(tickets=1)
    (life,) = world.lives
    events = await world.disk.read_stream(life.ticket)
    told = 0

    assert document_of(life.ticket, [], machines=MACHINES, entries=ENTRIES) is None
    for count, event in enumerate(events, start=1):
        told = event.version if event.kind != Kind.DECIDED else told
        raw = document_of(life.ticket, events[:count], machines=MACHINES, entries=ENTRIES)
        assert raw is not None
        assert msgspec.json.decode(raw)["version"] == told


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

    ours = document["client_ticket"]
    spelled = (ticket, ticket.upper(), ticket.removeprefix("e-"), ticket.lower(), ours, ours.lower(), ours.title())
    for number in spelled:
        assert await find_stream(world.disk, number) == ticket
    assert await find_stream(world.disk, "e-CS0") is None
    assert await find_stream(world.disk, "local-9999999") is None
    assert await read_document(world.disk, "e-CS0", entries=ENTRIES) is None


@pytest.mark.requirement("R49")
@pytest.mark.parametrize(
    ("given", "typed"),
    [("Inc900", "iNC900"), ("INC900", "inc900"), ("inc900", "Inc900"), ("SERVICEREQUEST900", "servicerequest900")],
)
async def test_our_number_is_found_in_any_case_and_first_as_it_is_typed(given: str, typed: str) -> None:
    store = MemoryStore(lambda: 0, TABLES)
    await store.commit(Batch(rows=[Row("client_ticket", "e-CS1", given, 1, b"{}")]))
    assert await find_stream(store, given) == "e-CS1"
    assert await find_stream(store, typed) == "e-CS1"
    assert await find_stream(store, f"{typed}1") is None
    await store.commit(Batch(rows=[Row("client_ticket", "e-CS2", typed, 1, b"{}")]))
    assert await find_stream(store, typed) == "e-CS2"
    assert await find_stream(store, given) == "e-CS1"


async def test_documents_are_listed_by_ticket_type_and_state_and_from_where_one_left_off() -> None:
    world = await make_world()

    async def listed(*, after: str | None = None, **choice: Any) -> list[str]:
        documents = list_documents(world.disk, TicketFilter(**choice), after=after, entries=ENTRIES)
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

    async def read_streams(self, *, until: int | None = None, span: Span = ALL) -> AsyncIterator[list[RecordedEvent]]:
        size = 1
        async for page in super().read_streams(until=until, span=span):
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
        rebuilt = await rebuild(pages, aside, machines=MACHINES, clock=world.clock, on_progress=progress.append)
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
        rebuilt = await rebuild(
            reader, aside, RebuildOrder(until=head.position // 2), machines=MACHINES, clock=world.clock
        )
        with pytest.raises(StoreError):
            await aside.swap(fold_version=7)
        beyond = await rebuild(
            reader, aside, RebuildOrder(until=head.position + 5), machines=MACHINES, clock=world.clock
        )

    assert rebuilt.events == head.position // 2
    assert beyond.events == head.position
    assert await world.books.check() == []


async def test_a_stream_that_is_no_ticket_is_counted_and_has_no_document() -> None:
    world = await make_world(tickets=1)
    await world.disk.commit(Batch(events=[NewEvent("ecproc", "LogIdentified", b"{}")]))

    async with world.disk.reading() as reader, world.disk.rebuilding(reader) as aside:
        rebuilt = await rebuild(reader, aside, machines=MACHINES, clock=world.clock)
        assert await aside.differences(3) == (0, [])

    assert rebuilt.tickets == 1
    assert await read_document(world.disk, "ecproc", entries=ENTRIES) is None


class Watched(MemoryReader):
    """Keeps which streams were read from the log; may give other compact forms than it has."""

    def __init__(self, reader: MemoryReader, change: Callable[[Compact], Compact | None] = lambda one: one) -> None:
        super().__init__(reader._state)
        self.read: list[str] = []
        self._change = change

    async def read_stream(self, stream: str, *, after: int = 0, limit: int | None = None) -> list[RecordedEvent]:
        self.read.append(stream)
        return await super().read_stream(stream, after=after, limit=limit)

    async def read_compact(self, *, span: Span = ALL) -> AsyncIterator[list[Compact]]:
        async for page in super().read_compact(span=span):
            yield [one for one in map(self._change, page) if one is not None]


@pytest.mark.requirement("I5")
async def test_the_compact_form_alone_tells_what_the_whole_log_does() -> None:
    world = await make_world()

    async with world.disk.reading() as reader, world.disk.rebuilding(reader) as aside:
        watched = Watched(reader)
        rebuilt = await rebuild(watched, aside, RebuildOrder(compact=True), machines=MACHINES, clock=world.clock)
        assert await aside.differences(3) == (0, [])

    assert watched.read == []
    assert (rebuilt.events, rebuilt.tickets) == ((await world.disk.head()).position, len(world.lives))


async def compact_of(reader: MemoryReader, stream: str) -> list[Compact]:
    pages = [page async for page in reader.read_compact(span=Span(stream, f"{stream}\0"))]
    return [one for page in pages for one in page]


def damage(one: Compact) -> Compact:
    return msgspec.structs.replace(one, data=one.data[:-1] + bytes([one.data[-1] ^ 1]))


def age(one: Compact) -> Compact:
    return msgspec.structs.replace(one, data=bytes([one.data[0] - 1]) + one.data[1:])


@pytest.mark.requirement("I5")
@pytest.mark.parametrize("change", [damage, age, lambda one: None], ids=["damaged", "of another codec", "missing"])
async def test_a_ticket_whose_compact_form_is_no_good_is_read_from_the_log_and_gets_another(
    change: Callable[[Compact], Compact | None],
) -> None:
    world = await make_world()
    ticket = world.lives[3].ticket
    events = await world.disk.read_stream(ticket)
    written = await compact_of(world.disk, ticket)
    (spoilt, *_) = written

    async with world.disk.reading() as reader, world.disk.rebuilding(reader) as aside:
        watched = Watched(reader, lambda one: change(one) if one == spoilt else one)
        await rebuild(watched, aside, RebuildOrder(compact=True, renew=True), machines=MACHINES, clock=world.clock)
        assert await aside.differences(3) == (0, [])
        await aside.swap(fold_version=7)

    assert watched.read == [ticket]
    assert await compact_of(world.disk, ticket) == compact_events(ticket, events) == written


@pytest.mark.requirement("I5")
async def test_counters_that_do_not_cover_the_log_make_the_compact_form_unusable() -> None:
    world = await make_world(tickets=3)
    ticket = world.lives[0].ticket
    streams = world.disk._state.live.streams
    for wrong in ({"version": 1}, {"version": streams[ticket].version + 1}, None):
        async with world.disk.reading() as reader, world.disk.rebuilding(reader) as aside:
            if wrong is None:
                del reader._state.live.streams[ticket]
            else:
                reader._state.live.streams[ticket] = msgspec.structs.replace(streams[ticket], **wrong)
            with pytest.raises(CompactUnusable):
                await rebuild(reader, aside, RebuildOrder(compact=True), machines=MACHINES, clock=world.clock)


@pytest.mark.requirement("I5")
@pytest.mark.parametrize("compact", [False, True])
@pytest.mark.parametrize("parts", [1, 2, 3, 50])
async def test_parts_of_the_streams_make_up_the_whole(parts: int, compact: bool) -> None:
    world = await make_world()

    async with world.disk.reading() as reader, world.disk.rebuilding(reader) as aside:
        spans = await divide_streams(reader, parts)
        done = [
            await rebuild(reader, aside, RebuildOrder(compact=compact), machines=MACHINES, clock=world.clock, span=span)
            for span in spans
        ]
        assert await aside.differences(3) == (0, [])

    head = (await world.disk.head()).position
    assert len(spans) == min(parts, len(spans))
    assert sum(part.events for part in done) == head
    if parts <= 3:
        assert max(part.events for part in done) < head / parts * 1.6


def test_progress_tells_its_rate_and_what_is_left() -> None:
    assert (Progress(50, 200, 2.0).rate, Progress(50, 200, 2.0).eta) == (25.0, 6.0)
    assert (Progress(0, 200, 2.0).eta, Progress(5, 200, 0.0).rate) == (None, 0.0)
