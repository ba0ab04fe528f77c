"""Facts that are decided before they are recorded: one transaction, and the log and the rows of the long way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import anyio
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecproc.config import Limits
from ecproc.domain.entry import apply_outcome
from ecproc.domain.events import EffectSucceeded, Outcome
from ecproc.domain.ids import EffectKey
from ecproc.domain.log import Batch, NewEvent
from ecproc.fold import step
from ecproc.fold.recorded import Kind, decode_entry, encode_event, wants_decision
from ecproc.fold.rows import entry_row
from ecproc.fold.tables import TABLES
from ecproc.runtime import steps
from ecproc.store.memory import MemoryStore
from ecproc.testing.ticket import Sent
from ecproc.wire.queue import decode_message
from tests.runtime.test_projector import Bench, life, say
from tests.simulation.scripted_bridge import number
from tests.simulation.simloop import simulate, simulated_backend
from tests.simulation.strategies import messages, outcomes

TICKETS = ("e-1", "e-2")


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return simulated_backend()


def make_events(bench: Bench, sent: Sequence[Sent]) -> list[NewEvent]:
    events = []
    for message in sent:
        bench.count += 1
        envelope = decode_message(msgspec.json.encode(number(message, bench.count)))
        key = envelope.key
        events.append(NewEvent(envelope.stream, Kind.MESSAGE_RECEIVED, envelope.payload, message_key=key, wanted=True))
    return events


class Taker(Bench):
    """Offers everything to the projector before it is recorded; `taken` of it were."""

    taken = 0

    async def take_in(self, events: Sequence[NewEvent]) -> list[NewEvent]:
        """What was left."""
        taken = await self.projector.take_in(events)
        self.taken += len(taken)
        return [event for event in events if event.stream not in taken]


async def record(bench: Bench, events: Sequence[NewEvent]) -> None:
    """Have events in the log and decided, as the reader does."""
    rest = await bench.take_in(events) if isinstance(bench, Taker) else events
    committed = await bench.store.commit(Batch(events=rest))
    bench.projector.deliver([event for event in committed.events if event is not None])
    await bench.projector.wait_idle()


async def settle(bench: Bench, stream: str, outcome: Outcome) -> None:
    """Have an outcome in the log, its entry's row written, and decided, as the dispatcher does."""
    event = NewEvent(stream, *encode_event(outcome), wanted=wants_decision(outcome))
    if event.wanted and isinstance(bench, Taker) and not await bench.take_in([event]):
        return
    rows = await bench.store.read_rows("outbox", stream=stream, id=outcome.key)
    after = [entry_row(stream, apply_outcome(decode_entry(row.data or b""), outcome)) for row in rows]
    committed = await bench.store.commit(Batch(events=[event], rows=after))
    bench.projector.deliver([event for event in committed.events if event is not None], wake=event.wanted)
    await bench.projector.wait_idle()


Act = tuple[int, list[Sent], Any]
"""A ticket, messages of it, and an outcome of one of its effects, made of a key."""


def acts() -> st.SearchStrategy[list[Act]]:
    """What happens to two tickets: messages in answers of one to three, and outcomes of what they led to."""
    outcome = st.none() | st.tuples(st.integers(0, 9), outcomes(st.just(EffectKey("any"))))
    one: st.SearchStrategy[Act] = st.tuples(st.integers(0, 1), st.lists(messages(), max_size=3), outcome)
    return st.lists(one, min_size=1, max_size=12)


async def live(bench: Bench, story: Sequence[Act]) -> list[object]:
    """What the store holds at the end of all that."""

    async def work() -> None:
        for ticket, sent, answered in story:
            stream = TICKETS[ticket]
            of_ticket = [
                {**message, "Attributes": {**message["Attributes"], "MessageGroupId": stream}} for message in sent
            ]
            await record(bench, make_events(bench, of_ticket))
            rows = await bench.store.read_rows("outbox", stream=stream)
            if answered is not None and rows:
                index, outcome = answered
                await settle(bench, stream, msgspec.structs.replace(outcome, key=EffectKey(rows[index % len(rows)].id)))

    await bench.run(work)
    await bench.check_replay()
    events = [event async for page in bench.store.read_log() for event in page]
    rows = [row async for page in bench.store.canonical_rows() for row in page]
    # Its bytes depend on whether the message before was still in memory; what they say was replayed above.
    compact = [(step.stream, step.position) async for page in bench.store.read_compact() for step in page]
    return [events, rows, compact]


@pytest.mark.requirement("I3", "I5")
@given(acts(), st.sampled_from([1, 2, 1000]), st.sampled_from([1, 10_000]), st.sampled_from([2, 200]))
@settings(max_examples=150, deadline=None)
def test_both_ways_leave_the_same(story: list[Act], step_facts: int, held: int, snapshots: int) -> None:
    usual, ahead = (of(step_facts=step_facts, states_held=held, snapshot_events=snapshots) for of in (Bench, Taker))

    assert simulate(lambda: live(ahead, story)) == simulate(lambda: live(usual, story))


