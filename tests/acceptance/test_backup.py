"""Backups beside a processor under load, each put back: nothing that was done is done again, nothing is lost of it."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sqlite3
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import anyio
import pytest

from ecproc.restoring import SKIPPED_NUMBERS
from ecproc.simulator.faults import MILD
from tests.acceptance.claims import check_claims, read_lines
from tests.acceptance.world import PATIENCE, ROOT, Answer, Broken, Plan, World, open_world, wait_for

TICKETS: Final = 60
BACKUPS: Final = 4
PAGE: Final = ROOT / "docs" / "backup.md"

Event = dict[str, Any]


async def back_up(world: World, name: str, *, failpoint: str = "") -> tuple[Answer, Path]:
    target = world.data.with_name(name)
    changed = {"FAILPOINTS": failpoint} if failpoint else {}
    return await world.ask("log", "backup", str(target), "--attachments", **changed), target


async def read_events(world: World, data: Path) -> Sequence[Event]:
    answer = await world.ask("events", DATA__DIR=str(data))
    assert answer.code == 0, answer
    return [dict(event) for event in read_lines(answer)]


async def see_that_it_holds(world: World, copy: Path, events: int) -> None:
    verified = await world.ask("log", "verify", DATA__DIR=str(copy))
    assert verified.code == 0, verified
    assert json.loads(verified.out)["events"] == events
    replayed = await world.ask("replay", "--verify", DATA__DIR=str(copy))
    assert replayed.code == 0, replayed
    assert json.loads(replayed.out)["equal"] is True


def list_messages(events: Sequence[Event]) -> list[str]:
    return [event["message_id"] for event in events if event["kind"] == "MessageReceived"]


def list_done(events: Sequence[Event]) -> list[str]:
    return [event["data"]["key"] for event in events if event["kind"] == "EffectSucceeded"]


def list_tried(events: Sequence[Event]) -> set[str]:
    attempts = ("EffectStarted", "EffectSucceeded", "EffectFailed", "EffectUnknown")
    return {event["data"]["key"] for event in events if event["kind"] in attempts}


def list_numbers(world: World) -> dict[str, set[str]]:
    """The tickets that Ensono was told each of our numbers for."""
    owners: dict[str, set[str]] = {}
    for ticket, numbers in world.ledger.returnptn.items():
        for number in numbers:
            owners.setdefault(number, set()).add(ticket)
    return owners


@pytest.mark.slow
@pytest.mark.requirement("I4", "I6")
async def test_each_backup_under_load_goes_on_as_of_its_moment(tmp_path: Path) -> None:
    async with open_world(tmp_path, Plan(tickets=TICKETS, rate=120, faults=MILD)) as world:
        copies: list[tuple[Path, int]] = []
        async with await world.start() as running:
            for number in range(BACKUPS):
                wanted = (number + 1) * 60
                await world.reach(lambda ledger, wanted=wanted: ledger.calls["delete"] >= wanted, running)  # type: ignore[misc]
                answer, copy = await back_up(world, f"copy-{number}")
                assert answer.code == 0, answer
                copies.append((copy, json.loads(answer.out)["events"]))
            assert not running.is_over, running.said
            running.send(signal.SIGKILL)
            await running.ended()
        lived = await read_events(world, world.data)
        moments = [events for _, events in copies]
        assert moments == sorted(moments)
        assert len(set(moments)) > 1  # a busy machine may do nothing between two of them
        for copy, events in copies:
            await see_that_it_holds(world, copy, events)
            assert await read_events(world, copy) == lived[:events]
        with anyio.fail_after(PATIENCE):
            await world.simulator.wait_until(lambda ledger: not ledger.unsent)
        taken = set(list_messages(lived))
        # The newest first: its numbers are then told apart from those of older ones by the time that went by.
        fresh = [await go_on(world, copy, lived, events, taken) for copy, events in reversed(copies[1:])]
        assert any(fresh)


async def go_on(world: World, copy: Path, lived: Sequence[Event], events: int, taken: set[str]) -> set[str]:
    """Start on a copy, and set what it does against what had been done at its moment and against what it lacks; gives
    the numbers that it gave.

    `taken` are the messages that some log has: whoever goes on first takes what the killed processor left in the queue,
    and the copies behind it find that gone. What this one received is added.
    """
    before = list_numbers(world)
    calls = world.ledger.calls.total()
    refused = await world.ask("run", "--drain", DATA__DIR=str(copy))
    assert (refused.code, world.ledger.calls.total()) == (71, calls)
    assert "is a backup" in refused.err
    assert "--accept-loss" in refused.err
    accepted = await world.ask("run", "--drain", "--timeout", "60", "--accept-loss", DATA__DIR=str(copy))
    assert accepted.code == 0, accepted
    assert '"numbers_skipped"' in accepted.err
    after = await read_events(world, copy)
    assert after[:events] == lived[:events]
    repeated = list_tried(after[events:]) & set(list_done(lived[:events]))
    assert not repeated, f"doubled {len(repeated)}"
    done = list_done(after)
    assert len(done) == len(set(done))
    received = list_messages(after)
    assert len(received) == len(set(received))
    taken.update(received)
    sent = {message.message_id for life in world.simulator.stage.lives for message in life.messages}
    lost = sent - taken
    assert not lost, f"lost {len(lost)}"
    numbers = list_numbers(world)
    fresh = {number for number in numbers if number not in before}
    assert all(len(numbers[number]) == 1 for number in fresh)
    known = {int(number.removeprefix("LOCAL-")) for number in before}
    assert all(int(number.removeprefix("LOCAL-")) not in known for number in fresh)
    with closing(sqlite3.connect(copy / "desk.db")) as desk:
        (skipped,) = desk.execute("SELECT max(serial) FROM skipped").fetchone()
        assert skipped >= SKIPPED_NUMBERS
    assert (await world.ask("replay", "--verify", DATA__DIR=str(copy))).code == 0
    plain = await world.ask("run", "--drain", "--timeout", "60", DATA__DIR=str(copy))
    assert plain.code == 0, plain
    assert '"numbers_skipped"' not in plain.err
    return fresh


@pytest.mark.slow
@pytest.mark.requirement("I4")
async def test_what_was_killed_and_moved_by_a_backup_loses_and_doubles_nothing(tmp_path: Path) -> None:
    """The copy of an unclean end, in the place of the real one: every claim of a life without it holds, but that the
    desk's numbers have no gap. A start that dies with the flag is enough."""
    async with open_world(tmp_path, Plan(tickets=TICKETS, rate=200, faults=MILD)) as world:
        await world.kill_when(lambda ledger: ledger.calls["delete"] >= 80)
        answer, copy = await back_up(world, "copy")
        assert answer.code == 0, answer
        shutil.rmtree(world.data)
        copy.rename(world.data)
        async with await world.start("--accept-loss") as running:
            await running.told("numbers_skipped", "reason")
            running.send(signal.SIGKILL)
            await running.ended()
        await world.drain()
        with pytest.raises(Broken) as broken:
            await check_claims(world)
        (finding,) = str(broken.value).splitlines()
        assert "the desk's numbers are not 1 to" in finding


