"""Bursts: a task takes tickets that have work, decides what waits of each in one step, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence, Set
from functools import partial
from typing import Protocol

import anyio
import structlog

from ecproc.clock import Clock
from ecproc.config import Limits
from ecproc.domain.deltas import Flagged
from ecproc.domain.entry import Entry
from ecproc.domain.events import Quarantined
from ecproc.domain.log import RecordedEvent
from ecproc.domain.policy import Policy
from ecproc.errors import StoreError
from ecproc.failpoints import failpoint
from ecproc.fold.machine import AnyMachine, Machines
from ecproc.fold.step import Step, take_step
from ecproc.fold.stream import StreamFold
from ecproc.runtime.mailboxes import Mailboxes
from ecproc.runtime.sharing import SharedNumbers
from ecproc.signals import Signal
from ecproc.store.base import Committed, Reader, Store
from ecproc.telemetry.complaints import Complaints
from ecproc.telemetry.hooks import Telemetry

log = structlog.get_logger()


class EffectSink(Protocol):
    """Where planned effects go: the outbox."""

    async def wait_for_room(self) -> None:
        """Return when fewer entries are pending than the bound allows (decision 16)."""

    def add(self, stream: str, entries: Sequence[Entry]) -> None:
        """Take entries whose rows are durable."""


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
    ) -> None:
        self._store = store
        self._effects = effects
        self._machines = machines
        self._take_step = partial(
            take_step,
            policy=policy,
            client_name=client_name,
            limit=limits.step_facts,
            snapshot_events=limits.snapshot_events,
        )
        self._telemetry = telemetry
        self._reports = _Reports(telemetry, clock=clock)
        self._shared = SharedNumbers(store)
        self._boxes = Mailboxes(lambda stream: StreamFold(stream, machines.of(stream)), limits, weigh=StreamFold.weigh)
        self.parked: Set[str] = self._boxes.parked
        self._tasks: asyncio.TaskGroup | None = None
        self._rested = Signal()

    async def run(self) -> None:
        """Keep actors running until cancelled; first take up what was left undecided."""
        async with asyncio.TaskGroup() as tasks:  # its tasks cost a tenth of anyio's
            self._tasks = tasks
            try:
                for stream in await self._store.undecided_streams():
                    self._boxes.wake_in_log(stream)
                self._start_ready()
                await anyio.sleep_forever()
            finally:
                self._tasks = None  # an outcome may still be delivered: the log keeps it for the next run

    def deliver(self, events: Sequence[RecordedEvent], *, wake: bool = True) -> None:
        """Take events that were just appended."""
        self._boxes.put(events, wake=wake)
        self._telemetry.projection_lag(self._boxes.lag)
        self._start_ready()

    @property
    def idle(self) -> bool:
        """Whether every delivered event is decided or its ticket parked."""
        return self._boxes.idle

    async def wait_idle(self) -> None:
        """Return at a moment when nothing is left to decide."""
        await self._rested.wait_until(lambda: self._boxes.idle)

    def _start_ready(self) -> None:
        if self._tasks is not None:
            streams = self._boxes.start_ready()
            if streams:
                self._tasks.create_task(self._run_burst(streams))
        self._telemetry.actors(self._boxes.active)

    async def _run_burst(self, streams: Sequence[str]) -> None:
        """Steps of these tickets, each time one commit for all of them, until none has anything left to decide."""
        try:
            while folds := self._read_all(streams):
                streams = [fold.state.stream for fold in folds]
                await self._effects.wait_for_room()
                steps = self._decide(folds)
                streams = [fold.state.stream for fold, _ in steps]
                streams = await self._write(steps)
            streams = ()
        except BaseException:
            self._tasks = None
            raise
        finally:
            self._finish(streams)
            self._start_ready()

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

    def _decide(self, folds: Sequence[StreamFold]) -> list[tuple[StreamFold, Step]]:
        steps: list[tuple[StreamFold, Step]] = []
        for fold in folds:
            try:
                step = self._take_step(fold)
            except Exception as error:
                self._park(fold.state.stream, error)
            else:
                steps.append((fold, step))
        failpoint("project.folded")
        return steps

    async def _write(self, steps: Sequence[tuple[StreamFold, Step]]) -> list[str]:
        """Commit these steps and tell who has to know, other tickets too; the tickets that go on."""
        try:
            written = await self._shared.commit_all([step for _, step in steps])
        except StoreError:
            raise
        except Exception as error:  # one of them cannot be stored as it is
            if len(steps) > 1:
                return [stream for one in steps for stream in await self._write([one])]
            self._park(steps[0][0].state.stream, error)
            return []
        going_on: list[str] = []
        for (fold, _), (step, committed) in zip(steps, written, strict=True):
            try:
                self._take_up(fold, step, committed)
            except Exception as error:
                self._park(fold.state.stream, error)
            else:
                going_on.append(fold.state.stream)
        self._start_ready()
        return going_on

    def _take_up(self, fold: StreamFold, step: Step, committed: Committed) -> None:
        """Put each event that was written into its own stream's mailbox; this fold goes past what tells it nothing."""
        stream = fold.state.stream
        if committed.fenced:
            self._boxes.forget(stream)
            return
        self._boxes.count_decided(step.decided)
        for new, event in zip(step.batch.events, committed.events, strict=True):
            if event is not None and (new.wanted or event.stream != stream or not fold.pass_own(event)):
                self._boxes.put([event], wake=new.wanted)
        self._reports.stepped(stream, step, lag=self._boxes.lag)
        self._effects.add(stream, step.entries)

    def _finish(self, streams: Sequence[str]) -> None:
        self._boxes.finish(streams)
        if self._boxes.idle:
            self._rested.notify()

    def _park(self, stream: str, error: Exception) -> None:
        """A defect of ours must stop this ticket only; its messages stay in the log for better code."""
        log.error("ticket_parked", ticket=stream, error=type(error).__name__, exc_info=error)
        self._boxes.park(stream)
        self._finish([stream])


