"""The built-in desk's file beside a log: which numbers may be given on."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from itertools import count
from pathlib import Path

import pytest

from ecproc.clock import SystemClock
from ecproc.config import Config, DataConfig
from ecproc.desk.local import LocalDesk
from ecproc.doctor import examination
from ecproc.doctor.report import CheckName
from ecproc.domain.effects import Effect, EffectKind
from ecproc.domain.entry import Entry, EntryState
from ecproc.domain.ids import EffectKey, TicketNumber, create_key, is_create_key, message_effect_key, return_key
from ecproc.domain.log import Batch, NewEvent, Row
from ecproc.errors import OutOfStep
from ecproc.fold.rows import entry_row
from ecproc.fold.tables import TABLES
from ecproc.restoring import SKIPPED_NUMBERS, align_desk
from ecproc.room import Room
from ecproc.store.memory import MemoryStore
from ecproc.testing.desk import make_call

HOUR: int = 3_600_000_000
"""In microseconds."""


def make_entry(stream: str, number: str | None) -> Row:
    """A ticket's create: completed with that number, or still under way."""
    effect = Effect(
        key=EffectKey(create_key(stream, 1)),
        kind=EffectKind.CREATE,
        generation=1,
        position=1,
        at=1,
        ticket=TicketNumber(stream),
        ticket_type="Incident",
    )
    state = EntryState.COMPLETED if number else EntryState.AVAILABLE
    return entry_row(stream, Entry(effect=effect, order=1, state=state, result={"number": number} if number else {}))


def make_link(stream: str, number: str) -> Row:
    """The ticket's client ticket."""
    return Row("client_ticket", stream, number, 1, b"{}")


async def make_store(*rows: Row, age: int = 0) -> MemoryStore:
    """A log whose last event is that old."""
    store = MemoryStore(lambda: SystemClock().now() - age, TABLES)
    await store.commit(Batch(events=[NewEvent("ecproc", "X", b"")], rows=rows))
    return store


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[LocalDesk]:
    desk = await LocalDesk.open(folder / "desk.db", clock=SystemClock(), room=Room(folder, reserve_bytes=0))
    try:
        yield desk
    finally:
        await desk.aclose()


async def align(folder: Path, store: MemoryStore, *, accept_loss: bool = False) -> int:
    """The next serial that the desk gives."""
    store.accepted_loss = accept_loss
    async with opened(folder) as desk:
        await align_desk(desk, store, clock=SystemClock())
        return (await desk.read_stand()).last + 1


async def create(folder: Path, stream: str) -> str:
    async with opened(folder) as desk:
        return (await desk.perform(make_call(create_key(stream, 1), ticket=stream))).number


async def test_a_new_desk_beside_a_new_log_begins_at_one(tmp_path: Path) -> None:
    assert await align(tmp_path, await make_store()) == 1
    with closing(sqlite3.connect(tmp_path / "desk.db")) as file:
        assert file.execute("SELECT serial FROM skipped").fetchall() == [(0,)]
    assert await align(tmp_path, await make_store(make_entry("e-CS1", None))) == 1, "it was seen to be of that log"
    assert await create(tmp_path, "e-CS1") == "LOCAL-0000001"


@pytest.mark.requirement("I4")
async def test_a_desk_that_is_gone_while_a_create_is_under_way_skips_numbers(tmp_path: Path) -> None:
    async with opened(tmp_path):
        pass  # a start that dies before it looked at the log
    skipped = await align(tmp_path, await make_store(make_entry("e-CS1", None)))
    assert skipped > SKIPPED_NUMBERS
    assert await align(tmp_path, await make_store(make_entry("e-CS1", None))) == skipped


@pytest.mark.requirement("I4")
async def test_a_desk_that_did_more_than_the_log_has_heard_of_goes_on(tmp_path: Path) -> None:
    number = await create(tmp_path, "e-CS1")
    assert number == "LOCAL-0000001"
    assert await align(tmp_path, await make_store(make_entry("e-CS1", None))) == 2
    with pytest.raises(OutOfStep, match="never asked for"):
        await align(tmp_path, await make_store(make_entry("e-CS2", None)))


