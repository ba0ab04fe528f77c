"""A row that differs is told by its fields, each with both values where they begin to differ."""

import json

from ecproc.cli.differences import describe_difference
from ecproc.store.base import Difference

CANARY = "canarysignature"


def describe(live: object, rebuilt: object) -> list[str]:
    """The lines about two rows; bytes stand for themselves, None for no row."""
    sides = [side if isinstance(side, bytes | None) else json.dumps(side).encode() for side in (live, rebuilt)]
    return describe_difference(Difference("ticket", "e-CS1", "CS1", *sides)).splitlines()


def test_only_the_fields_that_differ_are_named_with_both_values() -> None:
    same = {"description": "x" * 5000, "big": 123456789012345678901234567890}
    assert describe(
        {**same, "state": "open", "notes": [{"id": 1}, {"id": 2}]},
        {**same, "state": "closed", "notes": [{"id": 1}, {"id": 3}], "added": True},
    ) == [
        "differs: ticket e-CS1 CS1",
        "  state",
        '    live    "open"',
        '    rebuilt "closed"',
        "  notes[1].id",
        "    live    2",
        "    rebuilt 3",
        "  added",
        "    live    (none)",
        "    rebuilt true",
    ]


def test_a_long_value_is_cut_around_what_differs() -> None:
    _, _, live, rebuilt = describe({"text": "x" * 900 + "A" + "y" * 900}, {"text": "x" * 900 + "B" + "y" * 900})
    assert "xxxAyyy" in live
    assert "xxxByyy" in rebuilt
    assert len(live) == len(rebuilt) < 160


def test_a_row_of_one_side_and_bytes_that_are_no_fields_are_shown_as_a_row() -> None:
    assert describe({"state": "open"}, None)[1:] == ["  row", '    live    {"state": "open"}', "    rebuilt (none)"]
    assert describe(b"\xff1", b"\xff2")[1:] == ["  row", "    live    \\xff1", "    rebuilt \\xff2"]
    assert describe(b'{"a":1}', b'{"a": 1}')[1:] == ["  row", '    live    {"a":1}', '    rebuilt {"a": 1}']


def test_what_is_told_of_a_difference_is_masked_bounded_and_harmless_to_a_terminal() -> None:
    urls = [{"url": f"https://h/f?sig={CANARY}{side}"} for side in "ab"]
    assert describe(*urls)[1:] == ["  url", "    differs only in what is masked"]
    assert CANARY not in "".join(describe(urls[0], None))
    many = describe({f"f{at}": 1 for at in range(50)}, {f"f{at}": 2 for at in range(50)})
    assert (len(many), many[-1]) == (1 + 10 * 3 + 1, "  and 40 more fields")
    assert "\x1b" not in "".join(describe({"\x1b[1m": "\x1b"}, {}))
    assert describe(b"[" * 100_000, b"{}")[0] == "differs: ticket e-CS1 CS1"