async def _read_log(reader: Reader, boxes: Mailboxes[StreamFold], stream: str, machine: AnyMachine) -> None:
    """Read the ticket's fold out of the log, up to what stands in the mailbox."""
    while boxes.needs_log(stream):  # it may overflow again while the log is read
        fold = boxes.begin_log(stream)
        if fold is None:
            snapshot = await reader.read_snapshot(stream, snapshot_version=machine.snapshot_version)
            fold = StreamFold.from_snapshot(snapshot, machine) if snapshot else StreamFold(stream, machine)
        fold.extend(await reader.read_stream(stream, after=fold.seen))
        boxes.keep(stream, fold)


class _Reports:
    """What came of the steps, for the metrics and the log."""

    def __init__(self, telemetry: Telemetry, *, clock: Clock) -> None:
        self._telemetry = telemetry
        self._complaints = Complaints()
        self._clock = clock

    def stepped(self, stream: str, step: Step, *, lag: int) -> None:
        """A step was written; so many events wait for others."""
        telemetry = self._telemetry
        telemetry.projection_lag(lag)
        if step.after is not None and step.after != step.before:
            telemetry.ticket_changed(step.before, step.after)
        telemetry.unknown_fields(step.unknown_fields)
        for anomaly in step.anomalies:
            telemetry.anomaly(anomaly.code)
            self._log_anomaly(stream, anomaly)
        for refused in step.quarantined:
            telemetry.message_quarantined(refused.reason)
            self._log_quarantine(stream, refused)

    def _log_anomaly(self, stream: str, anomaly: Flagged) -> None:
        self._complaints.tell(
            logging.INFO,
            "anomaly",
            anomaly.code,
            now=self._clock.monotonic(),
            ticket=stream,
            position=anomaly.position,
            detail=anomaly.detail,
        )

    def _log_quarantine(self, stream: str, refused: Quarantined) -> None:
        log.error(
            "message_quarantined",
            stream=stream,
            position=refused.position,
            reason=f"{refused.reason}: {refused.detail}",
            hint=f"it is in the log and deleted from the queue: ecproc quarantine list, ecproc events {stream}",
        )
