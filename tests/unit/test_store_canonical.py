"""Digests and differences of live rows."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecproc.domain.log import Row, StreamCounters
from ecproc.store.base import Difference
from ecproc.store.canonical import compare_rows, counters_row, digest_rows, order_tables, sort_rows
from ecproc.store.chain import encode_field
from ecproc.testing.store import SUITE_TABLES

ROWS = [Row("note", "s", "a", 1, b"{}"), Row("note", "s", "b", 2, b"{}", "t"), Row("ticket", "s", "s", 0, b"[]")]


async def in_pages(rows: Sequence[Row], size: int = 1) -> AsyncIterator[list[Row]]:
    yield []
    for start in range(0, len(rows), size):
        yield list(rows[start : start + size])


@pytest.mark.requirement("I5", "R230")
async def test_a_digest_does_not_depend_on_pages() -> None:
    fields = [field for row in ROWS for field in (row.table, row.stream, row.id, row.ordinal, row.tag, row.data)]
    expected = sha256(b"".join(encode_field(field) for field in fields)).hexdigest()
    assert [await digest_rows(in_pages(ROWS, size)) for size in (1, 2, 9)] == [expected] * 3
    assert await digest_rows(in_pages([])) == sha256().hexdigest()


async def test_a_digest_tells_fields_apart() -> None:
    similar = [
        Row("note", "s", "ab", 0, b"c"),
        Row("note", "s", "a", 0, b"bc"),
        Row("note", "sa", "b", 0, b"c"),
        Row("note", "s", "ab", 0, b"c", ""),
        Row("note", "s", "ab", 1, b"c"),
    ]
    digests = [await digest_rows(in_pages([row])) for row in similar]
    assert len(set(digests)) == len(similar)


def test_tables_and_counters_stand_in_one_order() -> None:
    counters = counters_row("s", StreamCounters(version=3, through=2, wanted=1, last=9))
    assert counters == Row("stream", "s", "", 0, b'{"version":3,"through":2,"last":9}')
    assert order_tables(SUITE_TABLES) == ["note", "outbox", "stream", "ticket"]
    assert sort_rows([*reversed(ROWS), counters]) == [ROWS[0], ROWS[1], counters, ROWS[2]]


rows = st.dictionaries(
    st.tuples(st.sampled_from(["note", "ticket"]), st.sampled_from("st"), st.sampled_from("abc")),
    st.tuples(st.integers(0, 1), st.sampled_from([b"1", b"2"]), st.sampled_from([None, "t"])),
)


@given(live=rows, rebuilt=rows)
async def test_differences_are_those_of_two_dictionaries(
    live: dict[tuple[str, str, str], tuple[int, bytes, str | None]],
    rebuilt: dict[tuple[str, str, str], tuple[int, bytes, str | None]],
) -> None:
    sides = [sort_rows(Row(*key, *value) for key, value in side.items()) for side in (live, rebuilt)]
    count, found = await compare_rows(in_pages(sides[0]), in_pages(sides[1], 2), limit=100)
    different = sorted(key for key in live.keys() | rebuilt.keys() if live.get(key) != rebuilt.get(key))
    assert [(one.table, one.stream, one.id) for one in found] == different
    assert count == len(different)
    for one in found:
        key = (one.table, one.stream, one.id)
        assert (one.live is None, one.rebuilt is None) == (key not in live, key not in rebuilt)
        assert one.live != one.rebuilt


async def test_rows_that_differ_only_in_their_place_say_so() -> None:
    moved = Row("note", "s", "a", 2, b"{}", "t")
    count, found = await compare_rows(in_pages(ROWS[:1]), in_pages([moved]), limit=1)
    assert count == 1
    assert found == [Difference("note", "s", "a", b'{"ordinal":1,"tag":null}', b'{"ordinal":2,"tag":"t"}')]
