"""A create of ours and the ticket it leads to: two streams, one transaction, whichever of queue and answer is first."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any, Final

import anyio
import msgspec
import pytest

from ecproc.config import Limits
from ecproc.domain.attempt import Attempt, Blamed, Done, Uncertain
from ecproc.domain.commands import CommandAccepted, CommandKind, Comment
from ecproc.domain.effects import EffectKind, Repeat
from ecproc.domain.entry import Entry, EntryState, apply_outcome
from ecproc.domain.events import EffectSucceeded
from ecproc.domain.ids import EffectKey
from ecproc.domain.log import Batch, NewEvent
from ecproc.domain.policy import Policy
from ecproc.fold import step
from ecproc.fold.recorded import Kind, decode_entry, encode_event
from ecproc.fold.rows import entry_row
from ecproc.fold.tables import TABLES
from ecproc.fold.tickets import MACHINES
from ecproc.outbox.dispatcher import Dispatcher
from ecproc.outbox.retry import RetryPolicy
from ecproc.outbox.schedule import OutboxBounds
from ecproc.reading.commands import ShownCommand, read_command
from ecproc.reading.queries import Queries
from ecproc.rebuild.streams import RebuildOrder, rebuild
from ecproc.runtime.projector import Projector
from ecproc.store.base import Store
from ecproc.store.memory import MemoryStore
from ecproc.store.sqlite.store import open_store
from ecproc.telemetry.hooks import Telemetry
from ecproc.testing.ticket import Sent, incident
from ecproc.wire.queue import decode_message
from tests.simulation.clock import VirtualClock
from tests.simulation.peers import SimulatedDisk
from tests.simulation.scripted_bridge import number
from tests.simulation.simloop import simulate

STREAM: Final = "client:INC1"
KEY: Final = EffectKey("ec-create:INC1")
FIELDS: Final = {"ticketType": "Incident", "shortDescription": "s", "description": "d"}
SEEN: Final = {"number": "e-CS1", "answer": "told by a message"}


class Ensono:
    """Opens tickets: each attempt takes a while and ends as the scene says."""

    name = "bridge"
    kinds = (EffectKind.CREATE_TICKET, EffectKind.ADD_COMMENTS)

    def __init__(self, scene: Scene) -> None:
        self._scene = scene

    def repeat_of(self, kind: EffectKind) -> Repeat:
        return Repeat.LOOK_UP if kind is EffectKind.CREATE_TICKET else Repeat.BLIND

    def ends_after(self, kind: EffectKind) -> float:
        return 0.0

    async def perform(self, stream: str, entry: Entry) -> Attempt:
        scene = self._scene
        if entry.effect.kind is not EffectKind.CREATE_TICKET:
            return Done({"answer": "ok"})
        scene.posts += 1
        await anyio.sleep(scene.seconds * scene.rng.random())
        return scene.ends[min(scene.posts, len(scene.ends)) - 1]


class Scene:
    """A projector and a dispatcher on one store; `posts` counts the calls that opened a ticket."""

    def __init__(self, store: Store, clock: VirtualClock, *ends: Attempt, seed: int = 0, held: int = 100) -> None:
        self.store = store
        self.clock = clock
        self.ends = ends
        self.seconds = 1.0
        self.rng = Random(seed)
        self.posts = self.count = 0
        self.dispatcher = Dispatcher(
            store,
            [Ensono(self)],
            take_in=self._take_in,
            wake=lambda events, wake: self.projector.deliver(events, wake=wake),
            policy=RetryPolicy(max_attempts=2, unknown_retry=(60.0, 120.0), longest=60.0),
            bounds=OutboxBounds(3, 100, 1.0, 100.0, 1 << 20),
            clock=clock,
            rng=self.rng,
            telemetry=Telemetry(),
        )
        self.projector = Projector(
            store,
            self.dispatcher,
            machines=MACHINES,
            policy=Policy(),
            client_name="testClient",
            limits=msgspec.structs.replace(Limits(), states_held=held),
            clock=clock,
            telemetry=Telemetry(),
        )

    async def run(self, *acts: Callable[[], Any]) -> None:
        """Let a processor do these things, one after the other, and all that they lead to."""
        async with anyio.create_task_group() as tasks:
            await self.dispatcher.recover()
            tasks.start_soon(self.projector.run)
            tasks.start_soon(self.dispatcher.run)
            await anyio.wait_all_tasks_blocked()
            for act in acts:
                await act()
            await self.settle()
            tasks.cancel_scope.cancel()

    async def _take_in(self, events: Sequence[NewEvent]) -> Mapping[str, object]:
        return await self.projector.take_in(events)

    async def settle(self) -> None:
        while not (self.projector.idle and self.dispatcher.idle):
            await self.projector.wait_idle()
            await self.dispatcher.wait_idle()

    async def ask(self, *comments: Comment) -> None:
        accepted = CommandAccepted(KEY, CommandKind.CREATE, "somebody", FIELDS, comments)
        await self._append(NewEvent(STREAM, *encode_event(accepted), wanted=True))

    async def hear(self, message: Sent) -> None:
        self.count += 1
        envelope = decode_message(msgspec.json.encode(number(message, self.count)))
        kind, key = Kind.MESSAGE_RECEIVED, envelope.key
        await self._append(NewEvent(envelope.stream, kind, envelope.payload, message_key=key, wanted=True))

    async def return_number(self, ticket: str = "e-CS1") -> None:
        envelope = {"Attributes": {"MessageGroupId": ticket}}
        await self.hear(incident("ReturnEnsonoNum", ticketNumber=ticket, clientTicketNumber="INC1", envelope=envelope))

    async def _append(self, event: NewEvent) -> None:
        if await self.projector.take_in([event]):
            return
        committed = await self.store.commit(Batch(events=[event]))
        self.projector.deliver([event for event in committed.events if event is not None])

    async def wait(self, seconds: float) -> None:
        await anyio.sleep(seconds)

    async def entry(self) -> Entry:
        (row,) = await self.store.read_rows("outbox", stream=STREAM, id=KEY)
        return decode_entry(row.data or b"")

    async def show(self, name: str) -> Any:
        document = await Queries(self.store, tables=TABLES.names, machines=MACHINES, entries=100).ticket(name)
        return None if document is None else msgspec.json.decode(document)

    async def kinds(self, stream: str) -> list[str]:
        return [str(event.kind) for event in await self.store.read_stream(stream)]

    async def check_replay(self) -> None:
        for order in (RebuildOrder(), RebuildOrder(compact=True)):
            async with self.store.reading() as reader, self.store.rebuilding(reader) as aside:
                rebuilt = await rebuild(reader, aside, order, machines=MACHINES, clock=self.clock)
                assert rebuilt.events == (await reader.head()).position
                assert await aside.differences(3) == (0, [])


def lost() -> Attempt:
    return Uncertain("no answer")


def opened(ticket: str = "e-CS1", **more: str) -> Attempt:
    return Done({"number": ticket, "answer": ticket, **more})


async def link(scene: Scene) -> None:
    """A create whose answer comes, and the ticket's first message."""
    await scene.run(lambda: scene.ask(Comment("one", "c1")), scene.settle)
    linked = await scene.show("INC1")
    assert (linked["ticket"], linked["state"], linked["client_ticket"]) == ("e-CS1", "open", "INC1")
    assert linked["client_tickets"] == [{"number": "INC1", "generation": 1, "returned": True, "state": "open"}]
    assert await scene.show(STREAM) is None
    assert await scene.show("e-CS1") == linked
    await scene.run(
        lambda: scene.hear(incident("Create", ticketNumber="e-CS1", clientTicketNumber="INC1", status="open"))
    )
    shown = await scene.show("INC1")
    assert (shown["effects"], shown["anomalies"]) == ([], [])
    await scene.check_replay()