@pytest.mark.requirement("I4")
async def test_a_number_that_the_log_has_and_the_desk_has_not_is_refused_until_accepted(tmp_path: Path) -> None:
    rows = [
        row
        for n in (3, 7, 5)
        for row in (make_entry(f"e-CS{n}", f"LOCAL-{n:07d}"), make_link(f"e-CS{n}", f"LOCAL-{n:07d}"))
    ]
    with pytest.raises(OutOfStep, match="LOCAL-0000007"):
        await align(tmp_path, await make_store(*rows))
    accepted = await align(tmp_path, await make_store(*rows), accept_loss=True)
    assert accepted > 7 + SKIPPED_NUMBERS
    assert await align(tmp_path, await make_store(*rows)) == accepted


@pytest.mark.requirement("I4")
async def test_numbers_are_skipped_once_for_each_time_that_a_loss_is_accepted(tmp_path: Path) -> None:
    store = await make_store()
    skipped = await align(tmp_path, store, accept_loss=True)
    assert not await store.owes_for_loss()
    assert await align(tmp_path, store) == skipped
    assert await align(tmp_path, store, accept_loss=True) > skipped + SKIPPED_NUMBERS


@pytest.mark.parametrize("number", ["LOCAL-0000009", "LOCAL-999999999999999999", "LOCAL-9999999999999999999", "INC1"])
async def test_a_number_from_outside_says_nothing_of_our_desk(tmp_path: Path, number: str) -> None:
    assert await align(tmp_path, await make_store(make_link("e-CS1", number))) == 1


@pytest.mark.requirement("I4")
async def test_a_copy_put_back_later_goes_on_higher(tmp_path: Path) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    first = await align(tmp_path / "first", await make_store(), accept_loss=True)
    second = await align(tmp_path / "second", await make_store(age=HOUR), accept_loss=True)
    assert first > SKIPPED_NUMBERS
    assert second - first >= HOUR // 1000 - 60_000
    ahead = await align(tmp_path / "first", await make_store(age=-HOUR), accept_loss=True)
    assert ahead == first + SKIPPED_NUMBERS, "a clock that was set back takes nothing away"


def test_creates_are_known_by_their_keys() -> None:
    assert is_create_key(create_key("e-CS1:g2", 3))
    assert is_create_key(message_effect_key("reopen", "e-CS1", "m1"))
    assert not is_create_key(return_key("e-CS1", "LOCAL-0000001"))


# --- beside a processor that goes on


class BusyStore(MemoryStore):
    """A log that hears of one more number of the desk each time that it is asked for those."""

    def __init__(self, folder: Path) -> None:
        super().__init__(SystemClock().now, TABLES)
        self._folder = folder
        self._count = count(1)

    async def go_on(self, number: str = "") -> None:
        stream = f"e-CS{next(self._count)}"
        number = number or await create(self._folder, stream)
        await self.commit(Batch(rows=[make_entry(stream, number), make_link(stream, number)]))

    async def list_later(self, table: str, prefix: str, id: str) -> list[tuple[str, str]]:
        await self.go_on()
        return list(await super().list_later(table, prefix, id))


async def examine_desk(folder: Path, store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the doctor finds wrong with the desk."""

    @asynccontextmanager
    async def open_reading(_: Config) -> AsyncIterator[MemoryStore]:
        yield store

    async def ask_ready(_: Config) -> str:
        return ""

    monkeypatch.setattr(examination, "open_reading", open_reading)
    monkeypatch.setattr(examination, "holds_log", lambda _: True)
    config = Config(data=DataConfig(dir=folder, reserve_bytes=0))
    around = examination.Surroundings(
        config=config, complete=False, problems=(), clock=SystemClock(), ask_ready=ask_ready
    )
    report = await examination.examine(around, echo=False, redact=str)
    return [each.text for each in report.findings if each.check is CheckName.DESK]


async def test_a_desk_that_goes_on_while_it_is_examined_is_no_finding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = BusyStore(tmp_path)
    await store.go_on()
    assert await examine_desk(tmp_path, store, monkeypatch) == []
    await store.go_on("LOCAL-0000900")
    (finding,) = await examine_desk(tmp_path, store, monkeypatch)
    assert "gave out LOCAL-0000900, but its file desk.db ends at LOCAL-" in finding
