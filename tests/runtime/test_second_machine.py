"""A second kind of stream: nothing but its machine and its table is new, and all rooms take it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any, Final

import anyio
import msgspec
import pytest

from ecproc.bridge.base import Answer
from ecproc.config import Limits
from ecproc.domain.deltas import Delta, Moved
from ecproc.domain.effects import Effect, EffectKind, Repeat
from ecproc.domain.events import EffectSucceeded, Fact, Message, Place
from ecproc.domain.ids import EffectKey, TicketNumber
from ecproc.domain.log import Row
from ecproc.domain.policy import Policy
from ecproc.domain.state import StreamState
from ecproc.domain.times import format_time
from ecproc.fold.machine import Machines
from ecproc.fold.rows import delta_rows
from ecproc.fold.tables import TABLES
from ecproc.fold.tickets import TicketMachine
from ecproc.pipeline import Pipeline
from ecproc.reading.queries import Queries
from ecproc.rebuild.streams import RebuildOrder, rebuild
from ecproc.store.base import Store
from ecproc.store.memory import MemoryStore
from ecproc.store.sqlite.store import open_store
from ecproc.telemetry.hooks import Telemetry
from ecproc.testing.ticket import Sent, incident, sent
from tests.simulation.clock import VirtualClock
from tests.simulation.peers import SimulatedDesk
from tests.simulation.scripted_bridge import EMPTY, ScriptedBridge, give_queue, number
from tests.simulation.world import CONFIG, World, WorldPlan

JOB: Final = "toy:prod:PAYROLL"
TABLES_WITH_SUBJECT: Final = msgspec.structs.replace(TABLES, names=TABLES.names | {"subject"})


class Job(StreamState):
    """A job that failed, until the desk has a ticket for it."""

    state: str | None = None
    number: str | None = None


class JobMachine:
    """Each message reports a failure; the first one opens a ticket at the desk, which is all there is to do."""

    fold_version: Final = 1
    snapshot_version: Final = 1

    def new(self, stream: str) -> Job:
        return Job(stream)

    def evolve_news(self, state: Job, message: Message) -> list[Delta] | None:
        return None

    def evolve(self, state: Job, fact: Fact, place: Place) -> list[Delta]:
        match fact:
            case Message():
                state.touch(fact)
                return [self._move(state, "failed", "reported", fact)]
            case EffectSucceeded(result={"number": number}):
                state.touch(place)
                state.number = number
                return [self._move(state, "ticketed", "ticket opened", place)]
            case _:
                return []

    def decide(self, state: Job, fact: Fact, deltas: Sequence[Delta], place: Place, policy: Policy) -> list[Effect]:
        if not isinstance(fact, Message) or state.number:
            return []
        key, ticket = EffectKey(f"create:{state.stream}"), TicketNumber(state.stream)
        return [Effect(key, EffectKind.CREATE, 1, place.position, place.at, ticket, "Job")]

    def judge(self, state: Job, fact: Fact, deltas: Sequence[Delta], policy: Policy) -> None:
        return None

    def rows(self, state: Job, deltas: Sequence[Delta]) -> list[Row]:
        seen, links = state.seen, [{"rel": "client_ticket", "number": state.number}] if state.number else []
        place = {"version": seen.version, "position": seen.position, "updated_at": format_time(seen.at)}
        known: dict[str, object] = {"subject": state.stream, "kind": "job", "state": state.state}
        header = {**known, **place, "links": links, "data": {}}
        row = Row("subject", state.stream, state.stream, 0, msgspec.json.encode(header), f"toy:{state.state}")
        return [row, *delta_rows(state.stream, deltas)]

    def counted(self, state: Job) -> None:
        return None

    def _move(self, state: Job, after: str, event: str, place: Place | Message) -> Moved:
        before, state.state = state.state, after
        state.journal.moves += 1
        return Moved(before, after, event, place.position, place.at, state.journal.moves)


MACHINES: Final = Machines(TicketMachine(), {"toy:": JobMachine()})


class Room:
    """A whole processor on that store that knows both kinds of stream."""

    def __init__(self, store: Store, clock: VirtualClock, *, snapshot_events: int) -> None:
        self.store = store
        self.clock = clock
        self.desk = SimulatedDesk(Repeat.KEYED, rng=Random(2))
        self.world = World(WorldPlan(tickets=0), seed=1)
        self.limits = msgspec.structs.replace(Limits(), snapshot_events=snapshot_events, states_held=1)
        self.count = 0

    async def receive(self, *messages: Sent) -> None:
        """Let a processor take these from the queue and do all they lead to."""
        numbered = []
        for message in messages:
            self.count += 1
            numbered.append(number(message, self.count))
        asked_again = anyio.Event()

        async def give_nothing() -> Answer:
            asked_again.set()  # by then what the first answer brought is in the log
            return EMPTY

        bridge = ScriptedBridge(give_queue(*numbered), give_nothing)
        pipeline = Pipeline(
            msgspec.structs.replace(CONFIG, limits=self.limits),
            machines=MACHINES,
            policy=Policy(),
            store=self.store,
            queue=bridge,
            bridge=bridge,
            desk=self.desk,
            fetcher=self.world.fetcher,
            clock=self.clock,
            rng=Random(3),
            telemetry=Telemetry(),
        )
        async with anyio.create_task_group() as tasks:
            await tasks.start(pipeline.run)
            await asked_again.wait()
            await pipeline.wait_idle()
            tasks.cancel_scope.cancel()

    async def show(self, name: str, *, at: int | None = None) -> Any:
        """What `ecproc show` prints of it."""
        queries = Queries(self.store, tables=TABLES_WITH_SUBJECT.names, machines=MACHINES, entries=100)
        document = await queries.ticket(name, at=at)
        return None if document is None else msgspec.json.decode(document)


def reported(**body: Any) -> Sent:
    return incident("Update", **body, envelope=sent(MessageGroupId=JOB))


@asynccontextmanager
async def open_memory(_: Path, clock: VirtualClock) -> AsyncIterator[Store]:
    yield MemoryStore(clock.now, TABLES_WITH_SUBJECT)


@asynccontextmanager
async def open_sqlite(directory: Path, clock: VirtualClock) -> AsyncIterator[Store]:
    store = await open_store(directory, TABLES_WITH_SUBJECT, now=clock.now, identity=None, reserve_bytes=0)
    try:
        yield store
    finally:
        await store.aclose()


@pytest.mark.requirement("I4", "I5")
@pytest.mark.parametrize("snapshot_events", [1, 1000])
@pytest.mark.parametrize("open_one", [open_memory, open_sqlite])
async def test_it_goes_from_the_queue_to_the_desk_and_is_shown_and_replayed(
    tmp_path: Path, open_one: Callable[..., AbstractAsyncContextManager[Store]], snapshot_events: int
) -> None:
    clock = VirtualClock()
    async with open_one(tmp_path, clock) as store:
        room = Room(store, clock, snapshot_events=snapshot_events)
        await room.receive(reported(), incident("Create", status="open"))
        await room.receive(reported())
        shown = await room.show(JOB)
        assert [shown[name] for name in ("subject", "kind", "state")] == [JOB, "job", "failed"]
        (link,) = shown["links"]
        assert link["rel"] == "client_ticket"
        assert link["number"] in room.desk.states
        assert [moved["to"] for moved in shown["history"]] == ["failed", "ticketed", "failed"]
        assert [(entry["key"], entry["state"]) for entry in shown["effects"]] == [(f"create:{JOB}", "completed")]
        assert room.desk.applied[f"create:{JOB}"] == 1
        assert (await room.show(JOB, at=1))["state"] == "failed"
        assert (await room.show("e-CS1"))["state"] == "open"
        for order in (RebuildOrder(), RebuildOrder(compact=True)):
            async with store.reading() as reader, store.rebuilding(reader) as aside:
                rebuilt = await rebuild(reader, aside, order, machines=MACHINES, clock=clock)
                assert rebuilt.events == (await reader.head()).position
                assert await aside.differences(3) == (0, [])


def test_live_state_is_stamped_with_the_folds_of_both() -> None:
    assert MACHINES.fold_version == TicketMachine.fold_version + JobMachine.fold_version
