"""How a start waits for room."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import pytest
from prometheus_client import CollectorRegistry

from ecproc.clock import SystemClock
from ecproc.errors import NoRoom, StoreError
from ecproc.interrupts import Interrupts
from ecproc.starting import LONGEST_TRY_SECONDS, TRY_SECONDS, Front, Opening


class Sleepless(SystemClock):
    """A clock whose sleeps are over at once; it keeps them all."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


async def wait_through(*troubles: Exception) -> list[float]:
    """How long it waited after each of these."""
    clock, left = Sleepless(), iter(troubles)
    start = Opening(CollectorRegistry(), front=cast("Front", None), interrupts=Interrupts(), clock=clock)
    assert await start.when_there_is_room(lambda: begin(left)) == "begun"
    return clock.slept


async def begin(left: Iterator[Exception]) -> str:
    for trouble in left:
        raise trouble
    return "begun"


async def test_what_meets_the_same_again_and_again_is_tried_less_and_less_often() -> None:
    full, locked = [NoRoom("the disk is full")], [NoRoom("locked")]
    assert await wait_through() == []
    assert await wait_through(*full * 8) == [1, 2, 4, 8, 16, 32, LONGEST_TRY_SECONDS, LONGEST_TRY_SECONDS]
    assert await wait_through(*full * 3, *locked * 2, *full) == [1, 2, 4, TRY_SECONDS, 2, TRY_SECONDS]


async def test_what_is_no_want_of_room_is_raised_at_once() -> None:
    with pytest.raises(StoreError, match="damaged"):
        await wait_through(NoRoom("the disk is full"), StoreError("damaged"))