@pytest.mark.parametrize("failpoint", ["backup.copying", "backup.copying:2", "backup.written"])
async def test_a_backup_that_is_killed_leaves_no_directory_of_that_name(tmp_path: Path, failpoint: str) -> None:
    async with open_world(tmp_path, Plan(tickets=3)) as world:
        await world.drain()
        killed, copy = await back_up(world, "copy", failpoint=failpoint)
        assert killed.code == -signal.SIGKILL, killed
        assert not copy.exists()
        part = copy.with_name("copy.part")
        assert part.is_dir()
        answer, _ = await back_up(world, "copy")
        assert answer.code == 0, answer
        assert f"removed {part}" in answer.err
        assert not part.exists()
        await see_that_it_holds(world, copy, json.loads(answer.out)["events"])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_backup_that_is_stopped_leaves_no_directory_of_that_name(
    tmp_path: Path, number: signal.Signals
) -> None:
    async with open_world(tmp_path, Plan(tickets=3)) as world:
        await world.drain()
        copy = world.data.with_name("copy")
        part = copy.with_name("copy.part")
        contents = world.data / "attachments" / "00"
        contents.mkdir(parents=True, exist_ok=True)
        with (contents / ("0" * 64)).open("wb") as large:
            large.truncate(1 << 30)  # a hole, which takes seconds to read and is refused for its name
        async with await world.begin("log", "backup", str(copy), "--attachments") as running:
            await wait_for((part / "attachments" / "00").exists)
            running.send(number)
            assert await running.ended() in (130, -signal.SIGTERM, 143)
        assert not copy.exists()
        assert part.exists() is (number is signal.SIGTERM)


async def test_the_page_about_backups_does_what_it_says(tmp_path: Path) -> None:
    """Every command of docs/backup.md, in its order, with directories of this test in the place of its own."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 4
    async with open_world(tmp_path, Plan(tickets=3, visibility=0.5)) as world:
        await world.drain()
        (tmp_path / "backup").mkdir()
        script = (
            "\n".join(blocks).replace("/var/lib/ecproc", str(world.data)).replace("/backup/", f"{tmp_path}/backup/")
        )
        done = await anyio.run_process(
            ["bash", "-euc", f'ecproc() {{ "{sys.executable}" -m ecproc "$@"; }}\n{script}'],
            env={**os.environ, **world.environment()},
            cwd=tmp_path,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert b'"numbers_skipped"' in done.stderr
        assert (tmp_path / "data.damaged").is_dir()
        answer = await world.ask("replay", "--verify")
        assert answer.code == 0, answer
