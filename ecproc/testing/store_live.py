"""What every store must do with live rows: put, find, see one moment, rebuild, swap."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from ecproc.domain.log import Batch, Compact, Fence, NewEvent, Row, Snapshot, StreamCounters
from ecproc.errors import StoreError, StoreUnavailable
from ecproc.store.base import Difference, Span, Store
from ecproc.testing.store_case import (
    OTHER,
    STREAM,
    SUITE_TABLES,
    StoreCase,
    append,
    copy_live,
    decide,
    list_compact,
    list_counters,
    make_message,
    make_row,
    read_all,
    read_by_stream,
    scan_all,
)


class LiveTests(StoreCase):
    """The part of the suite about rows, snapshots and rebuilds."""

    # --- rows

    async def test_rows_are_put_replaced_and_deleted(self, tmp_path: Path) -> None:
        async with self.store_in(tmp_path) as store:
            await store.commit(Batch(rows=[make_row("a", ordinal=1), make_row("b", ordinal=2)]))
            changed = Row("note", STREAM, "a", 3, b'{"new":true}', "tag")
            await store.commit(Batch(rows=[changed]))
            assert await store.read_rows("note", stream=STREAM) == [make_row("b", ordinal=2), changed]
            await store.commit(Batch(rows=[Row("note", STREAM, "b", 0, None), Row("note", STREAM, "absent", 0, None)]))
            assert await store.read_rows("note", stream=STREAM) == [changed]
            assert await store.count_rows("note", STREAM) == 1

    async def test_the_last_of_a_batch_stands(self, tmp_path: Path) -> None:
        gone = Row("note", STREAM, "a", 0, None)
        async with self.store_in(tmp_path) as store:
            await store.commit(Batch(rows=[make_row("a", ordinal=1), make_row("a", ordinal=2)]))
            assert await scan_all(store, "note") == [make_row("a", ordinal=2)]
            await store.commit(Batch(rows=[make_row("a", ordinal=3), gone]))
            assert await scan_all(store, "note") == []
            await store.commit(Batch(rows=[gone, make_row("a", ordinal=4)]))
            assert await scan_all(store, "note") == [make_row("a", ordinal=4)]

    async def test_an_entry_never_takes_the_place_of_one_that_was_planned_later(self, tmp_path: Path) -> None:
        former, later, note = (
            make_row("k", ordinal=ordinal, table=table, tag=tag)
            for ordinal, table, tag in ((1, "outbox", None), (2, "outbox", "bridge"), (1, "note", None))
        )
        gone = Row("outbox", STREAM, "k", 0, None)
        async with self.store_in(tmp_path) as store:
            await store.commit(Batch(rows=[later, make_row("k", ordinal=2), note]))
            await store.commit(Batch(rows=[former]))
            assert await scan_all(store, "outbox") == [later]
            assert await scan_all(store, "note") == [note]
            await store.commit_all([Batch(rows=[later]), Batch(rows=[former])])
            assert await scan_all(store, "outbox") == [later]
            await store.commit_all([Batch(rows=[gone]), Batch(rows=[former])])
            assert await scan_all(store, "outbox") == [former]
            await store.commit(Batch(rows=[later]))
            assert await scan_all(store, "outbox") == [later]

    async def test_rows_are_found_by_stream_and_by_id(self, tmp_path: Path) -> None:
        rows = [make_row(f"n{number}", ordinal=number) for number in range(5)]
        twin = make_row("n3", stream=OTHER)
        async with self.store_in(tmp_path) as store:
            await store.commit(Batch(rows=[twin, *reversed(rows)]))
            assert await store.read_rows("note", stream=STREAM) == rows
            assert await store.read_rows("note", stream=STREAM, last=2) == rows[3:]
            assert await store.read_rows("note", stream=STREAM, last=0) == []
            assert await store.read_rows("note", stream=STREAM, last=99) == rows
            assert await store.read_rows("note", id="n3") == [rows[3], twin]
            assert await store.read_rows("note", stream=OTHER, id="n3") == [twin]
            assert await store.read_rows("note", stream=OTHER, id="n1") == []
            assert await store.count_rows("note", STREAM) == 5
            with pytest.raises(ValueError, match="by stream"):
                await store.read_rows("note")

    async def test_every_table_keeps_its_own_rows(self, tmp_path: Path) -> None:
        rows = [
            make_row("same", table=table, ordinal=number) for number, table in enumerate(sorted(SUITE_TABLES.names))
        ]
        async with self.store_in(tmp_path) as store:
            await store.commit(Batch(rows=rows))
            assert [await store.read_rows(row.table, id="same") for row in rows] == [[row] for row in rows]

    async def test_a_table_is_scanned_in_order_and_by_tag(self, tmp_path: Path) -> None:
        rows = [
            make_row(f"{number:05}", ordinal=-number, table="outbox", stream=f"s{number % 3}", tag=tag)
            for number in range(2300)
            for tag in ["bridge" if number % 5 == 0 else None]
        ]
        expected = sorted(rows, key=lambda row: (row.stream, row.ordinal, row.id))
        async with self.store_in(tmp_path) as store:
            await store.commit(Batch(rows=rows))
            assert await scan_all(store, "outbox") == expected
            assert await scan_all(store, "outbox", tagged=True) == [row for row in expected if row.tag is not None]
            settled = [Row(row.table, row.stream, row.id, row.ordinal, row.data) for row in rows]
            await store.commit(Batch(rows=settled))
            assert await scan_all(store, "outbox", tagged=True) == []

    async def test_odd_names_and_data_come_back_as_they_were(self, tmp_path: Path) -> None:
        odd = ["", "\x00", "a\x00b", "ü", "\U0001f600", "'; DROP TABLE note; --", "x" * 5000]
        rows = [Row("note", stream, id, -(2**63), b'"\xc3\xbc\x00"', "") for stream in odd for id in odd]
        async with self.store_in(tmp_path) as store:
            await store.commit(Batch(rows=rows))
            scanned = await scan_all(store, "note")
            assert sorted(scanned, key=lambda row: (row.stream, row.id)) == sorted(
                rows, key=lambda row: (row.stream, row.id)
            )
            assert await store.read_rows("note", stream="a\x00b", id="ü") == [
                Row("note", "a\x00b", "ü", -(2**63), b'"\xc3\xbc\x00"', "")
            ]

    # --- snapshots

    async def test_a_snapshot_is_for_its_own_fold(self, tmp_path: Path) -> None:
        async with self.store_in(tmp_path) as store:
            assert await store.read_snapshot(STREAM, snapshot_version=1) is None
            await store.commit(Batch(snapshot=Snapshot(STREAM, 5, 1, b"\x00state")))
            assert await store.read_snapshot(STREAM, snapshot_version=1) == Snapshot(STREAM, 5, 1, b"\x00state")
            assert await store.read_snapshot(STREAM, snapshot_version=2) is None
            await store.commit(Batch(snapshot=Snapshot(STREAM, 9, 2, b"")))
            assert await store.read_snapshot(STREAM, snapshot_version=2) == Snapshot(STREAM, 9, 2, b"")
            assert await store.read_snapshot(STREAM, snapshot_version=1) is None

    # --- one moment

    @pytest.mark.requirement("I5")
    async def test_a_reading_sees_one_moment(self, tmp_path: Path) -> None:
        async with self.store_in(tmp_path) as store:
            await store.commit(Batch(events=[make_message(1)], rows=[make_row("a")]))
            before = await store.head()
            async with store.reading() as moment:
                await store.commit(Batch(events=[make_message(2)], rows=[make_row("a", ordinal=7), make_row("b")]))
                decided, fence = NewEvent(STREAM, "Decided", b""), Fence(STREAM, 0, 1)
                snapshot = Snapshot(STREAM, 1, 1, b"s")
                await store.commit(Batch(events=[decided], fence=fence, snapshot=snapshot, compact=b"c"))
                assert await moment.head() == before
                assert len(await read_all(moment)) == before.position
                assert await scan_all(moment, "note") == [make_row("a")]
                state = StreamCounters(version=1, wanted=1, last=before.position)
                assert await moment.stream_state(STREAM) == state
                assert await list_counters(moment, Span(STREAM, OTHER)) == [(STREAM, state)]
                assert len(await moment.read_stream(STREAM)) == 1
                assert len(await read_by_stream(moment)) == before.position
                assert await list_compact(moment) == []
                assert await moment.undecided_streams() == [STREAM]
                assert await moment.read_snapshot(STREAM, snapshot_version=1) is None
            assert (await store.head()).position == before.position + 2
            assert len(await list_compact(store)) == 1
            assert len(await scan_all(store, "note")) == 2

    @pytest.mark.requirement("I5", "I7")
    async def test_a_copy_sees_one_moment_of_what_changes(self, tmp_path: Path) -> None:
        async with self.store_in(tmp_path) as store:
            await store.commit(Batch(events=[make_message(1)], rows=[make_row("a")]))
            before = await store.head()
            async with store.copying() as moment:
                await store.commit(Batch(events=[make_message(2)], rows=[make_row("a", ordinal=7), make_row("b")]))
                await append(store, make_message(3, stream=OTHER))
                assert await moment.head() == before
                assert len(await read_all(moment)) == before.position
                assert len(await read_by_stream(moment)) == before.position
                assert await scan_all(moment, "note") == [make_row("a")]
                assert await moment.stream_state(OTHER) == StreamCounters()
                assert len(await moment.read_stream(STREAM)) == 1
                async with store.rebuilding(moment) as aside:
                    assert (await aside.differences(0))[0] > 0
            assert len(await scan_all(store, "note")) == 2

    async def test_readings_stand_side_by_side(self, tmp_path: Path) -> None:
        async with self.store_in(tmp_path) as store:
            start = (await store.head()).position
            async with store.reading() as first:
                await append(store, make_message(1))
                async with store.reading() as second:
                    await append(store, make_message(2))
                    heads = [(await reader.head()).position - start for reader in (first, second, store)]
        assert heads == [0, 1, 2]

    # --- rebuilds

    @pytest.mark.requirement("I5", "R230")
    async def test_a_rebuild_of_the_same_rows_is_equal(self, tmp_path: Path) -> None:
        async with self.store_in(tmp_path) as store:
            await self._fill(store)
            async with store.rebuilding() as rebuild:
                await copy_live(store, rebuild)
                assert await rebuild.digest() == await rebuild.live_digest()
                assert await rebuild.differences(10) == (0, [])

    @pytest.mark.requirement("I5", "R230")
    @pytest.mark.parametrize(
        ("row", "expected"),
        [
            (Row("note", STREAM, "a", 1, b'{"other":1}'), (b'{"id":"a","ordinal":1}', b'{"other":1}')),
            (make_row("a", ordinal=2), (b'{"id":"a","ordinal":1}', b'{"id":"a","ordinal":2}')),
            (
                Row("note", STREAM, "a", 2, b'{"id":"a","ordinal":1}'),
                (b'{"ordinal":1,"tag":null}', b'{"ordinal":2,"tag":null}'),
            ),
            (make_row("a", ordinal=1, tag=""), (b'{"ordinal":1,"tag":null}', b'{"ordinal":1,"tag":""}')),
            (Row("note", STREAM, "a", 0, None), (b'{"id":"a","ordinal":1}', None)),
            (make_row("new"), (None, b'{"id":"new","ordinal":0}')),
        ],
        ids=["data", "ordinal-and-data", "ordinal", "tag", "missing", "additional"],
    )
    async def test_every_difference_is_found(
        self, tmp_path: Path, row: Row, expected: tuple[bytes | None, bytes | None]
    ) -> None:
        async with self.store_in(tmp_path) as store:
            await self._fill(store)
            async with store.rebuilding() as rebuild:
                await copy_live(store, rebuild)
                await rebuild.write([row])
                assert await rebuild.digest() != await rebuild.live_digest()
                assert await rebuild.differences(10) == (1, [Difference("note", STREAM, row.id, *expected)])
                assert await rebuild.differences(0) == (1, [])

    async def test_stream_counters_are_compared_but_not_what_is_wanted(self, tmp_path: Path) -> None:
        async with self.store_in(tmp_path) as store:
            await self._fill(store)
            last = (await store.head()).position
            async with store.rebuilding() as rebuild:
                await copy_live(store, rebuild)
                await rebuild.write([], [(STREAM, StreamCounters(version=2, through=1, wanted=0, last=last))])
                assert await rebuild.digest() == await rebuild.live_digest()
                for through, position in ((2, last), (1, last - 1)):
                    state = StreamCounters(version=2, through=through, wanted=0, last=position)
                    await rebuild.write([], [(STREAM, state)])
                    assert await rebuild.digest() != await rebuild.live_digest()
                    live = f'{{"version":2,"through":1,"last":{last}}}'.encode()
                    rebuilt = f'{{"version":2,"through":{through},"last":{position}}}'.encode()
                    assert await rebuild.differences(1) == (1, [Difference("stream", STREAM, "", live, rebuilt)])

    async def test_differences_come_in_order_and_no_more_than_asked_for(self, tmp_path: Path) -> None:
        async with self.store_in(tmp_path) as store:
            await store.commit(Batch(rows=[make_row(f"{number:04}") for number in range(0, 3000, 2)]))
            async with store.rebuilding() as rebuild:
                await copy_live(store, rebuild)
                await rebuild.write([make_row(f"{number:04}") for number in range(1, 3000, 2)])
                count, found = await rebuild.differences(3)
        assert count == 1500
        assert [difference.id for difference in found] == ["0001", "0003", "0005"]

    @pytest.mark.requirement("R230")
    async def test_a_rebuild_without_a_swap_leaves_nothing(self, tmp_path: Path) -> None:
        async with self.store_in(tmp_path) as store:
            await self._fill(store)
            before = await scan_all(store, "note")
            async with store.rebuilding() as rebuild:
                await rebuild.write([make_row("other")])
            assert await scan_all(store, "note") == before
            async with store.rebuilding() as rebuild:
                assert await rebuild.differences(0) == (await self._count_canonical(store), [])

    @pytest.mark.requirement("R230")
    async def test_a_swap_replaces_rows_counters_and_fold_version_and_leaves_snapshots(self, tmp_path: Path) -> None:
        async with self.store_in(tmp_path) as store:
            await self._fill(store)
            await store.commit(Batch(snapshot=Snapshot(OTHER, 1, 8, b"new fold")))
            async with store.rebuilding() as rebuild:
                await copy_live(store, rebuild)
                gone = Row("note", STREAM, "a", 0, None)
                state = StreamCounters(version=2, through=2, wanted=1, last=(await store.head()).position)
                await rebuild.write([gone, make_row("z", ordinal=9)], [(STREAM, state)])
                await rebuild.swap(fold_version=8)
                assert await rebuild.digest() == await rebuild.live_digest()
            assert [row.id for row in await scan_all(store, "note")] == ["b", "z"]
            assert await store.stream_state(STREAM) == state
            assert await store.fold_version() == 8
            assert await store.read_snapshot(STREAM, snapshot_version=8) is None
            assert await store.read_snapshot(STREAM, snapshot_version=7) is not None
            assert await store.read_snapshot(OTHER, snapshot_version=8) is not None
            recorded = await append(store, NewEvent(STREAM, "After", b""))
            assert recorded[0].version == 3
            assert [event.version for event in await store.read_stream(STREAM)] == [1, 2, 3]

    async def test_a_swap_that_misses_events_is_refused_whole(self, tmp_path: Path) -> None:
        async with self.store_in(tmp_path) as store:
            await self._fill(store)
            before = await scan_all(store, "note")
            async with store.rebuilding() as rebuild:
                await copy_live(store, rebuild)
                await rebuild.write([make_row("z")])
                (missed,) = await append(store, make_message(99))
                with pytest.raises(StoreError):
                    await rebuild.swap(fold_version=8)
                assert await scan_all(store, "note") == before
                assert await store.fold_version() == 0
                state = StreamCounters(version=3, through=1, wanted=3, last=missed.position)
                assert await store.stream_state(STREAM) == state
                await rebuild.write([], [(STREAM, await store.stream_state(STREAM))])
                await rebuild.swap(fold_version=8)
            assert "z" in [row.id for row in await scan_all(store, "note")]

    @pytest.mark.requirement("R230")
    async def test_a_swap_renews_the_compact_forms_of_the_streams_that_have_new_ones(self, tmp_path: Path) -> None:
        async with self.store_in(tmp_path) as store:
            await decide(store, compact=b"one")
            await decide(store, stream=OTHER, compact=b"other")
            await decide(store, expected=1, compact=b"two")
            _, two, other = before = await list_compact(store)
            new = Compact(STREAM, two.position, b"new")
            async with store.rebuilding() as rebuild:
                await copy_live(store, rebuild)
                await rebuild.write([], [], [new])
                assert await rebuild.differences(0) == (0, [])
            assert await list_compact(store) == before
            async with store.rebuilding() as rebuild:
                await rebuild.write([], [], [new])
                with pytest.raises(StoreError):
                    await rebuild.swap(fold_version=8)
                assert await list_compact(store) == before
                await copy_live(store, rebuild)
                await rebuild.swap(fold_version=8)
            assert await list_compact(store) == [new, other]
            await decide(store, expected=2, compact=b"three")
            three = Compact(STREAM, (await store.head()).position, b"three")
            assert await list_compact(store) == [new, three, other]
            async with store.rebuilding() as rebuild:
                await copy_live(store, rebuild)
                await rebuild.swap(fold_version=9)
            assert await list_compact(store) == [new, three, other]

    @pytest.mark.requirement("I5")
    async def test_a_rebuild_is_compared_with_the_moment_it_is_given(self, tmp_path: Path) -> None:
        async with self.store_in(tmp_path) as store:
            await self._fill(store)
            async with store.reading() as moment, store.rebuilding(moment) as rebuild:
                await store.commit(Batch(events=[make_message(50)], rows=[make_row("later")]))
                await copy_live(moment, rebuild)
                assert await rebuild.differences(5) == (0, [])
                assert await rebuild.digest() == await rebuild.live_digest()

    async def test_a_rebuild_keeps_the_last_row_written(self, tmp_path: Path) -> None:
        async with self.store_in(tmp_path) as store, store.rebuilding() as one, store.rebuilding() as other:
            await one.write([make_row("a", ordinal=1)])
            await one.write([make_row("a", ordinal=2), make_row("a", ordinal=3)])
            await other.write([make_row("a", ordinal=3)])
            assert await one.digest() == await other.digest()

    # --- the whole

    async def test_a_new_store_has_room_and_no_fold(self, tmp_path: Path) -> None:
        async with self.store_in(tmp_path) as store:
            assert store.has_room()
            assert not store.failed.is_set()
            assert await store.fold_version() == 0
            assert await store.undecided_streams() == []
            with store.taking(100_000) as taken:
                assert taken
            before = await store.size_bytes()
            await append(store, NewEvent(STREAM, "X", bytes(100_000)))
            assert await store.size_bytes() > before

    async def test_a_closed_store_takes_nothing(self, tmp_path: Path) -> None:
        async with self.store_in(tmp_path) as store:
            await store.aclose()
            assert not store.has_room()
            assert not store.may_perform()
            with pytest.raises(StoreUnavailable):
                await store.commit(Batch(events=[make_message(1)]))

    async def test_a_store_may_be_closed_more_than_once(self, tmp_path: Path) -> None:
        async with self.store_in(tmp_path) as store:
            await append(store, make_message(1))
            async with anyio.create_task_group() as group:
                for _ in range(3):
                    group.start_soon(store.aclose)

    async def _fill(self, store: Store) -> None:
        rows: Sequence[Row] = [
            make_row("a", ordinal=1),
            make_row("b", ordinal=2),
            make_row("o", table="outbox", tag="desk"),
        ]
        await store.commit(Batch(events=[make_message(1), make_message(2, stream=OTHER)], rows=rows))
        decided = NewEvent(STREAM, "Decided", b"{}")
        snapshot = Snapshot(STREAM, 2, 7, b"s")
        await store.commit(Batch(events=[decided], fence=Fence(STREAM, 0, 1), snapshot=snapshot))

    async def _count_canonical(self, store: Store) -> int:
        streams = {event.stream for event in await read_all(store)}
        return len(streams) + sum([len(await scan_all(store, table)) for table in SUITE_TABLES.names])
