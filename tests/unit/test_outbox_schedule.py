"""The schedule against every history: what it starts is due, in order and within bounds, and nothing is forgotten."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import count
from random import Random
from typing import Any, Final

import msgspec
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from ecproc.domain.attempt import Attempt, Blamed, Done, Held, Odd, Postponed, Uncertain
from ecproc.domain.effects import LANES, Effect, EffectKind, Lane
from ecproc.domain.entry import DEAD, Entry, EntryState, apply_outcome
from ecproc.domain.events import EffectStarted
from ecproc.domain.ids import EffectKey, TicketNumber
from ecproc.outbox.lanes import Run, Wait, choose_next
from ecproc.outbox.retry import SECOND, RetryPolicy, conclude, supersede
from ecproc.outbox.schedule import Look, OutboxBounds, Schedule, Start

K = EffectKind
START: Final = 1_700_000_000 * SECOND
POLICY: Final = RetryPolicy(max_attempts=3, unknown_retry=(60.0, 120.0), longest=100.0)
PATIENCE: Final = 5_000
"""Looks in which everything that can end has ended."""

ATTEMPTS: Final[tuple[Attempt, ...]] = (
    Done(),
    Done(),
    Held("503"),
    Held("403", down=True),
    Uncertain("?"),
    Odd("Perhaps"),
    Postponed("not so"),
    Blamed("no"),
    Blamed("never", final=True),
    Blamed("gone", lost=True),
)
ROUTES: Final[tuple[Mapping[EffectKind, str], ...]] = (
    {kind: LANES[kind].value for kind in EffectKind},
    {kind: "everywhere" for kind in EffectKind},
    {kind: "notes" if kind is K.COMMENT else LANES[kind].value for kind in EffectKind},
    {K.CREATE: "desk", K.UPDATE: "other", K.DOWNLOAD: "files"},
)
"""Destinations: one for each lane, one for all, two that share a lane, and some kinds that nobody performs."""


class Play:
    """A schedule, all that it was told, and what it may do by that.

    It is looked at as a loop does: when there is news, or when the time is up that the last look named.
    """

    def __init__(self, make: type[Schedule], routes: Mapping[EffectKind, str], bounds: OutboxBounds) -> None:
        self.now = START
        self.rng = Random(3)
        self.bounds = bounds
        self.kinds = tuple(routes)
        self.schedule = make(routes, bounds=bounds, rng=self.rng)
        self.slots = max(1, bounds.max_in_flight // len({LANES[kind] for kind in routes}))
        self.entries: dict[tuple[str, Lane], dict[EffectKey, Entry]] = {}
        self.flying: list[Start] = []
        self.next_look: int | None = START
        self.room = True
        self._orders = count(1)

    # --- what happens ---

    def plan(self, ticket: int, kind: int, *, again: int, expires: int, hurry: bool) -> None:
        """Plan an effect, with luck one whose key is dead; what is not over is not planned anew but in the air."""
        stream = f"e-{ticket}"
        chosen = self.kinds[kind % len(self.kinds)]
        known = self.entries.setdefault((stream, LANES[chosen]), {})
        order = next(self._orders)
        key = EffectKey(f"{order}")
        free = [entry for entry in known.values() if entry.state in DEAD or self._is_flying(entry)]
        if free and again % 3 == 0:
            former = free[again % len(free)]
            key, chosen = former.effect.key, former.effect.kind
        effect = Effect(
            key=key,
            kind=chosen,
            generation=1 + order % 2,
            position=order,
            at=self.now,
            ticket=TicketNumber(stream),
            ticket_type="Change",
            deadline=None if expires == 0 else self.now + expires * SECOND,
            hurry=hurry,
        )
        self.put(stream, Entry(effect, order))
        self.check()

    def put(self, stream: str, entry: Entry) -> None:
        """Tell of an entry's newest version."""
        known = self.entries.setdefault((stream, entry.lane), {})
        former = known.get(entry.effect.key)
        if former is not None and former.order != entry.order:
            del known[entry.effect.key]
        known[entry.effect.key] = entry
        before = self.schedule.put(stream, entry, self.now)
        if former is None or not former.finished:
            assert before == (former.state if former is not None else None)

    def end(self, index: int, attempt: Attempt) -> None:
        """Let an attempt end so, be settled, and give its place back."""
        start = self.flying.pop(index % len(self.flying))
        self.schedule.note(start, attempt, self.now)
        outcome = conclude(start.entry, attempt, now=self.now, rng=self.rng, policy=POLICY)
        newest = self.schedule.newest(start.stream, start.entry)
        assert newest == self.entries[start.stream, start.entry.lane][newest.effect.key]
        if newest.effect.position != start.entry.effect.position:
            outcome = supersede(outcome, now=self.now)
        after = apply_outcome(newest, outcome)
        if after != newest:
            self.put(start.stream, after)
        self.schedule.end(start, self.now)
        self.check()

    def pass_time(self, seconds: float) -> None:
        """Let time go by, and have the loop look whenever it meant to."""
        until = self.now + int(seconds * SECOND)
        while self.next_look is not None and self.next_look <= until:
            self.now = max(self.now, self.next_look)
            self.look()
        self.now = until

    def look(self, *, claimed: bool = True) -> Look:
        """Look, start what is to be started, and see that nothing is forgotten or started for nothing."""
        wanted = self.schedule.has_news or (self.next_look is not None and self.next_look <= self.now)
        look = self.schedule.look(self.now)
        assert wanted or not look.starts, "started what neither news nor time brought: the loop would have slept"
        assert look.wait is None or look.wait > 0, "the loop would spin"
        assert not self.schedule.has_news
        self.next_look = None if look.wait is None else self.now + max(1, round(look.wait * SECOND))
        for start in look.starts:
            self._begin(start, claimed=claimed)
        if look.wait is None and not self.flying:
            assert not [entry for entry in self._first_ones() if entry is not None], "nobody will look again"
        self.check()
        return look

    def _begin(self, start: Start, *, claimed: bool) -> None:
        known = self.entries[start.stream, start.entry.lane]
        assert not [one for one in self.flying if (one.stream, one.entry.lane) == (start.stream, start.entry.lane)]
        assert choose_next(known.values(), self.now) == Run(start.entry), "not the first in planned order, or not due"
        self.flying.append(start)
        if claimed:
            self.put(start.stream, apply_outcome(start.entry, EffectStarted(start.entry.effect.key)))

    # --- what must hold ---

    def check(self) -> None:
        """Compare what the schedule counts with what it was told."""
        pending = sum(not entry.finished for known in self.entries.values() for entry in known.values())
        assert self.schedule.pending == pending
        assert self.schedule.in_flight == len(self.flying) <= self.bounds.max_in_flight
        for name, lane in self.schedule._lanes.items():
            used = sum(start.entry.lane is name for start in self.flying)
            assert lane.slots == self.slots - used >= 0
        if pending <= self.bounds.max_pending * 0.8:
            self.room = True
        elif pending >= self.bounds.max_pending:
            self.room = False
        assert self.schedule.has_room == self.room

    def finish(self) -> None:
        """Answer everything well: whatever nothing dead holds comes to its end, and little is left in memory."""
        for _ in range(PATIENCE):
            if self.schedule.has_news:
                self.look()
            elif self.flying:
                self.end(0, Done())
            elif self.next_look is not None:
                self.now = max(self.now, self.next_look)
                self.look()
            else:
                break
        else:
            raise AssertionError("it does not come to rest")
        assert not [entry for entry in self._first_ones() if entry is not None], "an entry was lost"
        for lane in self.schedule._lanes.values():
            for ticket in lane.tickets.values():
                assert any(entry.state in DEAD and entry.effect.kind is K.CREATE for entry in ticket.entries.values())

    def _first_ones(self) -> list[Entry | Wait | None]:
        """What each ticket and lane has to do, now or later."""
        chosen = [choose_next(known.values(), self.now) for known in self.entries.values()]
        return [one.entry if isinstance(one, Run) else one for one in chosen]

    def _is_flying(self, entry: Entry) -> bool:
        return any(start.entry.effect.key == entry.effect.key for start in self.flying)


