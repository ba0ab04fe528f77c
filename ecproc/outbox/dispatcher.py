"""The dispatcher: claims due entries, performs them, settles what came of it; bounded per lane and in all."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Final, TypeAlias

import anyio
import msgspec
import structlog
from anyio.abc import TaskGroup

from ecproc.clock import Clock
from ecproc.domain.effects import IDEMPOTENT, EffectKind, Lane
from ecproc.domain.entry import DEAD, Entry, EntryState, apply_outcome
from ecproc.domain.events import EffectStarted, EffectUnknown, Hold, Outcome
from ecproc.domain.ids import EffectKey
from ecproc.domain.log import Batch, NewEvent, RecordedEvent
from ecproc.errors import StoreError
from ecproc.failpoints import failpoint
from ecproc.fold.recorded import decode_entry, encode_event, wants_decision
from ecproc.fold.rows import entry_row
from ecproc.outbox.breaker import Breaker
from ecproc.outbox.lanes import Run, Wait, choose_next
from ecproc.outbox.perform.base import Performer
from ecproc.outbox.reports import Reports
from ecproc.outbox.retry import SECOND, Attempt, Ended, RetryPolicy, Uncertain, conclude, supersede
from ecproc.store.base import Store
from ecproc.telemetry.hooks import Telemetry

log = structlog.get_logger()

_RESUME_SHARE: Final = 0.8
_FAR_FUTURE: Final = 1 << 62

Urgency: TypeAlias = tuple[bool, int]
"""Less comes first: not in a hurry, then the expiry."""


class OutboxBounds(msgspec.Struct, frozen=True):
    """Entries performed at once, entries pending before projection pauses, longest seconds of an open breaker, and
    seconds after which an attempt that has not ended is given up."""

    max_in_flight: int
    max_pending: int
    breaker_seconds: float
    attempt_seconds: float


class _TicketLane:
    """One ticket's entries of one lane, by planned order; finished ones leave except a dead create."""

    __slots__ = ("busy", "entries")

    def __init__(self) -> None:
        self.entries: dict[EffectKey, Entry] = {}
        self.busy = False

    def put(self, entry: Entry) -> None:
        """Take an entry's newest version; a newly planned one goes behind the others."""
        key = entry.effect.key
        former = self.entries.get(key)
        if former is not None and former.order != entry.order:
            del self.entries[key]
        self.entries[key] = entry
        if entry.finished and not (entry.state in DEAD and entry.effect.kind is EffectKind.CREATE):
            del self.entries[key]


class _Lane:
    """A lane's tickets: `ready` with a due entry, most urgent first; `waiting` for a time; the rest is being performed.

    Both heaps may name a ticket twice, or one that has nothing to do any more.
    """

    def __init__(self, name: Lane, performer: Performer, breaker: Breaker, slots: int) -> None:
        self.name = name
        self.performer = performer
        self.breaker = breaker
        self.slots = slots
        self.tickets: dict[str, _TicketLane] = {}
        self.ready: list[tuple[Urgency, int, int, str]] = []
        self.waiting: list[tuple[int, int, str]] = []
        self.changed = anyio.Event()


