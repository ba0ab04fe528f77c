"""The projector and its actors: order per ticket, one decision for all that waits, bounds, and one bad ticket alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any

import anyio
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecproc.config import Limits
from ecproc.domain.entry import Entry
from ecproc.domain.events import Act, Decided, EffectStarted, EffectSucceeded, OperatorActed
from ecproc.domain.ids import EffectKey
from ecproc.domain.log import Batch, Fence, NewEvent, RecordedEvent
from ecproc.domain.policy import Policy
from ecproc.errors import StoreUnavailable
from ecproc.fold import step
from ecproc.fold.history import read_fact
from ecproc.fold.recorded import Kind, encode_event
from ecproc.fold.tables import TABLES
from ecproc.fold.tickets import MACHINES
from ecproc.reading.documents import read_document
from ecproc.rebuild.streams import rebuild
from ecproc.runtime import steps
from ecproc.runtime.projector import Projector
from ecproc.store.base import Committed
from ecproc.store.memory import MemoryStore
from ecproc.telemetry.hooks import Telemetry
from ecproc.testing.ticket import Sent, incident, note
from ecproc.wire.queue import decode_message
from tests.simulation.clock import VirtualClock
from tests.simulation.peers import SimulatedDisk
from tests.simulation.scripted_bridge import number
from tests.simulation.simloop import simulate, simulated_backend

STATES = ("open", "workinprogress", "pending", "resolved", "closed")


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return simulated_backend()


class Outbox:
    """Takes what was planned; `room` says whether there is any."""

    def __init__(self) -> None:
        self.added: list[tuple[str, str]] = []
        self.room = anyio.Event()
        self.room.set()
        self.waiting = 0

    async def wait_for_room(self) -> None:
        self.waiting += 1
        await self.room.wait()
        self.waiting -= 1

    @property
    def has_room(self) -> bool:
        return self.room.is_set()

    def pause(self, stream: str, what: str, *, paused: bool) -> None:
        pass

    def add(self, stream: str, entries: Sequence[Entry]) -> None:
        self.added += [(stream, entry.effect.key) for entry in entries]


class Heard(Telemetry):
    """Keeps what the projector reports."""

    def __init__(self) -> None:
        self.lag: list[int] = []
        self.actors_at_once: list[int] = []
        self.tickets: list[Any] = []
        self.codes: list[str] = []

    def projection_lag(self, events: int) -> None:
        self.lag.append(events)

    def actors(self, count: int) -> None:
        self.actors_at_once.append(count)

    def ticket_changed(self, before: Any, after: Any) -> None:
        self.tickets.append((before, after))

    def anomaly(self, code: str) -> None:
        self.codes.append(code)

    def message_quarantined(self, reason: str) -> None:
        self.codes.append(reason)


class Bench:
    """A projector on a store in memory, told of what is appended as the test says."""

    def __init__(self, *, store: MemoryStore | None = None, **limits: int) -> None:
        self.clock = VirtualClock()
        self.store = store or MemoryStore(self.clock.now, TABLES)
        self.limits = msgspec.structs.replace(Limits(), **limits)
        self.count = 0
        self.open_projector()

    def open_projector(self) -> None:
        """A projector that knows nothing yet, as after a restart."""
        self.outbox, self.heard = Outbox(), Heard()
        self.projector = Projector(
            self.store,
            self.outbox,
            machines=MACHINES,
            policy=Policy(),
            client_name="testClient",
            limits=self.limits,
            clock=self.clock,
            telemetry=self.heard,
        )

    async def append(self, *messages: Sent) -> list[RecordedEvent]:
        events = []
        for message in messages:
            self.count += 1
            envelope = decode_message(msgspec.json.encode(number(message, self.count)))
            kind = Kind.MESSAGE_RECEIVED
            events.append(NewEvent(envelope.stream, kind, envelope.payload, message_key=envelope.key, wanted=True))
        committed = await self.store.commit(Batch(events=events))
        return [event for event in committed.events if event is not None]

    async def deliver(self, *messages: Sent) -> None:
        self.projector.deliver(await self.append(*messages))

    async def run(self, work: Callable[[], Any] | None = None) -> None:
        """Run the projector until it has nothing left to do, with something going on meanwhile."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.projector.run)
            await anyio.wait_all_tasks_blocked()
            if work is not None:
                await work()
            await self.projector.wait_idle()
            tasks.cancel_scope.cancel()

    async def document(self, ticket: str) -> dict[str, Any]:
        raw = await read_document(self.store, ticket, entries=1000)
        document: dict[str, Any] = msgspec.json.decode(raw or b"null")
        return document

    async def decisions(self, ticket: str) -> list[int]:
        facts = [read_fact(event) for event in await self.store.read_stream(ticket)]
        return [fact.through for fact in facts if isinstance(fact, Decided)]

    async def check_replay(self) -> None:
        async with self.store.reading() as reader, self.store.rebuilding(reader) as aside:
            await rebuild(reader, aside, machines=MACHINES, clock=self.clock)
            assert await aside.differences(3) == (0, [])


