"""The shared suite of watches on one in memory, which is right; and on the same with a defect, which it must find."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Collection
from typing import Any

import pytest

from ecproc.desk.base import DeskRefused, News, WatchPage
from ecproc.domain.external import ExternalKind, ExternalReceived
from ecproc.testing.watch import WatchedDesk, WatchTests

DAY = 86_400.0


class MemoryDesk:
    """Records by reference: when each changed last, and how often."""

    def __init__(self) -> None:
        self.now = 1_000_000.0
        self.records: dict[str, tuple[float, int]] = {}
        self.every = 0

    def write(self, *, ago: float = 0.0) -> str:
        reference = f"{(len(self.records) * 7919) % 100_003:06d}"
        self.records[reference] = (self.now - ago, 0)
        return reference

    def edit(self, reference: str) -> None:
        self.records[reference] = (self.now, self.records[reference][1] + 1)

    def tick(self, seconds: float) -> None:
        self.now += seconds

    def hide(self, *, every: int) -> None:
        self.every = every

    def is_seen(self, reference: str) -> bool:
        return not self.every or ([*self.records].index(reference) + 1) % self.every != 0


class MemoryWatch:
    """Reads a desk by the key (time, reference); `defect` names what it does wrong."""

    source = "memory"

    def __init__(self, desk: MemoryDesk, *, page: int, overlap: float, defect: str = "") -> None:
        self._desk = desk
        self._page = page
        self._overlap = overlap
        self._defect = defect

    async def changes(self, cursor: str) -> WatchPage:
        seen, at, offset = self._read(cursor)
        seen = min(seen, self._desk.now)
        start = at or [seen - (0.0 if self._defect == "no overlap" else self._overlap), ""]
        rows: list[list[Any]] = sorted(
            [when, reference, count] for reference, (when, count) in self._desk.records.items()
        )
        rows = [row for row in rows if self._is_behind(row, start, is_first=at is None)]
        if self._defect == "offset":
            rows = rows[offset:]
        page = rows[: self._page]
        shown = [row for row in page if self._desk.is_seen(row[1])]
        is_end = not page or (self._defect == "short page" and len(shown) < self._page)
        seen = max([seen, *(row[0] for row in page)])
        last = start if self._defect == "offset" else page[-1][:2] if page else None
        news = tuple(self._tell(*row) for row in shown)
        if is_end:
            seen = self._desk.now if self._defect == "cursor is now" else seen
            return WatchPage(news, json.dumps([seen, None, 0]), more=False)
        return WatchPage(news, json.dumps([seen, last, offset + len(page)]), more=True)

    async def read_again(self, records: Collection[str]) -> tuple[News, ...]:
        known = [record for record in dict.fromkeys(records) if record in self._desk.records]
        return tuple(self._tell(self._desk.records[one][0], one, self._desk.records[one][1]) for one in known)

    async def fetch(self, file: str, write: Callable[[bytes], Awaitable[None]], most: int) -> None:
        raise DeskRefused("there is no file")

    def _read(self, cursor: str) -> tuple[float, list[Any] | None, int]:
        try:
            seen, at, offset = json.loads(cursor)
        except (ValueError, TypeError):
            return self._desk.now - DAY, None, 0
        return seen, at, offset

    def _is_behind(self, row: list[Any], start: list[Any], *, is_first: bool) -> bool:
        if self._defect == "> for >=" and is_first:
            return bool(row[0] > start[0])
        if self._defect == "ties":
            return bool(row[0] >= start[0]) if is_first else bool(row[0] > start[0])
        return bool(row[:2] >= start) if self._defect == "offset" else bool(row[:2] > start)

    def _tell(self, when: float, reference: str, count: int) -> News:
        event_id = f"rec:{reference}" if self._defect == "no count in the id" else f"rec:{reference}:{count}"
        return News(ExternalReceived("memory", ExternalKind.RECORD, event_id, reference=reference, stamp=count))


class TestMemoryWatch(WatchTests):
    async def open_desk(self) -> MemoryDesk:
        return MemoryDesk()

    async def open_watch(self, desk: WatchedDesk, *, page: int, overlap: float) -> MemoryWatch:
        assert isinstance(desk, MemoryDesk)
        return MemoryWatch(desk, page=page, overlap=overlap)


FOUND = {
    "cursor is now": "test_a_quiet_time_moves_no_cursor_past_what_is_written_in_it",
    "> for >=": "test_what_comes_in_the_second_of_the_last_one_is_told",
    "no overlap": "test_what_becomes_visible_late_is_told",
    "offset": "test_changes_while_the_pages_are_read_are_missed_by_none",
    "short page": "test_the_rows_that_are_hidden_end_no_round",
    "ties": "test_ties_in_one_second_are_told_once_each_however_many",
    "no count in the id": "test_a_change_has_an_id_of_its_own",
}


@pytest.mark.anyio
@pytest.mark.parametrize("defect", FOUND)
async def test_the_suite_finds_a_watch_with_a_defect(defect: str) -> None:
    class Defective(TestMemoryWatch):
        async def open_watch(self, desk: WatchedDesk, *, page: int, overlap: float) -> MemoryWatch:
            assert isinstance(desk, MemoryDesk)
            return MemoryWatch(desk, page=page, overlap=overlap, defect=defect)

    with pytest.raises(AssertionError):
        await getattr(Defective(), FOUND[defect])()
