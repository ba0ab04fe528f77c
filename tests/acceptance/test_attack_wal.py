"""The write-ahead log of a running processor: short under load and beside reads, and again after a foreign one."""

from __future__ import annotations

import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

import anyio
import msgspec
import pytest

from ecproc.simulator.bridge import RawMessage
from tests.acceptance.world import LOOK, Plan, Running, World, open_world, wait_for

LONGEST: Final = 64 * 1024 * 1024
MESSAGES: Final = 200
MESSAGE_BYTES: Final = 120_000


def send_large(world: World, number: int) -> None:
    """One message about as large as the queue takes them, to one of a few tickets."""
    text = f"{number} " + "x" * MESSAGE_BYTES
    ticket = f"e-CS{7_100_000 + number % 20}"
    body = {"ticketNumber": ticket, "ticketType": "Incident", "status": "open", "description": text}
    world.simulator.bridge.send_raw(
        RawMessage(
            Body=msgspec.Raw(msgspec.json.encode(body)),
            Attributes={"MessageGroupId": ticket, "TransactionType": "Create"},
        )
    )


async def load(world: World, running: Running, messages: int = MESSAGES) -> int:
    """Let the processor take many large messages; the longest that its write-ahead log was meanwhile."""
    longest = 0
    for number in range(messages):
        send_large(world, number)

    async def watch() -> None:
        nonlocal longest
        while True:
            longest = max(longest, measure(world.data))
            await anyio.sleep(LOOK)

    async with anyio.create_task_group() as watching:
        watching.start_soon(watch)
        await world.reach(lambda ledger: ledger.calls["delete"] >= messages, running)
        watching.cancel_scope.cancel()
    return longest


def measure(data: Path) -> int:
    """How long the log's write-ahead log is now."""
    path = data / "ecproc.db-wal"
    return path.stat().st_size if path.exists() else 0


@contextmanager
def reading(data: Path) -> Iterator[None]:
    """Hold a moment of the log as another program."""
    with closing(sqlite3.connect(f"file:{data / 'ecproc.db'}?mode=ro", uri=True, isolation_level=None)) as connection:
        connection.execute("BEGIN")
        connection.execute("SELECT count(*) FROM event").fetchone()
        yield


async def stop(running: Running) -> None:
    running.send(signal.SIGTERM)
    assert await running.ended() == 0, running.said


@pytest.mark.requirement("I7")
async def test_the_write_ahead_log_stays_short_beside_our_own_reads(tmp_path: Path) -> None:
    async with open_world(tmp_path, Plan(tickets=0)) as world, await world.start() as running:
        await running.told("web", "url")
        codes: list[tuple[str, int]] = []

        async def ask_on_and_on(*arguments: str) -> None:
            while True:
                codes.append((arguments[0], (await world.ask(*arguments)).code))

        async with anyio.create_task_group() as asking:
            for arguments in (("replay", "--verify"), ("tickets",)):
                asking.start_soon(ask_on_and_on, *arguments)
            longest = await load(world, running)
            await wait_for(lambda: {"replay", "tickets"} <= {name for name, _ in codes})
            asking.cancel_scope.cancel()
        assert longest <= LONGEST
        assert {code for _, code in codes} == {0}, codes
        await stop(running)
    assert measure(world.data) == 0


@pytest.mark.requirement("I7")
async def test_the_write_ahead_log_shrinks_by_itself_when_a_foreign_reader_is_done(tmp_path: Path) -> None:
    async with open_world(tmp_path, Plan(tickets=0)) as world, await world.start() as running:
        await running.told("web", "url")
        with reading(world.data):
            assert await load(world, running, 2 * MESSAGES) > LONGEST, "there was no load"
        await wait_for(lambda: measure(world.data) <= LONGEST, within=5)
        assert not running.is_over
        await stop(running)