def say(ticket: str, transaction: str, **body: Any) -> Sent:
    message = incident(transaction, ticketNumber=ticket, **body)
    return {**message, "Attributes": {**message["Attributes"], "MessageGroupId": ticket}}


def life(ticket: str) -> list[Sent]:
    """A ticket from open to closed with a note in each state."""
    messages = [say(ticket, "Create", status="open")]
    for count, state in enumerate(STATES[1:]):
        messages.append(say(ticket, "Update", changed={"status": state}))
        messages.append(say(ticket, "Notes", notes=note(f"{ticket}-{count}")))
    return [{"MessageId": f"{ticket}-m{count}", **message} for count, message in enumerate(messages)]


async def documents(bench: Bench, tickets: Sequence[str]) -> Mapping[str, Any]:
    """What the tickets came to, without places in the log."""
    found = {}
    for ticket in tickets:
        document = await bench.document(ticket)
        history = [(item["from"], item["to"]) for item in document["history"]]
        effects = [item["key"] for item in document["effects"]]
        codes = [item["code"] for item in document["anomalies"]]
        found[ticket] = (document["state"], history, effects, codes, [item["id"] for item in document["notes"]])
    return found


# --- order and steps --------------------------------------------------------------------------------------------------


@pytest.mark.requirement("I3", "R19")
async def test_a_tickets_events_are_folded_in_their_order_however_they_are_delivered() -> None:
    bench = Bench()

    async def work() -> None:
        batches = [await bench.append(message) for message in life("e-CS1")]
        for batch in reversed(batches):
            bench.projector.deliver(batch)
            await anyio.wait_all_tasks_blocked()

    await bench.run(work)

    document = await bench.document("e-CS1")
    assert [item["to"] for item in document["history"]] == list(STATES)
    assert [item["code"] for item in document["anomalies"]] == ["after_final"]
    assert await bench.decisions("e-CS1") == [9]


@pytest.mark.requirement("I3")
async def test_all_that_waits_is_decided_in_one_step() -> None:
    bench = Bench()

    await bench.run(lambda: bench.deliver(*life("e-CS1")))

    assert await bench.decisions("e-CS1") == [9]
    assert [key.partition(":")[0] for _, key in bench.outbox.added][:3] == ["create", "upd", "note"]
    assert bench.heard.lag[-1] == 0
    assert bench.heard.tickets == [(None, ("Incident", "closed"))]


@pytest.mark.requirement("I3")
async def test_each_step_goes_on_where_the_last_one_ended() -> None:
    bench = Bench()

    async def work() -> None:
        for message in life("e-CS1")[:3]:
            await bench.deliver(message)
            await bench.projector.wait_idle()

    await bench.run(work)

    assert await bench.decisions("e-CS1") == [1, 3, 5]


@pytest.mark.requirement("I2", "I3")
async def test_events_told_twice_are_folded_once() -> None:
    bench = Bench()

    async def work() -> None:
        events = await bench.append(*life("e-CS1"))
        bench.projector.deliver(events[:5])
        bench.projector.deliver(events)
        await bench.projector.wait_idle()
        bench.projector.deliver(events[3:])

    await bench.run(work)

    assert await bench.decisions("e-CS1") == [9]
    assert len({key for _, key in bench.outbox.added}) == len(bench.outbox.added)


