"""The data directory of a processor that does not run, taken for as long as an act needs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial

import anyio
import msgspec

from ecproc.clock import SystemClock
from ecproc.commands.steering import NotPossible, Steering
from ecproc.config import Config
from ecproc.domain.entry import Entry
from ecproc.domain.events import OperatorActed
from ecproc.domain.policy import Policy
from ecproc.fold.tables import TABLES
from ecproc.fold.tickets import MACHINES
from ecproc.outbox.settling import act_on
from ecproc.rebuild.live import renew_live_state
from ecproc.rebuild.parts import Team
from ecproc.runtime.projector import Projector
from ecproc.store.opening import open_reader, open_store
from ecproc.telemetry.hooks import PAUSABLE, Telemetry


@asynccontextmanager
async def take_data_dir(config: Config) -> AsyncIterator[Steering]:
    """What a person can do while no processor runs: acts are recorded and decided, and performed at the next start.

    Raises DataDirInUse where one does run, and StoreError.
    """
    clock, telemetry = SystemClock(), Telemetry()
    store = await open_store(
        config.data,
        TABLES,
        now=clock.now,
        identity=msgspec.structs.asdict(config.bridge.identity),
        require_known=MACHINES.require_known,
    )
    try:
        team = Team(1, partial(open_reader, config.data, TABLES), MACHINES, clock)
        await renew_live_state(store, team, telemetry)
        projector = Projector(
            store,
            _LeftForLater(),
            machines=MACHINES,
            policy=Policy(),
            client_name=config.bridge.client_name,
            limits=config.limits,
            clock=clock,
            telemetry=telemetry,
        )
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(projector.run)
            await projector.wait_idle()
            yield Steering(store, _Alone(projector), machines=MACHINES, pausable=PAUSABLE)
            tasks.cancel_scope.cancel()
    finally:
        await store.aclose()


class _LeftForLater:
    """Takes effects that the next start finds in their rows."""

    has_room = True

    async def wait_for_room(self) -> None:
        return

    def add(self, stream: str, entries: Sequence[Entry]) -> None:
        pass

    def pause(self, stream: str, what: str, *, paused: bool) -> None:
        pass


class _Alone:
    """See Acting."""

    def __init__(self, projector: Projector) -> None:
        self.submit = projector.submit
        self.take_up = projector.take_up
        self.parked_by = projector.parked_by

    async def act(self, stream: str, entry: Entry, acted: OperatorActed) -> bool:
        await self.submit(act_on(stream, entry, acted))
        return True

    async def wait_tried(self, stream: str, entry: Entry) -> None:
        raise NotPossible(
            "nobody performs it while no processor runs", hint="start ecproc run, or leave --wait and --gradual out"
        )
