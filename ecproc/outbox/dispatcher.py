"""The dispatcher: claims what the schedule starts, performs it, settles what came of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from random import Random
from typing import Final

import structlog
from msgspec.structs import replace

from ecproc.clock import Clock
from ecproc.domain.attempt import Attempt, Deferred, Performer, Postponed, Uncertain
from ecproc.domain.entry import Entry, EntryState
from ecproc.domain.events import PAUSED_TICKET, EffectStarted, EffectSucceeded, OperatorActed
from ecproc.domain.log import NewEvent, RecordedEvent
from ecproc.errors import RowDamaged, StoreError
from ecproc.failpoints import failpoint
from ecproc.fold.recorded import decode_entry
from ecproc.outbox.reports import Reports
from ecproc.outbox.retry import SECOND, Ended, RetryPolicy, bound_unknown, conclude, interrupt, supersede, take_up
from ecproc.outbox.schedule import LEFT_IN_STORE, OutboxBounds, Schedule, Start, measure_due, weigh
from ecproc.outbox.settling import Settling, is_same_plan
from ecproc.signals import Signal
from ecproc.store.base import Store
from ecproc.telemetry.hooks import Reading, Telemetry

log = structlog.get_logger()

_DEFERRED_SECONDS: Final = 10.0
"""How long what there is no room for waits: others may be smaller, and those under way give back what they kept."""
_COPIES: Final = 4
"""How often what an effect tells is written, at most: with its claim, its outcome, and twice in a desk of our own."""
_NO_ROOM: Final = Deferred(
    "its data would take the disk near half of the reserve", "free space on the disk of data.dir"
)
_REPLANNED_SECONDS: Final = 1.0
"""How long an entry waits in whose row we met a newer plan: we are told of that one in a moment."""
_HELD_WITH: Final = {"bridge": ("bridge", "uploads")}
"""What is not performed while a destination is paused, where that is more than itself: files go to Ensono, too."""
_DAMAGED_SECONDS: Final = 60.0
"""How long an effect waits that depends on a live row which is not as it was written: a start mends it."""


class Dispatcher:
    """Performs the outbox. Entries of one ticket and lane finish in planned order; lanes do not wait for each other.

    An entry that none of the performers takes stays in the outbox as it is: it holds nobody, nobody waits for its end,
    and the first start with a performer for it takes it up. `succeeded` is how many effects did since the start;
    `ended` tells when an attempt has. `schedule` is what it goes by, to be looked at only.
    """

    def __init__(
        self,
        store: Store,
        performers: Sequence[Performer],
        *,
        take_in: Callable[[Sequence[NewEvent]], Awaitable[Mapping[str, object]]],
        wake: Callable[[Sequence[RecordedEvent], bool], None],
        policy: RetryPolicy,
        bounds: OutboxBounds,
        clock: Clock,
        rng: Random,
        telemetry: Telemetry,
    ) -> None:
        self._store = store
        self._performers = {kind: performer for performer in performers for kind in performer.kinds}
        self.succeeded = 0
        self._policy, self._attempt_seconds = policy, bounds.attempt_seconds
        self._policies = {kind: bound_unknown(policy, one.ends_after(kind)) for kind, one in self._performers.items()}
        self._clock = clock
        self._started = clock.now() - int(clock.monotonic() * SECOND)
        self._rng, self._telemetry = rng, telemetry
        self._reports = Reports(telemetry, clock)
        self.schedule = Schedule({kind: one.name for kind, one in self._performers.items()}, bounds=bounds, rng=rng)
        self._settling = Settling(store, self.schedule, take_in=take_in, wake=wake, put=self._put)
        telemetry.watch(Reading.ATTACHMENT_EXPIRY, lambda: self.schedule.expiries.seconds_left(clock.now()))
        telemetry.watch(Reading.OLDEST_DUE, lambda: measure_due(self.schedule, self._now()))
        self._news, self._room, self._rest, self.ended = Signal(), Signal(), Signal(), Signal()

    async def wait_for_room(self) -> None:
        """Return when fewer entries are pending than the bound; once full, not before a fifth of it is done."""
        await self._room.wait_until(lambda: self.has_room)

    def add(self, stream: str, entries: Sequence[Entry]) -> None:
        """Take entries whose rows are durable."""
        for entry in entries:
            self._put(stream, entry)

    def pause(self, stream: str, what: str, *, paused: bool) -> None:
        """See EffectSink."""
        if what == PAUSED_TICKET:
            count = self.schedule.pause_ticket(stream, self._now(), paused=paused)
        else:
            count = self.schedule.pause(_HELD_WITH.get(what, (what,)), paused=paused)
        self._reports.paused(stream, what, count, paused=paused)
        self._tell()

    async def act(self, stream: str, entry: Entry, acted: OperatorActed) -> bool:
        """Record what a person wants of an entry, given as its row has it, and go by that; False, with nothing
        recorded, while it is being tried."""
        if self.schedule.is_tried(stream, entry):
            return False
        if self.schedule.find(stream, entry) is None:  # it had come to its end, and is counted as that
            self._telemetry.outbox_changed(entry.lane, entry.state, None)
        await self._settling.settle(stream, entry, acted)
        return True

    async def wait_tried(self, stream: str, entry: Entry) -> None:
        """Return when an attempt has ended since the entry stood like this, or none is to come."""
        await self.ended.wait_until(lambda: self.schedule.has_tried(stream, entry))

    @property
    def has_room(self) -> bool:
        """See EffectSink."""
        return self.schedule.has_room

    @property
    def idle(self) -> bool:
        """Whether every entry that somebody performs is completed, cancelled, discarded or parked."""
        return self.schedule.pending == 0

    async def wait_idle(self) -> None:
        """Return at a moment when nothing is pending."""
        await self._rest.wait_until(lambda: self.idle)

    async def recover(self) -> None:
        """Load what is paused and the unfinished entries. One that was started and never settled may have taken effect:
        it is unknown now."""
        async for rows in self._store.scan_rows("pause"):
            for row in rows:
                self.pause(row.stream, row.id, paused=True)
        async for rows in self._store.scan_rows("outbox", tagged=True):
            for row in rows:
                entry = decode_entry(row.data or b"")
                self._telemetry.outbox_changed(entry.lane, None, entry.state)
                self._put(row.stream, take_up(entry, now=self._now(), policy=self._policy), counted=True)
                performer = self._performers.get(entry.effect.kind)
                if performer is not None and entry.state is EntryState.EXECUTING:
                    repeat, policy = performer.repeat_of(entry.effect.kind), self._policies[entry.effect.kind]
                    outcome = interrupt(entry, repeat, now=self._now(), rng=self._rng, policy=policy)
                    await self._settling.settle(row.stream, entry, outcome)

    async def run(self) -> None:
        """Perform what is due until cancelled or stopped."""
        schedule = self.schedule
        async with asyncio.TaskGroup() as tasks:  # its tasks cost a tenth of anyio's
            while not schedule.stopped:
                schedule.held = not self._store.may_perform()
                look = schedule.look(self._now())
                for start in look.starts:
                    tasks.create_task(self._perform(start))
                self._reports.looked(look.due, paced=look.paced)
                with suppress(TimeoutError):
                    async with asyncio.timeout(look.wait):
                        await self._news.wait_until(lambda: schedule.has_news)

    async def stop(self) -> None:
        """Claim nothing more; returns when nothing is in flight. Who waits for room need not: no room will come."""
        self.schedule.stop()
        self.ended.notify()
        self._tell()
        await self._rest.wait_until(lambda: self.schedule.in_flight == 0)

    def _now(self) -> int:
        """The time when we started plus what passed since: setting the clock moves no retry (I13)."""
        return self._started + int(self._clock.monotonic() * SECOND)

    async def _perform(self, start: Start) -> None:
        began = self._clock.monotonic()
        try:
            entry = await _fetch(self._store, start.stream, start.entry)
            if isinstance(entry, Entry):
                with self._store.taking(_COPIES * weigh(entry)) as taken:
                    attempt = await self._try(start.stream, entry) if taken else _NO_ROOM
                    await self._end(start, entry, attempt, began=began)
            elif entry is None:
                self._defer(start, _REPLANNED_SECONDS)
            else:
                await self._end(start, start.entry, entry, began=began)
        finally:
            self.schedule.end(start, self._now())
            self._tell()
            self.ended.notify()

    async def _try(self, stream: str, entry: Entry) -> Attempt | Deferred:
        """What comes of one attempt, the intent recorded before where there has to be one."""
        performer = self._performers[entry.effect.kind]
        if performer.repeat_of(entry.effect.kind).leaves_intent:
            # The performer gets the entry as it was claimed: what a former attempt left unknown is to be looked up.
            await self._settling.settle(stream, entry, EffectStarted(entry.effect.key))
        failpoint("claim.committed")
        attempt = await _attempt(performer, stream, entry=entry, seconds=self._attempt_seconds)
        failpoint("effect.performed")
        return attempt

    async def _end(self, start: Start, entry: Entry, attempt: Attempt | Deferred, *, began: float) -> None:
        if isinstance(attempt, Deferred):
            self._defer(start, _DEFERRED_SECONDS)
            self._reports.deferred(entry, attempt, stream=start.stream)
        else:
            await self._finish(start, entry, attempt, began=began)

    def _defer(self, start: Start, seconds: float) -> None:
        now = self._now()
        self.schedule.defer(start, now + int(seconds * SECOND), now)

    async def _finish(self, start: Start, entry: Entry, attempt: Attempt, *, began: float) -> None:
        """Learn from an attempt, settle what came of it and tell."""
        stream, destination = start.stream, self._performers[entry.effect.kind].name
        is_down = self.schedule.note(start, attempt, self._now())
        if is_down is not None:
            self._reports.breaker_changed(destination, attempt, is_open=is_down)
        outcome = self._conclude(stream, entry, attempt)
        await self._settling.settle(stream, entry, outcome)
        self.succeeded += isinstance(outcome, EffectSucceeded)
        seconds = self._clock.monotonic() - began
        self._reports.attempt_ended(entry, attempt, outcome, stream=stream, destination=destination, seconds=seconds)

    def _conclude(self, stream: str, entry: Entry, attempt: Attempt) -> Ended:
        """What the attempt leads to; one whose key was planned anew meanwhile cannot end what stands there now."""
        now, policy = self._now(), self._policies[entry.effect.kind]
        outcome = conclude(entry, attempt, now=now, rng=self._rng, policy=policy)
        return outcome if is_same_plan(entry, self.schedule.newest(stream, entry)) else supersede(outcome, now=now)

    def _put(self, stream: str, entry: Entry, *, counted: bool = False) -> None:
        before = None
        if entry.effect.kind in self._performers:
            before = self.schedule.put(stream, entry, self._now())
        elif not entry.finished:
            self._reports.left_alone(entry)
        if not counted:
            self._telemetry.outbox_changed(entry.lane, before, entry.state)
        self._tell()

    def _tell(self) -> None:
        """Let those look again whose condition may hold now."""
        if self.schedule.has_news:
            self._news.notify()
        if self.schedule.has_room:
            self._room.notify()
        if self.schedule.pending == 0 or self.schedule.in_flight == 0:
            self._rest.notify()


async def _fetch(store: Store, stream: str, entry: Entry) -> Entry | Postponed | None:
    """The entry with its fields, which may have been left in the store; None where a newer plan has its row."""
    if entry.effect.fields is not LEFT_IN_STORE:
        return entry
    try:
        rows = await store.read_rows("outbox", stream=stream, id=entry.effect.key)
    except RowDamaged as damaged:
        return _postpone(damaged)
    if not rows:
        return _postpone(RowDamaged("outbox", stream, entry.effect.key, "it is gone"))
    kept = decode_entry(rows[0].data or b"")
    return replace(entry, effect=kept.effect) if is_same_plan(entry, kept) else None


async def _attempt(performer: Performer, stream: str, *, entry: Entry, seconds: float) -> Attempt | Deferred:
    """What a performer makes of an entry in that time."""
    try:
        async with asyncio.timeout(seconds) as deadline:
            return await performer.perform(stream, entry)
    except StoreError:
        raise
    except RowDamaged as damaged:  # what would be sent depends on it
        return _postpone(damaged)
    except Exception as error:
        if deadline.expired():
            return Uncertain(f"no end within {seconds:g} s")
        # A defect in one adapter must cost its own entry time, not the process.
        log.error("effect_defect", key=entry.effect.key, error=type(error).__name__, exc_info=error)
        return Uncertain(f"defect: {type(error).__name__}")


def _postpone(damaged: RowDamaged) -> Postponed:
    return Postponed(str(damaged), _DAMAGED_SECONDS, damaged.hint)
