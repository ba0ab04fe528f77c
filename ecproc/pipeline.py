"""The way of a message: queue, log, actors and outbox put together, on whatever store and peers they are given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from typing import Final

import anyio
import structlog
from anyio.abc import TaskStatus

from ecproc.attachments.base import Fetcher, Uploader
from ecproc.bridge.base import Bridge, Queue
from ecproc.clock import Clock
from ecproc.config import Config
from ecproc.desk.base import Desk
from ecproc.domain.effects import Lane
from ecproc.domain.entry import Entry
from ecproc.domain.events import OperatorActed
from ecproc.domain.log import Batch, NewEvent, RecordedEvent
from ecproc.domain.policy import Policy
from ecproc.errors import NoRoom
from ecproc.failpoints import failpoint
from ecproc.fold.machine import Machines
from ecproc.outbox.dispatcher import Dispatcher
from ecproc.outbox.perform.attachments import AttachmentPerformer
from ecproc.outbox.perform.bridge import BridgePerformer
from ecproc.outbox.perform.desk import DeskPerformer
from ecproc.outbox.perform.uploads import UploadPerformer
from ecproc.outbox.retry import RetryPolicy
from ecproc.outbox.schedule import OutboxBounds
from ecproc.runtime.ingest import Ingest
from ecproc.runtime.projector import Projector
from ecproc.runtime.timers import Timers
from ecproc.store.base import Store
from ecproc.telemetry.hooks import Telemetry

log = structlog.get_logger()

_LOOK_SECONDS: Final = 30.0
"""For how long the queue is read before a create is repeated: what it holds may name the ticket (C25)."""
_DECIDE_SECONDS: Final = 10.0
"""For how long what came is then waited for."""
_ATTEMPT_MARGIN: Final = 60.0
"""Seconds that an attempt may take beyond its calls: each call has its own deadline, this one is for defects."""
_CALLS: Final = 2
"""Calls of the bridge that one attempt may make."""


class Pipeline:
    """Ingest, projector, dispatcher and timers. Without an uploader no file is sent."""

    def __init__(
        self,
        config: Config,
        *,
        store: Store,
        queue: Queue,
        bridge: Bridge,
        desk: Desk,
        fetcher: Fetcher,
        clock: Clock,
        rng: Random,
        telemetry: Telemetry,
        machines: Machines,
        policy: Policy,
        uploader: Uploader | None = None,
    ) -> None:
        limits, name, commands = config.limits, config.bridge.client_name, config.commands
        self._store, self.policy = store, policy
        self._commands = BridgePerformer(bridge, store, client_name=name, commands=commands, look=self._look_at_queue)
        self.dispatcher = Dispatcher(
            store,
            [
                DeskPerformer(desk, store, directory=config.data.directory, with_record=config.is_mapped),
                self._commands,
                AttachmentPerformer(fetcher, store, clock=clock),
                *([UploadPerformer(bridge, uploader)] if uploader else []),
            ],
            take_in=self._take_in_outcome,
            wake=self._deliver_outcomes,
            policy=RetryPolicy(
                max_attempts=config.outbox.max_attempts,
                unknown_retry=config.outbox.unknown_retry,
                longest=limits.retry_longest,
            ),
            bounds=_bound_outbox(config),
            clock=clock,
            rng=rng,
            telemetry=telemetry,
        )
        self._timers = Timers(store, clock)
        self.projector = Projector(
            store,
            self.dispatcher,
            machines=machines,
            policy=policy,
            client_name=config.bridge.client_name,
            limits=limits,
            clock=clock,
            telemetry=telemetry,
            note_timers=self._timers.note,
        )
        self.ingest = Ingest(
            queue,
            store,
            take_in=self.projector.take_in,
            deliver=self.projector.deliver,
            config=config.bridge,
            clock=clock,
            rng=rng,
            telemetry=telemetry,
        )
        self._recovered = anyio.Event()
        self._received = anyio.Event()

    # --- what a person wants: see `commands.steering.Acting` and `commands.intake.Submitting` ---

    @property
    def has_room(self) -> bool:
        """Whether the outbox takes more."""
        return self.dispatcher.has_room

    @property
    def stopping(self) -> bool:
        """Whether nothing more will be performed here."""
        return self.dispatcher.schedule.stopped

    async def wait_change(self, seconds: float) -> None:
        """Return when an attempt has ended, or after that time."""
        with anyio.move_on_after(seconds):
            await self.dispatcher.ended.wait_next()

    async def act(self, stream: str, entry: Entry, acted: OperatorActed) -> bool:
        """Record an act on an entry; False, with nothing recorded, while the entry is being tried."""
        return await self.dispatcher.act(stream, entry, acted)

    async def wait_tried(self, stream: str, entry: Entry) -> None:
        """Return when an attempt has ended since the entry stood like this, or none is to come."""
        await self.dispatcher.wait_tried(stream, entry)

    async def submit(self, batch: Batch) -> None:
        """Append facts, and return when they are decided or their tickets parked. Raises NoRoom where they would wait
        for the disk: who asks is told so."""
        if not self._store.may_perform():
            raise NoRoom(self._store.waits or "the disk is near half of its reserve: nothing is written now")
        await self.projector.submit(batch)

    def parked_by(self, stream: str) -> str | None:
        """What stopped the ticket; None if it is not parked."""
        return self.projector.parked_by(stream)

    async def take_up(self, stream: str) -> bool:
        """Go on with a parked ticket; False where it is parked again."""
        return await self.projector.take_up(stream)

    # --- how far it is ---

    @property
    def idle(self) -> bool:
        """Whether everything received is decided and every effect came to its end, a former process's included."""
        return self._recovered.is_set() and self.projector.idle and self.dispatcher.idle

    async def wait_idle(self) -> None:
        """Return at a moment when it is idle."""
        await self._recovered.wait()
        while not self.idle:
            await self.projector.wait_idle()
            await self.dispatcher.wait_idle()

    @property
    def drained(self) -> bool:
        """Whether it is idle, and the queue was seen empty for a whole visibility window."""
        return self.ingest.drained and self.idle

    async def wait_drained(self) -> None:
        """Return at a moment when it is drained."""
        while not self.drained:
            await self.ingest.wait_drained()
            await self.wait_idle()

    @property
    def done(self) -> Mapping[str, int]:
        """What was done since the start: messages appended and effects that succeeded."""
        return {"messages": self.ingest.appended, "effects": self.dispatcher.succeeded}

    async def run(
        self, idle_interval: float | None = None, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED
    ) -> None:
        """Take up what a former process left, report started, then receive, decide and perform until cancelled."""
        self._commands.began = (await self._store.head()).position
        await self.dispatcher.recover()
        log.info("recovered", unfinished=self.dispatcher.schedule.pending)
        failpoint("start.recovered")
        self._recovered.set()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.projector.run)
            tasks.start_soon(self.dispatcher.run)
            tasks.start_soon(self._timers.run, self.projector.submit)
            task_status.started()
            await self.ingest.run(idle_interval=idle_interval)
            self._received.set()

    async def shut_down(self) -> None:
        """Receive and begin nothing more; returns when what is in flight has ended and what was received is decided."""
        self.ingest.stop()
        self._timers.stop()
        if not self._recovered.is_set():
            return  # nothing was begun, and what a former process left may wait for room for ever
        await self.dispatcher.stop()  # before the actors come to rest: they no longer wait for room in the outbox
        await self._received.wait()
        await self.projector.wait_idle()

    async def _look_at_queue(self) -> None:
        """Have all that the queue holds now received and decided, as far as that comes to an end soon."""
        await self.ingest.look(_LOOK_SECONDS)
        with anyio.move_on_after(_DECIDE_SECONDS):
            await self.projector.wait_idle()

    async def _take_in_outcome(self, events: Sequence[NewEvent]) -> Mapping[str, object]:
        return await self.projector.take_in(events)

    def _deliver_outcomes(self, events: Sequence[RecordedEvent], wake: bool) -> None:
        self.projector.deliver(events, wake=wake)


def _bound_outbox(config: Config) -> OutboxBounds:
    limits = config.limits
    return OutboxBounds(
        max_in_flight=config.outbox.max_in_flight,
        slots=_count_slots(config),
        max_pending=config.outbox.max_pending,
        breaker_seconds=limits.breaker_seconds,
        attempt_seconds=_bound_attempt(config),
        arguments_bytes=limits.arguments_bytes,
    )


def _count_slots(config: Config) -> Mapping[Lane, int]:
    return {
        Lane.DESK: config.outbox_slots.desk,
        Lane.BRIDGE: config.outbox_slots.bridge,
        Lane.ATTACHMENTS: config.outbox_slots.attachments,
    }


def _bound_attempt(config: Config) -> float:
    """Seconds that an attempt may take: its calls, their turns, and a margin; each call ends by itself before that."""
    bridge = config.bridge
    turns = config.outbox.max_in_flight / bridge.requests_per_second if bridge.requests_per_second else 0.0
    return config.limits.download_seconds + _CALLS * (bridge.timeout + turns) + _ATTEMPT_MARGIN
