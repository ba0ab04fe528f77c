"""The event loop's pulse, watched from a thread: a loop that stands still is told of, with where it stands."""

from __future__ import annotations

import threading

import anyio
import pytest
from structlog.testing import capture_logs

from ecproc import heartbeat
from ecproc.heartbeat import Heartbeat

pytestmark = [pytest.mark.usefixtures("fresh_loggers"), pytest.mark.anyio]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def stand_still(told: threading.Event) -> None:
    """Hold the loop up until somebody has told of it."""
    assert told.wait(10)


async def test_a_loop_that_stands_is_told_of_once_with_where(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "_TOLD_SECONDS", 0.05)
    monkeypatch.setattr(heartbeat, "BEAT_SECONDS", 0.01)
    beating, told = Heartbeat(), threading.Event()

    class Log:
        """Hears the first error."""

        def __init__(self) -> None:
            self.lines: list[tuple[str, dict[str, object]]] = []

        def error(self, event: str, **fields: object) -> None:
            self.lines.append((event, fields))
            told.set()

        def info(self, event: str, **fields: object) -> None:
            self.lines.append((event, fields))
            went_on.set()

    went_on = anyio.Event()
    lines = Log()
    monkeypatch.setattr(heartbeat, "log", lines)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(beating.run)
        await anyio.lowlevel.checkpoint()
        stand_still(told)
        await went_on.wait()
        tasks.cancel_scope.cancel()

    stood, fields = lines.lines[0]
    assert (stood, lines.lines[-1][0]) == ("loop_stands", "loop_goes_on")
    assert any("stand_still" in str(place) for place in fields["trace"])  # type: ignore[attr-defined]
    assert fields["hint"]
    worst = beating.worst_lag()
    assert worst is not None
    assert worst >= 0.04


async def test_a_loop_that_turns_is_alive_and_says_nothing() -> None:
    beating = Heartbeat()
    assert beating.worst_lag() is None
    with capture_logs() as lines:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(beating.run)
            while beating.worst_lag() is None:
                await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()
    assert lines == []
    assert beating.is_alive()


async def test_a_loop_that_stood_for_half_a_minute_is_not_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    beating = Heartbeat()
    monkeypatch.setattr(heartbeat, "STANDS_SECONDS", 0.0)
    assert not beating.is_alive()
