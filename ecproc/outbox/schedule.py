"""What the outbox starts next, and when it has to look again. Pure: it is told what happened and what time it is."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Mapping, Sequence
from random import Random
from types import MappingProxyType
from typing import Final, TypeAlias

import msgspec
from msgspec.structs import replace

from ecproc.domain.attempt import Attempt
from ecproc.domain.effects import LANES, EffectKind, Lane
from ecproc.domain.entry import Entry, EntryState
from ecproc.outbox.breaker import Breaker
from ecproc.outbox.expiries import Expiries
from ecproc.outbox.lanes import Run, TicketLane, Wait
from ecproc.outbox.rate import Rate
from ecproc.outbox.retry import SECOND

_RESUME_SHARE: Final = 0.8
"""Of the pending entries' bound: once it was reached there is room again from here on."""
LEFT_IN_STORE: Final[Mapping[str, str]] = MappingProxyType({})
"""What stands for an effect's fields, told by identity, where there is no room for them: its row has them."""
_LARGE_BYTES: Final = 1_024
"""Fields below this count for nothing and are always kept: `max_pending` bounds them."""
_FAR_FUTURE: Final = 1 << 62
"""Microseconds UTC that no deadline reaches."""

_UNBOUND: Final = Rate(0)
_HELD_WAIT: Final = 1.0
"""Seconds until another look while all is held."""

Urgency: TypeAlias = tuple[bool, int]
"""Less comes first: not in a hurry, then the expiry."""


class OutboxBounds(msgspec.Struct, frozen=True):
    """Entries performed at once, entries pending before projection pauses, longest seconds of an open breaker,
    seconds after which an attempt that has not ended is given up, bytes of unfinished effects' fields in memory,
    entries performed at once in a lane for which that is not its equal share, and creates of client tickets that begin
    within a minute, 0 for any number."""

    max_in_flight: int
    max_pending: int
    breaker_seconds: float
    attempt_seconds: float
    arguments_bytes: int
    slots: Mapping[Lane, int] = {}
    creates_per_minute: int = 0


class Start(msgspec.Struct, frozen=True):
    """An entry to attempt now; `probe`: it is the one that tries for all whether its destination is well again."""

    stream: str
    entry: Entry
    probe: bool


class Look(msgspec.Struct, frozen=True):
    """What to start, and the seconds after which another look could start more; None: not before there is news.

    `due` holds since when a lane's most urgent entry has been due, None for nothing due, where that has changed.
    `paced` are the creates that are due and wait for their turn alone.
    """

    starts: Sequence[Start]
    wait: float | None
    due: Mapping[Lane, int | None]
    paced: int = 0


class _Line:
    """The tickets of a lane whose next entry is due at one destination, most urgent first; of creates at a `rate`."""

    def __init__(self, lane: _Lane, breaker: Breaker, destination: str, rate: Rate) -> None:
        self.rate = rate
        self.lane = lane
        self.breaker = breaker
        self.destination = destination
        self.ready: list[tuple[Urgency, int, int, str]] = []


