"""Bursts: a task takes tickets that have work, decides what waits of each in one step, and leaves nothing behind."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Sequence, Set
from typing import Final

import anyio
import structlog
from anyio.abc import TaskStatus

from ecproc.clock import Clock
from ecproc.config import Limits
from ecproc.domain.deltas import TimerChanged
from ecproc.domain.log import Batch, NewEvent, RecordedEvent
from ecproc.domain.policy import Policy
from ecproc.errors import StoreError
from ecproc.fold.machine import AnyMachine, Machines
from ecproc.fold.stream import StreamFold
from ecproc.runtime.mailboxes import Mailboxes
from ecproc.runtime.steps import EffectSink, Steps
from ecproc.signals import Signal
from ecproc.store.base import Reader, Store
from ecproc.telemetry.hooks import Reading, Telemetry

log = structlog.get_logger()

_HINT: Final = (
    "its messages stay in the log: report this line; a newer version takes it up, and so does: ecproc resume "
)


class Projector:
    """Hands appended events to their tickets' actors, within bounds; `parked` are those a defect of ours stopped."""

    def __init__(
        self,
        store: Store,
        effects: EffectSink,
        *,
        machines: Machines,
        policy: Policy,
        client_name: str,
        limits: Limits,
        clock: Clock,
        telemetry: Telemetry,
        note_timers: Callable[[str, Sequence[TimerChanged]], None] | None = None,
    ) -> None:
        self._store = store
        self._effects = effects
        self._machines = machines
        self._telemetry, self._clock = telemetry, clock
        self._boxes = Mailboxes(lambda stream: StreamFold(stream, machines.of(stream)), limits, weigh=StreamFold.weigh)
        self.parked: Set[str] = self._boxes.parked
        self._steps = Steps(
            store,
            self._boxes,
            effects,
            park=self._park,
            note_timers=note_timers,
            policy=policy,
            client_name=client_name,
            limits=limits,
            clock=clock,
            telemetry=telemetry,
        )
        telemetry.watch(Reading.PARKED, self.parked.__len__)
        telemetry.watch(Reading.PROJECTION_LAG, lambda: _measure_lag(self._boxes.oldest, clock.now()))
        self._reasons, self._asked = dict[str, str](), Counter[str]()
        self._tasks: asyncio.TaskGroup | None = None
        self._rested, self._hurried = Signal(), Signal()

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Keep actors running until cancelled; first take up what was left undecided, and report started then."""
        async with asyncio.TaskGroup() as tasks:  # its tasks cost a tenth of anyio's
            self._tasks = tasks
            try:
                for stream in await self._store.undecided_streams():
                    self._boxes.wake_in_log(stream, self._clock.now())
                self._start_ready()
                task_status.started()
                await anyio.sleep_forever()
            finally:
                self._tasks = None  # an outcome may still be delivered: the log keeps it for the next run

    def deliver(self, events: Sequence[RecordedEvent], *, wake: bool = True) -> None:
        """Take events that were just appended."""
        self._boxes.put(events, wake=wake)
        self._telemetry.projection_lag(self._boxes.lag)
        self._start_ready()

    async def take_in(self, events: Sequence[NewEvent]) -> dict[str, Sequence[RecordedEvent]]:
        """Append the events of tickets at rest, which are held in memory or new, with all that they lead to, in one
        transaction; what was recorded, by stream. Of other tickets nothing is written: their events are to be appended
        and delivered."""
        steps = self._steps.decide_ahead(events) if self._tasks is not None else ()
        if not steps:
            return {}
        try:
            recorded, streams = await self._steps.write_ahead(steps)
        except BaseException:
            self._tasks = None
            self._finish([fold.state.stream for fold, _ in steps])
            raise
        self._go_on(streams)
        self._start_ready()
        return recorded

    async def submit(self, batch: Batch) -> None:
        """Append facts, and return when they are decided or their tickets parked.

        What is asked for does not wait for room in the outbox: it may be what makes some.
        """
        committed = await self._store.commit(batch)
        asked = Counter({event.stream for event in batch.events})
        self._asked += asked
        try:
            self._hurried.notify()
            self.deliver([event for event in committed.events if event is not None])
            self._start_ready(asked)
            await self._wait_at_rest(asked.keys())
        finally:
            self._asked -= asked

    def parked_by(self, stream: str) -> str | None:
        """What stopped a ticket; None if it is not parked."""
        return self._reasons.get(stream, "a defect") if stream in self.parked else None

    async def take_up(self, stream: str) -> bool:
        """Go on with a parked ticket; False where it is parked again."""
        self._boxes.wake_in_log(stream, self._clock.now())
        self._start_ready()
        await self._wait_at_rest({stream})
        return stream not in self.parked

    async def _wait_at_rest(self, streams: Set[str]) -> None:
        await self._rested.wait_until(lambda: all(self._boxes.is_at_rest(stream) for stream in streams))

    @property
    def idle(self) -> bool:
        """Whether every delivered event is decided or its ticket parked."""
        return self._boxes.idle

    async def wait_idle(self) -> None:
        """Return at a moment when nothing is left to decide."""
        await self._rested.wait_until(lambda: self._boxes.idle)

    def _start_ready(self, asked: Collection[str] = ()) -> None:
        if self._tasks is not None:
            streams = self._boxes.start_ready(asked)
            if streams:
                self._tasks.create_task(self._run_burst(streams))
        self._telemetry.actors(self._boxes.active)

    async def _run_burst(self, streams: Sequence[str]) -> None:
        """Steps of these tickets, each time one commit for all of them, until none has anything left to decide."""
        try:
            while folds := self._read_all(streams):
                streams = [fold.state.stream for fold in folds]
                if not self._effects.has_room:
                    await self._wait_for_room(streams)
                steps = self._steps.decide(folds)
                streams = [fold.state.stream for fold, _ in steps]
                streams = await self._steps.write(steps)
                self._start_ready()
            streams = ()
        except BaseException:
            self._tasks = None
            raise
        finally:
            self._finish(streams)
            self._start_ready()

    async def _wait_for_room(self, streams: Sequence[str]) -> None:
        """Return when the outbox takes more, or when something is asked for of one of these tickets."""

        async def watch_asked() -> None:
            await self._hurried.wait_until(lambda: any(self._asked[stream] for stream in streams))
            waits.cancel_scope.cancel()

        async with anyio.create_task_group() as waits:
            waits.start_soon(watch_asked)
            await self._effects.wait_for_room()
            waits.cancel_scope.cancel()

    async def _run_cold(self, stream: str) -> None:
        """A burst of one ticket, with what the log holds of it."""
        try:
            await _read_log(self._store, self._boxes, stream, self._machines.of(stream))
        except StoreError:
            self._tasks = None
            raise
        except Exception as error:
            self._park(stream, error)
        else:
            await self._run_burst([stream])

    def _go_on(self, streams: Sequence[str]) -> None:
        """Give back the tickets of which nothing waits, and start bursts of the others."""
        for fold in self._read_all(streams):
            if self._tasks is None:
                self._finish([fold.state.stream])
            else:
                self._tasks.create_task(self._run_burst([fold.state.stream]))

    def _read_all(self, streams: Sequence[str]) -> list[StreamFold]:
        """Of these tickets the folds that have something to decide; the others are finished, or read in the log."""
        folds: list[StreamFold] = []
        for stream in streams:
            try:
                fold = self._boxes.read(stream)
            except Exception as error:
                self._park(stream, error)
                continue
            if fold is None and self._tasks is not None:
                self._tasks.create_task(self._run_cold(stream))
            elif fold is None or not fold.undecided:
                self._finish([stream])
            else:
                folds.append(fold)
        return folds

    def _finish(self, streams: Sequence[str]) -> None:
        self._boxes.finish(streams)
        self._rested.notify()

    def _park(self, stream: str, error: Exception) -> None:
        """A defect of ours must stop this ticket only; its messages stay in the log for better code."""
        reason = self._reasons[stream] = type(error).__name__
        log.error("ticket_parked", ticket=stream, reason=reason, hint=_HINT + stream, exc_info=error)
        self._boxes.park(stream)
        self._finish([stream])


def _measure_lag(oldest: int | None, now: int) -> float:
    return 0.0 if oldest is None else max(0.0, (now - oldest) / 1_000_000)


async def _read_log(reader: Reader, boxes: Mailboxes[StreamFold], stream: str, machine: AnyMachine) -> None:
    """Read the ticket's fold out of the log, up to what stands in the mailbox."""
    while boxes.needs_log(stream):  # it may overflow again while the log is read
        fold = boxes.begin_log(stream)
        if fold is None:
            snapshot, events = await reader.read_tail(stream, snapshot_version=machine.snapshot_version)
            fold = StreamFold.from_snapshot(snapshot, machine) if snapshot else StreamFold(stream, machine)
            if snapshot is not None and fold.seen < snapshot.version:  # it is not as it was written
                events = await reader.read_stream(stream)
        else:
            events = await reader.read_stream(stream, after=fold.seen)
        fold.extend(events)
        boxes.keep(stream, fold)
