"""The loop that polls a desk: what it takes in, what it leaves for later, and what a failure costs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest

from ecproc.desk.base import DeskRefused, DeskUnavailable, News, WatchPage
from ecproc.domain.external import ExternalFile, ExternalKind, ExternalReceived, Fate
from ecproc.runtime.watch import CursorFile, Standing, Watching
from ecproc.telemetry.hooks import Telemetry
from tests.simulation.clock import VirtualClock
from tests.simulation.simloop import simulated_backend
from tests.simulation.two_ways import without_threads

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("without_threads")]
_ = without_threads
INTERVAL = 30.0


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return simulated_backend()


def record(reference: str, **members: Any) -> News:
    return News(ExternalReceived("desk", ExternalKind.RECORD, f"rec:{reference}:1", reference=reference), **members)


class Polled(Telemetry):
    """How polls ended."""

    def __init__(self, polls: list[str]) -> None:
        self._polls = polls

    def desk_polled(self, source: str, outcome: str, *, whole_at: int | None) -> None:
        self._polls.append(outcome)


class Bench:
    """A desk with pages to give, an intake that judges as it is told, and what became of both."""

    def __init__(self, folder: Path) -> None:
        self.pages: list[Sequence[News] | Exception] = []
        self.asked: list[tuple[float, str]] = []
        self.read: list[list[str]] = []
        self.taken: list[str] = []
        self.remarks: list[str] = []
        self.fates: dict[str, Fate] = {}
        self.may_take = True
        self.unwanted: set[str] = set()
        self.path = folder / "watch" / "desk.json"
        self.polls: list[str] = []
        self.source = "desk"

    def open(self) -> Watching:
        return Watching(
            self,
            self,
            keep=self.keep,
            may_take=lambda: self.may_take,
            file=CursorFile(self.path),
            interval=INTERVAL,
            clock=VirtualClock(),
            telemetry=Polled(self.polls),
        )

    async def run(self, watching: Watching, seconds: float) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watching.run)
            await anyio.sleep(seconds)
            watching.stop()

    async def type_of(self, event: ExternalReceived) -> str:
        raise AssertionError("what a watch tells is translated already")

    # --- the desk ---

    async def changes(self, cursor: str) -> WatchPage:
        self.asked.append((anyio.current_time(), cursor))
        page = self.pages.pop(0) if self.pages else ()
        if isinstance(page, Exception):
            raise page
        return WatchPage(tuple(page), f"{len(self.asked)}", more=bool(page) and bool(self.pages))

    async def read_again(self, records: Collection[str]) -> tuple[News, ...]:
        self.read.append(list(records))
        return tuple(record(name) for name in records)

    async def fetch(self, file: str, write: Callable[[bytes], Awaitable[None]], most: int) -> None:
        raise AssertionError("what is kept is fetched by whoever keeps it")

    async def keep(self, news: News) -> ExternalFile:
        if news.file == "gone":
            raise DeskRefused("it is gone")
        return ExternalFile(news.name, "text/plain", 3, "00", "attachments/00/00")

    # --- the intake ---

    async def wants(self, event: ExternalReceived) -> bool:
        return event.reference not in self.unwanted

    async def take(self, events: Sequence[ExternalReceived]) -> list[Fate]:
        self.taken += [event.reference for event in events]
        self.remarks += [remark.detail for event in events for remark in event.remarks]
        return [self.fates.get(event.reference, Fate.APPENDED) for event in events]


async def test_a_page_is_taken_in_before_the_cursor_moves_past_it(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.pages = [[record("a")], [record("b")]]
    watching = bench.open()
    await bench.run(watching, 1)
    assert bench.taken == ["a", "b"]
    assert CursorFile(bench.path).read() == Standing("2")
    assert [cursor for _, cursor in bench.asked] == ["", "1"]
    assert bench.polls == ["ok"]


async def test_what_is_left_for_later_survives_a_restart_and_is_read_again(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.pages = [[record("a"), record("b")]]
    bench.fates = {"b": Fate.DEFERRED}
    await bench.run(bench.open(), 1)
    assert CursorFile(bench.path).read() == Standing("1", ["b"])

    bench.fates = {}
    await bench.run(bench.open(), 1)
    assert bench.read == [["b"]]
    assert CursorFile(bench.path).read().deferred == []
    assert bench.taken == ["a", "b", "b"]


async def test_without_room_the_cursor_stays_where_it_is(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.pages = [[record("a")], [record("a")]]
    bench.fates = {"a": Fate.BUSY}
    watching = bench.open()
    await bench.run(watching, 1)
    assert CursorFile(bench.path).read() == Standing()
    assert bench.polls == ["busy"]

    bench.fates = {}
    await bench.run(bench.open(), 1)
    assert bench.asked[-1][1] == ""
    assert bench.polls == ["busy", "ok"]


async def test_while_nothing_may_be_taken_nothing_is_asked(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.may_take = False
    await bench.run(bench.open(), INTERVAL * 3.5)
    assert (bench.asked, bench.polls) == ([], ["busy"] * 4)


async def test_a_failure_waits_for_the_next_turn_and_loses_nothing(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.pages = [DeskUnavailable("asleep", sent=False), [record("a")]]
    await bench.run(bench.open(), INTERVAL * 1.5)
    assert [at for at, _ in bench.asked] == [0.0, INTERVAL]
    assert bench.taken == ["a"]
    assert bench.polls == ["failed", "ok"]


async def test_it_is_woken_at_once_and_stopped_at_once(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    watching = bench.open()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watching.run)
        await anyio.sleep(5)
        watching.wake()
        await anyio.sleep(1)
        watching.stop()
    assert [at for at, _ in bench.asked] == [0.0, 5.0]
    assert anyio.current_time() == 6.0


async def test_a_whole_poll_is_one_that_began_after_it_was_asked_for(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.pages = [(), DeskUnavailable("asleep", sent=False), [record("a")]]
    watching = bench.open()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watching.run)
        await anyio.sleep(1)
        await watching.wait_whole_poll()
        watching.stop()
    assert bench.polls == ["ok", "failed", "ok"]
    assert bench.taken == ["a"]


async def test_a_file_that_cannot_be_had_is_said_of_its_news_and_one_that_nobody_wants_is_not_fetched(
    tmp_path: Path,
) -> None:
    bench = Bench(tmp_path)
    bench.unwanted = {"b"}
    bench.pages = [[record("a", file="gone", name="log.txt"), record("b", file="gone", name="log.txt")]]
    await bench.run(bench.open(), 1)
    assert bench.remarks == ["attachment log.txt: it is gone"]
    assert bench.taken == ["a", "b"]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"cursor":1}', b"\xff"])
async def test_a_damaged_file_counts_as_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "desk.json"
    path.write_bytes(content)
    assert CursorFile(path).read() == Standing()
