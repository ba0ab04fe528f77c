"""Parts of the processor as benchmarks put them together, with nothing outside but what they bring."""

from __future__ import annotations

from random import Random

from ecproc.attachments.base import Failure, FetchFailed, Stored
from ecproc.bridge.base import Bridge, Queue
from ecproc.clock import SystemClock
from ecproc.config import Config, Limits
from ecproc.desk.base import Desk
from ecproc.domain.policy import Policy
from ecproc.fold.tickets import MACHINES
from ecproc.pipeline import Pipeline
from ecproc.runtime.projector import Projector
from ecproc.runtime.steps import EffectSink
from ecproc.store.base import Store
from ecproc.telemetry.hooks import Telemetry

_USUAL = Limits()


def make_projector(store: Store, sink: EffectSink, limits: Limits = _USUAL) -> Projector:
    """A projector of tickets on that store."""
    return Projector(
        store,
        sink,
        machines=MACHINES,
        policy=Policy(),
        client_name="testClient",
        limits=limits,
        clock=SystemClock(),
        telemetry=Telemetry(),
    )


class _NoFiles:
    """Nothing is announced that could be fetched."""

    async def fetch(self, url: str, *, announced_size: int | None) -> Stored:
        raise FetchFailed("there are no files", Failure.HELD)

    async def aclose(self) -> None:
        """Nothing is open."""


def make_pipeline(
    config: Config, store: Store, *, queue: Queue, bridge: Bridge, desk: Desk, telemetry: Telemetry
) -> Pipeline:
    """The way of a message with that desk and that bridge at its end."""
    return Pipeline(
        config,
        store=store,
        queue=queue,
        bridge=bridge,
        desk=desk,
        fetcher=_NoFiles(),
        clock=SystemClock(),
        rng=Random(1),
        telemetry=telemetry,
        machines=MACHINES,
        policy=Policy(),
    )
