"""What every watch of a desk must do: subclass `WatchTests`, and say how to open yours on a desk of its people."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Protocol

import pytest

from ecproc.desk.base import News, Watch
from ecproc.domain.external import ExternalKind
from ecproc.testing.suite import Suite

MOST_PAGES = 500
"""Pages of a round, by which any round of this suite has ended."""


class WatchedDesk(Protocol):
    """A desk as people use it, and its clock, which only this moves: what happens between two ticks has one time."""

    def write(self, *, ago: float = 0.0) -> str:
        """Have a new record, written so many seconds ago but visible only now; gives its reference."""

    def edit(self, reference: str) -> None:
        """Change a record."""

    def tick(self, seconds: float) -> None:
        """Move the clock, back too."""

    def hide(self, *, every: int) -> None:
        """Show the watch no record whose place in the order of writing can be divided by that."""


class WatchRound:
    """A round of a watch: what it told, page by page, and where it came to."""

    def __init__(self, watch: Watch, cursor: str = "") -> None:
        self.watch = watch
        self.cursor = cursor
        self.pages: list[Sequence[News]] = []

    async def read_page(self) -> bool:
        """Read one page; whether there is more."""
        page = await self.watch.changes(self.cursor)
        self.pages.append(page.news)
        self.cursor = page.cursor
        return page.more

    async def read_all(self) -> WatchRound:
        """Read to the end of the round."""
        for _ in range(MOST_PAGES):
            if not await self.read_page():
                return self
        raise AssertionError(f"the round has more than {MOST_PAGES} pages")

    @property
    def records(self) -> list[str]:
        """The references of the records that were told, as often as they were."""
        return [each.event.reference for page in self.pages for each in page if _is_record(each)]

    @property
    def ids(self) -> list[str]:
        """The ids of all news."""
        return [each.event.id for page in self.pages for each in page]


class WatchTests(Suite, ABC):
    """The suite. A watch opened twice on one desk must go on by the other's cursor."""

    @abstractmethod
    async def open_desk(self) -> WatchedDesk:
        """Give a desk that has no record yet."""

    @abstractmethod
    async def open_watch(self, desk: WatchedDesk, *, page: int, overlap: float) -> Watch:
        """Give the watch of that desk, which reads back by a day where it has no cursor."""

    async def test_a_round_tells_everything_once(self) -> None:
        desk = await self.open_desk()
        written = [_tick_after(desk, desk.write(), 1.0) for _ in range(25)]
        reading = await WatchRound(await self.open_watch(desk, page=10, overlap=0)).read_all()
        assert_each_once(reading, written)

    async def test_ties_in_one_second_are_told_once_each_however_many(self) -> None:
        desk = await self.open_desk()
        written = [desk.write() for _ in range(1_000)]
        desk.tick(1)
        later = [desk.write() for _ in range(3)]
        reading = await WatchRound(await self.open_watch(desk, page=200, overlap=0)).read_all()
        assert_each_once(reading, [*written, *later])

    async def test_a_page_is_as_long_as_asked_for(self) -> None:
        desk = await self.open_desk()
        for _ in range(10):
            desk.write()
        reading = await WatchRound(await self.open_watch(desk, page=3, overlap=0)).read_all()
        assert max(len([news for news in page if _is_record(news)]) for page in reading.pages) == 3

    async def test_what_comes_in_the_second_of_the_last_one_is_told(self) -> None:
        desk = await self.open_desk()
        watch = await self.open_watch(desk, page=10, overlap=0)
        first = desk.write()
        reading = await WatchRound(watch).read_all()
        second = desk.write()
        again = await WatchRound(watch, reading.cursor).read_all()
        assert reading.records == [first]
        assert second in again.records

    async def test_what_becomes_visible_late_is_told(self) -> None:
        desk = await self.open_desk()
        watch = await self.open_watch(desk, page=10, overlap=60)
        _tick_after(desk, desk.write(), 30)
        cursor = (await WatchRound(watch).read_all()).cursor
        desk.write()
        cursor = (await WatchRound(watch, cursor).read_all()).cursor
        late = desk.write(ago=50)
        assert late in (await WatchRound(watch, cursor).read_all()).records

    async def test_a_quiet_time_moves_no_cursor_past_what_is_written_in_it(self) -> None:
        desk = await self.open_desk()
        watch = await self.open_watch(desk, page=10, overlap=0)
        desk.write()
        cursor = (await WatchRound(watch).read_all()).cursor
        desk.tick(600)
        quiet = await WatchRound(watch, cursor).read_all()
        late = desk.write(ago=300)
        assert quiet.cursor == cursor, "a cursor is the time of something that was seen, never now"
        assert late in (await WatchRound(watch, quiet.cursor).read_all()).records

    async def test_changes_while_the_pages_are_read_are_missed_by_none(self) -> None:
        desk = await self.open_desk()
        watch = await self.open_watch(desk, page=10, overlap=0)
        written = [_tick_after(desk, desk.write(), 1) for _ in range(40)]
        reading = WatchRound(watch)
        for index in range(3):
            await reading.read_page()
            for reference in written[index * 5 : index * 5 + 5]:  # they were told, and leave their place in the order
                desk.edit(reference)
            written.append(_tick_after(desk, desk.write(), 1))
        await reading.read_all()
        assert set(reading.records) == set(written)
        assert_none_twice(reading.ids)

    async def test_the_rows_that_are_hidden_end_no_round(self) -> None:
        desk = await self.open_desk()
        written = [_tick_after(desk, desk.write(), 0.5) for _ in range(101)]
        desk.hide(every=2)
        reading = await WatchRound(await self.open_watch(desk, page=10, overlap=0)).read_all()
        assert_each_once(reading, written[::2])

    async def test_a_long_stretch_of_hidden_rows_ends_no_round_either(self) -> None:
        desk = await self.open_desk()
        for _ in range(30):
            desk.write()
        desk.tick(1)
        desk.hide(every=1)
        watch = await self.open_watch(desk, page=10, overlap=0)
        hidden = await WatchRound(watch).read_all()
        assert hidden.records == []

    async def test_a_round_is_gone_on_with_by_another_process(self) -> None:
        desk = await self.open_desk()
        written = [_tick_after(desk, desk.write(), 0.25) for _ in range(50)]
        reading = WatchRound(await self.open_watch(desk, page=10, overlap=0))
        for _ in range(2):
            await reading.read_page()
        reading.watch = await self.open_watch(desk, page=10, overlap=0)
        await reading.read_all()
        assert_each_once(reading, written)

    async def test_a_lost_cursor_costs_repeats_and_no_news(self) -> None:
        desk = await self.open_desk()
        watch = await self.open_watch(desk, page=10, overlap=60)
        for _ in range(20):
            _tick_after(desk, desk.write(), 10)
        first = await WatchRound(watch).read_all()
        for broken in ("", "{", "null", '{"tables":{"incident":{"seen":"x"}}}'):
            again = await WatchRound(watch, broken).read_all()
            assert sorted(again.ids) == sorted(first.ids), "what is told again has the id that it had"

    async def test_a_change_has_an_id_of_its_own(self) -> None:
        desk = await self.open_desk()
        watch = await self.open_watch(desk, page=10, overlap=60)
        reference = desk.write()
        first = await WatchRound(watch).read_all()
        desk.edit(reference)
        again = await WatchRound(watch, first.cursor).read_all()
        assert again.records == [reference]
        assert set(again.ids).isdisjoint(first.ids)
        (stamp, later) = (news.event.stamp for reading in (first, again) for news in reading.pages[0])
        assert later > stamp

    async def test_a_clock_that_is_set_back_hides_nothing(self) -> None:
        desk = await self.open_desk()
        watch = await self.open_watch(desk, page=10, overlap=60)
        desk.write()
        cursor = (await WatchRound(watch).read_all()).cursor
        desk.tick(-3_600)
        for _ in range(3):
            written = desk.write()
            reading = await WatchRound(watch, cursor).read_all()
            assert written in reading.records
            cursor = reading.cursor
            desk.tick(300)

    async def test_records_are_read_again_as_they_stand(self) -> None:
        desk = await self.open_desk()
        watch = await self.open_watch(desk, page=10, overlap=60)
        written = [desk.write() for _ in range(250)]
        desk.edit(written[0])
        again = await watch.read_again([*written, written[0], "no such record"])
        assert sorted(news.event.reference for news in again) == sorted(written)
        assert {news.event.kind for news in again} == {ExternalKind.RECORD}

    @pytest.mark.parametrize("page", [1, 7, 100])
    async def test_a_second_round_tells_what_the_first_one_did_where_they_overlap(self, page: int) -> None:
        desk = await self.open_desk()
        watch = await self.open_watch(desk, page=page, overlap=3_600)
        written = [_tick_after(desk, desk.write(), 3) for _ in range(20)]
        first = await WatchRound(watch).read_all()
        again = await WatchRound(watch, first.cursor).read_all()
        assert_each_once(first, written)
        assert again.ids == first.ids


def assert_each_once(reading: WatchRound, written: Iterable[str]) -> None:
    """Fail unless each of these records was told, and once."""
    assert sorted(reading.records) == sorted(written)
    assert_none_twice(reading.ids)


def assert_none_twice(ids: Iterable[str]) -> None:
    """Fail where a round told something twice."""
    assert [each for each, count in Counter(ids).items() if count > 1] == []


def _is_record(news: News) -> bool:
    return news.event.kind is ExternalKind.RECORD


def _tick_after(desk: WatchedDesk, reference: str, seconds: float) -> str:
    desk.tick(seconds)
    return reference
