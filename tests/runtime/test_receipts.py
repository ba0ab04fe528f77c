"""A second reader of the queue: known where one steals, and by nothing that goes wrong without one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Final

import anyio
import msgspec
import pytest

from ecproc.config import Config
from ecproc.pipeline import Pipeline
from ecproc.reading.consumers import Evidence, judge_consumers
from ecproc.reporting import ReceiptKeeper
from ecproc.simulator.faults import NONE, CallFaults, FaultPlan, MessageFaults
from ecproc.store.receipts import ReceiptWindow, read_receipts
from tests.simulation.clock import START
from tests.simulation.simloop import simulate
from tests.simulation.world import CONFIG, World, WorldPlan

SECOND: Final = 1_000_000
FAULTY: Final = FaultPlan(
    queue=CallFaults(lost=0.05, error_after=0.05, garbage=0.05), messages=MessageFaults(undeleted=0.1, duplicate=0.1)
)
LOSSY: Final = FaultPlan(queue=CallFaults(lost=0.05))


class Watched(World):
    """A world that keeps in `folder` what its processors count, whether they are stopped or their power is cut."""

    def __init__(self, plan: WorldPlan, *, seed: int, folder: Path) -> None:
        config = msgspec.structs.replace(
            CONFIG,
            data=msgspec.structs.replace(CONFIG.data, dir=folder),
            bridge=msgspec.structs.replace(CONFIG.bridge, max_readers=2),
        )
        super().__init__(msgspec.structs.replace(plan, config=config), seed=seed)
        self.pipelines: list[Pipeline] = []

    def make_pipeline(self) -> Pipeline:
        self.pipelines.append(super().make_pipeline())
        return self.pipelines[-1]

    async def steal(self, rng: Random) -> None:
        """Read now and then, and delete nothing, as a forgotten script does that dies each time."""
        while True:
            await anyio.sleep(rng.uniform(0, 4))
            self.queue.receive(START + anyio.current_time())

    def list_windows(self) -> Sequence[ReceiptWindow]:
        """What each processor counted."""
        return [_window(pipeline, self.plan.config) for pipeline in self.pipelines]

    def judge(self) -> list[Evidence]:
        return list(judge_consumers([], self.list_windows(), now=self.clock.now()))


def _window(pipeline: Pipeline, config: Config) -> ReceiptWindow:
    counted = pipeline.ingest.receipts
    readers = config.bridge.max_readers
    return ReceiptWindow(
        counted.since, counted.since, counted.again, counted.known, counted.lost, readers, counted.last
    )


async def _live(world: Watched, *, stolen: bool, dies: bool) -> None:
    world.start()
    async with anyio.create_task_group() as tasks:
        if stolen:
            tasks.start_soon(world.steal, Random(5))
        for _ in range(4 if dies else 0):
            await world.run_for(world.rng.uniform(5, 40))
        await world.run_and_stop(300)
        tasks.cancel_scope.cancel()


@pytest.mark.requirement("R236")
@pytest.mark.parametrize("dies", [False, True], ids=["runs-on", "dies"])
@pytest.mark.parametrize("faults", [NONE, LOSSY], ids=["well", "lossy"])
def test_one_that_steals_is_found(faults: FaultPlan, dies: bool, tmp_path: Path) -> None:
    async def go() -> list[Evidence]:
        world = Watched(WorldPlan(tickets=80, rate=3, faults=faults), seed=3, folder=tmp_path)
        await _live(world, stolen=True, dies=dies)
        return world.judge()

    (found,) = simulate(go)
    assert "had been handed out before" in found.detail


@pytest.mark.requirement("R236")
@pytest.mark.parametrize("seed", [*range(3), *range(4, 10), *range(11, 14)])
@pytest.mark.parametrize("faults", [LOSSY, FAULTY], ids=["lossy", "faulty"])
def test_lost_answers_and_restarts_are_no_second_reader(faults: FaultPlan, seed: int, tmp_path: Path) -> None:
    async def go() -> tuple[list[Evidence], int]:
        world = Watched(WorldPlan(tickets=80, rate=3, faults=faults), seed=seed, folder=tmp_path)
        await _live(world, stolen=False, dies=True)
        again = sum(window.again for window in world.list_windows())
        return world.judge(), again

    found, again = simulate(go)
    assert found == []
    assert again, "nothing was handed out twice: there was nothing to explain"


def test_what_another_integration_held_before_our_start_is_no_second_reader(tmp_path: Path) -> None:
    async def go() -> tuple[list[Evidence], int]:
        world = Watched(WorldPlan(tickets=80, rate=100), seed=1, folder=tmp_path)
        world.start()
        for _ in range(40):
            await anyio.sleep(1)
            world.queue.receive(START + anyio.current_time())
        await anyio.sleep(60)
        await world.run_and_stop(300)
        return world.judge(), len(world.pipelines)

    assert simulate(go) == ([], 1)


def test_it_is_kept_once_a_minute_and_at_the_end_and_begun_anew_each_day(tmp_path: Path) -> None:
    async def go() -> list[tuple[int, int]]:
        world = Watched(WorldPlan(tickets=0), seed=1, folder=tmp_path)
        pipeline, kept = world.make_pipeline(), list[tuple[int, int]]()
        since = pipeline.ingest.receipts.since
        keeper = ReceiptKeeper(world.plan.config, pipeline.ingest, clock=world.clock)

        def note() -> None:
            windows = read_receipts(tmp_path)
            kept.append((len(windows), windows[-1].again if windows else 0))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(keeper.run)
            await anyio.sleep(61)
            note()
            pipeline.ingest.receipts.again, pipeline.ingest.receipts.last = 7, since
            await anyio.sleep(60)
            note()
            await anyio.sleep(24 * 3_600)
            pipeline.ingest.receipts.again = 2
            tasks.cancel_scope.cancel()
        note()
        assert read_receipts(tmp_path)[0].since == since < pipeline.ingest.receipts.since
        return kept

    assert simulate(go) == [(0, 0), (1, 7), (2, 2)]
