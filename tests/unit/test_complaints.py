"""A complaint is told at once, then once a minute with how often it came."""

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