class _Lane:
    """A lane's tickets: in one of its lines with a due entry, `waiting` for a time, or being attempted.

    These heaps may name a ticket twice, or one that has nothing to do any more. `turn` is that of its last start,
    `told` what was last said about its due entries.
    """

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.turn = 0
        self.told: int | None = None
        self.tickets: dict[str, TicketLane] = {}
        self.waiting: list[tuple[int, int, str]] = []
        self.lines: dict[str, _Line] = {}

    def line_to(self, destination: str, breaker: Breaker, rate: Rate | None) -> _Line:
        """The line for that destination, the same for all of its kinds but those that have a rate."""
        name = destination if rate is None else f"{destination} at a rate"
        return self.lines.setdefault(name, _Line(self, breaker, destination, rate or _UNBOUND))

    def due_since(self) -> int | None:
        """Since when the most urgent of all that is due has been due."""
        heads = [line.ready[0] for line in self.lines.values() if line.ready]
        return min(heads)[1] if heads else None

    def next_line(self, steady: float, paused: Collection[str]) -> _Line | None:
        """The line with the most urgent entry that may be sent now."""
        lines = [
            line
            for line in self.lines.values()
            if line.ready
            and line.destination not in paused
            and line.breaker.may_send(steady)
            and line.rate.may_begin(steady)
        ]
        return min(lines, key=lambda line: line.ready[0], default=None)

    def count_paced(self, steady: float) -> int:
        """The tickets whose next entry is due and waits for its turn."""
        return sum([len(line.ready) for line in self.lines.values() if not line.rate.may_begin(steady)])

    def wait(self, now: int, paused: Collection[str]) -> float | None:
        """Seconds until the next entry is due or the next breaker lets one try, None if no time brings that."""
        going = [line for line in self.lines.values() if line.ready and line.destination not in paused]
        rests = [max(line.breaker.wait(now / SECOND), line.rate.wait(now / SECOND)) for line in going]
        if self.waiting:
            rests.append((self.waiting[0][0] - now) / SECOND)
        return min((rest for rest in rests if rest > 0), default=None)


def _open_lines(
    destinations: Mapping[EffectKind, str],
    lanes: Mapping[Lane, _Lane],
    breakers: Mapping[str, Breaker],
    *,
    creates: int,
) -> dict[EffectKind, _Line]:
    """The line of every kind; creates of client tickets have one of their own where their rate is bound."""
    rates = {EffectKind.CREATE: Rate(creates)} if creates else {}
    return {
        kind: lanes[LANES[kind]].line_to(name, breakers[name], rates.get(kind)) for kind, name in destinations.items()
    }


