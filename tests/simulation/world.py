"""A whole processor in a simulated world: tickets live, calls fail, power goes, and in the end the books must agree."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Final

import anyio
import msgspec

from ecproc.config import BridgeConfig, Config
from ecproc.domain.effects import Repeat
from ecproc.domain.policy import Policy
from ecproc.fold.tickets import MACHINES
from ecproc.pipeline import Pipeline
from ecproc.simulator.bridge import EnvisionBridge
from ecproc.simulator.faults import NONE, FaultPlan
from ecproc.simulator.lives import generate_lives
from ecproc.simulator.settings import SimulatorConfig
from ecproc.simulator.stage import Stage
from ecproc.telemetry.hooks import Telemetry
from tests.simulation.books import Books
from tests.simulation.clock import START, VirtualClock
from tests.simulation.peers import (
    GOOD_ROADS,
    Roads,
    SimulatedBridge,
    SimulatedDesk,
    SimulatedDisk,
    SimulatedFetcher,
    Traveller,
)
from tests.simulation.simloop import SimLoop

CONFIG: Final = Config(bridge=BridgeConfig(client_name="testClient"))
"""What a world's processor is told, unless its plan says more."""

_URL_BASE: Final = "http://127.0.0.1"
_LOOK_SECONDS: Final = 1.0
_CLOSED_ROADS: Final = Roads(refused=1.0)
_YEARS: Final = 10 * 365 * 86_400.0


class WorldPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What a world is like: that many tickets' lives, sent at `rate` messages a second, and what goes wrong meanwhile.

    `slow_disk` is the longest time of a read or a commit in seconds. `outages` is how many times a peer cannot be
    reached or the disk is full for a while; `clock_jumps` how often our calendar is set ten years on or back.
    """

    tickets: int = 5
    rate: float = 3.0
    desk: Repeat = Repeat.KEYED
    faults: FaultPlan = NONE
    roads: Roads = GOOD_ROADS
    slow_disk: float = 0.01
    outages: int = 0
    clock_jumps: int = 0
    reflect_numbers: bool = True
    config: Config = CONFIG


class World:
    """Peers with their faults, a disk, and processors that come and go on it; made inside a SimLoop.

    The same seed and the same calls give the same world to the last byte. `books` knows what is wrong. A bug is planted
    by giving another class of `disk`, `bridge` or `desk`.
    """

    def __init__(
        self,
        plan: WorldPlan,
        *,
        seed: int,
        disk: type[SimulatedDisk] = SimulatedDisk,
        bridge: type[SimulatedBridge] = SimulatedBridge,
        desk: type[SimulatedDesk] = SimulatedDesk,
    ) -> None:
        self.plan = plan
        self.rng = Random(seed)
        self.clock = VirtualClock()
        self.simulator = EnvisionBridge(
            SimulatorConfig(faults=plan.faults, reflect_numbers=plan.reflect_numbers, seed=seed),
            url_base=_URL_BASE,
            clock=lambda: START + anyio.current_time(),
            rng=self._new_rng(),
        )
        self.queue = self.simulator.queues["dev"]
        self.disk = disk(self.clock.now, rng=self._new_rng(), slow=plan.slow_disk)
        self.bridge = bridge(self.simulator, rng=self._new_rng(), limits=plan.config.limits)
        self.desk = desk(plan.desk, rng=self._new_rng())
        self.fetcher = SimulatedFetcher(self.simulator, rng=self._new_rng())
        self.lives = generate_lives(seed, tickets=plan.tickets, base_time_ms=START * 1000, url_base=_URL_BASE)
        self.books = Books(
            self.lives, simulator=self.simulator, disk=self.disk, bridge=self.bridge, desk=self.desk, clock=self.clock
        )

    def _new_rng(self) -> Random:
        return Random(self.rng.random())

    # --- what goes on around the processor ---

    def start(self) -> None:
        """Begin to send the lives, with all faults on."""
        loop = asyncio.get_running_loop()
        self._set_roads(self.plan.roads)
        Stage(self.simulator, loop.call_later).play(self.lives, rate=self.plan.rate)
        for _ in range(self.plan.outages):
            loop.call_later(self.rng.uniform(0, 30), self._break_off)
        for _ in range(self.plan.clock_jumps):
            loop.call_later(self.rng.uniform(0, 60), self.clock.jump, self.rng.choice((-_YEARS, _YEARS)))

    def calm_down(self) -> None:
        """End all faults."""
        self.simulator.faults.change_plan(NONE)
        self._set_roads(GOOD_ROADS)
        self.disk.room = True

    def _set_roads(self, roads: Roads) -> None:
        for peer in (self.bridge, self.desk, self.fetcher):
            peer.roads = roads

    def _break_off(self) -> None:
        """Let a peer be out of reach, or the disk be full, for a while."""
        loop, seconds = asyncio.get_running_loop(), self.rng.uniform(1, 100)
        broken = self.rng.choice((self.bridge, self.desk, self.fetcher, self.disk))
        if isinstance(broken, Traveller):
            broken.roads = _CLOSED_ROADS
            loop.call_later(seconds, setattr, broken, "roads", GOOD_ROADS)
        else:
            broken.room = False
            loop.call_later(seconds, setattr, broken, "room", True)

    # --- processors ---

    def make_pipeline(self) -> Pipeline:
        """A processor of this world that has not begun."""
        return Pipeline(
            self.plan.config,
            machines=MACHINES,
            policy=Policy(),
            store=self.disk,
            queue=self.bridge,
            bridge=self.bridge,
            desk=self.desk,
            fetcher=self.fetcher,
            clock=self.clock,
            rng=self._new_rng(),
            telemetry=Telemetry(),
        )

    async def run_for(self, seconds: float) -> None:
        """Run a processor and cut its power after so many seconds."""
        with anyio.CancelScope() as scope:
            asyncio.get_running_loop().call_later(seconds, self._interrupt, scope, True)
            await self.make_pipeline().run()

    async def run_to_step(self, step: int, *, cut_power: bool) -> None:
        """Run a processor up to one step of the loop, then cut its power, or only cancel it."""
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimLoop)
        with anyio.CancelScope() as scope:
            loop.on_step = lambda now: self._interrupt(scope, cut_power) if now >= step else None
            await self.make_pipeline().run()

    def _interrupt(self, scope: anyio.CancelScope, cut_power: bool) -> None:
        loop = asyncio.get_running_loop()
        if isinstance(loop, SimLoop):
            loop.on_step = None
        if cut_power:
            self.disk.cut_power()
        scope.cancel()

    async def run_and_stop(self, seconds: float) -> float:
        """Run a processor and shut it down in order after so many seconds; gives how long that took."""
        pipeline = self.make_pipeline()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(pipeline.run)
            await anyio.sleep(seconds)
            asked = anyio.current_time()
            await pipeline.shut_down()
            took = anyio.current_time() - asked
            tasks.cancel_scope.cancel()
        return took

    async def finish(self, *, within: float) -> float:
        """Run a processor until nothing is left to do; gives how long that took. What is left then is in the books."""
        started = anyio.current_time()
        pipeline = self.make_pipeline()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(pipeline.run)
            with anyio.move_on_after(within) as limit:
                while not await self._is_finished(pipeline):  # noqa: ASYNC110 - no one event says all of it
                    await anyio.sleep(_LOOK_SECONDS)
            if limit.cancelled_caught:
                self.books.note_unfinished(pipeline, within)
            tasks.cancel_scope.cancel()
        return anyio.current_time() - started

    async def _is_finished(self, pipeline: Pipeline) -> bool:
        if self.simulator.ledger.unsent or len(self.queue) or not pipeline.idle:
            return False
        return not await self.disk.undecided_streams()
