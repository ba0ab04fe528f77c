"""Our own ceiling for ticket calls, in virtual time."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from ecproc.bridge.calls import Pacing
from tests.simulation.clock import VirtualClock
from tests.simulation.simloop import simulated_backend


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return simulated_backend()


async def take_turns(per_second: float, count: int) -> list[float]:
    """When so many calls that come at once may leave, in the order they came."""
    pacing, came, left = Pacing(per_second, VirtualClock()), [], []
    began = anyio.current_time()

    async def call(place: int) -> None:
        came.append(place)
        await pacing.wait_turn()
        left.append((round(anyio.current_time() - began, 6), place))

    async with anyio.create_task_group() as tasks:
        for place in range(count):
            tasks.start_soon(call, place)
    if per_second:
        assert [place for _, place in left] == came
    return [at for at, _ in left]


async def test_calls_leave_no_faster_than_the_ceiling() -> None:
    assert await take_turns(2.0, 5) == [0.0, 0.5, 1.0, 1.5, 2.0]
    assert await take_turns(0.1, 3) == [0.0, 10.0, 20.0]


async def test_without_a_ceiling_nobody_waits() -> None:
    assert await take_turns(0.0, 5) == [0.0] * 5


async def test_time_that_nobody_used_is_not_saved_up() -> None:
    pacing = Pacing(1.0, VirtualClock())
    await pacing.wait_turn()
    await anyio.sleep(10)
    began = anyio.current_time()
    for _ in range(3):
        await pacing.wait_turn()

    assert anyio.current_time() - began == pytest.approx(2.0)
