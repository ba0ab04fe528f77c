"""How many creates begin within a minute: no more than allowed in any of them, and nobody else waits for that."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecproc.domain.attempt import Done
from ecproc.domain.effects import Effect, EffectKind
from ecproc.domain.entry import Entry, EntryState
from ecproc.domain.ids import EffectKey, TicketNumber
from ecproc.outbox.rate import Rate
from ecproc.outbox.schedule import OutboxBounds, Schedule, Start

SECOND = 1_000_000


def entry(key: str, kind: EffectKind = EffectKind.CREATE, state: EntryState = EntryState.AVAILABLE) -> Entry:
    effect = Effect(EffectKey(key), kind, 1, 1, 1, TicketNumber("e-1"), "Incident")
    return Entry(effect=effect, order=1, state=state)


def open_schedule(per_minute: int) -> Schedule:
    bounds = OutboxBounds(100, 1_000, 30.0, 60.0, 1 << 20, creates_per_minute=per_minute)
    return Schedule(dict.fromkeys((EffectKind.CREATE, EffectKind.COMMENT), "desk"), bounds=bounds, rng=Random(1))


def begin(schedule: Schedule, now: int) -> list[Start]:
    starts = list(schedule.look(now).starts)
    for start in starts:
        schedule.note(start, Done({}), now)
        schedule.put(start.stream, entry(start.entry.effect.key, start.entry.effect.kind, EntryState.COMPLETED), now)
        schedule.end(start, now)
    return starts


@given(st.integers(1, 5), st.lists(st.floats(0, 30), max_size=60))
def test_no_minute_has_more_than_its_rate(per_minute: int, pauses: list[float]) -> None:
    rate, now, begun = Rate(per_minute), 0.0, list[float]()
    for pause in pauses:
        now += pause
        if rate.may_begin(now):
            assert rate.wait(now) == 0
            rate.begin(now)
            begun.append(now)
        else:
            assert not rate.may_begin(now + rate.wait(now) * 0.99)
            assert rate.may_begin(now + rate.wait(now) + 1e-6)
    for first in begun:
        assert sum(first <= moment < first + 60.0 for moment in begun) <= per_minute


def test_without_a_rate_all_begin() -> None:
    rate = Rate(0)
    for _ in range(1_000):
        assert rate.may_begin(0.0)
        rate.begin(0.0)


@pytest.mark.parametrize("flood", [3, 50])
def test_a_flood_of_creates_is_paced_and_holds_back_nobody_else(flood: int) -> None:
    schedule = open_schedule(2)
    for number in range(flood):
        schedule.put(f"e-{number}", entry(f"create:e-{number}:g1"), 0)
    schedule.put("e-x", entry("note:e-x:n1", EffectKind.COMMENT), 0)

    look = schedule.look(SECOND)

    assert (
        sorted(start.entry.effect.kind for start in look.starts)
        == ["comment_client_ticket"] + ["create_client_ticket"] * 2
    )
    assert look.paced == flood - 2
    assert look.wait == pytest.approx(60.0)
    assert schedule.look(59 * SECOND).starts == []
    assert len(schedule.look(61 * SECOND).starts) == min(2, flood - 2)


def test_all_creates_begin_in_the_end() -> None:
    schedule, done = open_schedule(3), 0
    for number in range(10):
        schedule.put(f"e-{number}", entry(f"create:e-{number}:g1"), 0)
    for minute in range(4):
        done += len(begin(schedule, (minute * 60 + 1) * SECOND))
    assert done == 10
    assert schedule.look(300 * SECOND).paced == 0
