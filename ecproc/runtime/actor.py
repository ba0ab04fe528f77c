"""One task per busy ticket: it takes all waiting events, decides them in one step, and leaves nothing behind."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Sequence
from typing import Protocol

import anyio
import structlog
from anyio.abc import TaskGroup

from ecproc.config import Limits
from ecproc.domain.entry import Entry
from ecproc.domain.state import FOLD_VERSION
from ecproc.errors import StoreError
from ecproc.failpoints import failpoint
from ecproc.runtime.fold import StreamFold
from ecproc.runtime.step import Step, take_step
from ecproc.store.base import RecordedEvent, Store
from ecproc.telemetry.hooks import Telemetry

log = structlog.get_logger()


class EffectSink(Protocol):
    """Where planned effects go: the outbox."""

    async def wait_for_room(self) -> None:
        """Return when fewer entries are pending than the bound allows (decision 16)."""

    def add(self, stream: str, entries: Sequence[Entry]) -> None:
        """Take entries whose rows are durable."""


class _Mailbox:
    """Events of one stream that its actor has not read, by version: they may come in any order."""

    __slots__ = ("busy", "events", "overflown")

    def __init__(self) -> None:
        self.events: dict[int, RecordedEvent] = {}
        self.busy = False
        self.overflown = False


class Router:
    """Hands appended events to their tickets' actors and bounds what all of them take.

    The log is the overflow buffer: an event that finds no room in memory is read from the log when its turn comes.
    """

    def __init__(self, store: Store, effects: EffectSink, *, limits: Limits, telemetry: Telemetry) -> None:
        self._store = store
        self._effects = effects
        self._limits = limits
        self._telemetry = telemetry
        self._mailboxes: dict[str, _Mailbox] = {}
        self._folds: OrderedDict[str, StreamFold] = OrderedDict()
        self._ready: deque[str] = deque()
        self._active = 0
        self._held = 0
        self._lag = 0
        self._tasks: TaskGroup | None = None
        self._idle = anyio.Event()
        self.parked: set[str] = set()

    async def run(self) -> None:
        """Keep actors running until cancelled; first take up what was left undecided."""
        try:
            async with anyio.create_task_group() as self._tasks:
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
            box = self._mailbox(event.stream)
            if self._held >= self._limits.append_waiting or event.stream in self.parked:
                box.overflown = True
            else:
                box.events[event.version] = event
                self._held += 1
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
        while self._ready and self._active < self._limits.actors_at_once and self._tasks is not None:
            self._active += 1
            self._tasks.start_soon(self._run_actor, self._ready.popleft())
        self._telemetry.actors(self._active)

    async def _run_actor(self, stream: str) -> None:
        """One burst: steps until nothing undecided is left."""
        box = self._mailboxes[stream]
        try:
            while await self._step(stream, box):
                pass
        finally:
            box.busy = False
            if not box.events and not box.overflown:
                self._mailboxes.pop(stream, None)
            self._active -= 1
            self._start_ready()
            if self.idle:
                self._idle.set()

    async def _step(self, stream: str, box: _Mailbox) -> bool:
        """Decide what waits; False when nothing does."""
        try:
            return await self._decide(stream, box)
        except StoreError:
            raise
        except Exception as error:
            # A defect of ours must stop this ticket only; its messages stay in the log until new code can take them.
            self._park(stream, box, error)
            return False

    async def _decide(self, stream: str, box: _Mailbox) -> bool:
        fold = await self._read(stream, box)
        if not fold.undecided:
            return False
        await self._effects.wait_for_room()
        step = take_step(fold, limit=self._limits.append_batch, snapshot_events=self._limits.snapshot_events)
        failpoint("project.folded")
        committed = await self._store.commit(step.batch)
        if committed.fenced:
            self._folds.pop(stream, None)
            box.overflown = True
            return True
        self._report(step)
        self._effects.add(stream, step.entries)
        self.deliver([event for event in committed.events if event is not None], wake=False)
        return True

    async def _read(self, stream: str, box: _Mailbox) -> StreamFold:
        """The stream's fold with everything that waits read into it."""
        fold = self._folds.get(stream)
        if fold is None:
            fold = await self._load(stream)
        self._folds.move_to_end(stream)
        while box.overflown:  # it may overflow again while the log is read
            box.overflown = False
            fold.extend(await self._store.read_stream(stream, after=fold.seen))
        ready: list[RecordedEvent] = []
        for version in sorted(box.events):
            if version > fold.seen + len(ready) + 1:
                break
            event = box.events.pop(version)
            self._held -= 1
            if version == fold.seen + len(ready) + 1:
                ready.append(event)
        fold.extend(ready)
        return fold

    async def _load(self, stream: str) -> StreamFold:
        snapshot = await self._store.read_snapshot(stream, fold_version=FOLD_VERSION)
        fold = StreamFold.from_snapshot(snapshot) if snapshot else StreamFold(stream)
        fold.extend(await self._store.read_stream(stream, after=fold.seen))
        self._folds[stream] = fold
        while len(self._folds) > self._limits.states_held:
            # Whoever is in the middle of a step keeps its own fold; for the next one it reads the log.
            self._folds.popitem(last=False)
        return fold

    def _park(self, stream: str, box: _Mailbox, error: Exception) -> None:
        self.parked.add(stream)
        self._folds.pop(stream, None)
        self._held -= len(box.events)
        box.events.clear()
        box.overflown = True
        log.error("ticket_parked", ticket=stream, error=type(error).__name__, exc_info=error)

    def _report(self, step: Step) -> None:
        self._lag = max(0, self._lag - step.decided)
        telemetry = self._telemetry
        telemetry.projection_lag(self._lag)
        if step.after is not None and step.after != step.before:
            telemetry.ticket_changed(step.before, step.after)
        for code in step.anomalies:
            telemetry.anomaly(code)
        for reason in step.quarantined:
            telemetry.message_quarantined(reason)
