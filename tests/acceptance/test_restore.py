"""Copies put back in every way that people put them back: no number is given twice, and nothing happens in silence."""

from __future__ import annotations

import json
import shutil
import signal
import sqlite3
from collections import defaultdict
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Final

import msgspec
import pytest

from ecproc.restoring import SKIPPED_NUMBERS
from ecproc.simulator.cases import CaseScript
from ecproc.store.base import VerifiedLog
from ecproc.store.sqlite.verify import verify_log
from tests.acceptance.scenario import describe_setting, put_in_order
from tests.acceptance.world import Answer, Plan, World, open_world, wait_for

TICKETS: Final = 3
"""How many tickets come in before and after each copy."""

DATABASE: Final = ("ecproc.db", "ecproc.db-wal", "ecproc.db-shm")
PutBack = Callable[[Path, Path], None]
"""Makes of a data directory (the second) what somebody made of it who had a copy (the first)."""


def put_back(copy: Path, data: Path, *names: str) -> None:
    """Take some files from the copy; one that it lacks is gone."""
    for name in names:
        (data / name).unlink(missing_ok=True)
        if (copy / name).exists():
            shutil.copy2(copy / name, data / name)


def put_back_whole(copy: Path, data: Path) -> None:
    shutil.rmtree(data)
    shutil.copytree(copy, data)


def put_back_database(copy: Path, data: Path) -> None:
    put_back(copy, data, *DATABASE)


def put_back_database_without_anchor(copy: Path, data: Path) -> None:
    put_back(copy, data, *DATABASE)
    (data / "anchor").unlink()


def put_back_log(copy: Path, data: Path) -> None:
    put_back(copy, data, *DATABASE, "anchor")


def put_back_all_but_anchor(copy: Path, data: Path) -> None:
    put_back_whole(copy, data)
    (data / "anchor").unlink()


def put_back_desk(copy: Path, data: Path) -> None:
    put_back(copy, data, "desk.db")


def lose_desk(copy: Path, data: Path) -> None:
    (data / "desk.db").unlink()


def lose_anchor(copy: Path, data: Path) -> None:
    (data / "anchor").unlink()


def lose_log(copy: Path, data: Path) -> None:
    put_back(data, data, *DATABASE, "anchor")
    for name in (*DATABASE, "anchor"):
        (data / name).unlink(missing_ok=True)


def lose_database(copy: Path, data: Path) -> None:
    (data / "ecproc.db").write_bytes(b"")


def cut_database(copy: Path, data: Path) -> None:
    path = data / "ecproc.db"
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 8192 * 2)


def take_anchor_of_another_log(copy: Path, data: Path) -> None:
    (data / "anchor").write_bytes(msgspec.json.encode({"position": 3, "hash": "ab" * 32}))


REFUSED: Final[dict[PutBack, str]] = {
    put_back_database: "its anchor says that it reached",
    put_back_database_without_anchor: "the file anchor beside it is gone",
    put_back_all_but_anchor: "the file anchor beside it is gone",
    lose_anchor: "the file anchor beside it is gone",
    put_back_log: "the log is older than desk.db",
    put_back_desk: "but its file desk.db ends at LOCAL-000000",
    lose_desk: "but its file desk.db is gone or empty",
    lose_log: "the log is older than desk.db",
    lose_database: "the file is empty",
    take_anchor_of_another_log: "another hash than the anchor says",
}
"""What was done, and what the refusal says; the loss can be accepted then."""


async def drain(world: World, data: Path, *arguments: str) -> Answer:
    return await world.ask("run", "--drain", "--timeout", "60", *arguments, DATA__DIR=str(data))


def send_tickets(world: World, wave: int) -> None:
    """Let some tickets begin at Ensono, whose numbers were never used."""
    for number in range(TICKETS):
        case = CaseScript(describe_setting(world, wave * 100 + number), ticket=f"e-CS{7_000_000 + wave * 100 + number}")
        case.create()
        case.move("pending")
        world.simulator.stage.play([put_in_order(case.finish("restored"))])


def check_numbers(world: World) -> list[int]:
    """All serials that Ensono was told; each belongs to one ticket only."""
    owners: defaultdict[str, set[str]] = defaultdict(set)
    for ticket, numbers in world.ledger.returnptn.items():
        for number in numbers:
            owners[number].add(ticket)
    assert not {number: tickets for number, tickets in owners.items() if len(tickets) > 1}
    return sorted(int(number.removeprefix("LOCAL-")) for number in owners)


class Lived:
    """A world that was copied and then went on."""

    def __init__(self, world: World, copy: Path) -> None:
        self.world = world
        self.copy = copy
        self.waves = 2

    async def take(self, data: Path, *arguments: str) -> Answer:
        """Start on a directory while more tickets come, and see that each of them gets a number of its own."""
        self.waves += 1
        known = len(check_numbers(self.world))
        send_tickets(self.world, self.waves)
        answer = await drain(self.world, data, *arguments)
        assert answer.code == 0, answer
        assert len(check_numbers(self.world)) == known + TICKETS
        return answer


@pytest.fixture(scope="module")
async def lived(tmp_path_factory: pytest.TempPathFactory) -> Lived:  # type: ignore[misc]
    async with open_world(tmp_path_factory.mktemp("lived"), Plan(tickets=0, visibility=0.5)) as world:
        copy = world.data.with_name("copy")
        for wave in (1, 2):
            send_tickets(world, wave)
            assert (await drain(world, world.data)).code == 0
            if wave == 1:
                shutil.copytree(world.data, copy)
        assert check_numbers(world) == list(range(1, 2 * TICKETS + 1))
        yield Lived(world, copy)


