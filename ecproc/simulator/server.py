"""Run the bridge's simulator: its pages, and whoever waits for what it saw."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from random import Random

import anyio

from ecproc.network import bracket
from ecproc.simulator.admin import PREFIX, Admin
from ecproc.simulator.bridge import EnvisionBridge
from ecproc.simulator.exchange import HttpRequest, Reply
from ecproc.simulator.ledger import Ledger
from ecproc.simulator.listening import bind, serve, start_clock
from ecproc.simulator.settings import SimulatorConfig
from ecproc.simulator.stage import Stage


class Simulator:
    """A running simulator."""

    headers = ("x-api-key", "content-type")

    def __init__(self, bridge: EnvisionBridge, stage: Stage) -> None:
        self.bridge = bridge
        self.stage = stage
        self._admin = Admin(bridge, stage)
        self._changed: anyio.Event | None = None

    @property
    def url(self) -> str:
        """The bridge URL of the configured environment, as the processor's `bridge.url` wants it."""
        config = self.bridge.config
        return f"{self.bridge.url_base}/{config.client}/{config.env}"

    @property
    def ledger(self) -> Ledger:
        """What the bridge saw and did so far."""
        return self.bridge.ledger

    def answer(self, request: HttpRequest) -> Reply:
        """Answer one request, the bridge's or our own pages'."""
        answer = self._admin.answer if request.path.startswith(PREFIX) else self.bridge.answer
        reply = answer(request)
        self.wake_waiters()
        return reply

    def record_answered(self, request: HttpRequest) -> None:
        """Count the request as over; our own pages don't count."""
        if not request.path.startswith(PREFIX):
            self.bridge.record_answered()
        self.wake_waiters()

    async def wait_until(self, reached: Callable[[Ledger], bool]) -> None:
        """Return once the ledger satisfies `reached`, looking after each request, each answer and each paced send."""
        while not reached(self.ledger):
            self._changed = self._changed or anyio.Event()
            await self._changed.wait()

    def wake_waiters(self) -> None:
        """Let `wait_until` look at the ledger again."""
        if self._changed is not None:
            self._changed.set()
            self._changed = None


@asynccontextmanager
async def run_simulator(
    config: SimulatorConfig, *, clock: Callable[[], float] | None = None
) -> AsyncIterator[Simulator]:
    """Serve a simulator while the block runs; needs asyncio. OSError if the port is taken.

    `clock` gives seconds since the epoch and rules visibility, expiry and pre-signed URLs; delays of answers run in
    real time. Leaving takes at most 2 s, also with answers held back; no signal handlers are installed.
    """
    loop = asyncio.get_running_loop()
    with bind(config.host, config.port) as listener:
        url_base = f"http://{bracket(config.host)}:{listener.getsockname()[1]}"
        bridge = EnvisionBridge(config, url_base=url_base, clock=clock or start_clock(), rng=Random(config.seed))
        alarms = _Alarms(loop)
        stage = Stage(bridge, alarms.set)
        simulator = Simulator(bridge, stage)
        alarms.after_each = simulator.wake_waiters
        async with serve(simulator, listener):
            try:
                if config.scenario is not None:
                    stage.start(config.scenario)
                yield simulator
            finally:
                alarms.cancel()


class _Alarms:
    """Actions that wait for their time; cancelled together."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._timers: set[asyncio.TimerHandle] = set()
        self.after_each: Callable[[], None] = lambda: None

    def set(self, delay: float, action: Callable[[], None]) -> None:
        """Run `action` in `delay` seconds."""

        def run() -> None:
            self._timers.discard(timer)
            action()
            self.after_each()

        timer = self._loop.call_later(delay, run)
        self._timers.add(timer)

    def cancel(self) -> None:
        """Forget all of them."""
        for timer in self._timers:
            timer.cancel()