class Schedule:
    """Which entries are started when: urgent ones first, as many as there are slots for, in each lane and in all.

    `destinations` names the destination of every kind that somebody performs; their lanes share the places in all. Of
    one ticket and lane the entries are started in planned order, one after the other. `now` is in microseconds UTC and
    never goes back. `pending` counts the unfinished entries; `has_news`: another look could start something. While it
    is `held` nothing is started, and all that is due stays so; so does what is `paused`, destinations and tickets.
    `breakers` are the destinations' own, `expiries` knows what has to be done first.
    """

    def __init__(self, destinations: Mapping[EffectKind, str], *, bounds: OutboxBounds, rng: Random) -> None:
        self._bounds = bounds
        names = dict.fromkeys(LANES[kind] for kind in destinations)
        share = max(1, bounds.max_in_flight // len(names))
        self.breakers = {name: Breaker(longest=bounds.breaker_seconds, rng=rng) for name in destinations.values()}
        self._lanes = {name: _Lane(bounds.slots.get(name) or share) for name in names}
        self._lines = _open_lines(destinations, self._lanes, self.breakers, creates=bounds.creates_per_minute)
        self._turn = 0
        self._is_full = False
        self._bytes = 0
        self.pending = 0
        self.in_flight = 0
        self.has_news = False
        self.stopped = False
        self.held = False
        self._paused: set[str] = set()
        self._paused_tickets: set[str] = set()
        self.expiries = Expiries(self._lanes)

    @property
    def has_room(self) -> bool:
        """Whether more may be planned: below the bound, and once it was reached not before a fifth is done.

        When nothing is started any more, too: nobody has to wait for room that will not come.
        """
        return self.stopped or not self._is_full

    def find(self, stream: str, entry: Entry) -> Entry | None:
        """What stands under the entry's key now; None where that is not known any more."""
        ticket = self._ticket(stream, entry)
        return ticket.newest(entry.effect.key) if ticket else None

    def newest(self, stream: str, entry: Entry) -> Entry:
        """The same; the entry itself where that is not known any more."""
        return self.find(stream, entry) or entry

    def put(self, stream: str, entry: Entry, now: int) -> EntryState | None:
        """Take an entry's newest version; gives the state in which it was known before."""
        lane = self._lines[entry.effect.kind].lane
        ticket = lane.tickets.get(stream)
        if ticket is None:
            ticket = lane.tickets[stream] = TicketLane()
        former = ticket.put(self._lighten(entry))
        self.expiries.note(stream, entry, former)
        self._bytes -= 0 if former is None or former.finished else weigh(former)
        self._count((not entry.finished) - (former is not None and not former.finished))
        self._enqueue(lane, stream, now)
        return former.state if former is not None else None

    def look(self, now: int) -> Look:
        """Choose all that may be started now. Where places are few, the lane whose last start was first goes first."""
        if self.stopped:
            return Look((), None, {})
        starts: list[Start] = []
        rests: list[float] = []
        due: dict[Lane, int | None] = {}
        for name, lane in sorted(self._lanes.items(), key=lambda item: item[1].turn):
            while lane.waiting and lane.waiting[0][0] <= now:
                self._enqueue(lane, heapq.heappop(lane.waiting)[2], now)
            if lane.told != (since := lane.due_since()):
                lane.told = due[name] = since
            rest = _HELD_WAIT if self.held else self._fill(lane, now, starts)
            if rest is not None:
                rests.append(rest)
        self.has_news = False
        paced = 0 if self.held else sum([lane.count_paced(now / SECOND) for lane in self._lanes.values()])
        return Look(starts, min(rests, default=None), due, paced)

    def note(self, start: Start, attempt: Attempt, now: int) -> bool | None:
        """Learn from how an attempt went whether its destination is down; None if it is what it was held to be."""
        breaker = self._lines[start.entry.effect.kind].breaker
        was_open = breaker.is_open
        breaker.note(attempt, now / SECOND, probe=start.probe)
        return breaker.is_open if breaker.is_open is not was_open else None

    def defer(self, start: Start, until: int, now: int) -> None:
        """Let an entry wait of which nothing came, in memory alone; its destination's breaker learns nothing."""
        self._lines[start.entry.effect.kind].breaker.leave(probe=start.probe)
        newest = self.newest(start.stream, start.entry)
        if newest.effect.position == start.entry.effect.position:
            self.put(start.stream, msgspec.structs.replace(newest, next_attempt_at=until), now)

    def end(self, start: Start, now: int) -> None:
        """Take back the place of an attempt that is over and whose outcome, if there is one, was put."""
        lane = self._lines[start.entry.effect.kind].lane
        lane.slots += 1
        self.in_flight -= 1
        self.has_news = True
        ticket = lane.tickets.get(start.stream)
        if ticket is not None:
            ticket.rest()
            self._enqueue(lane, start.stream, now)

    def is_tried(self, stream: str, entry: Entry) -> bool:
        """Whether an attempt of that entry is under way."""
        ticket = self._ticket(stream, entry)
        return ticket is not None and ticket.trying == entry.effect.key

    def has_tried(self, stream: str, entry: Entry) -> bool:
        """Whether an attempt has ended since the entry stood like this, or none is to come."""
        newest = self.find(stream, entry)
        return self.stopped or newest is None or newest.finished or newest.tries > entry.tries

    def pause(self, destinations: Collection[str], *, paused: bool) -> int:
        """Start nothing more at these destinations, or go on with them; how often they are paused now."""
        (self._paused.update if paused else self._paused.difference_update)(destinations)
        self.has_news = True
        return int(paused)

    def pause_ticket(self, stream: str, now: int, *, paused: bool) -> int:
        """Start nothing more of that ticket, or go on with it; how many are paused now."""
        (self._paused_tickets.add if paused else self._paused_tickets.discard)(stream)
        for lane in self._lanes.values():
            self._enqueue(lane, stream, now)
        return len(self._paused_tickets)

    def stop(self) -> None:
        """Start nothing more."""
        self.stopped = self.has_news = True

    def _ticket(self, stream: str, entry: Entry) -> TicketLane | None:
        line = self._lines.get(entry.effect.kind)
        return line.lane.tickets.get(stream) if line is not None else None

    def _lighten(self, entry: Entry) -> Entry:
        """The entry, with its fields left in the store where those of the others take all the room."""
        size = weigh(entry)
        if size and (entry.finished or self._bytes + size > self._bounds.arguments_bytes):
            return replace(entry, effect=replace(entry.effect, fields=LEFT_IN_STORE))
        self._bytes += size
        return entry

    def _count(self, more: int) -> None:
        self.pending += more
        if self.pending <= self._bounds.max_pending * _RESUME_SHARE:
            self._is_full = False
        elif self.pending >= self._bounds.max_pending:
            self._is_full = True

    def _fill(self, lane: _Lane, now: int, starts: list[Start]) -> float | None:
        """Start what the lane has slots for; seconds until time alone lets it start more, None if that cannot be."""
        while lane.slots and self.in_flight < self._bounds.max_in_flight:
            line = lane.next_line(now / SECOND, self._paused)
            if line is None:
                return lane.wait(now, self._paused)
            start = self._take(line, now)
            if start is not None:
                starts.append(start)
        return None

    def _take(self, line: _Line, now: int) -> Start | None:
        """Start the most urgent entry of a line; none if it has expired or changed since it was queued."""
        lane = line.lane
        (_, expiry), _, _, stream = heapq.heappop(line.ready)
        ticket = lane.tickets.get(stream)
        if ticket is None or ticket.trying or stream in self._paused_tickets:
            return None
        chosen = ticket.choose(now)
        if not isinstance(chosen, Run) or self._lines[chosen.entry.effect.kind] is not line or expiry <= now:
            self._enqueue(lane, stream, now)  # of files, those that can still be had go first
            return None
        ticket.trying = chosen.entry.effect.key
        lane.slots -= 1
        self.in_flight += 1
        self._turn += 1
        lane.turn = self._turn
        line.rate.begin(now / SECOND)
        return Start(stream, chosen.entry, line.breaker.sending())

    def _enqueue(self, lane: _Lane, stream: str, now: int) -> None:
        """Queue a ticket for its next entry: by the time it is due; of those that are, what expires first."""
        ticket = lane.tickets.get(stream)
        if ticket is None or ticket.trying or stream in self._paused_tickets:
            return
        if not ticket.entries:
            del lane.tickets[stream]
            return
        self._turn += 1
        self.has_news = True
        match ticket.choose(now):
            case Run(entry=entry):
                since = entry.next_attempt_at or entry.effect.at
                place = (_urgency(entry, now), since, self._turn, stream)
                heapq.heappush(self._lines[entry.effect.kind].ready, place)
            case Wait(until=until):
                heapq.heappush(lane.waiting, (until, self._turn, stream))
            case None:
                pass


def is_at_work(schedule: Schedule, stream: str, lane: Lane) -> bool:
    """Whether an attempt of that ticket is under way in that lane."""
    ticket = schedule._lanes[lane].tickets.get(stream)
    return ticket is not None and ticket.trying is not None


def measure_due(schedule: Schedule, now: int) -> Mapping[str, float]:
    """Seconds for which each lane's most urgent entry was due at the last look; 0 where none was."""
    told = {name: lane.told for name, lane in schedule._lanes.items()}
    return {name: 0.0 if since is None else max(0.0, (now - since) / SECOND) for name, since in told.items()}


def weigh(entry: Entry) -> int:
    size = sum(map(len, entry.effect.fields.values()))
    return size if size >= _LARGE_BYTES else 0


def _urgency(entry: Entry, now: int) -> Urgency:
    """What may end before its expiry first, then the earliest expiry still ahead; what never expires or has, last."""
    deadline = entry.effect.deadline
    if deadline is not None and deadline <= now:
        return True, _FAR_FUTURE
    return not entry.effect.hurry, deadline or _FAR_FUTURE
