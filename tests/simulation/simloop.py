"""An event loop whose time is virtual and whose schedule is a seed's: hours pass at once, a run repeats exactly."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from math import inf
from random import Random
from typing import Any, Final, TypeVar

import anyio

T = TypeVar("T")

_RESOLUTION: Final = 1e-6
"""Timers this close together fire together; finer than anything waits for, coarser than what a float loses."""


_LONGEST_LOOK: Final = 24 * 3600
"""What asyncio asks its selector for at most; sleeping for ever is a timer that never comes."""


class Deadlock(RuntimeError):
    """Nothing can run any more and no timer is set: what is awaited will never come."""


class SimLoop(asyncio.SelectorEventLoop):
    """Runs tasks that are ready in an order the seed picks; when none is, time jumps to the next timer.

    There is nothing outside: no sockets and no threads. `steps` counts the rounds of the loop, `on_step` is called
    at the start of each, so that a test can interrupt a run at any point it could be interrupted at.
    """

    def __init__(self, seed: int = 0) -> None:
        self._elapsed = 0.0
        self.steps = 0
        self.on_step: Callable[[int], None] | None = None
        self._order = Random(seed)
        super().__init__(_NoSelector(self))
        self._clock_resolution = _RESOLUTION

    def time(self) -> float:
        """Seconds since the loop was made."""
        return self._elapsed

    def pass_time(self, seconds: float | None) -> None:
        """Go to the next timer, that many seconds from now, and mix what is ready."""
        if seconds is None or (seconds >= _LONGEST_LOOK and not self._has_timer()):
            raise Deadlock("nothing is ready and no timer is set")
        self._elapsed += seconds
        self.steps += 1
        if self.on_step is not None:
            self.on_step(self.steps)
        self._mix_tasks()

    def _has_timer(self) -> bool:
        timers: Any = self._scheduled  # type: ignore[attr-defined]
        return any(timer.when() < inf and not timer.cancelled() for timer in timers)

    def _mix_tasks(self) -> None:
        """Put the ready tasks into another order; other callbacks keep their places, for asyncio counts on it."""
        ready: Any = self._ready  # type: ignore[attr-defined]
        places = [place for place, handle in enumerate(ready) if _steps_task(handle)]
        if len(places) > 1:
            tasks = [ready[place] for place in places]
            self._order.shuffle(tasks)
            for place, task in zip(places, tasks, strict=True):
                ready[place] = task

    # asyncio wakes a selector through a pair of sockets; without threads nobody has to.

    def _make_self_pipe(self) -> None:
        self._ssock = self._csock = None
        self._internal_fds = 0

    def _close_self_pipe(self) -> None:
        pass

    def _write_to_self(self) -> None:
        pass


class _NoSelector(selectors.BaseSelector):
    """A selector that knows no files: asking it what is ready is where time passes."""

    def __init__(self, loop: SimLoop) -> None:
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self._loop.pass_time(timeout)
        return []

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        raise RuntimeError("a simulation has no files to wait for")

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        raise KeyError(fileobj)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return {}


def _steps_task(handle: Any) -> bool:
    return isinstance(getattr(handle._callback, "__self__", None), asyncio.Task)


def simulate(main: Callable[[], Awaitable[T]], *, seed: int = 0) -> T:
    """Run an async function to its end in a loop of that seed. Raises Deadlock when it can get no further."""
    return anyio.run(main, backend_options={"loop_factory": partial(SimLoop, seed)})


def simulated_backend(seed: int = 0) -> tuple[str, dict[str, Any]]:
    """What an `anyio_backend` fixture gives so that the async tests beside it run in such loops."""
    return "asyncio", {"loop_factory": partial(SimLoop, seed)}