@pytest.mark.requirement("I4", "I5", "R84")
@pytest.mark.parametrize("held", [1, 100])
def test_an_answer_links_both_streams(held: int) -> None:
    def in_memory() -> Any:
        clock = VirtualClock()
        return link(Scene(MemoryStore(clock.now, TABLES), clock, opened(), held=held))

    simulate(in_memory)


def test_until_it_is_linked_its_own_stream_shows_it() -> None:
    async def main() -> None:
        clock = VirtualClock()
        scene = Scene(MemoryStore(clock.now, TABLES), clock, Blamed("no such contact", final=True))
        await scene.run(scene.ask)
        shown = await scene.show("inc1")
        assert (shown["ticket"], shown["type"], shown["state"]) == (None, "Incident", None)
        assert shown["client_ticket"] == "INC1"
        assert shown["fields"] == {"shortDescription": "s", "description": "d"}
        assert [moved["to"] for moved in shown["history"]] == ["requested", "sent", "rejected"]
        assert [effect["state"] for effect in shown["effects"]] == ["parked"]
        assert [row.stream async for page in scene.store.scan_rows("ticket") for row in page] == [STREAM]
        await scene.check_replay()

    simulate(main)


@pytest.mark.requirement("R97", "C25", "I4")
@pytest.mark.parametrize("seconds", [0.5, 50])
@pytest.mark.parametrize("held", [1, 100])
def test_a_number_that_comes_by_the_queue_is_not_asked_for_again(seconds: float, held: int) -> None:
    async def main() -> None:
        clock = VirtualClock()
        scene = Scene(MemoryStore(clock.now, TABLES), clock, lost(), opened("e-CS2"), held=held)
        await scene.run(scene.ask, lambda: scene.wait(seconds), scene.return_number, lambda: scene.wait(300))
        entry = await scene.entry()
        assert (scene.posts, entry.state, entry.result) == (1, EntryState.COMPLETED, SEEN)
        assert (await scene.show("INC1"))["ticket"] == "e-CS1"
        assert await scene.kinds("e-CS1") == ["MessageReceived", "Decided", "ClientLinked", "Decided"]
        await scene.check_replay()

    simulate(main)