SMALL = st.integers(0, 5)
EXPIRIES = st.sampled_from([0, 0, 1, 40, 4_000])
STEPS = st.one_of(
    st.tuples(st.just("plan"), st.integers(0, 2), st.integers(0, 8), SMALL, EXPIRIES, st.booleans()),
    st.tuples(st.just("look"), st.booleans()),
    st.tuples(st.just("end"), SMALL, st.sampled_from(ATTEMPTS)),
    st.tuples(st.just("pass"), st.sampled_from([0.0, 0.5, 3.0, 100.0, 4_000.0])),
)
BOUNDS = st.builds(
    OutboxBounds,
    max_in_flight=st.sampled_from([1, 2, 3, 7, 30]),
    max_pending=st.sampled_from([1, 2, 5, 1_000]),
    breaker_seconds=st.just(30.0),
    attempt_seconds=st.just(60.0),
)
HISTORIES = st.tuples(st.sampled_from(ROUTES), BOUNDS, st.lists(STEPS, max_size=60))
LONG_HISTORIES = st.tuples(st.sampled_from(ROUTES), BOUNDS, st.lists(STEPS, min_size=20, max_size=60))


def play(make: type[Schedule], history: tuple[Mapping[EffectKind, str], OutboxBounds, list[tuple[Any, ...]]]) -> None:
    routes, bounds, steps = history
    game = Play(make, routes, bounds)
    for step in steps:
        match step:
            case ("plan", ticket, kind, again, expires, hurry):
                game.plan(ticket, kind, again=again, expires=expires, hurry=hurry)
            case ("look", claimed):
                game.look(claimed=claimed)
            case ("end", index, attempt) if game.flying:
                game.end(index, attempt)
            case ("pass", seconds):
                game.pass_time(seconds)
    game.finish()


