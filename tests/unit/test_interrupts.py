"""An order to stop that comes twice at once is one order; one that nobody can hear of ends the process in time."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

import pytest

from ecproc.interrupts import REPEAT_SECONDS, START_SECONDS, Interrupts


class Stage:
    """Held signals, a clock that is moved by hand, and the exits that were asked for."""

    def __init__(self) -> None:
        self.now = 100.0
        self.exits: list[int] = []
        self.alarm = 0.0
        self.interrupts = Interrupts()

    def set_alarm(self, timer: int, seconds: float) -> None:
        """Instead of the process's own, which bounds the test."""
        self.alarm = seconds


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    made = Stage()
    monkeypatch.setattr(os, "_exit", made.exits.append)
    monkeypatch.setattr(signal, "setitimer", made.set_alarm)
    monkeypatch.setattr(time, "monotonic", lambda: made.now)
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGALRM)
    former = {number: signal.signal(number, lambda *_: None) for number in numbers}
    made.interrupts.hold()
    yield made
    made.interrupts.release()
    assert made.alarm == 0
    for number, handler in former.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_repeat_at_once_is_the_same_order_and_a_later_one_ends_it(number: signal.Signals, stage: Stage) -> None:
    signal.raise_signal(number)
    stage.now += REPEAT_SECONDS / 2
    signal.raise_signal(number)
    assert (stage.interrupts.stop, stage.exits) == (number, [])
    stage.now += REPEAT_SECONDS
    signal.raise_signal(number)
    assert stage.exits == [130]


def test_a_terminal_that_closes_is_never_a_second_order(stage: Stage) -> None:
    stage.interrupts.stop_at_hangup()
    for _ in range(3):
        signal.raise_signal(signal.SIGHUP)
        stage.now += 10 * REPEAT_SECONDS
    assert (stage.interrupts.stop, stage.exits) == (signal.SIGHUP, [])
    signal.raise_signal(signal.SIGTERM)
    assert stage.exits == [130]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_an_order_that_no_loop_hears_of_has_a_bound(number: signal.Signals, code: int, stage: Stage) -> None:
    stage.interrupts.stopped_code = 0
    signal.raise_signal(number)
    assert stage.alarm == START_SECONDS
    signal.raise_signal(signal.SIGALRM)
    assert stage.exits == [code]


async def test_whoever_watches_lifts_the_bound(stage: Stage) -> None:
    signal.raise_signal(signal.SIGTERM)
    assert stage.alarm == START_SECONDS

    def look() -> None:
        raise LookupError

    with pytest.raises(LookupError):
        await stage.interrupts.watch(look)
    assert stage.alarm == 0
