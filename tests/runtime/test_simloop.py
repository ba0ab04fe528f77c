"""The simulated loop: time that costs none, an order from a seed, and no waiting for what cannot come."""

from __future__ import annotations

import anyio
import pytest
from anyio.lowlevel import checkpoint

from tests.simulation.clock import START, VirtualClock
from tests.simulation.simloop import Deadlock, simulate


async def finish_in_some_order() -> list[int]:
    order: list[int] = []

    async def work(index: int) -> None:
        await checkpoint()
        order.append(index)

    async with anyio.create_task_group() as tasks:
        for index in range(8):
            tasks.start_soon(work, index)
    return order


def test_a_seed_gives_one_order_and_another_seed_another() -> None:
    orders = [simulate(finish_in_some_order, seed=seed) for seed in (1, 1, 2)]

    assert orders[0] == orders[1] != orders[2]
    assert sorted(orders[0]) == list(range(8))


def test_hours_pass_at_once_and_a_calendar_may_be_set_without_anyone_noticing() -> None:
    async def main() -> tuple[float, float]:
        clock = VirtualClock()
        with anyio.move_on_after(3600):
            clock.jump(-86_400)
            await clock.sleep(7200)
        return clock.monotonic(), clock.now() / 1_000_000

    assert simulate(main) == pytest.approx((3600, START - 86_400 + 3600))


@pytest.mark.parametrize("wait", [lambda: anyio.Event().wait(), anyio.sleep_forever])
def test_what_will_never_come_is_an_error_and_no_hang(wait: object) -> None:
    async def main() -> None:
        await wait()  # type: ignore[operator]

    with pytest.raises(Deadlock):
        simulate(main)
