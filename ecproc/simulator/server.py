"""Run the simulator: bind, serve, stop in time."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from random import Random
from typing import Final

import anyio

from ecproc.clock import SystemClock
from ecproc.network import bracket
from ecproc.simulator.admin import PREFIX, Admin
from ecproc.simulator.bridge import EnvisionBridge
from ecproc.simulator.connection import Connection
from ecproc.simulator.exchange import HttpRequest, Reply
from ecproc.simulator.ledger import Ledger
from ecproc.simulator.settings import SimulatorConfig
from ecproc.simulator.stage import Stage

BACKLOG: Final = 1024
FLUSH_SECONDS: Final = 0.8


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
    connections: set[Connection] = set()
    with _bind(config) as listener:
        url_base = f"http://{bracket(config.host)}:{listener.getsockname()[1]}"
        bridge = EnvisionBridge(config, url_base=url_base, clock=clock or _start_clock(), rng=Random(config.seed))
        alarms = _Alarms(loop)
        stage = Stage(bridge, alarms.set)
        simulator = Simulator(bridge, stage)
        alarms.after_each = simulator.wake_waiters
        server = await loop.create_server(lambda: Connection(simulator, connections), sock=listener, backlog=BACKLOG)
        try:
            if config.scenario is not None:
                stage.start(config.scenario)
            yield simulator
        finally:
            alarms.cancel()
            server.close()
            await _close_connections(connections)


def _bind(config: SimulatorConfig) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in config.host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((config.host, config.port))
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener


def _start_clock() -> Callable[[], float]:
    """Give epoch seconds that never run backwards, whatever happens to the machine's date."""
    clock = SystemClock()
    offset = clock.now() / 1_000_000 - clock.monotonic()
    return lambda: clock.monotonic() + offset


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


async def _close_connections(connections: set[Connection]) -> None:
    """Let answers that are written already leave, then cut what is left."""
    for connection in tuple(connections):
        connection.stop()
    await _wait_for_end(connections)
    for connection in tuple(connections):
        connection.abort()
    await _wait_for_end(connections)


async def _wait_for_end(connections: set[Connection]) -> None:
    with anyio.move_on_after(FLUSH_SECONDS, shield=True):
        for connection in tuple(connections):
            await connection.closed.wait()
