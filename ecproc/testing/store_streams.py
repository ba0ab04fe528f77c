"""What every store must do with its streams one by one: read them, list them, keep their compact forms."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from random import Random

import anyio
import pytest
from msgspec.structs import replace

from ecproc.domain.log import Batch, Compact, Fence, Foreseen, NewEvent, StreamCounters
from ecproc.store.base import ALL, Committed, Span, Store
from ecproc.testing.store_case import (
    OTHER,
    STREAM,
    StoreCase,
    append,
    decide,
    list_compact,
    list_counters,
    make_message,
    make_row,
    read_all,
    read_by_stream,
)

NAMES = ["a", "b", "b\x00", "b1", "z", "é", "中", "\uffff", "\U0001f600"]
"""Streams in the order of their names' bytes, of one to four bytes a letter."""

SPANS = [
    ALL,
    Span("b"),
    Span(end="b"),
    Span("b", "b1"),
    Span("b", "é"),
    Span("c", "\U0001f600"),
    Span("\uffff"),
    Span("b", "b"),
    Span("é", "b"),
    Span("\U0001f600\U0001f600"),
]


class StreamTests(StoreCase):
    """The part of the suite about streams."""

    # --- their events

    @pytest.mark.requirement("I2")
    async def test_an_event_for_a_stream_that_has_to_hold_something_is_left_out_where_it_does_not(
        self, tmp_path: Path
    ) -> None:
        told = NewEvent("a", "Told", b"{}", if_held=True)
        async with self.store_in(tmp_path) as store:
            left_out = await store.commit(Batch(events=[told, NewEvent("b", "X", b"{}")]))
            assert [event and (event.stream, event.version) for event in left_out.events] == [None, ("b", 1)]
            assert await store.stream_state("a") == StreamCounters()
            both = await store.commit(Batch(events=[NewEvent("a", "X", b"{}"), told]))
            assert [event and event.version for event in both.events] == [1, 2]
            assert [event.kind for event in await store.read_stream("a")] == ["X", "Told"]

    @pytest.mark.requirement("R230")
    async def test_log_is_read_stream_by_stream(self, tmp_path: Path) -> None:
        async with self.store_in(tmp_path) as store:
            await append(store, *[NewEvent(f"s{number % 7}", "X", b"{}") for number in range(1100)])
            events = await read_all(store)
            half = len(events) // 2
            for until in (None, half, len(events) + 9):
                pages = [page async for page in store.read_streams(until=until)]
                expected = sorted(events[:until], key=lambda event: (event.stream, event.version))
                assert [event for page in pages for event in page] == expected
                assert max(map(len, pages)) <= 1000

    @pytest.mark.requirement("R230")
    async def test_a_span_of_streams_is_read_stream_by_stream(self, tmp_path: Path) -> None:
        async with self.store_in(tmp_path) as store:
            await append(store, *[NewEvent(name, "X", b"{}") for name in Random(1).choices(NAMES, k=2500)])
            recorded = sorted(await read_all(store), key=lambda event: (event.stream.encode(), event.version))
            head = await store.head()
            for span in SPANS:
                expected = [event for event in recorded if span.holds(event.stream)]
                pages = [page async for page in store.read_streams(span=span)]
                assert [event for page in pages for event in page] == expected
                assert max(map(len, pages), default=0) <= 1000
                for until in (0, 1200, head.position + 9):
                    part = [event for event in expected if event.position <= until]
                    assert await read_by_stream(store, until=until, span=span) == part

    async def test_spans_side_by_side_are_the_whole_log(self, tmp_path: Path) -> None:
        bounds = [*sorted(NAMES), None]
        async with self.store_in(tmp_path) as store:
            await append(store, *[NewEvent(name, "X", b"") for name in NAMES for _ in range(3)])
            spans = [Span("", bounds[0]), *[Span(first or "", end) for first, end in pairwise(bounds)]]
            parts = [await read_by_stream(store, span=span) for span in spans]
            assert [event for part in parts for event in part] == await read_by_stream(store)

    async def test_reading_stream_by_stream_ends_where_the_log_ended_at_the_start(self, tmp_path: Path) -> None:
        async with self.store_in(tmp_path) as store:
            await append(store, *[NewEvent(f"s{number % 2}", "X", b"") for number in range(1100)])
            events = await read_by_stream(store)
            pages = store.read_streams()
            first = await anext(pages)
            await append(store, NewEvent("s0", "Y", b""), NewEvent("s1", "Y", b""), NewEvent("s2", "Y", b""))
            rest = [event async for page in pages for event in page]
        assert [*first, *rest] == events

    @pytest.mark.requirement("I3")
    async def test_a_stream_is_read_from_any_version_however_it_is_woven_into_the_log(self, tmp_path: Path) -> None:
        async with self.store_in(tmp_path) as store:
            for number in range(60):
                await append(store, *[NewEvent(NAMES[digit % 4], str(number), b"") for digit in range(number % 5)])
            events = await read_all(store)
            for name in NAMES[:4]:
                own = [event for event in events if event.stream == name]
                for after in range(len(own) + 2):
                    assert await store.read_stream(name, after=after) == own[after:]
                    assert await store.read_stream(name, after=after, limit=3) == own[after : after + 3]
            assert await store.read_stream("e") == []

    # --- their counters

    async def test_streams_are_listed_with_their_counters(self, tmp_path: Path) -> None:
        async with self.store_in(tmp_path) as store:
            names = [*NAMES, *[f"n{number:04}" for number in range(2100)]]
            await append(store, *[NewEvent(name, "X", b"", wanted=True) for name in names])
            await append(store, NewEvent("z", "X", b""))
            await store.commit(Batch(fence=Fence("z", 0, 1)))
            await store.commit(Batch(fence=Fence("nothing", 0, 1)))
            events = await read_all(store)
            last = {event.stream: event for event in events}
            ordered = sorted(last, key=str.encode)
            for span in [*SPANS, Span("n", "n2000"), Span("n0999", "n1001")]:
                listed = await list_counters(store, span)
                assert [name for name, _ in listed] == [name for name in ordered if span.holds(name)]
                for name, state in listed:
                    assert (state.version, state.last) == (last[name].version, last[name].position)
                    assert state == await store.stream_state(name)
            assert dict(await list_counters(store))["z"] == StreamCounters(2, 1, 1, events[-1].position)
            pages = [page async for page in store.list_streams()]
            assert sum(map(len, pages)) == len(ordered)

    async def test_counters_name_the_position_of_the_streams_last_event(self, tmp_path: Path) -> None:
        async with self.store_in(tmp_path) as store:
            first, other, second = await append(
                store, make_message(1), NewEvent(OTHER, "X", b""), NewEvent(STREAM, "X", b"")
            )
            assert (await store.stream_state(STREAM)).last == second.position == first.position + 2
            assert (await store.stream_state(OTHER)).last == other.position
            await store.commit(Batch(events=[make_message(1)], fence=Fence(STREAM, 0, 1)))
            assert (await decide(store)).fenced
            assert (await store.stream_state(STREAM)).last == second.position
            (late,) = await append(store, NewEvent(STREAM, "X", b""))
            assert await store.stream_state(STREAM) == StreamCounters(
                version=3, through=1, wanted=1, last=late.position
            )
            assert (await store.stream_state(OTHER)).last == other.position
            await store.commit(Batch(fence=Fence("nothing", 0, 1)))
            assert await store.stream_state("nothing") == StreamCounters(through=1)
            (begun,) = await append(store, NewEvent("nothing", "X", b""))
            assert await store.read_stream("nothing") == [begun]

    # --- compact forms

    @pytest.mark.requirement("R230")
    async def test_compact_forms_are_there_after_their_commit_in_order(self, tmp_path: Path) -> None:
        async with self.store_in(tmp_path) as store:
            await append(store, make_message(1), make_message(2, stream=OTHER))
            assert await list_compact(store) == []
            start = (await store.head()).position
            await decide(store, stream=OTHER, compact=b"\x00other")
            late = Compact(OTHER, start + 1, b"\x00other")
            assert await list_compact(store) == [late]
            await decide(store, NewEvent(STREAM, "Sent", b""), make_message(1), compact=b"one")
            await decide(store, expected=1)
            await decide(store, expected=2, compact=b"")
            early = [Compact(STREAM, start + 3, b"one"), Compact(STREAM, start + 5, b"")]
            assert await list_compact(store) == [*early, late]
            assert await list_compact(store, Span(STREAM, OTHER)) == early
            assert await list_compact(store, Span(OTHER)) == [late]
            assert await list_compact(store, Span(end=STREAM)) == []

    async def test_many_compact_forms_are_read_by_span(self, tmp_path: Path) -> None:
        async with self.store_in(tmp_path) as store:
            expected = []
            async with anyio.create_task_group() as group:

                async def decide_some(name: str) -> None:
                    for number in range(250):
                        data = f"{name}-{number}".encode()
                        committed = await decide(store, stream=name, expected=number, compact=data)
                        expected.extend([Compact(name, event.position, data) for event in committed.events if event])

                for name in NAMES:
                    group.start_soon(decide_some, name)
            expected.sort(key=lambda one: (one.stream.encode(), one.position))
            assert len(expected) == 250 * len(NAMES)
            for span in SPANS:
                assert await list_compact(store, span) == [one for one in expected if span.holds(one.stream)]

    @pytest.mark.requirement("I3")
    async def test_a_fenced_batch_leaves_no_compact_form(self, tmp_path: Path) -> None:
        async with self.store_in(tmp_path) as store:
            await decide(store, compact=b"first")
            assert (await decide(store, compact=b"second")).fenced
            assert [one.data for one in await list_compact(store)] == [b"first"]

    async def test_a_compact_form_without_an_event_of_its_own_is_not_kept_and_harms_nobody(
        self, tmp_path: Path
    ) -> None:
        async with self.store_in(tmp_path) as store:
            await append(store, make_message(1))
            await decide(store, compact=b"first")
            kept = await list_compact(store)
            await store.commit(Batch(fence=Fence(STREAM, 1, 2), compact=b"none"))
            await store.commit(Batch(events=[make_message(1)], fence=Fence(STREAM, 2, 3), compact=b"duplicate"))
            assert await list_compact(store) == kept
            assert (await store.stream_state(STREAM)).through == 3
            await append(store, make_message(2))

    # --- what is worked out before it is recorded

    @pytest.mark.requirement("I3", "I5")
    async def test_what_came_as_foreseen_is_written(self, tmp_path: Path) -> None:
        async with self.store_in(tmp_path) as store:
            await append(store, make_message(1))
            batch = _foresee(store, make_message(2), version=2)
            committed = await store.commit(batch)
            events = await store.read_stream(STREAM, after=1)
            assert batch.foreseen is not None
            assert [(event.position, event.version, event.at) for event in events] == [
                (batch.foreseen.position, 2, batch.foreseen.at),
                (batch.foreseen.position + 1, 3, batch.foreseen.at),
            ]
            assert list(committed.events) == events
            assert (await store.stream_state(STREAM)).through == 2

    @pytest.mark.requirement("I2", "I3", "I5")
    @pytest.mark.parametrize("otherwise", ["position", "version", "through", "known", "elsewhere"])
    async def test_nothing_is_written_of_what_came_otherwise(self, tmp_path: Path, otherwise: str) -> None:
        async with self.store_in(tmp_path) as store:
            await append(store, make_message(1))
            await store.commit(Batch(rows=[make_row("taken", table="ticket", stream=OTHER)]))
            batch = _foresee(store, make_message(1 if otherwise == "known" else 2), version=2)
            foreseen, fence = batch.foreseen, batch.fence
            assert foreseen is not None
            assert fence is not None
            match otherwise:
                case "position":
                    foreseen = replace(foreseen, position=foreseen.position + 1)
                case "version":
                    foreseen = replace(foreseen, version=3)
                case "through":
                    fence = replace(fence, expected=1)
                case "elsewhere":
                    foreseen = replace(foreseen, alone=[("ticket", "taken")])
            before = await read_all(store), await list_counters(store)
            committed = await store.commit(replace(batch, foreseen=foreseen, fence=fence))
            assert committed == Committed(fenced=True)
            assert (await read_all(store), await list_counters(store)) == before
            assert await store.read_rows("note", stream=STREAM) == []

    @pytest.mark.requirement("I3")
    async def test_what_is_foreseen_of_one_row_by_two_is_written_once(self, tmp_path: Path) -> None:
        async with self.store_in(tmp_path) as store:
            batches: list[Batch] = []
            for place, stream in enumerate((STREAM, OTHER)):
                batch = _foresee(store, make_message(1, stream=stream), version=1, later=2 * place)
                assert batch.foreseen is not None
                rows = [make_row("one", table="ticket", stream=stream)]
                batches.append(replace(batch, rows=rows, foreseen=replace(batch.foreseen, alone=[("ticket", "one")])))
            committed = await store.commit_all(batches)
            assert [one.fenced for one in committed] == [False, True]


def _foresee(store: Store, message: NewEvent, *, version: int, later: int = 0) -> Batch:
    """The message and a decision behind it, as they will stand if nothing comes between."""
    foreseen = store.foresee()
    assert foreseen is not None
    position, at = foreseen
    return Batch(
        events=[message, NewEvent(message.stream, "Decided", b"{}")],
        rows=[make_row("a", stream=message.stream)],
        fence=Fence(message.stream, 0, version),
        foreseen=Foreseen(position + later, version, at),
    )
