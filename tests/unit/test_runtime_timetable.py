"""The timetable against one that holds everything, and what it takes the time for."""

from __future__ import annotations

from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecproc.runtime.timetable import Calendar, Timetable

SECOND: Final = 1_000_000
MOST: Final = 3

_KEYS: Final = st.tuples(st.sampled_from(["e-1", "e-2"]), st.sampled_from("abcdefgh"))
_ACTS: Final = st.lists(
    st.one_of(
        st.tuples(st.just("put"), _KEYS, st.integers(0, 9)),
        st.tuples(st.just("drop"), _KEYS, st.just(0)),
        st.tuples(st.just("take"), _KEYS, st.integers(0, 9)),
    ),
    max_size=60,
)


@given(_ACTS)
@pytest.mark.requirement("I7")
def test_the_earliest_are_taken_in_order_and_no_more_are_held_than_twice_the_bound(
    acts: list[tuple[str, tuple[str, str], int]],
) -> None:
    table, whole = Timetable(MOST), dict[tuple[str, str], int]()
    for act, key, number in acts:
        if table.needs_reading:
            table.begin_reading()
            table.add(whole.items())
        if act == "put":
            whole[key] = number
            table.put(key, number)
        elif act == "drop":
            whole.pop(key, None)
            table.drop(key)
        else:
            taken = table.take(number, 2)
            due = sorted((due_at, known) for known, due_at in whole.items() if due_at <= number)
            assert taken == [known for _, known in due[: len(taken)]]
            assert taken or table.needs_reading or not due
            for known in taken:
                del whole[known]
        first = table.next_due
        assert first is None or first == min(whole.values())
        assert len(table._due) <= len(table._queue) <= 2 * MOST


@pytest.mark.requirement("I13")
@pytest.mark.parametrize(
    ("readings", "expected"),
    [
        ([(0, 0), (10, 10), (20, 20)], 20),
        ([(0, 0), (40, 10)], 40),
        ([(0, 0), (9_000, 10)], 10),
        ([(0, 0), (9_000, 10), (9_890, 900)], 900),
        ([(0, 0), (9_000, 10), (9_900, 910)], 9_900),
        ([(0, 0), (9_000, 10), (20, 20), (9_900, 910)], 910),
        ([(9_000, 0), (10, 10)], 10),
        ([(9_000, 0), (10, 10), (9_020, 20)], 20),
    ],
)
def test_a_leap_of_the_calendar_is_followed_back_at_once_and_forward_when_it_lasts(
    readings: list[tuple[int, int]], expected: int
) -> None:
    calendar = Calendar()
    found = [calendar.read(wall * SECOND, float(monotonic)) for wall, monotonic in readings]
    assert found[-1] == expected * SECOND
