"""Signals: nobody who waits is left behind, and nobody goes on before the condition holds."""

from __future__ import annotations

import anyio

from ecproc.signals import Signal
from tests.simulation.simloop import simulate


def test_what_holds_already_is_not_waited_for() -> None:
    async def main() -> None:
        await Signal().wait_until(lambda: True)

    simulate(main)


def test_each_waiter_goes_on_when_its_own_condition_holds() -> None:
    async def main() -> list[int]:
        signal, count, seen = Signal(), [0], list[int]()

        async def wait_for(number: int) -> None:
            await signal.wait_until(lambda: count[0] >= number)
            seen.append(count[0])

        async with anyio.create_task_group() as tasks:
            for number in (3, 1, 2):
                tasks.start_soon(wait_for, number)
            await anyio.sleep(1)
            for _ in range(3):
                count[0] += 1
                signal.notify()
                await anyio.sleep(1)
        return seen

    assert simulate(main) == [1, 2, 3]


def test_a_condition_that_no_longer_holds_when_the_waiter_looks_is_waited_for_again() -> None:
    async def main() -> bool:
        signal, open_ = Signal(), [False]

        async def close_at_once() -> None:
            open_[0] = True
            signal.notify()
            open_[0] = False

        with anyio.move_on_after(5) as limit:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(signal.wait_until, lambda: open_[0])
                await anyio.sleep(1)
                await close_at_once()
        return limit.cancelled_caught

    assert simulate(main)
