"""How a run ends: drained, out of time, or by a signal that says so first, each with its own exit code."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Final

import anyio
import pytest

from ecproc.desk.base import DeskAnswer, DeskCall
from ecproc.ending import Ending
from ecproc.errors import ExitCode
from ecproc.reporting import Reporting
from ecproc.room import Room
from tests.simulation.peers import SimulatedDesk
from tests.simulation.simloop import simulate
from tests.simulation.telemetry import make_telemetry
from tests.simulation.world import CONFIG, World, WorldPlan

HELD_UNTIL: Final = 200.0
"""Seconds: the queue is proven empty long before."""


LAST_CALL: Final = 5
LOOK_SECONDS: Final = 10.0
"""Between two looks at the empty queue."""


class SlowDesk(SimulatedDesk):
    """Takes its time over the last call of the world."""

    async def perform(self, call: DeskCall) -> DeskAnswer:
        if len(self.order) == LAST_CALL - 1:
            await anyio.sleep(max(0.0, HELD_UNTIL - anyio.current_time()))
        return await super().perform(call)


async def drain(*, seconds: float, signal_at: float | None) -> ExitCode:
    """Drain a world of one ticket, and shut down in order."""
    world = World(WorldPlan(tickets=1, rate=50), seed=1, desk=SlowDesk)
    world.start()
    pipeline = world.make_pipeline()
    room, telemetry = Room(Path(), reserve_bytes=0), make_telemetry(world.clock)
    reporting = Reporting(CONFIG, world.disk, pipeline, room, telemetry=telemetry, clock=world.clock)
    ending = Ending(pipeline, reporting, reread=lambda: None, clock=world.clock)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(pipeline.run, LOOK_SECONDS)
        tasks.start_soon(ending.watch_drain, seconds)
        if signal_at is not None:
            await anyio.sleep(signal_at - anyio.current_time())
            ending.take_signal(signal.SIGINT)
        await ending.wait()
        await pipeline.shut_down()
        tasks.cancel_scope.cancel()
    return ending.exit_code


@pytest.mark.parametrize(
    ("seconds", "code"), [(10_000, ExitCode.OK), (HELD_UNTIL / 2, ExitCode.TEMPORARY)], ids=["drained", "out of time"]
)
def test_a_drain_tells_whether_anything_is_left(seconds: float, code: ExitCode) -> None:
    assert simulate(lambda: drain(seconds=seconds, signal_at=None)) is code


@pytest.mark.parametrize("before", [1.0, HELD_UNTIL / 2])
def test_a_signal_has_the_last_word_though_the_drain_ends_while_it_is_obeyed(before: float) -> None:
    assert simulate(lambda: drain(seconds=10_000, signal_at=HELD_UNTIL - before)) is ExitCode.INTERRUPTED
