"""What a group of batches does, worked out before anything is written."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecproc.domain.log import Batch, Fence, NewEvent, Row, Snapshot, StreamCounters
from ecproc.store.base import Committed, Head
from ecproc.store.chain import NO_HASH
from ecproc.store.plan import Group, check_row, prepare
from ecproc.testing.store import SUITE_TABLES


class Before:
    """A store that knows one stream and one message."""

    def highest_key(self) -> bytes:
        return b"known"

    def holds_key(self, message_key: bytes) -> bool:
        return message_key == b"known"

    def holds_elsewhere(self, table: str, id: str, *, stream: str) -> bool:
        return (table, id) == ("ticket", "taken") and stream != "old"

    def stream_state(self, stream: str) -> StreamCounters:
        return StreamCounters(version=7, through=5, wanted=6, last=90) if stream == "old" else StreamCounters()


def make_group() -> Group:
    return Group(Head(100, NO_HASH), Before(), SUITE_TABLES)


def add(group: Group, batch: Batch) -> Committed:
    return group.add(prepare(batch, at=5, tables=SUITE_TABLES))


@pytest.mark.requirement("I3")
def test_later_batches_see_what_earlier_ones_did() -> None:
    group = make_group()
    first = add(group, Batch(events=[NewEvent("old", "A", b"", b"new", wanted=True)], fence=Fence("old", 5, 6)))
    second = add(group, Batch(events=[NewEvent("old", "A", b"", b"new"), NewEvent("old", "B", b"")]))
    third = add(group, Batch(fence=Fence("old", 5, 6)))
    assert [event and (event.position, event.version) for event in first.events] == [(101, 8)]
    assert [event and (event.position, event.version) for event in second.events] == [None, (102, 9)]
    assert third.fenced
    assert group.streams == {"old": StreamCounters(version=9, through=6, wanted=8, last=102)}
    assert group.head == Head(102, group.events[-1][-1])


@pytest.mark.requirement("I3")
def test_each_event_names_the_one_before_it_in_its_stream() -> None:
    group = make_group()
    for streams in (["old", "new"], ["new", "old", "old"]):
        add(group, Batch(events=[NewEvent(stream, "A", b"") for stream in streams]))
    assert [row[:4] for row in group.events] == [
        (101, "old", 8, 90),
        (102, "new", 1, 0),
        (103, "new", 2, 102),
        (104, "old", 9, 101),
        (105, "old", 10, 104),
    ]


def test_a_compact_form_is_kept_under_its_batchs_last_event() -> None:
    group = make_group()
    decided = NewEvent("old", "Decided", b"")
    add(group, Batch(events=[decided, NewEvent("new", "A", b"")], fence=Fence("old", 5, 6), compact=b"one"))
    late = Batch(events=[decided, NewEvent("old", "A", b"", b"known")], fence=Fence("old", 6, 7), compact=b"two")
    add(group, late)
    assert add(group, late).fenced
    assert group.compact == [(102, "old", b"one"), (103, "old", b"two")]


@pytest.mark.requirement("I2")
def test_the_highest_key_is_that_of_the_group() -> None:
    group = make_group()
    assert group.highest_key == b"known"
    add(group, Batch(events=[NewEvent("s", "A", b"", key) for key in (b"b", b"z", b"a", b"known", None)]))
    assert group.highest_key == b"z"


@pytest.mark.requirement("I3")
def test_a_fenced_batch_adds_nothing_to_the_group() -> None:
    group = make_group()
    batch = Batch(
        events=[NewEvent("old", "A", b"", b"new")],
        rows=[Row("note", "old", "a", 0, b"{}")],
        fence=Fence("old", 4, 6),
        snapshot=Snapshot("old", 1, 1, b""),
        compact=b"c",
    )
    assert add(group, batch) == Committed(fenced=True)
    assert (group.events, group.streams, group.rows, group.snapshots) == ([], {}, {}, {})
    assert (group.compact, group.head, group.highest_key) == ([], Head(100, NO_HASH), b"known")
    assert add(group, Batch(events=[NewEvent("old", "A", b"", b"new")])).events != (None,)


@pytest.mark.requirement("I2")
def test_a_message_in_the_log_is_left_out() -> None:
    group = make_group()
    assert add(group, Batch(events=[NewEvent("old", "A", b"", b"known")])).events == (None,)
    assert group.streams == {}


def test_the_last_row_of_a_key_stands() -> None:
    group = make_group()
    add(group, Batch(rows=[Row("note", "s", "a", 0, b"1"), Row("note", "s", "a", 0, b"2")]))
    add(group, Batch(rows=[Row("note", "s", "a", 0, None), Row("note", "s", "b", 0, b"3")]))
    assert list(group.rows.values()) == [Row("note", "s", "a", 0, None), Row("note", "s", "b", 0, b"3")]


def test_raw_json_is_stored_as_bytes() -> None:
    group = make_group()
    committed = add(group, Batch(events=[NewEvent("s", "A", msgspec.Raw(b"{}"))]))
    (event,) = committed.events
    assert event is not None
    assert type(event.payload) is bytes
    assert type(group.events[0][7]) is bytes


def test_size_counts_what_is_written() -> None:
    small = prepare(Batch(), at=0, tables=SUITE_TABLES)
    large = prepare(
        Batch(
            events=[NewEvent("s", "A", bytes(1000))],
            rows=[Row("note", "s", "a", 0, bytes(2000)), Row("note", "s", "b", 0, None)],
            snapshot=Snapshot("s", 1, 1, bytes(4000)),
            compact=bytes(500),
        ),
        at=0,
        tables=SUITE_TABLES,
    )
    assert small.size == 0
    assert large.size == 7500 + 3 * 256


@pytest.mark.parametrize(
    "batch",
    [
        Batch(rows=[Row("stream", "s", "a", 0, b"{}")]),
        Batch(rows=[Row("note", "s", "a", -(2**63) - 1, b"{}")]),
        Batch(rows=[Row("note", "s", "a", 2**63, b"{}")]),
        Batch(rows=[Row("note", "s", "a", 0, b"{}", "\ud800")]),
        Batch(rows=[Row("note", "s", "\ud800", 0, b"{}")]),
        Batch(rows=[Row("note", "s", "a", 0, b"{}"), Row("note", "\ud800", "a", 0, None)]),
        Batch(events=[NewEvent("\ud800", "A", b"")]),
        Batch(events=[NewEvent("s", "\ud800", b"")]),
        Batch(fence=Fence("\ud800", 0, 0)),
        Batch(snapshot=Snapshot("s", 2**63, 0, b"")),
    ],
)
def test_what_cannot_be_stored_is_refused_before_it_is_planned(batch: Batch) -> None:
    with pytest.raises(ValueError, match=r"."):
        prepare(batch, at=0, tables=SUITE_TABLES)


TEXTS = st.text(st.characters(), max_size=3) | st.sampled_from(["", "\x00", "é", "\ud800", "a\udcffb"])
ROWS = st.builds(
    Row,
    st.sampled_from(["note", "stream", "note "]),
    TEXTS,
    TEXTS,
    st.integers(-(2**63) - 1, 2**63),
    st.none() | st.just(b"{}"),
    st.none() | TEXTS,
)


def is_refused(check: Callable[[], object]) -> bool:
    try:
        check()
    except ValueError:
        return True
    return False


@given(st.lists(ROWS, max_size=3))
def test_a_batch_is_refused_exactly_if_one_of_its_rows_is(rows: list[Row]) -> None:
    refused = [is_refused(partial(check_row, row, SUITE_TABLES)) for row in rows]

    assert is_refused(lambda: prepare(Batch(rows=rows), at=0, tables=SUITE_TABLES)) is any(refused)