@pytest.mark.requirement("I4", "I6")
@pytest.mark.parametrize("damage", REFUSED, ids=lambda damage: damage.__name__)
async def test_what_is_not_of_one_moment_is_refused_until_the_loss_is_accepted(
    lived: Lived, tmp_path: Path, damage: PutBack
) -> None:
    data = shutil.copytree(lived.world.data, tmp_path / "data")
    damage(lived.copy, data)
    calls = lived.world.ledger.calls.total()
    refused = await drain(lived.world, data)
    assert refused.code == 71, refused
    assert REFUSED[damage] in refused.err, refused
    assert "--accept-loss" in refused.err, refused
    assert lived.world.ledger.calls.total() == calls
    accepted = await lived.take(data, "--accept-loss")
    assert '"numbers_skipped"' in accepted.err
    await lived.take(data)
    assert isinstance(verify_log(data), VerifiedLog)


@pytest.mark.requirement("I4")
async def test_an_older_copy_put_back_as_documented_gives_no_number_twice_however_often(
    lived: Lived, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    for _ in range(2):
        shutil.copytree(lived.copy, data)
        accepted = await lived.take(data, "--accept-loss")
        assert f"instead of LOCAL-{TICKETS + 1:07d}" in accepted.err, accepted
        with closing(sqlite3.connect(data / "desk.db")) as desk:
            (first,) = desk.execute("SELECT min(serial) FROM ticket WHERE serial > ?", (TICKETS,)).fetchone()
        assert first > TICKETS + SKIPPED_NUMBERS
        kept = await lived.take(data, "--accept-loss")
        assert "start without --accept-loss from now on" in kept.err
        shutil.rmtree(data)


@pytest.mark.requirement("I4")
@pytest.mark.parametrize("damage", [put_back_whole, put_back_database_without_anchor], ids=lambda how: how.__name__)
async def test_a_start_that_dies_between_accepting_a_loss_and_skipping_leaves_that_to_the_next(
    lived: Lived, tmp_path: Path, damage: PutBack
) -> None:
    data = shutil.copytree(lived.world.data, tmp_path / "data")
    damage(lived.copy, data)
    with closing(sqlite3.connect(data / "desk.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        async with await lived.world.start("--accept-loss", DATA__DIR=str(data)) as running:
            await wait_for(lambda: '"store_waits"' in running.said)
            running.send(signal.SIGKILL)
    assert '"numbers_skipped"' in (await lived.take(data)).err
    assert '"numbers_skipped"' not in (await lived.take(data)).err


@pytest.mark.requirement("I6")
async def test_a_file_that_was_cut_is_refused_whether_or_not_the_loss_is_accepted(lived: Lived, tmp_path: Path) -> None:
    data = shutil.copytree(lived.world.data, tmp_path / "data")
    cut_database(lived.copy, data)
    for arguments in ((), ("--accept-loss",)):
        refused = await drain(lived.world, data, *arguments)
        assert refused.code == 71, refused
    assert (await lived.world.ask("log", "verify", DATA__DIR=str(data))).code == 3


@pytest.mark.requirement("I6")
async def test_events_without_an_anchor_are_a_finding(lived: Lived, tmp_path: Path) -> None:
    data = shutil.copytree(lived.world.data, tmp_path / "data")
    lose_anchor(lived.copy, data)
    found = await lived.world.ask("log", "verify", DATA__DIR=str(data))
    assert found.code == 3, found
    assert "anchor" in found.out
    assert not (data / "anchor").exists()


async def test_a_data_directory_that_others_can_change_is_told_by_run_only(lived: Lived, tmp_path: Path) -> None:
    data = shutil.copytree(lived.world.data, tmp_path / "data")
    data.chmod(0o777)
    started = await drain(lived.world, data)
    assert started.code == 0
    (told,) = [line for line in map(json.loads, started.err.splitlines()) if line["event"] == "exposed"]
    assert (told["level"], told["place"], told["hint"]) == ("warning", str(data), f"chmod 700 {data}")
    assert "others can change it (mode 0777)" in told["reason"]
    assert (await lived.world.ask("tickets", DATA__DIR=str(data))).err == ""
    data.chmod(0o700)
    assert '"exposed"' not in (await drain(lived.world, data)).err


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("ecproc.db", "PRAGMA user_version = 99"),
        ("ecproc.db", "UPDATE meta SET value = value + 99 WHERE key = 'fold_version'"),
        ("ecproc.db", "UPDATE meta SET value = value + (1 << 32) WHERE key = 'fold_version'"),
        ("desk.db", "PRAGMA user_version = 99"),
    ],
)
async def test_an_older_program_says_so_to_what_a_newer_one_wrote(
    lived: Lived, tmp_path: Path, name: str, change: str
) -> None:
    data = shutil.copytree(lived.world.data, tmp_path / "data")
    with closing(sqlite3.connect(data / name, isolation_level=None)) as file:
        file.execute(change)
    readers = [["replay"], ["replay", "--verify"], ["tickets"]]
    for arguments in (["run"], *(readers if name == "ecproc.db" else ())):
        refused = await lived.world.ask(*arguments, DATA__DIR=str(data))
        assert refused.code == 78, (arguments, refused)
        assert "written by a newer ecproc" in refused.err, (arguments, refused)
        assert "install that version" in refused.err, (arguments, refused)
