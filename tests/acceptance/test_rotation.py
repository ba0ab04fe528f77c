"""Key rotation under load: the bridge takes one key and then only the other, and nothing is lost, doubled or left."""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Final, TypeAlias

import msgspec
import pytest

from ecproc.simulator.settings import Scenario
from tests.acceptance.claims import check_claims
from tests.acceptance.world import Plan, Running, World, open_world, wait_for

OLD: Final = "simulator-key"
NEW: Final = "the-key-of-tomorrow"

FAST: Final = 60.0
SLOW: Final = 20.0
"""Messages a second; slow where a few seconds pass until the file is looked at."""

TROUBLE: Final = frozenset({"receive_failed", "delete_failed"})
IN_BETWEEN: Final = "Forbidden"
"""A call that is under way at the moment of the change may meet the wrong key with either line; it is made again."""
SLOW_MACHINE: Final = "the same messages come again and none of them leaves the queue"
"""What is said where a visibility of seconds runs out before the deletes are done."""

Rotate: TypeAlias = Callable[[World, Running, Path], Awaitable[None]]


def put(path: Path, *lines: str) -> None:
    """Put a key file in place at once, readable to us alone."""
    fresh = path.with_suffix(".new")
    fresh.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    fresh.chmod(0o600)
    fresh.replace(path)


def accept_only(world: World, key: str) -> None:
    """Let the bridge refuse every other key from now on."""
    bridge = world.simulator.bridge
    bridge.config = msgspec.structs.replace(bridge.config, api_key=key)


def list_reloaded(running: Running) -> list[str]:
    return [line["option"] for line in running.list_lines() if line["event"] == "secret_reloaded"]


async def by_signal(world: World, running: Running, path: Path) -> None:
    put(path, NEW, OLD)  # the bridge does not know the new one yet
    running.send(signal.SIGHUP)
    await wait_for(lambda: list_reloaded(running) == ["bridge.api_key"], 10)
    accept_only(world, NEW)


async def by_looking(world: World, running: Running, path: Path) -> None:
    put(path, NEW, OLD)
    await wait_for(lambda: list_reloaded(running) == ["bridge.api_key"], 10)
    accept_only(world, NEW)


async def by_refusal(world: World, running: Running, path: Path) -> None:
    put(path, NEW)
    accept_only(world, NEW)


async def by_second_line(world: World, running: Running, path: Path) -> None:
    accept_only(world, NEW)


@pytest.mark.slow
@pytest.mark.requirement("R5", "I1", "I2")
@pytest.mark.parametrize(
    ("rotate", "lines", "transport"),
    [
        (by_signal, [OLD], "fast"),
        (by_looking, [OLD], "fast"),
        (by_refusal, [OLD], "fast"),
        (by_refusal, [OLD], "httpx"),
        (by_second_line, [OLD, NEW], "fast"),
        (by_second_line, [OLD, NEW], "httpx"),
    ],
)
async def test_a_rotated_key_is_taken_up_without_a_restart(
    tmp_path: Path, rotate: Rotate, lines: list[str], transport: str
) -> None:
    path = tmp_path / "key"
    put(path, *lines)
    async with open_world(tmp_path, Plan(tickets=0)) as world:
        options = {"BRIDGE__API_KEY_FILE": str(path), "BRIDGE__TRANSPORT": transport}
        async with await world.start("--drain", "--timeout", "60", **options) as running:
            await running.told("web", "url")
            # Not before: a process takes seconds to start, and all would be sent by then.
            world.simulator.stage.start(Scenario(tickets=20, seed=5, rate=SLOW if rotate is by_looking else FAST))
            await world.reach(lambda ledger: ledger.calls["delete"] >= 10, running)
            await rotate(world, running, path)
            assert world.ledger.count_messages().unsent > 0, "it was not under load"
            assert await running.ended() == 0, running.said
        assert NEW not in running.said
        assert OLD not in running.said
        failed = [line for line in running.list_lines() if line["event"] in TROUBLE and line["reason"] != SLOW_MACHINE]
        assert {line["reason"] for line in failed} <= {IN_BETWEEN}, failed
        await check_claims(world)


async def test_a_hangup_ends_nothing_and_says_once_what_it_cannot_change(tmp_path: Path) -> None:
    async with open_world(tmp_path, Plan(tickets=0)) as world, await world.start() as running:
        await running.told("web", "url")
        for number in (1, 2):
            running.send(signal.SIGHUP)
            await wait_for(partial(has_read, running, number), 10)
        assert events(running).count("not_reloaded") == 1
        running.send(signal.SIGTERM)
        assert await running.ended() == 0, running.said


def has_read(running: Running, times: int) -> bool:
    return events(running).count("secrets_read") == times


def events(running: Running) -> list[str]:
    return [line["event"] for line in running.list_lines()]
