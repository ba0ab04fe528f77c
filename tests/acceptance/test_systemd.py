"""A run under a service manager: what it hears on its socket, and when."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import anyio
import pytest

from tests.acceptance.world import PATIENCE, Plan, open_world


@pytest.fixture
def manager() -> Iterator[socket.socket]:
    """Where a service manager listens, at an abstract address as systemd's own may be."""
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as listener:
        listener.bind("")
        listener.settimeout(PATIENCE)
        yield listener


async def hear(manager: socket.socket) -> str:
    """What it is told next."""
    return (await anyio.to_thread.run_sync(manager.recv, 64)).decode()


async def test_it_hears_of_a_run_once_that_receives_then_that_it_lives_then_that_it_ends(
    manager: socket.socket, tmp_path: Path
) -> None:
    async with open_world(tmp_path, Plan(tickets=3)) as world:
        world.variables["NOTIFY_SOCKET"] = f"@{manager.getsockname()[1:].decode()}"
        world.variables["WATCHDOG_USEC"] = "200000"
        async with await world.start() as running:
            heard = [await hear(manager) for _ in range(4)]
            await world.reach(lambda ledger: ledger.calls["delete"] > 0, running)
            running.send(signal.SIGTERM)
            while heard[-1] != "STOPPING=1":
                heard.append(await hear(manager))
            assert await running.ended(20) == 0, running.said

    assert heard.count("READY=1") == heard.count("STOPPING=1") == 1
    assert heard.count("WATCHDOG=1") == len(heard) - 2 >= 3


async def test_a_run_that_does_not_come_to_receiving_is_not_ready(manager: socket.socket, tmp_path: Path) -> None:
    async with open_world(tmp_path, Plan(tickets=0)) as world, await world.start() as other:
        await other.told("started", "position")
        world.variables["NOTIFY_SOCKET"] = f"@{manager.getsockname()[1:].decode()}"
        async with await world.start() as running:
            assert await running.ended() == 69, running.said
    manager.setblocking(False)

    with pytest.raises(BlockingIOError):
        manager.recv(64)
