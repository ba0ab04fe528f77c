"""The first deadline of what is still to be done."""

from __future__ import annotations

from random import Random
from typing import Final

import pytest

from ecproc.domain.effects import Effect, EffectKind
from ecproc.domain.entry import Entry, EntryState
from ecproc.domain.ids import EffectKey, TicketNumber
from ecproc.outbox.schedule import OutboxBounds, Schedule

BOUNDS: Final = OutboxBounds(
    max_in_flight=4, max_pending=100, breaker_seconds=60, attempt_seconds=60, arguments_bytes=1_000
)


def make(key: str, deadline: int | None, state: EntryState = EntryState.AVAILABLE) -> Entry:
    """A download whose address ends then."""
    effect = Effect(EffectKey(key), EffectKind.DOWNLOAD, 1, 1, 1, TicketNumber("e-CS1"), "Incident", deadline=deadline)
    return Entry(effect, 1, state=state)


@pytest.fixture
def schedule() -> Schedule:
    return Schedule({EffectKind.DOWNLOAD: "attachments"}, bounds=BOUNDS, rng=Random(1))


def test_there_is_none_without_a_deadline(schedule: Schedule) -> None:
    schedule.put("s", make("a", None), 0)

    assert schedule.expiries.first() is None
    assert schedule.expiries.seconds_left(0) is None


@pytest.mark.requirement("R138")
def test_the_first_is_told_and_then_the_next(schedule: Schedule) -> None:
    for key, deadline in (("a", 9_000_000), ("b", 5_000_000), ("c", 7_000_000)):
        schedule.put(key, make(key, deadline), 0)

    assert schedule.expiries.seconds_left(6_000_000) == -1
    schedule.put("b", make("b", 5_000_000, EntryState.COMPLETED), 0)
    assert schedule.expiries.seconds_left(6_000_000) == 1
    schedule.put("c", make("c", 7_000_000, EntryState.PARKED), 0)
    first = schedule.expiries.first()
    assert first is not None
    assert (first[1], first[2].effect.key) == ("a", "a")


def test_a_new_address_takes_the_place_of_the_old_one(schedule: Schedule) -> None:
    schedule.put("s", make("a", 5_000_000), 0)
    schedule.put("s", make("a", 8_000_000), 0)

    assert schedule.expiries.seconds_left(0) == 8


@pytest.mark.requirement("I7")
def test_what_is_finished_behind_one_that_is_not_is_forgotten(schedule: Schedule) -> None:
    schedule.put("stuck", make("stuck", 1_000_000), 0)
    for number in range(5_000):
        key = f"k{number}"
        schedule.put(key, make(key, 2_000_000), 0)
        schedule.put(key, make(key, 2_000_000, EntryState.COMPLETED), 0)

    assert schedule.expiries.seconds_left(0) == 1
    assert len(schedule.expiries) <= 1_001


def test_a_retry_is_not_counted_twice(schedule: Schedule) -> None:
    for state in (EntryState.AVAILABLE, EntryState.RETRYABLE, EntryState.RETRYABLE):
        schedule.put("s", make("a", 5_000_000, state), 0)
    schedule.put("s", make("a", 5_000_000, EntryState.DISCARDED), 0)

    assert schedule.expiries.first() is None