async def test_an_outcome_that_changes_nothing_wakes_nobody_and_is_folded_with_the_next_that_does() -> None:
    bench = Bench()

    async def work() -> None:
        await bench.deliver(say("e-CS1", "Create", status="open"))
        await bench.projector.wait_idle()
        kind, payload = encode_event(EffectStarted(bench.outbox.added[0][1]))  # type: ignore[arg-type]
        committed = await bench.store.commit(Batch(events=[NewEvent("e-CS1", kind, payload)]))
        bench.projector.deliver([event for event in committed.events if event], wake=False)
        assert bench.projector.idle
        await bench.deliver(say("e-CS1", "Notes", notes=note("n")))

    await bench.run(work)

    assert await bench.decisions("e-CS1") == [1, 4]


@pytest.mark.requirement("I3", "I8")
async def test_a_message_that_is_told_before_the_outcome_it_follows_on_is_decided_when_that_comes() -> None:
    bench = Bench()

    async def work() -> None:
        await bench.deliver(say("e-CS1", "Create", status="open"))
        await bench.projector.wait_idle()
        kind, payload = encode_event(EffectStarted(bench.outbox.added[0][1]))  # type: ignore[arg-type]
        started = await bench.store.commit(Batch(events=[NewEvent("e-CS1", kind, payload)]))
        await bench.deliver(say("e-CS1", "Notes", notes=note("n")))
        await bench.projector.wait_idle()
        bench.projector.deliver([event for event in started.events if event], wake=False)

    await bench.run(work)

    assert await bench.decisions("e-CS1") == [1, 4]


@pytest.mark.requirement("I3")
async def test_who_loses_the_fence_reads_again_and_plans_nothing_twice() -> None:
    """Two projectors on one store, as two processes could be by mistake: each is told everything."""
    bench = Bench(store=SimulatedDisk(VirtualClock().now, rng=Random(4)))
    first, first_outbox = bench.projector, bench.outbox
    bench.open_projector()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(first.run)
        tasks.start_soon(bench.projector.run)
        for message in life("e-CS1"):
            events = await bench.append(message)
            for projector in (first, bench.projector):
                projector.deliver(events)
        await first.wait_idle()
        await bench.projector.wait_idle()
        tasks.cancel_scope.cancel()

    added = first_outbox.added + bench.outbox.added
    assert len(set(added)) == len(added) == 9
    assert first_outbox.added
    assert bench.outbox.added
    await bench.check_replay()


# --- bounds -----------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("I7", "I5")
@settings(max_examples=25)
@given(
    seed=st.integers(0, 999),
    states_held=st.integers(1, 5),
    events_held=st.integers(1, 6),
    actors_at_once=st.sampled_from([1, 2, 50]),
    step_facts=st.sampled_from([1, 2, 1000]),
    snapshot_events=st.sampled_from([1, 3, 200]),
)
def test_bounds_change_nothing_but_the_time_it_takes(seed: int, **limits: int) -> None:
    tickets = [f"e-CS{count}" for count in range(8)]

    async def live(**limits: int) -> Mapping[str, Any]:
        rng = Random(seed)
        bench = Bench(store=SimulatedDisk(VirtualClock().now, rng=Random(seed)), **limits)
        waiting = {ticket: life(ticket) for ticket in tickets}

        async def work() -> None:
            while waiting:
                ticket = rng.choice(list(waiting))
                taken = [waiting[ticket].pop(0) for _ in range(rng.randint(1, len(waiting[ticket])))]
                if not waiting[ticket]:
                    del waiting[ticket]
                await bench.deliver(*taken)
                await anyio.sleep(rng.choice((0, 0, 0.01, 0.1)))

        await bench.run(work)
        await bench.check_replay()
        return await documents(bench, tickets)

    assert simulate(lambda: live(**limits), seed=seed) == simulate(live)


@pytest.mark.requirement("R19", "R227")
async def test_more_tickets_at_work_than_states_held() -> None:
    bench = Bench(store=SimulatedDisk(VirtualClock().now, rng=Random(3)), states_held=2, actors_at_once=50)

    await bench.run(lambda: bench.deliver(*(say(f"e-CS{count}", "Create", status="open") for count in range(40))))

    assert len(bench.outbox.added) == 40
    assert max(bench.heard.actors_at_once) == 40