class Dispatcher:
    """Performs the outbox. Entries of one ticket and lane finish in planned order; lanes do not wait for each other."""

    def __init__(
        self,
        store: Store,
        performers: Mapping[Lane, Performer],
        *,
        wake: Callable[[Sequence[RecordedEvent], bool], None],
        policy: RetryPolicy,
        bounds: OutboxBounds,
        clock: Clock,
        rng: Random,
        telemetry: Telemetry,
    ) -> None:
        self._store = store
        self._wake = wake
        self._policy = policy
        self._bounds = bounds
        self._clock = clock
        self._started = clock.now() - int(clock.monotonic() * SECOND)
        self._rng = rng
        self._telemetry = telemetry
        self._reports = Reports(telemetry, clock)
        slots = max(1, bounds.max_in_flight // len(performers))
        self._lanes = {
            lane: _Lane(lane, performer, Breaker(longest=bounds.breaker_seconds, rng=rng), slots)
            for lane, performer in performers.items()
        }
        self._pending = 0
        self._turn = 0
        self._in_flight = 0
        self._refused: dict[_Lane, None] = {}
        self._stopping = False
        self._room = anyio.Event()
        self._room.set()
        self._settled = anyio.Event()

    # --- what the actors see ------------------------------------------------------------------------------------------

    async def wait_for_room(self) -> None:
        """Return when fewer entries are pending than the bound; once full, not before a fifth of it is done."""
        while not self._room.is_set():
            await self._room.wait()

    def add(self, stream: str, entries: Sequence[Entry]) -> None:
        """Take entries whose rows are durable."""
        for entry in entries:
            self._put(stream, entry)

    @property
    def idle(self) -> bool:
        """Whether every entry is completed, cancelled, discarded or parked."""
        return self._pending == 0

    async def wait_idle(self) -> None:
        """Return at a moment when nothing is pending."""
        while not self.idle:
            await self._wait_settled()

    # --- running ------------------------------------------------------------------------------------------------------

    async def recover(self) -> None:
        """Load unfinished entries. One that was started and never settled may have taken effect: it is unknown now."""
        async for rows in self._store.scan_rows("outbox", tagged=True):
            for row in rows:
                entry = decode_entry(row.data or b"")
                self._telemetry.outbox_changed(entry.lane, None, entry.state)
                self._load(row.stream, entry)
                if entry.state is EntryState.EXECUTING:
                    await self._settle(row.stream, entry, self._interrupted(entry))

    def _interrupted(self, entry: Entry) -> EffectUnknown:
        """What became of an entry that a former process started: a receiver that honours keys may be asked at once."""
        keyed = self._lanes[entry.lane].performer.keyed
        wait = 0.0 if keyed else self._rng.uniform(*self._policy.unknown_retry)
        at = self._now() + int(wait * SECOND)
        return EffectUnknown(entry.effect.key, "interrupted", next_attempt_at=at, cause=entry.effect.position)

    async def run(self) -> None:
        """Perform what is due until cancelled or stopped."""
        async with anyio.create_task_group() as tasks:
            for lane in self._lanes.values():
                tasks.start_soon(self._run_lane, lane, tasks)

    async def stop(self) -> None:
        """Claim nothing more; returns when nothing is in flight. Who waits for room need not: no room will come."""
        self._stopping = True
        self._room.set()
        for lane in self._lanes.values():
            lane.changed.set()
        while self._in_flight:
            await self._wait_settled()

    async def _wait_settled(self) -> None:
        if self._settled.is_set():
            self._settled = anyio.Event()
        await self._settled.wait()

    async def _run_lane(self, lane: _Lane, tasks: TaskGroup) -> None:
        while not self._stopping:
            lane.changed = anyio.Event()
            wait = self._start_due(lane, tasks)
            with anyio.move_on_after(wait):
                await lane.changed.wait()

    def _start_due(self, lane: _Lane, tasks: TaskGroup) -> float | None:
        """Start every due entry there is a slot for; seconds until the next look is needed, None for no time."""
        now, steady = self._now(), self._clock.monotonic()
        while lane.waiting and lane.waiting[0][0] <= now:
            self._schedule(lane, heapq.heappop(lane.waiting)[2])
        self._telemetry.outbox_oldest_due(lane.name, lane.ready[0][1] if lane.ready else None)
        while lane.ready:
            if lane.slots == 0:
                return None
            if self._in_flight >= self._bounds.max_in_flight:
                self._refused[lane] = None
                return None
            if not lane.breaker.may_send(steady):
                return lane.breaker.wait(steady) or None
            urgency, _, _, stream = heapq.heappop(lane.ready)
            if urgency[1] > now:
                self._start(lane, stream, now, tasks)
            else:  # its file has expired meanwhile: those that can still be had go first
                self._schedule(lane, stream)
        return (lane.waiting[0][0] - now) / SECOND if lane.waiting else None

    def _start(self, lane: _Lane, stream: str, now: int, tasks: TaskGroup) -> None:
        ticket = lane.tickets.get(stream)
        if ticket is None or ticket.busy:
            return
        chosen = choose_next(ticket.entries.values(), now)
        match chosen:
            case Run(entry=entry):
                ticket.busy = True
                lane.slots -= 1
                self._in_flight += 1
                tasks.start_soon(self._perform, lane, stream, entry, lane.breaker.sending())
            case Wait():
                self._schedule(lane, stream)
            case None:
                pass

    def _now(self) -> int:
        """Wall-clock time when we started plus what passed since: setting the clock moves no retry (I13)."""
        return self._started + int(self._clock.monotonic() * SECOND)

    async def _perform(self, lane: _Lane, stream: str, entry: Entry, probe: bool) -> None:
        started = self._clock.monotonic()
        try:
            if entry.effect.kind not in IDEMPOTENT:
                # The performer gets the entry as it was claimed: what a former attempt left unknown is to be looked up.
                await self._settle(stream, entry, EffectStarted(entry.effect.key))
                failpoint("claim.committed")
            attempt = await self._attempt(lane.performer, stream, entry)
            failpoint("effect.performed")
            self._note(lane, attempt, probe=probe)
            outcome = self._conclude(stream, entry, attempt)
            await self._settle(stream, entry, outcome)
            seconds, name = self._clock.monotonic() - started, lane.performer.name
            self._reports.attempt_ended(entry, attempt, outcome, stream=stream, destination=name, seconds=seconds)
        finally:
            self._release(lane, stream)

    def _conclude(self, stream: str, entry: Entry, attempt: Attempt) -> Ended:
        """What the attempt leads to; one whose key was planned anew meanwhile cannot end what stands there now."""
        now = self._now()
        outcome = conclude(entry, attempt, now=now, rng=self._rng, policy=self._policy)
        return outcome if _is_same_plan(entry, self._current(stream, entry)) else supersede(outcome, now=now)

    async def _attempt(self, performer: Performer, stream: str, entry: Entry) -> Attempt:
        seconds = self._bounds.attempt_seconds
        with anyio.move_on_after(seconds):
            try:
                return await performer.perform(stream, entry)
            except StoreError:
                raise
            except Exception as error:
                # A defect in one adapter must cost its own entry time, not the process.
                log.error("effect_defect", key=entry.effect.key, error=type(error).__name__, exc_info=error)
                return Uncertain(f"defect: {type(error).__name__}")
        return Uncertain(f"no end within {seconds:g} s")

    def _release(self, lane: _Lane, stream: str) -> None:
        lane.slots += 1
        self._in_flight -= 1
        ticket = lane.tickets.get(stream)
        if ticket is not None:
            ticket.busy = False
            self._schedule(lane, stream)
        # Where places are fewer than lanes, those that waited for this one look first.
        for other in self._refused:
            other.changed.set()
        self._refused.clear()
        lane.changed.set()
        self._settled.set()

    async def _settle(self, stream: str, entry: Entry, outcome: Outcome) -> Entry:
        """Record an outcome and the entry's new state in one transaction, then tell its actor.

        The key may have been planned anew meanwhile, and we hear of that only after the plan is durable: such an
        outcome is recorded and changes nothing else, in no order of the two.
        """
        current = self._current(stream, entry)
        after = apply_outcome(current, outcome)
        event = NewEvent(stream, *encode_event(outcome), wanted=wants_decision(outcome))
        # Where the newer plan is not known here yet, the store keeps its row (see NEWEST_STAYS).
        rows = [entry_row(stream, after)] if _is_same_plan(entry, current) else []
        committed = await self._store.commit(Batch(events=[event], rows=rows))
        failpoint("settle.committed")
        if _is_same_plan(current, self._current(stream, entry)):
            self._put(stream, after)
        self._wake([event for event in committed.events if event is not None], wants_decision(outcome))
        return after

    def _current(self, stream: str, entry: Entry) -> Entry:
        ticket = self._lanes[entry.lane].tickets.get(stream)
        return ticket.entries.get(entry.effect.key, entry) if ticket else entry

    # --- bookkeeping --------------------------------------------------------------------------------------------------

    def _load(self, stream: str, entry: Entry) -> None:
        """Take an entry from the store; a time too far ahead is clipped, the clock may have been wrong (I13).

        What our configuration held is due at once: it may be another one now.
        """
        latest = self._now() + int(self._policy.longest * SECOND)
        if entry.held is Hold.CONFIGURATION:
            entry = msgspec.structs.replace(entry, next_attempt_at=None)
        if entry.next_attempt_at is not None and entry.next_attempt_at > latest:
            entry = msgspec.structs.replace(entry, next_attempt_at=latest)
        self._put(stream, entry, counted=True)

    def _put(self, stream: str, entry: Entry, *, counted: bool = False) -> None:
        lane = self._lanes[entry.lane]
        ticket = lane.tickets.setdefault(stream, _TicketLane())
        former = ticket.entries.get(entry.effect.key)
        ticket.put(entry)
        before = former.state if former is not None else None
        self._pending += (not entry.finished) - (former is not None and not former.finished)
        if not counted:
            self._telemetry.outbox_changed(entry.lane, before, entry.state)
        if not ticket.entries and not ticket.busy:
            del lane.tickets[stream]
        elif not ticket.busy:
            self._schedule(lane, stream)
            lane.changed.set()
        if self._pending <= self._bounds.max_pending * _RESUME_SHARE:
            self._room.set()
        elif self._pending >= self._bounds.max_pending and self._room.is_set() and not self._stopping:
            self._room = anyio.Event()
        if self._pending == 0:
            self._settled.set()

    def _schedule(self, lane: _Lane, stream: str) -> None:
        """Queue a ticket for its next entry: by the time it is due; of those that are, what expires first."""
        ticket = lane.tickets.get(stream)
        if ticket is None:
            return
        if not ticket.entries:
            del lane.tickets[stream]
            return
        now = self._now()
        chosen = choose_next(ticket.entries.values(), now)
        self._turn += 1
        match chosen:
            case Run(entry=entry):
                since = entry.next_attempt_at or entry.effect.at
                heapq.heappush(lane.ready, (_urgency(entry, now), since, self._turn, stream))
            case Wait(until=until):
                heapq.heappush(lane.waiting, (until, self._turn, stream))
            case None:
                pass

    def _note(self, lane: _Lane, attempt: Attempt, *, probe: bool) -> None:
        was_open = lane.breaker.is_open
        lane.breaker.note(attempt, self._clock.monotonic(), probe=probe)
        if lane.breaker.is_open != was_open:
            self._reports.breaker_changed(lane.performer.name, attempt, is_open=not was_open)


def _is_same_plan(entry: Entry, other: Entry) -> bool:
    """Whether both are of one plan of their key: planned because of the same event."""
    return entry.effect.position == other.effect.position


def _urgency(entry: Entry, now: int) -> Urgency:
    """What may end before its expiry first, then the earliest expiry still ahead; what never expires or has, last."""
    deadline = entry.effect.deadline
    if deadline is not None and deadline <= now:
        return True, _FAR_FUTURE
    return not entry.effect.hurry, deadline or _FAR_FUTURE
