"""Timers in virtual time: told once when they are due, not when void, over restarts, and whatever the calendar does."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from random import Random
from typing import Any, Final

import anyio
import msgspec
import pytest

from ecproc.config import BridgeConfig, Config
from ecproc.domain.events import Place, TimerElapsed, TimerName
from ecproc.domain.log import Batch, NewEvent
from ecproc.domain.policy import Policy
from ecproc.fold.recorded import Kind, decode_timer, encode_event
from ecproc.fold.tables import TABLES
from ecproc.fold.tickets import MACHINES
from ecproc.rebuild.streams import RebuildOrder, rebuild
from ecproc.runtime import timers as timers_module
from ecproc.runtime.projector import Projector
from ecproc.runtime.timers import Timers
from ecproc.store.memory import MemoryStore
from ecproc.telemetry.hooks import Telemetry
from ecproc.testing.ticket import Sent, incident, sent
from ecproc.wire.queue import decode_message
from tests.runtime.test_projector import Outbox
from tests.simulation.clock import START, VirtualClock
from tests.simulation.scripted_bridge import number
from tests.simulation.simloop import simulate

HOUR: Final = 3_600
DAY: Final = 24 * HOUR
YEARS: Final = 10 * 365 * DAY
IN_AN_HOUR: Final = "2023-11-14T23:13:20Z"
IN_TWO_HOURS: Final = "2023-11-15T00:13:20Z"


class Scene:
    """A projector and its timers on one log; `run` is one process, which ends with the block."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.store = MemoryStore(self.clock.now, TABLES)
        self.count = 0
        self.projector = self._open()

    def _open(self) -> Projector:
        self.timers = Timers(self.store, self.clock)
        return Projector(
            self.store,
            Outbox(),
            machines=MACHINES,
            policy=Policy(),
            client_name="testClient",
            limits=Config(bridge=BridgeConfig()).limits,
            clock=self.clock,
            telemetry=Telemetry(),
            note_timers=self.timers.note,
        )

    async def run(self, life: Callable[[], Awaitable[Any]]) -> None:
        """A process from its start to its death, in which that happens."""
        self.projector = self._open()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.projector.run)
            tasks.start_soon(self.timers.run, self.projector.submit)
            await life()
            tasks.cancel_scope.cancel()

    async def receive(self, *messages: Sent) -> None:
        events = []
        for message in messages:
            self.count += 1
            stamped = {
                **message,
                "Attributes": {**message["Attributes"], "SentTimestamp": str(self.clock.now() // 1000)},
            }
            envelope = decode_message(msgspec.json.encode(number(stamped, self.count)))
            kind = Kind.MESSAGE_RECEIVED
            events.append(NewEvent(envelope.stream, kind, envelope.payload, message_key=envelope.key, wanted=True))
        await self.projector.submit(Batch(events=events))

    async def told(self, stream: str = "e-CS1") -> list[tuple[int, str]]:
        """When, in seconds since the beginning, what was told of a ticket's timers."""
        found = []
        for event in await self.store.read_stream(stream):
            if event.kind == Kind.TIMER_ELAPSED:
                elapsed = msgspec.json.decode(event.payload, type=TimerElapsed)
                found.append((event.at // 1_000_000 - START, str(elapsed.timer)))
        return found

    async def check_replay(self) -> None:
        """The log alone gives the live rows."""
        for order in (RebuildOrder(), RebuildOrder(compact=True)):
            async with self.store.reading() as reader, self.store.rebuilding(reader) as aside:
                await rebuild(reader, aside, order, machines=MACHINES, clock=self.clock)
                assert await aside.differences(3) == (0, [])


def on_hold(date: str = IN_AN_HOUR, ticket: str = "e-CS1") -> Sent:
    held = {"status": "pending", "offHoldDate": date}
    return incident("Update", ticketNumber=ticket, **held, changed=held, envelope=sent(MessageGroupId=ticket))


def opened(ticket: str = "e-CS1") -> Sent:
    return incident("Create", ticketNumber=ticket, status="open", envelope=sent(MessageGroupId=ticket))


def moved(status: str) -> Sent:
    return incident("Update", status=status, changed={"status": status})


def live(scene: Callable[[Scene], Awaitable[None]], seed: int = 0) -> None:
    """Let a scene happen in virtual time, and hold its log to a replay."""

    async def main() -> None:
        stage = Scene()
        await scene(stage)
        await stage.check_replay()

    simulate(main, seed=seed)


@pytest.mark.requirement("R58", "I5")
def test_a_timer_is_told_once_at_its_time() -> None:
    async def scene(stage: Scene) -> None:
        async def life() -> None:
            await stage.receive(opened(), on_hold())
            await anyio.sleep(HOUR - 1)
            assert await stage.told() == []
            await anyio.sleep(DAY)
            assert await stage.told() == [(HOUR, "off_hold")]

        await stage.run(life)

    live(scene)


@pytest.mark.requirement("R78", "I5")
def test_a_resolved_ticket_is_presumed_closed_over_many_restarts() -> None:
    async def scene(stage: Scene) -> None:
        await stage.run(lambda: stage.receive(opened(), moved("resolved")))
        for _ in range(10):
            await stage.run(lambda: anyio.sleep(DAY - 60))
            await anyio.sleep(60)
        ((at, name),) = await stage.told()
        assert name == "presumed_closed"
        assert 7 * DAY <= at < 7 * DAY + 61
        (header,) = await stage.store.read_rows("ticket", stream="e-CS1")
        assert header.tag == "Incident:resolved"

    live(scene)


@pytest.mark.requirement("R58")
@pytest.mark.parametrize("message", [moved("open"), moved("closed"), on_hold("2030-01-01T00:00:00Z"), on_hold("")])
def test_a_timer_that_is_void_is_not_told(message: Sent) -> None:
    async def scene(stage: Scene) -> None:
        async def life() -> None:
            await stage.receive(opened(), on_hold())
            await anyio.sleep(HOUR - 1)
            await stage.receive(message)
            await anyio.sleep(DAY)
            assert await stage.told() == []

        await stage.run(life)

    live(scene)


@pytest.mark.requirement("R58")
def test_another_date_is_told_at_its_own_time() -> None:
    async def scene(stage: Scene) -> None:
        async def life() -> None:
            await stage.receive(opened(), on_hold(IN_TWO_HOURS))
            await stage.receive(on_hold(IN_AN_HOUR))
            await anyio.sleep(HOUR + 1)
            await stage.receive(on_hold(IN_TWO_HOURS))
            await anyio.sleep(DAY)
            assert await stage.told() == [(HOUR, "off_hold"), (2 * HOUR, "off_hold")]

        await stage.run(life)

    live(scene)


@pytest.mark.requirement("R58")
def test_what_came_due_while_nobody_ran_is_told_at_the_next_start() -> None:
    async def scene(stage: Scene) -> None:
        await stage.run(lambda: stage.receive(opened(), on_hold()))
        await anyio.sleep(DAY)
        await stage.run(lambda: anyio.sleep(1))
        await stage.run(lambda: anyio.sleep(DAY))
        assert await stage.told() == [(DAY, "off_hold")]

    live(scene)


@pytest.mark.requirement("I5")
@pytest.mark.parametrize("seed", range(6))
def test_a_process_that_dies_between_telling_and_deciding_does_not_tell_twice(seed: int) -> None:
    async def scene(stage: Scene) -> None:
        rng = Random(seed)
        await stage.run(lambda: stage.receive(opened(), on_hold()))
        await anyio.sleep(HOUR - 1)
        commit = stage.store.commit

        async def commit_and_die(batch: Batch) -> Any:
            committed = await commit(batch)
            await anyio.sleep(rng.random())
            return committed

        stage.store.commit = commit_and_die  # type: ignore[method-assign]
        await stage.run(lambda: anyio.sleep(1 + rng.random()))
        stage.store.commit = commit  # type: ignore[method-assign]
        await stage.run(lambda: anyio.sleep(DAY))
        assert [name for _, name in await stage.told()] == ["off_hold"]

    live(scene, seed)


@pytest.mark.requirement("I13")
def test_a_calendar_that_leaps_tells_nothing_before_it_has_lasted() -> None:
    async def scene(stage: Scene) -> None:
        async def life() -> None:
            await stage.receive(opened(), moved("resolved"))
            await anyio.sleep(60)
            stage.clock.jump(YEARS)
            await anyio.sleep(600)
            stage.clock.jump(-YEARS)
            await anyio.sleep(6 * DAY)
            assert await stage.told() == []
            await anyio.sleep(2 * DAY)
            ((at, _),) = await stage.told()
            assert 7 * DAY <= at < 7 * DAY + 61

        await stage.run(life)

    live(scene)


@pytest.mark.requirement("I13")
def test_a_calendar_that_stays_ahead_is_believed_and_tells_each_timer_once() -> None:
    async def scene(stage: Scene) -> None:
        async def life() -> None:
            await stage.receive(opened(), moved("resolved"))
            stage.clock.jump(YEARS)
            await anyio.sleep(HOUR)
            assert [name for _, name in await stage.told()] == ["presumed_closed"]
            stage.clock.jump(-YEARS)
            await anyio.sleep(30 * DAY)
            assert len(await stage.told()) == 1

        await stage.run(life)

    live(scene)


@pytest.mark.requirement("I13")
def test_a_calendar_that_is_set_back_only_delays() -> None:
    async def scene(stage: Scene) -> None:
        async def life() -> None:
            await stage.receive(opened(), on_hold())
            stage.clock.jump(-DAY)
            await anyio.sleep(DAY)
            assert await stage.told() == []
            await anyio.sleep(2 * HOUR)
            assert len(await stage.told()) == 1

        await stage.run(life)

    live(scene)


@pytest.mark.requirement("I7")
def test_more_timers_than_are_held_are_all_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timers_module, "_HELD", 3)
    tickets = [f"e-CS{count}" for count in range(1, 41)]

    async def scene(stage: Scene) -> None:
        for ticket in tickets[:20]:
            await stage.run(lambda ticket=ticket: stage.receive(opened(ticket), on_hold(ticket=ticket)))  # type: ignore[misc]

        async def life() -> None:
            for ticket in tickets[20:]:
                await stage.receive(opened(ticket), on_hold(ticket=ticket))
            await anyio.sleep(DAY)

        await stage.run(life)
        assert [len(await stage.told(ticket)) for ticket in tickets] == [1] * len(tickets)

    live(scene)


@pytest.mark.requirement("I9")
def test_a_parked_ticket_is_told_nothing_and_told_once_when_it_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(stage: Scene) -> None:
        def fail(*_: object) -> Any:
            raise ValueError("planted")

        async def life() -> None:
            await stage.receive(opened(), on_hold())
            with monkeypatch.context() as patch:
                patch.setattr("ecproc.fold.stream.evolve_fact", fail)
                await stage.receive(incident("Update", status="pending", changed={"priority": "2"}))
            assert stage.projector.parked == {"e-CS1"}
            await anyio.sleep(DAY)
            assert await stage.told() == []
            assert await stage.projector.take_up("e-CS1")
            await anyio.sleep(DAY)
            assert [name for _, name in await stage.told()] == ["off_hold"]

        await stage.run(life)

    live(scene)


def test_a_stopped_loop_ends_and_tells_nothing_more() -> None:
    async def scene(stage: Scene) -> None:
        async def life() -> None:
            await stage.receive(opened(), on_hold())
            stage.timers.stop()
            await anyio.sleep(DAY)
            assert await stage.told() == []

        await stage.run(life)

    live(scene)


def test_a_fact_that_nobody_waited_for_is_recorded_and_changes_nothing() -> None:
    async def scene(stage: Scene) -> None:
        async def life() -> None:
            await stage.receive(opened(), on_hold())
            (row,) = await stage.store.read_rows("timer", stream="e-CS1")
            timer = decode_timer(row.data or b"")
            early = encode_event(TimerElapsed(timer.timer, timer.about))
            await stage.projector.submit(Batch(events=[NewEvent("e-CS1", *early, wanted=True)]))
            assert await stage.store.read_rows("timer", stream="e-CS1") == [row]
            await anyio.sleep(DAY)
            assert [name for _, name in await stage.told()] == ["off_hold", "off_hold"]

        await stage.run(life)

    live(scene)


def test_a_create_of_ours_has_no_timers() -> None:
    machine = MACHINES.of("client:INC1")
    state = machine.new("client:INC1")
    assert machine.evolve(state, TimerElapsed(TimerName.OFF_HOLD, "x"), Place(1, 1, 1)) == []


def test_the_parked_ticket_would_be_told_again_and_again_if_nobody_looked(monkeypatch: pytest.MonkeyPatch) -> None:
    async def always(*_: object) -> bool:
        return True

    monkeypatch.setattr(Timers, "_is_at_rest", always)
    with pytest.raises(ExceptionGroup):
        test_a_parked_ticket_is_told_nothing_and_told_once_when_it_goes_on(monkeypatch)
