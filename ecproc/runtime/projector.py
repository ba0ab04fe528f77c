"""Bursts: a task takes tickets that have work, decides what waits of each in one step, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict, deque
from collections.abc import Sequence
from typing import Final, Protocol

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
from ecproc.fold.machine import Machines
from ecproc.fold.recorded import Kind
from ecproc.fold.step import Step, take_step
from ecproc.fold.stream import StreamFold
from ecproc.runtime.sharing import SharedNumbers
from ecproc.store.base import Committed, Store
from ecproc.telemetry.complaints import Complaints
from ecproc.telemetry.hooks import Telemetry

log = structlog.get_logger()

_TELLS_NEWS: Final = frozenset({Kind.ANOMALY_NOTICED})
"""Own events of a step that the ticket has to fold like any fact."""


class EffectSink(Protocol):
    """Where planned effects go: the outbox."""

    async def wait_for_room(self) -> None:
        """Return when fewer entries are pending than the bound allows (decision 16)."""

    def add(self, stream: str, entries: Sequence[Entry]) -> None:
        """Take entries whose rows are durable."""


class _Mailbox:
    """Events of one stream that its actor has not read, by version: they may come in any order. While it is busy, its
    fold."""

    __slots__ = ("busy", "events", "fold", "overflown")

    def __init__(self) -> None:
        self.events: dict[int, RecordedEvent] = {}
        self.busy = False
        self.fold: StreamFold | None = None
        self.overflown = False


class Projector:
    """Hands appended events to their tickets' actors and bounds what all of them take.

    The log is the overflow buffer: an event that finds no room in memory is read from the log when its turn comes.
    """

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
        self._policy = policy
        self._client_name = client_name
        self._clock = clock
        self._shared = SharedNumbers(store)
        self._complaints = Complaints()
        self._limits = limits
        self._telemetry = telemetry
        self._mailboxes: dict[str, _Mailbox] = {}
        self._folds: OrderedDict[str, StreamFold] = OrderedDict()
        self._ready: deque[str] = deque()
        self._active = 0
        self._held = 0
        self._lag = 0
        self._tasks: asyncio.TaskGroup | None = None
        self._idle = anyio.Event()
        self.parked: set[str] = set()

    async def run(self) -> None:
        """Keep actors running until cancelled; first take up what was left undecided."""
        async with asyncio.TaskGroup() as tasks:  # its tasks cost a tenth of anyio's
            self._tasks = tasks
            try:
                for stream in await self._store.undecided_streams():
                    self._mailbox(stream).overflown = True
                    self._wake(stream)
                self._start_ready()
                await anyio.sleep_forever()
            finally:
                self._tasks = None  # an outcome may still be delivered: the log keeps it for the next run

    def deliver(self, events: Sequence[RecordedEvent], *, wake: bool = True) -> None:
        """Take events that were just appended."""
        for event in events:
            self._put(self._mailbox(event.stream), event)
            if wake:
                self._lag += 1
                self._wake(event.stream)
        self._telemetry.projection_lag(self._lag)
        self._start_ready()

    @property
    def idle(self) -> bool:
        """Whether every delivered event is decided or its ticket parked."""
        return self._active == 0 and not self._ready

    async def wait_idle(self) -> None:
        """Return at a moment when nothing is left to decide."""
        while not self.idle:
            if self._idle.is_set():
                self._idle = anyio.Event()
            await self._idle.wait()

    def _put(self, box: _Mailbox, event: RecordedEvent) -> None:
        if self._held >= self._limits.append_waiting or event.stream in self.parked:
            box.overflown = True
        else:
            box.events[event.version] = event
            self._held += 1

    def _mailbox(self, stream: str) -> _Mailbox:
        box = self._mailboxes.get(stream)
        if box is None:
            box = self._mailboxes[stream] = _Mailbox()
        return box

    def _wake(self, stream: str) -> None:
        box = self._mailboxes[stream]
        if not box.busy and stream not in self.parked:
            box.busy = True
            self._ready.append(stream)

    def _start_ready(self) -> None:
        streams: list[str] = []
        while self._ready and self._active < self._limits.actors_at_once and self._tasks is not None:
            self._active += 1
            streams.append(self._ready.popleft())
        if streams and self._tasks is not None:
            self._tasks.create_task(self._run_burst(streams))
        self._telemetry.actors(self._active)

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
            await self._load(stream, self._mailboxes[stream])
        except StoreError:
            self._tasks = None
            raise
        except Exception as error:
            self._park(stream, error)
        else:
            await self._run_burst([stream])

    def _finish(self, streams: Sequence[str]) -> None:
        for stream in streams:
            box = self._mailboxes[stream]
            box.busy, box.fold = False, None
            if not box.events and not box.overflown:
                del self._mailboxes[stream]
        self._active -= len(streams)
        if self.idle:
            self._idle.set()

    def _read_all(self, streams: Sequence[str]) -> list[StreamFold]:
        """Of these tickets the folds that have something to decide; the others are finished, or read in the log."""
        folds: list[StreamFold] = []
        for stream in streams:
            try:
                fold = self._read(stream, self._mailboxes[stream])
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
                step = take_step(
                    fold,
                    policy=self._policy,
                    client_name=self._client_name,
                    limit=self._limits.append_batch,
                    snapshot_events=self._limits.snapshot_events,
                )
            except Exception as error:
                self._park(fold.state.stream, error)
            else:
                steps.append((fold, step))
        failpoint("project.folded")
        return steps

    async def _write(self, steps: Sequence[tuple[StreamFold, Step]]) -> list[str]:
        """Commit these steps and tell who has to know; the tickets that go on."""
        try:
            taken = await self._shared.notice([step for _, step in steps])
            try:
                outcomes = await self._store.commit_all([step.batch for step in taken])
            finally:
                self._shared.release(taken)
        except StoreError:
            raise
        except Exception as error:  # one of them cannot be stored as it is
            if len(steps) > 1:
                return [stream for one in steps for stream in await self._write([one])]
            self._park(steps[0][0].state.stream, error)
            return []
        going_on: list[str] = []
        for (fold, step), committed in zip(steps, outcomes, strict=True):
            try:
                self._take_up(fold, step, committed)
            except Exception as error:
                self._park(fold.state.stream, error)
            else:
                going_on.append(fold.state.stream)
        return going_on

    def _take_up(self, fold: StreamFold, step: Step, committed: Committed) -> None:
        stream = fold.state.stream
        box = self._mailboxes[stream]
        if committed.fenced:
            self._folds.pop(stream, None)
            box.overflown, box.fold = True, None
            return
        self._report(stream, step)
        self._effects.add(stream, step.entries)
        for event in committed.events:
            if event is None:
                continue
            if event.stream != stream:
                self.deliver([event])
            elif event.kind in _TELLS_NEWS or not fold.pass_own(event):
                self._lag += event.kind in _TELLS_NEWS
                self._put(box, event)

    def _read(self, stream: str, box: _Mailbox) -> StreamFold | None:
        """The ticket's fold with everything that waits read into it; None if the log has to be read for that."""
        fold = box.fold or self._folds.get(stream)
        if fold is None and 1 in box.events:
            fold = StreamFold(stream, self._machines.of(stream))
        if fold is None or box.overflown:
            return None
        if box.fold is None:
            self._hold(fold, box)
        if box.events:
            fold.extend(self._take_next(fold, box))
        return fold

    def _take_next(self, fold: StreamFold, box: _Mailbox) -> list[RecordedEvent]:
        """Out of the mailbox: the events that follow on the last one read, without a gap."""
        ready: list[RecordedEvent] = []
        for version in sorted(box.events):
            next_version = fold.seen + len(ready) + 1
            if version > next_version:
                break
            event = box.events.pop(version)
            self._held -= 1
            if version == next_version:
                ready.append(event)
        return ready

    async def _load(self, stream: str, box: _Mailbox) -> None:
        """Read the ticket's fold out of the log, up to what stands in the mailbox."""
        while box.overflown or box.fold is None:  # it may overflow again while the log is read
            box.overflown = False
            fold = box.fold or self._folds.get(stream)
            if fold is None:
                machine = self._machines.of(stream)
                snapshot = await self._store.read_snapshot(stream, fold_version=machine.snapshot_version)
                fold = StreamFold.from_snapshot(snapshot, machine) if snapshot else StreamFold(stream, machine)
            fold.extend(await self._store.read_stream(stream, after=fold.seen))
            self._hold(fold, box)

    def _hold(self, fold: StreamFold, box: _Mailbox) -> None:
        """Keep the fold, for this burst and for as long as it is among those used last."""
        box.fold = fold
        self._folds[fold.state.stream] = fold
        self._folds.move_to_end(fold.state.stream)
        while len(self._folds) > self._limits.states_held:
            self._folds.popitem(last=False)

    def _park(self, stream: str, error: Exception) -> None:
        """A defect of ours must stop this ticket only; its messages stay in the log for better code."""
        box = self._mailboxes[stream]
        self.parked.add(stream)
        self._folds.pop(stream, None)
        self._held -= len(box.events)
        box.events.clear()
        box.overflown = True
        log.error("ticket_parked", ticket=stream, error=type(error).__name__, exc_info=error)
        self._finish([stream])

    def _report(self, stream: str, step: Step) -> None:
        self._lag = max(0, self._lag - step.decided)
        telemetry = self._telemetry
        telemetry.projection_lag(self._lag)
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
