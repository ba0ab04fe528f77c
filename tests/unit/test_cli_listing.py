"""Tables on a terminal: they fit it, cut texts and nothing that is to be copied, and are written as rows come."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from ecproc.cli.listing import Column, RowWriter, fit
from ecproc.cli.moments import read_since
from ecproc.cli.spans import describe_span

COLUMNS = (Column("number", whole=True), Column("state"), Column("text", least=12))
NOW = 1_800_000_000_000_000
SECOND = 1_000_000


@pytest.fixture
def written(capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Sequence[str]]:
    """The lines that a table of these rows has on a terminal of that width."""

    def write(rows: Sequence[Sequence[str]], width: int) -> Sequence[str]:
        monkeypatch.setenv("COLUMNS", str(width))
        monkeypatch.setenv("NO_COLOR", "1")
        monkeypatch.setenv("TERM", "dumb")
        table = RowWriter(COLUMNS)
        for row in rows:
            table.write(row)
        table.flush()
        sys.stdout.flush()
        return capfdbinary.readouterr().out.decode().splitlines()

    return write


@pytest.mark.parametrize(
    ("width", "lines"),
    [
        (50, ["number      state     text", "e-CS000001  approved  the whole of a longer text"]),
        (40, ["number      state     text", "e-CS000001  approved  the whole of a lo…"]),
        (34, ["number      state     text", "e-CS000001  approved  the whole o…"]),
        (33, ["number      state", "e-CS000001  approved"]),
        (5, ["number      state", "e-CS000001  approved"]),
    ],
)
def test_a_table_fits_its_terminal(width: int, lines: list[str], written: Callable[..., Sequence[str]]) -> None:
    assert written([("e-CS000001", "approved", "the whole of a longer text")], width) == lines


def test_a_text_that_acts_on_a_terminal_stays_in_its_line(written: Callable[..., Sequence[str]]) -> None:
    _, row = written([("e\x1b[2J", "a\nb", "x\ry")], 60)
    assert row.split() == ["e\\x1b[2J", "a\\nb", "x\\ry"]


def test_a_long_table_is_not_held_until_its_end(
    capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    table = RowWriter(COLUMNS)
    for number in range(1000):
        table.write((str(number), "open", "text"))
    sys.stdout.flush()
    assert len(capfdbinary.readouterr().out.splitlines()) == 1001
    table.write(("a number longer than any before", "open", "text"))
    sys.stdout.flush()
    assert capfdbinary.readouterr().out.startswith(b"a number longer than any before  open")


def test_a_table_without_rows_is_nothing(written: Callable[..., Sequence[str]]) -> None:
    assert written([], 80) == []


@given(
    rows=st.lists(st.tuples(st.text("ab界"), st.text("ab界"), st.text("ab界")), min_size=1, max_size=5),
    width=st.integers(1, 60),
)
def test_only_what_must_not_be_cut_makes_a_table_wider_than_its_terminal(
    rows: list[tuple[str, str, str]], width: int
) -> None:
    widths = fit(COLUMNS, rows, width)
    whole = max(cell_len("number"), *(cell_len(row[0]) for row in rows))
    assert widths[0] == whole
    assert sum(widths) + 2 * (len(widths) - 1) <= max(width, whole + 2 + 8)


@pytest.mark.parametrize(
    ("seconds", "whole", "short"),
    [
        (-1, "0s", "0s"),
        (0.9, "0s", "0s"),
        (59, "59s", "59s"),
        (61, "1m 1s", "1m"),
        (3_600, "1h", "1h"),
        (3_605, "1h", "1h"),
        (86_400 * 3 + 3_600 * 4 + 59, "3d 4h", "3d"),
    ],
)
def test_a_span_is_told_in_its_largest_units(seconds: float, whole: str, short: str) -> None:
    assert describe_span(int(seconds * SECOND)) == whole
    assert describe_span(int(seconds * SECOND), parts=1) == short


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("30s", NOW - 30 * SECOND),
        ("90m", NOW - 5_400 * SECOND),
        (" 2H ", NOW - 7_200 * SECOND),
        ("7d", NOW - 604_800 * SECOND),
        ("1w", NOW - 604_800 * SECOND),
        ("999999999w", 0),
        ("1970-01-02", 86_400 * SECOND),
        ("1970-01-01t02:00:01+02:00", SECOND),
    ],
)
def test_since_is_a_time_or_how_long_ago(text: str, time: int) -> None:
    assert read_since(text, NOW) == time


@pytest.mark.parametrize("text", ["", "7", "d", "7y", "-2h", "1.5h", "2h30m", "yesterday", "2026-02-30"])
def test_what_is_no_time_is_told_with_what_one_looks_like(text: str) -> None:
    with pytest.raises(ValueError, match="neither a time such as 2026-01-31T12:00:00Z nor how long ago, such as 30m"):
        read_since(text, NOW)
