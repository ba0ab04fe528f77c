"""A complaint is told at once, then once a minute with how often it came."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from ecproc.telemetry.complaints import Complaints


def test_repeats_are_counted_and_told_once_a_minute() -> None:
    complaints = Complaints()

    told = [complaints.count("a", second) for second in range(0, 121, 10)]

    assert told == [1, None, None, None, None, None, 6, None, None, None, None, None, 6]


def test_another_complaint_is_told_at_once() -> None:
    complaints = Complaints()

    assert [complaints.count(name, 0.0) for name in ("a", "b", "a", ("a", 1))] == [1, 1, None, 1]


def test_no_more_complaints_are_remembered_than_there_is_room_for() -> None:
    complaints = Complaints()
    for number in range(1_000):
        complaints.count(number, 0.0)

    assert complaints.count(999, 1.0) is None
    assert complaints.count(0, 1.0) == 1


def test_complaints_that_are_the_same_are_one_whatever_they_say(log_lines: Sequence[Mapping[str, Any]]) -> None:
    complaints = Complaints()
    for second, reason in ((0, "HTTP 500"), (1, "HTTP 502"), (2, "no such thing"), (60, "HTTP 503")):
        same = 500 if reason.startswith("HTTP") else None
        complaints.tell(logging.WARNING, "receive_failed", reason, now=float(second), same_as=same)

    assert [(line["reason"], line.get("repeats")) for line in log_lines] == [
        ("HTTP 500", None),
        ("no such thing", None),
        ("HTTP 503", 2),
    ]
