"""Messages that are not deleted yet: how near the first of them is to being lost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import pytest

from ecproc.domain.events import Transaction
from ecproc.domain.ids import NO_SEQUENCE
from ecproc.domain.queue import DeleteOutcome
from ecproc.runtime.held import Undeleted
from ecproc.wire.queue import Envelope

DAY: Final = 86_400
AT: Final = 1_700_000_000_000_000


def make(key: int, receives: int | None = 1, sent_ms: int | None = AT // 1000) -> Envelope:
    """A message under that key."""
    return Envelope("e-CS1", f"m{key}", NO_SEQUENCE, b"{}", Transaction.UPDATE, "AQEB", sent_ms, receives)


def hold(*messages: Envelope, at: float = 0.0) -> Undeleted:
    """What was received then."""
    held = Undeleted(visibility=30.0)
    held.take(messages, at)
    return held


def test_nothing_is_told_while_nothing_is_held() -> None:
    assert hold().count_receives_left() is None
    assert hold(make(1, receives=None, sent_ms=None)).count_receives_left() is None
    assert hold(make(1, receives=None, sent_ms=None)).count_seconds_left(AT) is None


@pytest.mark.requirement("R23", "R24")
def test_the_worst_counts() -> None:
    held = hold(make(1, 3), make(2, 18, AT // 1000 - DAY * 1000), make(3, None, None))

    assert held.count_receives_left() == 2
    assert held.count_seconds_left(AT) == 3 * DAY


@pytest.mark.requirement("R23")
@pytest.mark.parametrize(
    ("outcomes", "left"),
    [
        ([DeleteOutcome.DELETED, DeleteOutcome.DELETED], None),
        ([DeleteOutcome.DELETED, DeleteOutcome.ERROR], 15),
        ([DeleteOutcome.EXPIRED, DeleteOutcome.DELETED], 10),
        ([DeleteOutcome.SKIPPED, DeleteOutcome.INVALID], 10),
    ],
)
def test_what_was_deleted_is_held_no_more(outcomes: Sequence[DeleteOutcome], left: int | None) -> None:
    messages = [make(1, 10), make(2, 5)]
    held = hold(*messages)

    held.end([message.key for message in messages], outcomes)

    assert held.count_receives_left() == left


def test_a_later_delivery_counts_in_place_of_the_one_before() -> None:
    held = hold(make(1, 18))

    held.take([make(1, 19)], 40.0)

    assert held.count_receives_left() == 1
    held.end([make(1, 19).key], [DeleteOutcome.DELETED])
    assert held.count_receives_left() is None


@pytest.mark.parametrize(("asked", "is_held"), [(29.0, True), (30.0, False)])
def test_what_an_empty_queue_would_show_is_gone(asked: float, *, is_held: bool) -> None:
    held = hold(make(1, 18))

    held.see_empty(asked)

    assert (held.count_receives_left() is not None) == is_held


def test_no_more_than_ten_thousand_are_remembered() -> None:
    held = Undeleted(visibility=30.0)
    held.take([make(number, 20 if number < 50 else 1) for number in range(10_050)], 0.0)

    assert held.count_receives_left() == 19