async def test_no_more_actors_at_once_than_allowed_and_none_is_left() -> None:
    bench = Bench(store=SimulatedDisk(VirtualClock().now, rng=Random(3)), actors_at_once=3)

    async def work() -> None:
        before = len(anyio.get_running_tasks())
        await bench.deliver(*(say(f"e-CS{count}", "Create", status="open") for count in range(20)))
        await bench.projector.wait_idle()
        await anyio.wait_all_tasks_blocked()
        assert len(anyio.get_running_tasks()) == before

    await bench.run(work)

    assert max(bench.heard.actors_at_once) == 3
    assert bench.heard.actors_at_once[-1] == 0


@pytest.mark.requirement("I8")
@pytest.mark.parametrize("moment", [0.5, 1.5, 2.5, 3.5])
async def test_what_overflows_while_the_log_is_read_is_read_too(moment: float) -> None:
    """The event comes after the log was looked at and before the answer is there; nothing else will wake the ticket."""
    bench = Bench(store=SlowReads(VirtualClock().now), events_held=1)

    async def work() -> None:
        other = await bench.append(say("e-CS2", "Create", status="open"))
        bench.projector.deliver(other, wake=False)  # the one place in memory is taken
        await bench.deliver(say("e-CS1", "Create", status="open"))
        await anyio.sleep(moment)
        await bench.deliver(say("e-CS1", "Notes", notes=note("n")))

    await bench.run(work)

    assert await bench.store.undecided_streams() == ["e-CS2"]
    assert len((await bench.document("e-CS1"))["notes"]) == 1


class SlowReads(MemoryStore):
    """A read sees its moment at once and is answered a second later; `reads` are the streams that were read."""

    def __init__(self, now: Callable[[], int]) -> None:
        super().__init__(now, TABLES)
        self.reads: list[str] = []

    async def read_stream(self, stream: str, *, after: int = 0, limit: int | None = None) -> list[RecordedEvent]:
        self.reads.append(stream)
        events = await super().read_stream(stream, after=after, limit=limit)
        await anyio.sleep(1)
        return events


@pytest.mark.requirement("I7", "I0", "R229")
async def test_without_room_in_the_outbox_decisions_wait_and_appends_do_not() -> None:
    bench = Bench()
    bench.outbox.room = anyio.Event()

    async def work() -> None:
        for messages in (life("e-CS1"), life("e-CS2")):
            await bench.deliver(*messages)
        await anyio.wait_all_tasks_blocked()
        assert bench.outbox.waiting == 2
        assert not bench.projector.idle
        assert await bench.store.undecided_streams() == ["e-CS1", "e-CS2"]
        await bench.deliver(say("e-CS1", "Notes", notes=note("late")))
        bench.outbox.room.set()

    await bench.run(work)

    assert await bench.store.undecided_streams() == []
    assert len((await bench.document("e-CS1"))["notes"]) == 5


@pytest.mark.requirement("I8")
@pytest.mark.parametrize("stream", ["$control", "e-CS1", "e-CS3"])
async def test_what_a_person_asks_for_waits_neither_for_room_nor_for_others(stream: str) -> None:
    bench = Bench(actors_at_once=1)
    bench.outbox.room = anyio.Event()
    resume = encode_event(OperatorActed(Act.RESUME, "me", what="bridge" if stream == "$control" else stream))

    async def work() -> None:
        for messages in (life("e-CS1"), life("e-CS2"), life("e-CS3")):
            await bench.deliver(*messages)
        await anyio.wait_all_tasks_blocked()
        with anyio.fail_after(60):
            await bench.projector.submit(Batch([NewEvent(stream, *resume, wanted=True)]))
        assert "e-CS2" in await bench.store.undecided_streams()
        bench.outbox.room.set()

    await bench.run(work)

    assert await bench.store.undecided_streams() == []
    await bench.check_replay()


async def test_everyone_who_waits_is_told_when_all_is_decided() -> None:
    bench = Bench()
    told: list[int] = []

    async def wait(index: int) -> None:
        await bench.projector.wait_idle()
        told.append(index)

    async def work() -> None:
        async with anyio.create_task_group() as tasks:
            await bench.deliver(*life("e-CS1"))
            for index in range(3):
                tasks.start_soon(wait, index)

    await bench.run(work)

    assert sorted(told) == [0, 1, 2]