@pytest.mark.requirement("I3")
async def test_a_message_is_in_the_log_with_what_it_led_to_by_one_commit() -> None:
    bench = Taker()
    commits: list[Batch] = []
    commit = bench.store.commit

    async def watch(batch: Batch) -> Any:
        commits.append(batch)
        return await commit(batch)

    bench.store.commit = watch  # type: ignore[method-assign]

    async def work() -> None:
        for message in life("e-CS1"):
            assert await bench.take_in(make_events(bench, [message])) == []

    await bench.run(work)

    assert [len(batch.events) for batch in commits] == [2] * 9
    assert [document["to"] for document in (await bench.document("e-CS1"))["history"]][-1] == "closed"
    assert [key.partition(":")[0] for _, key in bench.outbox.added][:3] == ["create", "upd", "note"]
    assert bench.heard.lag[-1] == 0
    await bench.check_replay()


async def test_what_waits_for_others_is_left_to_the_long_way() -> None:
    bench = Taker()
    create, first, *rest = life("e-CS1")

    async def work() -> None:
        bench.outbox.room = anyio.Event()
        assert await bench.take_in(make_events(bench, [create])), "the outbox is full"
        await bench.deliver(create)
        await anyio.wait_all_tasks_blocked()
        assert bench.outbox.waiting == 1
        bench.outbox.room.set()
        await bench.projector.wait_idle()
        assert await bench.take_in(make_events(bench, [first])) == []
        bench.count -= 1
        assert await bench.take_in(make_events(bench, [first])), "it was recorded before"
        large = say("e-CS1", "Update", description="x" * 100_000)
        assert await bench.take_in(make_events(bench, [large])), "to read it takes its time"
        stray = NewEvent("e-CS1", Kind.DECIDED, b'{"through":1}')
        await bench.store.commit(Batch(events=[stray]))  # what nobody told us of
        assert await bench.take_in(make_events(bench, rest[:1])), "others stand in the log before it"

    await bench.run(work)

    assert bench.taken == 1


async def test_what_the_log_has_of_an_unknown_ticket_comes_first() -> None:
    bench = Taker()
    await bench.run(lambda: bench.deliver(*life("e-CS1")[:3]))
    bench.open_projector()

    async def work() -> None:
        await record(bench, make_events(bench, life("e-CS1")[3:]))

    await bench.run(work)

    assert bench.taken == 0
    assert [item["to"] for item in (await bench.document("e-CS1"))["history"]][-1] == "closed"
    await bench.check_replay()


@pytest.mark.requirement("R121", "I5")
async def test_a_number_that_another_ticket_has_is_told_to_both() -> None:
    bench = Taker()

    async def work() -> None:
        for ticket in ("e-CS1", "e-CS2"):
            await record(bench, make_events(bench, [say(ticket, "Create", status="open", clientTicketNumber="INC1")]))

    await bench.run(work)

    for ticket in ("e-CS1", "e-CS2"):
        assert [item["code"] for item in (await bench.document(ticket))["anomalies"]] == ["link_mismatch"]
    assert bench.taken == 1
    await bench.check_replay()


@pytest.mark.requirement("I8", "I9")
async def test_a_ticket_our_code_cannot_take_is_parked_and_its_messages_are_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    take_step = step.take_step

    def stumble(fold: Any, **options: Any) -> Any:
        if fold.state.stream == "e-POISON":
            raise ZeroDivisionError("a defect")
        return take_step(fold, **options)

    monkeypatch.setattr(steps, "take_step", stumble)
    bench = Taker()

    async def work() -> None:
        await record(bench, make_events(bench, [*life("e-POISON")[:1], *life("e-CS1")[:1]]))

    await bench.run(work)

    assert bench.projector.parked == {"e-POISON"}
    assert (await bench.document("e-CS1"))["state"] == "open"
    assert len(await bench.store.read_stream("e-POISON")) == 1
    assert await bench.store.undecided_streams() == ["e-POISON"]


async def test_a_batch_that_cannot_be_stored_costs_nobody_else() -> None:
    class Picky(MemoryStore):
        async def commit(self, batch: Batch) -> Any:
            if any(row.stream == "e-POISON" for row in batch.rows):
                raise ValueError("no Unicode")
            return await super().commit(batch)

    bench = Taker()
    bench.store = Picky(bench.clock.now, TABLES)
    bench.open_projector()

    async def work() -> None:
        await record(bench, make_events(bench, [*life("e-POISON")[:1], *life("e-CS1")[:1]]))

    await bench.run(work)

    assert bench.projector.parked == {"e-POISON"}
    assert (await bench.document("e-CS1"))["state"] == "open"


async def test_an_outcome_settles_with_what_it_leads_to() -> None:
    bench = Taker()

    async def work() -> None:
        await record(bench, make_events(bench, life("e-CS1")[:1]))
        (_, key) = bench.outbox.added[0]
        await settle(bench, "e-CS1", EffectSucceeded(EffectKey(key), {"number": "LOCAL-1"}))

    await bench.run(work)

    document = await bench.document("e-CS1")
    assert [item["number"] for item in document["client_tickets"]] == ["LOCAL-1"]
    assert [(item["key"].partition(":")[0], item["state"]) for item in document["effects"]] == [
        ("create", "completed"),
        ("returnptn", "available"),
    ]
    assert bench.taken == 2
    await bench.check_replay()


def test_a_full_disk_asks_for_the_long_way() -> None:
    limits, store = Limits(), MemoryStore(lambda: 0, TABLES)
    store.foresee = lambda: None  # type: ignore[method-assign]
    bench = Taker()
    bench.store, bench.limits = store, limits
    bench.open_projector()

    async def work() -> None:
        assert await bench.take_in(make_events(bench, life("e-CS1")[:1]))

    simulate(lambda: bench.run(work))
    assert bench.taken == 0
