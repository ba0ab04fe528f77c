"""The whole processor in hundreds of simulated worlds, each from its seed: nothing lost, doubled, stuck or forgotten.

A red seed is run again alone with `-k 'books_agree[SEED]'`; `ECPROC_SEEDS=1000:9000` runs others than the usual ones.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from random import Random
from typing import Any

import anyio
import msgspec
import pytest
import structlog
from anyio.lowlevel import checkpoint

from ecproc.bridge.base import Answer
from ecproc.config import Limits, OutboxConfig
from ecproc.desk.base import DeskAnswer, DeskCall
from ecproc.domain.effects import Repeat
from ecproc.domain.log import Batch
from ecproc.errors import BridgeUnavailable
from ecproc.fold.recorded import Kind
from ecproc.simulator.faults import MILD, NONE, CallFaults, FaultPlan, MessageFaults
from ecproc.store.base import Committed
from ecproc.wire.queue import Received, decode_answer
from tests.simulation.peers import Roads, SimulatedBridge, SimulatedDesk, SimulatedDisk
from tests.simulation.simloop import SimLoop, simulate
from tests.simulation.world import CONFIG, World, WorldPlan

SEEDS = range(*map(int, os.environ.get("ECPROC_SEEDS", "0:150").split(":")))
HEAVY = FaultPlan(
    queue=CallFaults(
        error_before=0.05, throttle=0.02, lost=0.05, error_after=0.03, garbage=0.03, hang=0.01, latency=(0.0, 0.2)
    ),
    tickets=CallFaults(error_before=0.1, throttle=0.05, lost=0.05, error_after=0.05, garbage=0.03, latency=(0.0, 0.3)),
    files=CallFaults(error_before=0.1, lost=0.1, latency=(0.0, 1.0)),
    messages=MessageFaults(duplicate=0.05, undeleted=0.05, expired_handle=0.05),
)
BAD_ROADS = Roads(way=0.5, refused=0.1, lost=0.1, blamed=0.05)
CALM = 60.0
"""Seconds after which the last processor has no more faults to bear."""
REST = 500.0
"""Seconds within which it must have come to rest then: sending, two visibility windows, the longest unknown wait."""
CLIPPED = 3600.0
"""What a restart may wait on top of that when times were written while the clock was wrong."""


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Log nothing: there are thousands of faults."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()


def draw_plan(seed: int) -> WorldPlan:
    """A world with bounds tight or wide, faults few or many."""
    rng = Random(f"plan {seed}")
    limits = msgspec.structs.replace(
        Limits(),
        states_held=rng.choice((2, 4, 10_000)),
        events_held=rng.choice((1, 3, 10, 4096)),
        actors_at_once=rng.choice((1, 2, 256)),
        step_facts=rng.choice((1, 2, 1000)),
        snapshot_events=rng.choice((1, 2, 5, 200)),
        deletes_at_once=rng.choice((1, 32)),
    )
    outbox = OutboxConfig(max_in_flight=rng.choice((3, 6, 32)), max_pending=rng.choice((2, 5, 100_000)))
    return WorldPlan(
        tickets=rng.choice((1, 3, 6)),
        rate=rng.choice((1, 3, 50)),
        desk=rng.choice((Repeat.KEYED, Repeat.LOOK_UP)),
        faults=rng.choice((NONE, MILD, HEAVY, HEAVY)),
        roads=rng.choice((Roads(way=0.0), Roads(), BAD_ROADS)),
        slow_disk=rng.choice((0.0, 0.01, 0.5)),
        outages=rng.choice((0, 0, 3)),
        clock_jumps=rng.choice((0, 0, 0, 3)),
        reflect_numbers=rng.random() < 0.5,
        config=msgspec.structs.replace(CONFIG, limits=limits, outbox=outbox),
    )


async def live(world: World) -> Sequence[str]:
    """Start, crash, stop and start again, then run until all is done and compare the books."""
    rng = Random(world.rng.random())
    world.start()
    for _ in range(rng.choice((0, 0, 1, 3, 6))):
        seconds = rng.choice((0.01, 0.1, 1, 5, 20)) * rng.random()
        if rng.random() < 0.2:
            await world.run_and_stop(seconds)
        else:
            await world.run_for(seconds)
        await world.books.note_state()
    asyncio.get_running_loop().call_later(CALM, world.calm_down)
    await world.finish(within=REST + CLIPPED * bool(world.plan.clock_jumps))
    return await world.books.check()


@pytest.mark.requirement("I2", "I4", "I8")
@pytest.mark.parametrize("seed", SEEDS)
def test_the_books_agree(seed: int) -> None:
    errors = simulate(lambda: live(World(draw_plan(seed), seed=seed)), seed=seed)

    assert errors == []


async def live_and_hash(plan: WorldPlan, seed: int) -> tuple[bytes, float]:
    world = World(plan, seed=seed)
    await live(world)
    return (await world.disk.head()).hash, anyio.current_time()


async def live_in(plan: WorldPlan, seed: int, planted: dict[str, Any]) -> Sequence[str]:
    return await live(World(plan, seed=seed, **planted))


def test_a_seed_is_one_world() -> None:
    plan = WorldPlan(tickets=4, faults=HEAVY, roads=BAD_ROADS, outages=2)

    first, again, other = (simulate(partial(live_and_hash, plan, seed), seed=seed) for seed in (1, 1, 2))

    assert first == again
    assert other != first


@pytest.mark.requirement("I8")
def test_a_stop_waits_for_the_effects_in_flight_and_for_no_more() -> None:
    async def main() -> tuple[float, Sequence[str]]:
        narrow = msgspec.structs.replace(CONFIG, outbox=OutboxConfig(max_in_flight=3, max_pending=4))
        world = World(WorldPlan(tickets=30, rate=200, roads=Roads(way=2.0), config=narrow), seed=1)
        world.start()
        took = await world.run_and_stop(5)
        await world.finish(within=REST)
        return took, await world.books.check()

    took, errors = simulate(main, seed=1)
    assert took < 8, "a GET and its deletes, both there and back"
    assert errors == []


class DeafDesk(SimulatedDesk):
    """A desk that takes calls and never answers."""

    async def perform(self, call: DeskCall) -> DeskAnswer:
        self.order.append(call.key)
        await anyio.sleep_forever()
        raise AssertionError("nobody wakes it")


@pytest.mark.requirement("R18", "R229")
def test_messages_leave_the_queue_whatever_their_effects_wait_for() -> None:
    async def main() -> None:
        narrow = msgspec.structs.replace(CONFIG, outbox=OutboxConfig(max_in_flight=3, max_pending=4))
        world = World(WorldPlan(tickets=10, rate=200, config=narrow), seed=1, desk=DeafDesk)
        world.start()
        await world.run_and_stop(15)
        assert len(world.desk.order) == len(set(world.desk.order)) <= 3
        assert world.simulator.ledger.unsent == len(world.queue) == 0

    simulate(main, seed=1)


def test_a_pipeline_tells_when_nothing_is_left_to_do() -> None:
    async def main() -> None:
        world = World(WorldPlan(tickets=3, roads=BAD_ROADS), seed=1)
        pipeline = world.make_pipeline()
        world.start()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(pipeline.run)
            while world.simulator.ledger.unsent or len(world.queue):  # noqa: ASYNC110 - the queue tells nobody
                await anyio.sleep(1)
            busy = not pipeline.idle
            await pipeline.wait_idle()
            assert busy
            assert pipeline.idle
            tasks.cancel_scope.cancel()
        assert await world.books.check() == []

    simulate(main, seed=1)


# --- interrupted anywhere ---------------------------------------------------------------------------------------------

SMALL = WorldPlan(
    tickets=2, rate=20, config=msgspec.structs.replace(CONFIG, outbox=OutboxConfig(max_in_flight=6, max_pending=4))
)
STRIDE = 9


async def interrupt(step: int, *, cut_power: bool) -> Sequence[str]:
    world = World(SMALL, seed=4)
    world.start()
    await world.run_to_step(step, cut_power=cut_power)
    await world.books.check_replay()
    await world.finish(within=REST)
    return await world.books.check()


async def count_steps() -> int:
    world = World(SMALL, seed=4)
    world.start()
    await world.finish(within=REST)
    loop = asyncio.get_running_loop()
    assert isinstance(loop, SimLoop)
    return loop.steps


@pytest.mark.requirement("I1", "I4", "I5")
@pytest.mark.parametrize("cut_power", [True, False], ids=["power cut", "cancelled"])
@pytest.mark.parametrize("offset", range(3))
def test_it_may_be_interrupted_anywhere(offset: int, *, cut_power: bool) -> None:
    steps = simulate(count_steps, seed=1)
    assert steps > 300

    for step in range(1 + offset * STRIDE // 3, steps, STRIDE):
        errors = simulate(lambda step=step: interrupt(step, cut_power=cut_power), seed=1)  # type: ignore[misc]
        assert errors == [], f"interrupted at step {step}"


# --- live state and replay --------------------------------------------------------------------------------------------


@pytest.mark.requirement("I5")
@pytest.mark.parametrize("seed", range(4))
def test_live_state_is_a_replays_at_any_time(seed: int) -> None:
    async def main() -> Sequence[str]:
        plan = WorldPlan(
            tickets=3,
            rate=20,
            faults=HEAVY,
            roads=BAD_ROADS,
            config=msgspec.structs.replace(
                CONFIG, limits=msgspec.structs.replace(Limits(), snapshot_events=2, step_facts=2)
            ),
        )
        world = World(plan, seed=seed)
        world.start()

        async def look() -> None:
            while True:
                await world.books.note_state()
                await anyio.sleep(0.1 + anyio.current_time() / 10)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(look)
            await world.run_for(60)
            world.calm_down()
            await world.finish(within=REST)
            tasks.cancel_scope.cancel()
        return await world.books.check()

    assert simulate(main, seed=seed) == []


@pytest.mark.requirement("I5", "I4")
@pytest.mark.parametrize("seed", range(8))
def test_entries_that_die_on_the_way_leave_books_that_agree(seed: int) -> None:
    async def main() -> Sequence[str]:
        config = msgspec.structs.replace(
            CONFIG,
            limits=msgspec.structs.replace(Limits(), retry_longest=30.0),
            outbox=OutboxConfig(max_attempts=2, unknown_retry=(6.0, 12.0)),
        )
        roads = Roads(blamed=0.4, lost=0.2, refused=0.1)
        world = World(WorldPlan(tickets=5, roads=roads, config=config), seed=seed)
        world.start()
        await world.run_for(30)
        await world.books.note_state()
        await world.run_for(300)
        await world.books.check_replay()
        dead = [row for row in await every_row(world, "outbox") if row.tag is not None]
        assert dead
        assert len(world.queue) == 0
        assert await world.disk.undecided_streams() == []
        assert {count for count in world.desk.applied.values()} == {1}
        return world.books.errors

    assert simulate(main, seed=seed) == []


async def every_row(world: World, table: str) -> list[Any]:
    return [row async for page in world.disk.scan_rows(table) for row in page]


# --- planted bugs -----------------------------------------------------------------------------------------------------


class EagerBridge(SimulatedBridge):
    """Deletes what it reads before anyone could have kept it."""

    async def receive(self) -> Answer:
        answer = await super().receive()
        received = decode_answer(answer.body)
        for message in received.messages if isinstance(received, Received) else ():
            with suppress(BridgeUnavailable):
                await self.delete(message.receipt_handle or "")
        return answer


class GreedyDisk(SimulatedDisk):
    """Says that there is room when there is none."""

    def has_room(self) -> bool:
        return True


class SpoiltDisk(SimulatedDisk):
    """Does something to every so many batches."""

    def choose(self, batch: Batch) -> bool:
        return self._rng.random() < 0.2 and batch.fence is None


class LyingDisk(SpoiltDisk):
    """Says that a batch was there before and keeps nothing of it."""

    async def commit(self, batch: Batch) -> Committed:
        if self.choose(batch):
            await checkpoint()
            return Committed(events=tuple(None for _ in batch.events))
        return await super().commit(batch)


class SilentDisk(SpoiltDisk):
    """Keeps a batch and says that it was there before: nobody hears of it."""

    async def commit(self, batch: Batch) -> Committed:
        committed = await super().commit(batch)
        silent = Committed(events=tuple(None for _ in batch.events))
        return silent if self.choose(batch) else committed


class RowlessDisk(SpoiltDisk):
    """Keeps an outcome without its row."""

    async def commit(self, batch: Batch) -> Committed:
        return await super().commit(msgspec.structs.replace(batch, rows=()) if self.choose(batch) else batch)


class IntentlessDisk(SimulatedDisk):
    """Keeps no intent."""

    async def commit(self, batch: Batch) -> Committed:
        if [event.kind for event in batch.events] == [Kind.EFFECT_STARTED]:
            await checkpoint()
            return Committed()
        return await super().commit(batch)


class PlanlessDisk(SimulatedDisk):
    """Keeps no step that plans something."""

    async def commit_all(self, batches: Sequence[Batch]) -> list[Committed]:
        if not any(row.table == "outbox" for batch in batches for row in batch.rows):
            return await super().commit_all(batches)
        await checkpoint()
        return [Committed(events=tuple(None for _ in batch.events)) for batch in batches]


class DoubleDesk(SimulatedDesk):
    """Says that it honours keys, and does not."""

    def _apply(self, call: DeskCall) -> DeskAnswer:
        self._answers.pop(call.key, None)
        return super()._apply(call)


@pytest.mark.parametrize(
    ("planted", "found", "repeat"),
    [
        ({"bridge": EagerBridge}, "I1", Repeat.KEYED),
        ({"disk": GreedyDisk}, "I0", Repeat.KEYED),
        ({"disk": LyingDisk}, "I1", Repeat.KEYED),
        ({"disk": SilentDisk}, "I8", Repeat.KEYED),
        ({"disk": RowlessDisk}, "I5", Repeat.KEYED),
        ({"disk": IntentlessDisk}, "I4", Repeat.LOOK_UP),
        ({"disk": PlanlessDisk}, "I4", Repeat.KEYED),
        ({"desk": DoubleDesk}, "I4", Repeat.KEYED),
    ],
    ids=lambda value: next(iter(value.values())).__name__ if isinstance(value, dict) else value,
)
def test_a_planted_bug_is_found(planted: dict[str, Any], found: str, repeat: Repeat) -> None:
    errors: list[str] = []

    for seed in range(10):
        plan = WorldPlan(tickets=4, faults=HEAVY, roads=BAD_ROADS, outages=4, desk=repeat)
        errors += simulate(partial(live_in, plan, seed, planted), seed=seed)
        if any(error.startswith(found) for error in errors):
            return

    raise AssertionError(f"not found as {found}: {errors[:3]}")


def test_a_call_that_cannot_leave_says_so() -> None:
    async def main() -> None:
        world = World(WorldPlan(roads=Roads(refused=1.0)), seed=0)
        world.start()
        with pytest.raises(BridgeUnavailable) as raised:
            await world.bridge.receive()
        assert not raised.value.sent

    simulate(main)
