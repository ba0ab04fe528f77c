"""Ingest, router and dispatcher put together as the composition root does it, on whatever peers a test gives."""

from __future__ import annotations

from random import Random

import anyio
import msgspec

from ecproc.attachments.base import Fetcher
from ecproc.bridge.base import Bridge
from ecproc.clock import Clock
from ecproc.config import BridgeConfig, Limits
from ecproc.desk.base import Desk
from ecproc.domain.effects import Lane
from ecproc.outbox.dispatcher import Dispatcher, OutboxBounds
from ecproc.outbox.perform.attachments import AttachmentPerformer
from ecproc.outbox.perform.bridge import BridgePerformer
from ecproc.outbox.perform.desk import DeskPerformer
from ecproc.outbox.retry import RetryPolicy
from ecproc.runtime.actor import Router
from ecproc.runtime.ingest import Ingest
from ecproc.store.base import Store
from ecproc.telemetry.hooks import NullTelemetry, Telemetry


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What a processor is told."""

    bridge: BridgeConfig = BridgeConfig(client_name="testClient")
    limits: Limits = Limits()
    policy: RetryPolicy = RetryPolicy(max_attempts=12, unknown_retry=(60.0, 120.0), longest=3600.0)
    bounds: OutboxBounds = OutboxBounds(max_in_flight=32, max_pending=100_000, breaker_seconds=30.0)


class Stack:
    """One processor. `recovered` turns true when what a former one left has been taken up."""

    def __init__(
        self,
        store: Store,
        *,
        bridge: Bridge,
        desk: Desk,
        fetcher: Fetcher,
        clock: Clock,
        rng: Random,
        settings: Settings,
        telemetry: Telemetry | None = None,
    ) -> None:
        telemetry = telemetry or NullTelemetry()
        self.dispatcher = Dispatcher(
            store,
            {
                Lane.DESK: DeskPerformer(desk, store),
                Lane.BRIDGE: BridgePerformer(bridge, client_name=settings.bridge.client_name),
                Lane.ATTACHMENTS: AttachmentPerformer(fetcher, store, clock=clock),
            },
            wake=lambda events, wake: self.router.deliver(events, wake=wake),
            policy=settings.policy,
            bounds=settings.bounds,
            clock=clock,
            rng=rng,
            telemetry=telemetry,
        )
        self.router = Router(store, self.dispatcher, limits=settings.limits, telemetry=telemetry)
        self.ingest = Ingest(
            bridge,
            store,
            deliver=self.router.deliver,
            config=settings.bridge,
            limits=settings.limits,
            clock=clock,
            rng=rng,
            telemetry=telemetry,
        )
        self.recovered = False
        self._received = anyio.Event()

    async def run(self, *, idle_interval: float | None = None) -> None:
        """Run until cancelled."""
        async with anyio.create_task_group() as tasks:
            await self.dispatcher.recover()
            self.recovered = True
            tasks.start_soon(self.router.run)
            tasks.start_soon(self.dispatcher.run)
            await self.ingest.run(idle_interval=idle_interval)
            self._received.set()

    async def shut_down(self) -> None:
        """Receive nothing more, and return when what was received is decided and nothing is in flight."""
        self.ingest.stop()
        await self._received.wait()
        await self.router.wait_idle()
        await self.dispatcher.stop()
        await self.router.wait_idle()

    @property
    def idle(self) -> bool:
        """Whether everything received is decided and every effect came to its end."""
        return self.recovered and self.router.idle and self.dispatcher.idle
