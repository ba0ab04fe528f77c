"""The process while another program holds its files: nothing is lost, it stays alive, and it goes on by itself."""

from __future__ import annotations

import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

import anyio
import pytest

from tests.acceptance.claims import check_claims
from tests.acceptance.world import Plan, Running, World, is_empty, open_world, wait_for

HELD: Final = 8.0
"""Seconds for which the other program holds on: longer than any single wait of ours."""


@contextmanager
def holding(path: Path, begin: str) -> Iterator[None]:
    """Have another program write to that file, and not come to an end."""
    with closing(sqlite3.connect(path, isolation_level=None, timeout=20)) as other:
        other.execute(begin)
        yield
        other.execute("ROLLBACK")


def count_events(world: World) -> int:
    with closing(sqlite3.connect(f"file:{world.data}/ecproc.db?mode=ro", uri=True)) as log:
        return int(log.execute("SELECT count(*) FROM event").fetchone()[0])


def count(running: Running, event: str) -> int:
    return sum(line["event"] == event for line in running.list_lines())


@pytest.mark.requirement("I4")
async def test_a_stop_counts_while_what_a_former_process_left_waits_for_the_log(tmp_path: Path) -> None:
    async with open_world(tmp_path, Plan(tickets=5, seed=8)) as world:
        await world.die_at("claim.committed", 1)
        with holding(world.data / "ecproc.db", "BEGIN IMMEDIATE"):
            async with await world.start() as running:
                await wait_for(lambda: count(running, "store_waits") == 1)
                running.send(signal.SIGTERM)
                assert await running.ended(20) == 0, running.said
        await world.drain()
        await check_claims(world)


@pytest.mark.requirement("I0", "I1")
async def test_a_writer_that_holds_the_log_under_load_is_waited_for(tmp_path: Path) -> None:
    async with open_world(tmp_path, Plan(tickets=15, seed=8, visibility=1.0)) as world:
        async with await world.start() as running:
            await world.reach(lambda ledger: ledger.calls["delete"] >= 10, running)
            with holding(world.data / "ecproc.db", "BEGIN IMMEDIATE"):
                await anyio.sleep(2)
                events, gets = count_events(world), world.ledger.calls["receive"]
                await anyio.sleep(HELD - 2)
                assert not running.is_over, running.said
                assert count_events(world) == events
                assert world.ledger.calls["receive"] == gets, "messages were asked for without room"
                assert count(running, "store_waits") == 1
            await world.reach(is_empty, running, 30)
            await wait_for(lambda: count(running, "store_goes_on") == 1)
            running.send(signal.SIGTERM)
            assert await running.ended(20) == 0, running.said
        await world.drain()
        await check_claims(world)


async def test_a_writer_that_holds_the_desk_is_waited_for(tmp_path: Path) -> None:
    async with open_world(tmp_path, Plan(tickets=8, seed=9, visibility=1.0)) as world:
        async with await world.start() as running:
            await world.reach(lambda ledger: ledger.calls["delete"] >= 4, running)
            with holding(world.data / "desk.db", "BEGIN IMMEDIATE"):
                await anyio.sleep(HELD)
                assert not running.is_over, running.said
            await world.reach(is_empty, running, 30)
            running.send(signal.SIGTERM)
            assert await running.ended(20) == 0, running.said
            assert count(running, "breaker") == 0
        await world.drain()
        await check_claims(world)


@pytest.mark.parametrize("file", ["ecproc.db", "desk.db"])
async def test_a_writer_that_holds_a_file_at_the_start_is_waited_for(tmp_path: Path, file: str) -> None:
    async with open_world(tmp_path, Plan(tickets=3, seed=10, visibility=1.0)) as world:
        for name in ("ecproc.db", "desk.db"):  # new files: a start has to write to them
            (world.data).mkdir(exist_ok=True)
            sqlite3.connect(world.data / name).close()
        with holding(world.data / file, "BEGIN EXCLUSIVE"):
            running = await world.start()
            await anyio.sleep(HELD)
            assert not running.is_over, running.said
            assert world.ledger.calls["receive"] == 0
        async with running:
            await world.reach(is_empty, running, 30)
            running.send(signal.SIGTERM)
            assert await running.ended(20) == 0, running.said
        await world.drain()
        await check_claims(world)


async def test_a_writer_that_holds_the_desk_while_numbers_are_to_be_skipped_is_waited_for(tmp_path: Path) -> None:
    async with open_world(tmp_path, Plan(tickets=2, seed=12, visibility=1.0)) as world:
        await world.drain()
        with holding(world.data / "desk.db", "BEGIN IMMEDIATE"):
            running = await world.start("--accept-loss", "--drain", "--timeout", "30")
            await wait_for(lambda: running.is_over or count(running, "store_waits") == 1)
            assert not running.is_over, running.said
        async with running:
            assert await running.ended(40) == 0, running.said
            assert count(running, "numbers_skipped") == 1


@pytest.mark.requirement("I1")
async def test_sigterm_while_it_waits_ends_in_time_with_nothing_acknowledged_that_is_not_durable(
    tmp_path: Path,
) -> None:
    async with open_world(tmp_path, Plan(tickets=10, seed=11, visibility=1.0)) as world:
        async with await world.start() as running:
            await world.reach(lambda ledger: ledger.calls["delete"] >= 5, running)
            with holding(world.data / "ecproc.db", "BEGIN IMMEDIATE"):
                await anyio.sleep(2)
                running.send(signal.SIGTERM)
                assert await running.ended(20) == 0, running.said
        await world.drain()
        await check_claims(world)