# --- restarts ---------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("I5", "I8")
@pytest.mark.parametrize("snapshot_events", [1, 4, 200])
async def test_a_restart_goes_on_behind_the_last_decision(snapshot_events: int) -> None:
    bench = Bench(snapshot_events=snapshot_events)
    messages = life("e-CS1")

    await bench.run(lambda: bench.deliver(*messages[:4]))
    await bench.append(*messages[4:7])  # the process dies before its projector hears of them
    bench.open_projector()
    await bench.run()

    assert await bench.decisions("e-CS1") == [4, 8]
    assert [item["to"] for item in (await bench.document("e-CS1"))["history"]] == list(STATES[:4])
    bench.open_projector()
    await bench.run(lambda: bench.deliver(*messages[7:]))
    await bench.check_replay()
    assert len(bench.outbox.added) == 2
    assert len((await bench.document("e-CS1"))["notes"]) == 4


async def test_a_restart_with_nothing_undecided_does_nothing() -> None:
    bench = Bench()
    await bench.run(lambda: bench.deliver(*life("e-CS1")))
    head = await bench.store.head()
    bench.open_projector()

    await bench.run()

    assert await bench.store.head() == head


async def test_what_is_told_before_the_start_is_decided_after_it() -> None:
    bench = Bench()
    await bench.deliver(*life("e-CS1"))
    assert not bench.projector.idle

    await bench.run()

    assert await bench.decisions("e-CS1") == [9]


async def test_what_is_told_after_the_end_is_left_to_the_next_run() -> None:
    bench = Bench()
    await bench.run()

    await bench.deliver(*life("e-CS1"))

    assert await bench.store.undecided_streams() == ["e-CS1"]


# --- one bad ticket ---------------------------------------------------------------------------------------------------


