"""What every store must do with the log: order, duplicates, fences, whole batches."""

from __future__ import annotations

from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from ecproc.domain.log import Batch, Fence, NewEvent, Row, Snapshot, StreamCounters
from ecproc.store.base import Head
from ecproc.store.chain import NO_HASH, link, payload_hash
from ecproc.testing.store_case import (
    OTHER,
    STREAM,
    StoreCase,
    append,
    make_message,
    make_row,
    read_all,
    scan_all,
)


class LogTests(StoreCase):
    """The part of the suite about events."""

    # --- the log

    @pytest.mark.requirement("R226")
    async def test_events_come_back_as_they_were_given(self, tmp_path: Path) -> None:
        events = [make_message(1, payload=b'{"a": \xff\x00}'), NewEvent(OTHER, "Decided", b""), make_message(2)]
        async with self.store_in(tmp_path) as store:
            before = await store.head()
            recorded = await append(store, *events)
            assert await read_all(store, after=before.position) == recorded
        for event, given in zip(recorded, events, strict=True):
            assert (event.stream, event.kind, event.payload) == (given.stream, given.kind, given.payload)
            assert event.message_key == given.message_key

    @pytest.mark.requirement("I3")
    async def test_positions_and_versions_have_no_gaps(self, tmp_path: Path) -> None:
        async with self.store_in(tmp_path) as store:
            start = (await store.head()).position
            first = await append(store, NewEvent(STREAM, "A", b""), NewEvent(OTHER, "A", b""))
            second = await append(store, NewEvent(STREAM, "B", b""), NewEvent(STREAM, "C", b""))
        assert [event.position - start for event in (*first, *second)] == [1, 2, 3, 4]
        assert [event.version for event in (*first, *second)] == [1, 1, 2, 3]

    @pytest.mark.requirement("I3")
    async def test_versions_have_no_gaps_under_concurrent_commits(self, tmp_path: Path) -> None:
        async with self.store_in(tmp_path) as store:
            start = (await store.head()).position

            async def append_some(caller: int) -> None:
                for number in range(5):
                    await append(store, NewEvent(STREAM, f"{caller}-{number}", b""), NewEvent(f"s{caller}", "X", b""))

            async with anyio.create_task_group() as group:
                for caller in range(8):
                    group.start_soon(append_some, caller)
            events = await read_all(store, after=start)
            shared = await store.read_stream(STREAM)
        assert [event.position for event in events] == list(range(start + 1, start + 81))
        assert [event.version for event in shared] == list(range(1, 41))
        for caller in range(8):
            own = [event.kind for event in shared if event.kind.startswith(f"{caller}-")]
            assert own == [f"{caller}-{number}" for number in range(5)]

    @pytest.mark.requirement("I6")
    async def test_each_event_is_linked_to_the_one_before(self, tmp_path: Path) -> None:
        async with self.store_in(tmp_path) as store:
            await append(store, make_message(1), NewEvent(OTHER, "Decided", b"{}"))
            await append(store, make_message(2, payload=b"x"))
            events = await read_all(store)
            head = await store.head()
        before = NO_HASH
        for event in events:
            before = link(
                before,
                event.position,
                at=event.at,
                kind=event.kind,
                stream=event.stream,
                version=event.version,
                message_key=event.message_key,
                payload_hash=payload_hash(event.payload),
            )
            assert event.hash == before
        assert head == Head(events[-1].position, before)

    async def test_an_empty_batch_changes_nothing(self, tmp_path: Path) -> None:
        async with self.store_in(tmp_path) as store:
            before = await store.head()
            assert (await store.commit(Batch())).events == ()
            assert await store.head() == before

    async def test_log_is_read_in_pages_of_bounded_size(self, tmp_path: Path) -> None:
        async with self.store_in(tmp_path) as store:
            start = (await store.head()).position
            await append(store, *[NewEvent(f"s{number % 7}", "X", b"{}") for number in range(2500)])
            pages = [page async for page in store.read_log(after=start)]
            assert max(map(len, pages)) <= 1000
            assert [event.position for page in pages for event in page] == list(range(start + 1, start + 2501))
            part = await read_all(store, after=start + 10, until=start + 1200)
            assert [event.position for event in part] == list(range(start + 11, start + 1201))
            assert await read_all(store, after=start + 2500) == []
            assert len(await read_all(store, after=start + 2490, until=start + 9999)) == 10

    async def test_reading_the_log_ends_where_it_ended_at_the_start(self, tmp_path: Path) -> None:
        async with self.store_in(tmp_path) as store:
            await append(store, NewEvent(STREAM, "X", b""))
            pages = store.read_log()
            first = await anext(pages)
            await append(store, NewEvent(STREAM, "Y", b""))
            rest = [event async for page in pages for event in page]
        assert first[-1].kind == "X"
        assert rest == []

    async def test_one_event_and_one_stream_are_found(self, tmp_path: Path) -> None:
        async with self.store_in(tmp_path) as store:
            recorded = await append(store, *[NewEvent(STREAM, str(number), b"") for number in range(5)])
            assert await store.read_event(recorded[2].position) == recorded[2]
            assert await store.read_event(recorded[-1].position + 1) is None
            assert await store.read_event(0) is None
            assert await store.read_stream(STREAM) == recorded
            assert await store.read_stream(STREAM, after=1, limit=2) == recorded[1:3]
            assert await store.read_stream("unknown") == []

    async def test_a_message_is_found_by_its_key(self, tmp_path: Path) -> None:
        async with self.store_in(tmp_path) as store:
            recorded = await append(store, make_message(1), make_message(2), NewEvent(STREAM, "X", b""))
            assert await store.read_message(recorded[0].message_key or b"") == recorded[0]
            assert await store.read_message(recorded[1].message_key or b"") == recorded[1]
            assert await store.read_message((recorded[1].message_key or b"") + b"\xff") is None

    # --- duplicates

    @pytest.mark.requirement("I2", "R22")
    async def test_a_message_is_appended_once(self, tmp_path: Path) -> None:
        async with self.store_in(tmp_path) as store:
            await append(store, make_message(1, "a"))
            again = await store.commit(Batch(events=[make_message(1, "a"), make_message(2, "b"), make_message(2, "b")]))
            assert [event is None for event in again.events] == [True, False, True]
            assert [event.version for event in await store.read_stream(STREAM)] == [1, 2]

    @pytest.mark.requirement("I2", "R22")
    async def test_a_message_is_appended_once_by_callers_at_the_same_time(self, tmp_path: Path) -> None:
        outcomes: list[bool] = []
        async with self.store_in(tmp_path) as store:

            async def receive() -> None:
                committed = await store.commit(Batch(events=[make_message(1), make_message(2, "other")]))
                outcomes.extend(event is not None for event in committed.events)

            async with anyio.create_task_group() as group:
                for _ in range(10):
                    group.start_soon(receive)
            assert sum(outcomes) == 2
            assert len(await store.read_stream(STREAM)) == 2

    @pytest.mark.requirement("I2", "R40")
    async def test_number_and_id_together_tell_messages_apart(self, tmp_path: Path) -> None:
        beyond_64_bits = 18875507807458288128
        events = [
            make_message(0, "a"),
            make_message(0, "b"),
            make_message(beyond_64_bits, "a"),
            make_message(beyond_64_bits, "b"),
            make_message(2**128 - 1, "a"),
        ]
        async with self.store_in(tmp_path) as store:
            await append(store, *events)
            again = await store.commit(Batch(events=events))
            assert again.events == (None,) * len(events)
            keys = [event.message_key for event in await store.read_stream(STREAM)]
        assert keys == [event.message_key for event in events]

    @pytest.mark.requirement("I2", "R22")
    async def test_messages_that_come_late_are_told_from_those_in_the_log(self, tmp_path: Path) -> None:
        async with self.store_in(tmp_path) as store:
            await append(store, make_message(5), make_message(2**64 + 5))
            await append(store, make_message(3), make_message(9))
            again = [make_message(number) for number in (3, 4, 2**64 + 5, 9, 10, 2**64 + 6, 10)]
            committed = await store.commit(Batch(events=again))
            assert [event is None for event in committed.events] == [True, False, True, True, False, False, True]

    async def test_events_without_a_key_are_never_duplicates(self, tmp_path: Path) -> None:
        async with self.store_in(tmp_path) as store:
            await append(store, NewEvent(STREAM, "X", b""), NewEvent(STREAM, "X", b""))
            await append(store, NewEvent(STREAM, "X", b""))
            assert len(await store.read_stream(STREAM)) == 3

    async def test_a_duplicate_leaves_out_its_event_only(self, tmp_path: Path) -> None:
        async with self.store_in(tmp_path) as store:
            (recorded,) = await append(store, make_message(1))
            await store.commit(Batch(events=[make_message(1)], rows=[make_row("n")]))
            assert await store.read_rows("note", stream=STREAM) == [make_row("n")]
            assert await store.stream_state(STREAM) == StreamCounters(version=1, wanted=1, last=recorded.position)

    # --- fences and counters

    @pytest.mark.requirement("I3")
    async def test_a_fence_moves_through_once(self, tmp_path: Path) -> None:
        async with self.store_in(tmp_path) as store:
            (message,) = await append(store, make_message(1))
            decided = NewEvent(STREAM, "Decided", b"{}")
            first = await store.commit(Batch(events=[decided], fence=Fence(STREAM, 0, 1)))
            assert not first.fenced
            state = StreamCounters(version=2, through=1, wanted=1, last=message.position + 1)
            assert await store.stream_state(STREAM) == state
            second = await store.commit(Batch(events=[decided], rows=[make_row("n")], fence=Fence(STREAM, 0, 1)))
            assert second.fenced
            assert second.events == ()
            assert await store.stream_state(STREAM) == state
            assert len(await store.read_stream(STREAM)) == 2
            assert await store.read_rows("note", stream=STREAM) == []

    @pytest.mark.requirement("I3")
    async def test_one_of_many_owners_at_the_same_time_wins(self, tmp_path: Path) -> None:
        won: list[int] = []
        async with self.store_in(tmp_path) as store:
            await append(store, make_message(1))

            async def decide(owner: int) -> None:
                batch = Batch(
                    events=[NewEvent(STREAM, f"Decided-{owner}", b"{}")],
                    rows=[make_row(f"of-{owner}")],
                    fence=Fence(STREAM, 0, 1),
                    snapshot=Snapshot(STREAM, owner, 1, b"state"),
                )
                if not (await store.commit(batch)).fenced:
                    won.append(owner)

            async with anyio.create_task_group() as group:
                for owner in range(8):
                    group.start_soon(decide, owner)
            (winner,) = won
            assert [event.kind for event in await store.read_stream(STREAM, after=1)] == [f"Decided-{winner}"]
            assert [row.id for row in await scan_all(store, "note")] == [f"of-{winner}"]
            snapshot = await store.read_snapshot(STREAM, snapshot_version=1)
            assert snapshot is not None
            assert snapshot.version == winner

    async def test_undecided_streams_are_those_with_a_wanted_event_above_through(self, tmp_path: Path) -> None:
        async with self.store_in(tmp_path) as store:
            await append(store, make_message(1), make_message(2, stream=OTHER), NewEvent("quiet", "X", b""))
            assert await store.undecided_streams() == [STREAM, OTHER]
            await store.commit(Batch(events=[NewEvent(STREAM, "Decided", b"")], fence=Fence(STREAM, 0, 1)))
            assert await store.undecided_streams() == [OTHER]
            (late,) = await append(store, make_message(3))
            assert await store.undecided_streams() == [STREAM, OTHER]
            assert await store.stream_state(STREAM) == StreamCounters(
                version=3, through=1, wanted=3, last=late.position
            )
            assert await store.stream_state("unknown") == StreamCounters()

    # --- whole batches

    @pytest.mark.parametrize(
        "broken",
        [
            Batch(events=[make_message(2)], rows=[Row("nowhere", STREAM, "a", 0, b"{}")]),
            Batch(events=[make_message(2)], rows=[Row("note", STREAM, "\ud800", 0, b"{}")]),
            Batch(events=[make_message(2)], rows=[Row("note", STREAM, "a", 2**63, b"{}")]),
            Batch(events=[make_message(2), NewEvent("\udfff", "X", b"")], rows=[make_row("a")]),
            Batch(events=[make_message(2)], fence=Fence(STREAM, 0, 2**64)),
        ],
        ids=["table", "id", "ordinal", "stream", "fence"],
    )
    async def test_a_batch_that_cannot_be_stored_leaves_nothing_and_harms_nobody(
        self, tmp_path: Path, broken: Batch
    ) -> None:
        async with self.store_in(tmp_path) as store:
            await append(store, make_message(1))
            with pytest.raises(ValueError, match=r"."):
                await store.commit(broken)
            assert len(await store.read_stream(STREAM)) == 1
            assert await scan_all(store, "note") == []
            await append(store, make_message(2))

    @pytest.mark.requirement("I1")
    async def test_a_cancelled_commit_is_whole_or_absent(self, tmp_path: Path) -> None:
        async with self.store_in(tmp_path) as store:

            async def commit(number: int) -> None:
                events = [make_message(number, "a"), make_message(number, "b")]
                await store.commit(Batch(events=events, rows=[make_row(str(number))]))

            for turns in range(12):
                async with anyio.create_task_group() as group:
                    group.start_soon(commit, 2 * turns + 1)
                    group.start_soon(commit, 2 * turns + 2)
                    for _ in range(turns):
                        await anyio.lowlevel.checkpoint()
                    group.cancel_scope.cancel()
            await append(store, NewEvent(STREAM, "Last", b""))
            events = await store.read_stream(STREAM)
            rows = {row.id for row in await scan_all(store, "note")}
        numbers = [int.from_bytes((event.message_key or b"")[:16], "big") for event in events[:-1]]
        assert events[-1].kind == "Last"
        assert numbers == [number for number in dict.fromkeys(numbers) for _ in range(2)]
        assert rows == {str(number) for number in numbers}

    async def test_what_was_committed_before_a_cancellation_stays(self, tmp_path: Path) -> None:
        async with self.store_in(tmp_path) as store:
            with anyio.CancelScope() as scope:
                await append(store, make_message(1))
                scope.cancel()
                await store.commit(Batch(events=[make_message(2)]))
            assert (await store.read_stream(STREAM))[0].message_key == make_message(1).message_key