@pytest.mark.requirement("I3", "I7", "I8")
@settings(max_examples=300)
@given(HISTORIES)
def test_whatever_happens_all_is_started_in_order_and_within_bounds_and_nothing_is_forgotten(history: Any) -> None:
    play(Schedule, history)


# --- planted bugs -----------------------------------------------------------------------------------------------------


class Loses(Schedule):
    """Does not queue a ticket again whose attempt ended."""

    def end(self, start: Start, now: int) -> None:
        self._enqueue, kept = (lambda *_: None), self._enqueue  # type: ignore[method-assign]
        super().end(start, now)
        self._enqueue = kept  # type: ignore[method-assign]


class Overtakes(Schedule):
    """Forgets that an entry of the ticket is being attempted as soon as another one is planned."""

    def put(self, stream: str, entry: Entry, now: int) -> EntryState | None:
        before = super().put(stream, entry, now)
        ticket = self._lines[entry.effect.kind].lane.tickets.get(stream)
        if before is None and ticket is not None:
            ticket.trying = None
            self._enqueue(self._lines[entry.effect.kind].lane, stream, now)
        return before


class Leaks(Schedule):
    """Gives a superseded attempt's slot back twice."""

    def end(self, start: Start, now: int) -> None:
        newest = self.newest(start.stream, start.entry)
        super().end(start, now)
        self._lines[start.entry.effect.kind].lane.slots += newest.effect.position != start.entry.effect.position


class Spins(Schedule):
    """Looks again at once while a breaker is open."""

    def look(self, now: int) -> Look:
        look = super().look(now)
        resting = any(line.ready and line.breaker.is_open for line in self._lines.values())
        return msgspec.structs.replace(look, wait=0.0) if resting and not look.starts else look


class Sleeps(Schedule):
    """Keeps news to itself once an attempt was held."""

    def note(self, start: Start, attempt: Attempt, now: int) -> bool | None:
        self._mute = isinstance(attempt, Held)
        return super().note(start, attempt, now)

    def end(self, start: Start, now: int) -> None:
        super().end(start, now)
        self.has_news = not self._mute


class Miscounts(Schedule):
    """Counts what is planned anew as one more, though its former plan is still under way."""

    def put(self, stream: str, entry: Entry, now: int) -> EntryState | None:
        newest = self.newest(stream, entry)
        self.pending += not newest.finished and newest.order != entry.order
        return super().put(stream, entry, now)