@pytest.fixture
def poison(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Let a step of more than one fact fail for e-POISON; the fixture's value mends that."""
    take_step = step.take_step

    def stumble(fold: Any, **options: Any) -> Any:
        if fold.state.stream == "e-POISON" and len(fold.pending) > 1:
            raise ZeroDivisionError("a defect")
        return take_step(fold, **options)

    monkeypatch.setattr(steps, "take_step", stumble)
    return lambda: monkeypatch.setattr(steps, "take_step", take_step)


@pytest.mark.requirement("I8", "I9", "R227")
async def test_a_ticket_our_code_cannot_take_is_parked_alone(poison: Callable[[], None]) -> None:
    store = SlowReads(VirtualClock().now)
    bench = Bench(store=store, events_held=6)
    messages = life("e-POISON")

    async def work() -> None:
        await bench.deliver(messages[0])
        await bench.projector.wait_idle()
        await bench.deliver(*messages[1:3])
        await bench.projector.wait_idle()
        for message in messages[3:]:
            await bench.deliver(message)
        for message in life("e-CS1"):
            await bench.deliver(message)
            await bench.projector.wait_idle()

    await bench.run(work)

    assert bench.projector.parked == {"e-POISON"}
    assert await bench.store.undecided_streams() == ["e-POISON"]
    assert await bench.decisions("e-POISON") == [1]
    assert await bench.decisions("e-CS1") == [1, 3, 5, 7, 9, 11, 13, 15, 17]
    assert store.reads.count("e-CS1") == 1  # here: what is parked takes no room in memory

    poison()
    bench.open_projector()
    await bench.run()

    assert await bench.decisions("e-POISON") == [1, 10]
    assert (await bench.document("e-POISON"))["state"] == "closed"
    await bench.check_replay()


async def test_a_parked_ticket_goes_on_where_it_can_once_a_person_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    defects = ["a defect"]
    take_step = step.take_step

    def stumble(fold: Any, **options: Any) -> Any:
        if defects:
            raise ZeroDivisionError(*defects)
        return take_step(fold, **options)

    monkeypatch.setattr(steps, "take_step", stumble)
    bench = Bench()
    messages = life("e-POISON")

    async def work() -> None:
        await bench.deliver(*messages[:2])
        await bench.projector.wait_idle()
        assert bench.projector.parked_by("e-POISON") == "ZeroDivisionError"
        assert not await bench.projector.take_up("e-POISON")
        defects.clear()
        assert await bench.projector.take_up("e-POISON")
        assert bench.projector.parked_by("e-POISON") is None
        for message in messages[2:]:
            await bench.deliver(message)
        await bench.projector.wait_idle()

    await bench.run(work)

    assert (await bench.document("e-POISON"))["state"] == "closed"
    await bench.check_replay()


async def test_a_ticket_whose_rows_cannot_be_stored_is_parked_alone() -> None:
    bench = Bench(store=Picky(VirtualClock().now, TABLES))

    await bench.run(lambda: bench.deliver(*life("e-CS1"), *life("e-POISON")))

    assert bench.projector.parked == {"e-POISON"}
    assert await bench.decisions("e-CS1") == [9]


def refuse_effects(bench: Bench, *, of: str) -> None:
    """Let nobody take a ticket's effects."""
    add = bench.outbox.add

    def refuse(stream: str, entries: Sequence[Entry]) -> None:
        if stream == of:
            raise ZeroDivisionError("a defect")
        add(stream, entries)

    bench.outbox.add = refuse  # type: ignore[method-assign]


async def test_a_ticket_whose_effects_nobody_takes_is_parked_alone() -> None:
    bench = Bench()
    refuse_effects(bench, of="e-POISON")

    await bench.run(lambda: bench.deliver(*life("e-POISON")[:1], *life("e-CS1")[:1]))

    assert bench.projector.parked == {"e-POISON"}
    assert bench.projector.idle
    assert {stream for stream, _ in bench.outbox.added} == {"e-CS1"}


@pytest.mark.requirement("I8", "R121")
async def test_what_a_ticket_wrote_to_another_one_is_told_there_though_its_effects_are_taken_by_nobody() -> None:
    bench = Bench()
    refuse_effects(bench, of="e-POISON")

    async def work() -> None:
        for ticket in ("e-CS1", "e-POISON"):
            await bench.deliver(say(ticket, "Create", status="open", clientTicketNumber="INC1"))
            await bench.projector.wait_idle()

    await bench.run(work)

    assert bench.projector.parked == {"e-POISON"}
    assert await codes(bench, "e-CS1") == ["link_mismatch"]


async def test_a_ticket_whose_past_cannot_be_read_is_parked_alone() -> None:
    bench = Bench()
    await bench.store.commit(Batch(events=[NewEvent("e-POISON", Kind.DECIDED, b"no decision")]))

    await bench.run(lambda: bench.deliver(*life("e-CS1"), *life("e-POISON")))

    assert bench.projector.parked == {"e-POISON"}
    assert await bench.decisions("e-CS1") == [9]


async def test_a_store_that_fails_parks_nothing_and_ends_the_projector() -> None:
    bench = Bench()

    async def work() -> None:
        events = await bench.append(*life("e-CS1"))
        bench.store.is_open = False
        bench.projector.deliver(events)

    with pytest.RaisesGroup(StoreUnavailable, flatten_subgroups=True):
        await bench.run(work)

    assert bench.projector.parked == set()


class Picky(MemoryStore):
    """Refuses one ticket's rows as something it cannot store."""

    async def commit(self, batch: Batch) -> Committed:
        if any(row.stream == "e-POISON" for row in batch.rows):
            raise ValueError("no Unicode")
        return await super().commit(batch)


@pytest.mark.requirement("R237")
async def test_what_nobody_can_understand_is_counted_and_quarantined() -> None:
    bench = Bench()
    odd = say("e-CS1", "Create", ticketType="Task")

    await bench.run(lambda: bench.deliver(odd, say("e-CS1", "Escalated")))

    assert bench.heard.codes == ["unknown_type", "unknown_ticket_type"]
    (row,) = await bench.store.read_rows("quarantine", stream="e-CS1")
    assert row.tag == "unknown_ticket_type"
    await bench.check_replay()


async def test_an_owner_that_decided_meanwhile_wins() -> None:
    bench = Bench()
    messages = life("e-CS1")
    await bench.run(lambda: bench.deliver(messages[0]))
    planned = len(bench.outbox.added)

    async def work() -> None:
        events = await bench.append(messages[1])
        own = NewEvent("e-CS1", *encode_event(Decided(through=3)))
        await bench.store.commit(Batch(events=[own], fence=Fence("e-CS1", 1, 3)))
        bench.projector.deliver(events)

    await bench.run(work)

    assert await bench.decisions("e-CS1") == [1, 3]
    assert len(bench.outbox.added) == planned


# --- what only the running processor sees -----------------------------------------------------------------------------


async def codes(bench: Bench, ticket: str) -> list[str]:
    return [item["code"] for item in (await bench.document(ticket))["anomalies"]]


@pytest.mark.requirement("R121", "I5")
@pytest.mark.parametrize("at_once", [True, False])
async def test_tickets_that_adopt_one_number_are_both_told(at_once: bool) -> None:
    bench = Bench()
    tickets = [f"e-CS{count}" for count in range(3)]
    adopting = [say(ticket, "Create", status="open", clientTicketNumber="INC1") for ticket in tickets]
    adopting.append(say("e-CS9", "Create", status="open", clientTicketNumber="INC9"))

    async def work() -> None:
        for batch in [adopting] if at_once else [[message] for message in adopting]:
            await bench.deliver(*batch)
            await bench.projector.wait_idle()

    await bench.run(work)

    for ticket in tickets:
        (document,) = [await bench.document(ticket)]
        assert {item["code"] for item in document["anomalies"]} == {"link_mismatch"}
        others = {other for other in tickets if any(f"{other}'s" in item["detail"] for item in document["anomalies"])}
        assert others
        assert ticket not in others
    assert await codes(bench, "e-CS9") == []
    assert await bench.store.undecided_streams() == []
    await bench.check_replay()


@pytest.mark.requirement("R121", "I3")
async def test_two_bursts_that_adopt_one_number_at_the_same_time_do_not_miss_each_other() -> None:
    bench = Bench()
    read_rows = bench.store.read_rows

    async def read_slowly(*args: Any, **kwargs: Any) -> Any:
        found = await read_rows(*args, **kwargs)
        await anyio.sleep(1)
        return found

    bench.store.read_rows = read_slowly  # type: ignore[method-assign]

    async def work() -> None:
        for ticket in ("e-CS1", "e-CS2"):
            await bench.deliver(say(ticket, "Create", status="open", clientTicketNumber="INC1"))
            await anyio.sleep(0.1)

    await bench.run(work)

    assert await codes(bench, "e-CS1") == await codes(bench, "e-CS2") == ["link_mismatch"]


@pytest.mark.requirement("R47", "C29", "I5")
async def test_another_clients_name_is_flagged_once_and_the_message_is_applied() -> None:
    bench = Bench()
    names = ["testClient ", "TESTCLIENT", "YourCompanyName", "", "otherClient", "otherClient", "third"]
    messages = [
        say("e-CS1", "Notes", status="open", clientName=name, notes=note(f"n{at}")) for at, name in enumerate(names)
    ]

    await bench.run(lambda: bench.deliver(*messages[:6]))
    await bench.run(lambda: bench.deliver(*messages[4:]))

    document = await bench.document("e-CS1")
    assert len(document["notes"]) == 7
    foreign = [item["detail"] for item in document["anomalies"] if item["code"] == "foreign_client"]
    assert foreign == ["clientName 'otherClient'", "clientName 'third'"]
    assert await bench.store.undecided_streams() == []
    await bench.check_replay()


@pytest.mark.requirement("R121")
async def test_a_number_that_the_desk_gives_although_another_ticket_has_it_is_told_to_both() -> None:
    bench = Bench()
    created = EffectSucceeded(EffectKey("create:e-CS2:g1"), {"number": "LOCAL-0000001"})

    async def work() -> None:
        await bench.deliver(say("e-CS1", "Create", status="open", clientTicketNumber="LOCAL-0000001"))
        await bench.deliver(say("e-CS2", "Create", status="open"))
        await bench.projector.wait_idle()
        committed = await bench.store.commit(Batch(events=[NewEvent("e-CS2", *encode_event(created), wanted=True)]))
        bench.projector.deliver([event for event in committed.events if event is not None])

    await bench.run(work)

    assert await codes(bench, "e-CS1") == await codes(bench, "e-CS2") == ["link_mismatch"]
