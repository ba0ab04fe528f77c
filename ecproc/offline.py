"""The data directory of a processor that does not run, taken for as long as an act needs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import NamedTuple

import anyio
import msgspec

from ecproc.attachments.store import ContentStore
from ecproc.clock import Clock, SystemClock
from ecproc.commands.intake import Intake, Submitting
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
from ecproc.store.base import Reader
from ecproc.store.opening import open_reader, open_store
from ecproc.telemetry.hooks import PAUSABLE, Telemetry


class TakenDir(NamedTuple):
    """What a person can do with a data directory."""

    steering: Steering
    intake: Intake


def open_intake(config: Config, store: Reader, log: Submitting, *, content: ContentStore, clock: Clock) -> Intake:
    """What takes commands in for whoever has that log."""
    return Intake(
        store,
        log,
        machines=MACHINES,
        options=config.commands,
        environment=config.bridge.identity.environment,
        content=content,
        max_bytes=config.attachments.max_bytes,
        clock=clock,
    )


@asynccontextmanager
async def take_data_dir(config: Config) -> AsyncIterator[TakenDir]:
    """What a person can do while no processor runs: it is recorded and decided, and performed at the next start.

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
        await renew_live_state(store, team)
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
            await tasks.start(projector.run)
            await projector.wait_idle()
            alone, content = _Alone(projector), ContentStore(config.data.directory)
            await content.sweep()
            yield TakenDir(
                Steering(store, alone, machines=MACHINES, pausable=PAUSABLE),
                open_intake(config, store, alone, content=content, clock=clock),
            )
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
    """See Acting and Submitting."""

    has_room = stopping = True

    def __init__(self, projector: Projector) -> None:
        self.submit = projector.submit
        self.take_up = projector.take_up
        self.parked_by = projector.parked_by

    async def act(self, stream: str, entry: Entry, acted: OperatorActed) -> bool:
        await self.submit(act_on(stream, entry, acted))
        return True

    async def wait_change(self, seconds: float) -> None:
        await anyio.sleep(seconds)

    async def wait_tried(self, stream: str, entry: Entry) -> None:
        raise NotPossible(
            "nobody performs it while no processor runs", hint="start ecproc run, or leave --wait and --gradual out"
        )
