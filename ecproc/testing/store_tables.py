"""What every store must do with the tables it is given, and with the parts of a rebuild."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from ecproc.domain.log import Batch, Compact, Fence, NewEvent, Row, Snapshot
from ecproc.fold.tables import LiveTables
from ecproc.store.base import Store
from ecproc.testing.store_case import (
    OTHER,
    STREAM,
    SUITE_TABLES,
    StoreCase,
    append,
    copy_live,
    list_compact,
    list_counters,
    make_message,
    make_row,
    scan_all,
)

WIDER = msgspec.structs.replace(SUITE_TABLES, names=SUITE_TABLES.names | {"subject"}, later=frozenset({"subject"}))
"""One table more than the suite writes to."""


async def decide_two(store: Store) -> None:
    """A decision in each of two streams, with rows and compact forms."""
    rows = [make_row("a"), make_row("o", table="outbox", tag="desk"), make_row("b", stream=OTHER)]
    await append(store, make_message(1), make_message(2, stream=OTHER))
    for stream in (STREAM, OTHER):
        decided = NewEvent(stream, "Decided", b"{}")
        fence = Fence(stream, 0, 1)
        await store.commit(Batch([decided], [row for row in rows if row.stream == stream], fence, compact=b"c"))


class TableTests(StoreCase):
    """The part of the suite about live tables as such, and rebuilds in parts."""

    # --- tables

    async def test_only_the_given_tables_are_there(self, tmp_path: Path) -> None:
        async with self.store_in(tmp_path) as store:
            with pytest.raises(ValueError, match="subject"):
                await store.commit(Batch(rows=[make_row("a", table="subject")]))
            with pytest.raises(ValueError, match="subject"):
                await store.read_rows("subject", stream=STREAM)
            with pytest.raises(ValueError, match="subject"):
                await store.count_rows("subject", STREAM)
            with pytest.raises(ValueError, match="subject"):
                await scan_all(store, "subject")
            async with store.rebuilding() as rebuild:
                with pytest.raises(ValueError, match="subject"):
                    await rebuild.write([make_row("a", table="subject")])

    @pytest.mark.parametrize("name", ["stream", "event", "note; DROP TABLE event", "Note", "", "note_"])
    async def test_a_table_has_a_name_of_its_own(self, tmp_path: Path, name: str) -> None:
        with pytest.raises(ValueError, match="live table"):
            await self.open_store(tmp_path, LiveTables(names=frozenset({"note", name})))

    async def test_what_is_asked_of_a_table_is_asked_of_one_that_is_there(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="live table"):
            await self.open_store(tmp_path, LiveTables(names=frozenset({"note"}), newest_stays=frozenset({"outbox"})))

    @pytest.mark.requirement("I5")
    async def test_a_table_without_rows_changes_no_digest(self, tmp_path: Path) -> None:
        digests = set()
        for tables in (SUITE_TABLES, WIDER):
            async with self.store_in(tmp_path / str(len(tables.names)), tables) as store:
                await decide_two(store)
                async with store.rebuilding() as rebuild:
                    await copy_live(store, rebuild, tables)
                    digests |= {await rebuild.digest(), await rebuild.live_digest()}
                    await rebuild.swap(fold_version=3)
                    digests |= {await rebuild.digest(), await rebuild.live_digest()}
                assert [row.id for row in await scan_all(store, "note")] == ["a", "b"]
        assert len(digests) == 1

    async def test_a_table_more_is_like_the_others(self, tmp_path: Path) -> None:
        row = make_row("a", table="subject")
        async with self.store_in(tmp_path, WIDER) as store:
            await store.commit(Batch(rows=[row]))
            assert await store.read_rows("subject", stream=STREAM) == [row]
            async with store.rebuilding() as rebuild:
                assert (await rebuild.differences(9))[1][-1].table == "subject"

    # --- rows by tag

    async def test_rows_are_counted_and_scanned_by_tag(self, tmp_path: Path) -> None:
        tags = ("Incident:open", "Change:Draft", None)
        rows = [
            make_row(f"{number:05}", ordinal=-number, table="ticket", stream=f"s{number % 7}", tag=tags[number % 3])
            for number in range(2300)
        ]
        async with self.store_in(tmp_path) as store:
            await store.commit(Batch(rows=rows))
            assert await store.count_tags("ticket") == {"Incident:open": 767, "Change:Draft": 767}
            moved = msgspec.structs.replace(rows[1], tag="Incident:open")
            await store.commit(Batch(rows=[moved, Row("ticket", rows[0].stream, rows[0].id, 0, None)]))
            assert await store.count_tags("ticket") == {"Incident:open": 767, "Change:Draft": 766}
            expected = sorted([moved, *rows[2:]], key=lambda row: (row.stream, row.ordinal, row.id))
            for asked in (tags[:2], tags[:1], ("Incident:open", "Request:"), ("Request:",), ()):
                found = [row async for page in store.scan_rows("ticket", tags=asked) for row in page]
                assert found == [row for row in expected if row.tag in asked]
                found = [row async for page in store.scan_rows("ticket", tags=asked, after="s3") for row in page]
                assert found == [row for row in expected if row.tag in asked and row.stream > "s3"]
            found = [row async for page in store.scan_rows("ticket", after="s3") for row in page]
            assert found == [row for row in expected if row.stream > "s3"]

    async def test_later_numbers_are_listed(self, tmp_path: Path) -> None:
        ids = ["N-0000009", "N-0000010", "N-9999999", "N-10000000", "N-1000000", "M-0000011", "N-x", "N"]
        async with self.store_in(tmp_path) as store:
            await store.commit(Batch(rows=[make_row(id, table="ticket", stream=f"s-{id}") for id in ids]))
            later = await store.list_later("ticket", "N-", "N-0000009")
            assert later == sorted((f"s-{id}", id) for id in ("N-0000010", "N-9999999", "N-10000000", "N-1000000"))
            assert await store.list_later("ticket", "N-", "N-9999999") == [("s-N-10000000", "N-10000000")]
            assert await store.list_later("ticket", "N-", "N-10000000") == []

    # --- a snapshot and what is behind it

    async def test_a_snapshot_is_read_with_what_is_behind_it(self, tmp_path: Path) -> None:
        async with self.store_in(tmp_path) as store:
            assert await store.read_tail(STREAM, snapshot_version=1) == (None, [])
            events = await append(
                store, *[make_message(number) for number in range(1, 8)], make_message(9, stream=OTHER)
            )
            assert await store.read_tail(STREAM, snapshot_version=1) == (None, events[:7])
            for version in (1, 4, 7):
                snapshot = Snapshot(STREAM, version, 1, b"state")
                await store.commit(Batch(snapshot=snapshot))
                assert await store.read_tail(STREAM, snapshot_version=1) == (snapshot, events[version:7])
                assert await store.read_tail(STREAM, snapshot_version=2) == (None, events[:7])
            assert await store.read_tail(OTHER, snapshot_version=1) == (None, events[7:])

    # --- rebuilds in parts

    @pytest.mark.requirement("I5")
    async def test_parts_make_up_the_whole(self, tmp_path: Path) -> None:
        async with self.store_in(tmp_path) as store:
            await decide_two(store)
            async with store.rebuilding() as whole:
                await copy_live(store, whole)
                expected = await whole.digest()
            renewed = [Compact(one.stream, one.position, b"new") for one in await list_compact(store)]
            states = {stream: await store.stream_state(stream) for stream in (STREAM, OTHER)}
            rest = [known for known in await list_counters(store) if known[0] not in states]
            async with store.rebuilding() as rebuild:
                for stream, state in states.items():
                    async with rebuild.open_part() as part:
                        async with part.writing() as writer:
                            own = [row for row in await scan_all(store, "note") if row.stream == stream]
                            compact = [one for one in renewed if one.stream == stream]
                            await writer.write(own, [(stream, state)], compact)
                        await rebuild.absorb(part)
                await rebuild.write(await scan_all(store, "outbox"), rest)
                assert await rebuild.digest() == await rebuild.live_digest() == expected
                await rebuild.swap(fold_version=3)
            assert len(renewed) == 2
            assert await list_compact(store) == renewed
            assert {stream: await store.stream_state(stream) for stream in states} == states

    async def test_a_part_that_is_not_absorbed_leaves_nothing(self, tmp_path: Path) -> None:
        async with self.store_in(tmp_path) as store, store.rebuilding() as rebuild:
            before = await rebuild.digest()
            async with rebuild.open_part() as part, part.writing() as writer:
                await writer.write([make_row("a")])
            assert await rebuild.digest() == before