class Crowds(Schedule):
    """Does not look at how many are under way in all."""

    def _fill(self, lane: Any, now: int, starts: list[Start]) -> float | None:
        kept, self.in_flight = self.in_flight, 0
        rest = super()._fill(lane, now, starts)
        self.in_flight += kept
        return rest


@pytest.mark.parametrize("bug", [Loses, Overtakes, Leaks, Spins, Sleeps, Miscounts, Crowds])
def test_a_planted_bug_is_found(bug: type[Schedule]) -> None:
    @settings(max_examples=2_000, derandomize=True, database=None, phases=[Phase.generate])
    @given(LONG_HISTORIES)
    def search(history: Any) -> None:
        play(bug, history)

    with pytest.raises(AssertionError):
        search()


# --- one by one -------------------------------------------------------------------------------------------------------


def make_schedule(
    routes: Mapping[EffectKind, str] = ROUTES[0], *, in_flight: int = 30, pending: int = 100
) -> tuple[Schedule, Callable[..., Entry]]:
    """A schedule, and how to plan something in it."""
    bounds = OutboxBounds(
        max_in_flight=in_flight,
        max_pending=pending,
        breaker_seconds=30.0,
        attempt_seconds=60.0,
        arguments_bytes=1 << 20,
    )
    schedule = Schedule(routes, bounds=bounds, rng=Random(1))
    orders = count(1)

    def plan(stream: str, kind: EffectKind, **members: Any) -> Entry:
        order = next(orders)
        effect = Effect(EffectKey(f"{order}"), kind, 1, order, START, TicketNumber(stream), "Change", **members)
        entry = Entry(effect, order)
        schedule.put(stream, entry, START)
        return entry

    return schedule, plan


def kinds_of(look: Look) -> list[EffectKind]:
    return [start.entry.effect.kind for start in look.starts]


def test_a_destination_that_is_down_holds_nobody_elses_entries_of_its_lane() -> None:
    schedule, plan = make_schedule(ROUTES[2])
    plan("e-1", K.COMMENT)
    (first,) = schedule.look(START).starts
    schedule.note(first, Held("403", down=True), START)
    for stream in ("e-2", "e-3"):
        plan(stream, K.COMMENT)
        plan(f"{stream}0", K.UPDATE)

    look = schedule.look(START)

    assert kinds_of(look) == [K.UPDATE, K.UPDATE]
    assert look.wait is not None
    assert 0.5 <= look.wait <= 1
    assert kinds_of(schedule.look(START + SECOND)) == [K.COMMENT]


def test_within_a_lane_the_next_entry_may_be_another_destinations() -> None:
    schedule, plan = make_schedule(ROUTES[2])
    plan("e-1", K.UPDATE)
    plan("e-1", K.COMMENT)

    (first,) = schedule.look(START).starts
    assert schedule.look(START).starts == []
    schedule.put("e-1", msgspec.structs.replace(first.entry, state=EntryState.COMPLETED), START)
    schedule.end(first, START)

    assert kinds_of(schedule.look(START)) == [K.COMMENT]


def test_one_destination_of_several_lanes_is_down_in_all_of_them() -> None:
    schedule, plan = make_schedule(ROUTES[1])
    plan("e-1", K.CREATE)
    (first,) = schedule.look(START).starts
    assert schedule.note(first, Held("403", down=True), START) is True
    plan("e-2", K.RETURN_NUMBER)
    plan("e-2", K.DOWNLOAD)

    assert schedule.look(START).starts == []
    (probe,) = schedule.look(START + SECOND).starts
    assert schedule.note(probe, Done(), START + SECOND) is False


def test_a_lane_tells_since_when_its_most_urgent_entry_has_been_due_once_that_changed() -> None:
    schedule, plan = make_schedule(in_flight=3)
    plan("e-1", K.UPDATE)
    plan("e-2", K.UPDATE)

    assert schedule.look(START).due == {Lane.DESK: START}
    assert schedule.look(START).due == {}


def test_once_stopped_nothing_is_started_and_nobody_waits_for_room() -> None:
    schedule, plan = make_schedule(pending=1)
    plan("e-1", K.UPDATE)
    full = not schedule.has_room

    schedule.stop()

    assert full
    assert schedule.has_room
    assert schedule.has_news
    assert schedule.look(START) == Look((), None, {})
