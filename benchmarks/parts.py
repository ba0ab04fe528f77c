"""Parts of the processor as benchmarks put them together: without metrics, and with nothing outside."""

from __future__ import annotations

from ecproc.clock import SystemClock
from ecproc.config import Limits
from ecproc.domain.policy import Policy
from ecproc.fold.tickets import MACHINES
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