@pytest.mark.requirement("R97", "C25")
def test_a_number_that_comes_too_late_is_reported_with_both() -> None:
    async def main() -> None:
        clock = VirtualClock()
        scene = Scene(MemoryStore(clock.now, TABLES), clock, lost(), opened("e-CS2"))
        await scene.run(scene.ask, lambda: scene.wait(300), scene.return_number)
        assert scene.posts == 2
        for ticket in ("e-CS1", "e-CS2"):
            shown = await scene.show(ticket)
            (detail,) = [one["detail"] for one in shown["anomalies"] if one["code"] == "double_create"]
            assert "e-CS1" in detail
            assert "e-CS2" in detail
            assert shown["client_ticket"] == "INC1"
        assert (await scene.store.count_tags("anomaly"))["double_create"] == 3
        await scene.check_replay()

    simulate(main)


@pytest.mark.requirement("R74")
def test_a_message_that_names_a_number_nobody_asked_for_here_makes_no_stream() -> None:
    async def main() -> None:
        clock = VirtualClock()
        scene = Scene(MemoryStore(clock.now, TABLES), clock, opened())
        await scene.run(scene.return_number)
        assert await scene.kinds(STREAM) == []
        assert (await scene.show("INC1"))["ticket"] == "e-CS1"

    simulate(main)


@pytest.mark.requirement("I3", "I4", "I5")
@pytest.mark.parametrize("seed", range(60))
def test_whichever_is_first_and_however_slow_the_disk_the_entry_is_what_a_replay_says(seed: int) -> None:
    async def main() -> None:
        clock, rng = VirtualClock(), Random(seed)
        disk = SimulatedDisk(clock.now, rng=rng, slow=rng.choice([0.01, 0.5, 2.0]))
        ends = [rng.choice([lost(), opened(), Blamed("503"), opened("e-CS2")]) for _ in range(3)]
        scene = Scene(disk, clock, *ends, opened(), seed=seed, held=rng.choice([1, 100]))
        scene.seconds = rng.choice([0.1, 3.0])

        async def later(act: Callable[[], Any]) -> None:
            await anyio.sleep(rng.uniform(0, 4))
            await act()

        await scene.run(scene.ask, lambda: later(scene.return_number), lambda: scene.wait(600))
        entry = await scene.entry()
        assert entry.state is EntryState.COMPLETED
        assert scene.posts <= len(ends)
        assert {"EnsonoNumberReturned"} <= {*await scene.kinds(STREAM)}
        numbers = {"e-CS1", *(end.result["number"] for end in ends[: scene.posts] if isinstance(end, Done))}
        assert ("double_create" in await disk.count_tags("anomaly")) == (len(numbers) > 1)
        await scene.check_replay()

    simulate(main, seed=seed)


@pytest.mark.requirement("I4", "I5")
def test_a_processor_that_dies_between_the_answer_and_the_link_links_after_its_start() -> None:
    async def main() -> None:
        clock = VirtualClock()
        store = MemoryStore(clock.now, TABLES)
        scene = Scene(store, clock, opened())
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(scene.projector.run)
            await scene.ask()
            await scene.projector.wait_idle()
            tasks.cancel_scope.cancel()
        after = await _settle(scene)
        assert await scene.kinds("e-CS1") == []
        await Scene(store, clock, opened()).run()
        assert await scene.kinds("e-CS1") == ["ClientLinked", "Decided"]
        assert after.state is EntryState.COMPLETED
        await scene.check_replay()

    simulate(main)


async def _settle(scene: Scene) -> Entry:
    """What the dispatcher writes of an answer where the create's actor has other work: the outcome alone."""
    outcome = EffectSucceeded(KEY, {"number": "e-CS1"})
    after = apply_outcome(await scene.entry(), outcome)
    event = NewEvent(STREAM, *encode_event(outcome), wanted=True)
    await scene.store.commit(Batch(events=[event], rows=[entry_row(STREAM, after)]))
    return after


@pytest.mark.requirement("I5")
def test_a_fact_for_another_stream_is_missed_where_it_is_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control: a step that forgets whom it has to tell is found out by the tests above."""
    monkeypatch.setattr(step, "Tells", type("Nobody", (), {}))

    async def main() -> None:
        clock = VirtualClock()
        await link(Scene(MemoryStore(clock.now, TABLES), clock, opened()))

    with pytest.raises((AssertionError, TypeError)):
        simulate(main)


async def test_a_file_holds_both_sides(tmp_path: Path) -> None:
    clock = VirtualClock()
    store = await open_store(tmp_path, TABLES, now=clock.now, identity=None, reserve_bytes=0)
    try:
        scene = Scene(store, clock, opened())
        scene.seconds = 0.0
        await link(scene)
        assert await store.read_rows("ticket", stream=STREAM) == []
        shown = await read_command(store, KEY)
        assert shown == ShownCommand("e-CS1", "INC1", KEY, "done", "e-CS1")
        assert await read_command(store, "another") is None
    finally:
        await store.aclose()
