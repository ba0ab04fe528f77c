"""A run that something watches over: what a service manager hears, what a health check sees, what a unit forbids."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import anyio
import pytest

from tests.acceptance.world import PATIENCE, ROOT, Plan, open_world

NO_SUCH_RULE: Final = 77
WITHOUT_FRESH_CODE: Final = f"""
import ctypes, os, sys
PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN = 65, 1
if ctypes.CDLL(None).prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0):
    sys.exit({NO_SUCH_RULE})
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""
"""Runs Python where no memory that was written can be executed, as under MemoryDenyWriteExecute of a unit."""


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


def check_health(listen: str) -> int:
    """How the image's own health check ends."""
    text = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8")
    (found,) = re.findall(r"^HEALTHCHECK .*\\\n +CMD (\[.+\])$", text, re.MULTILINE)
    _, *arguments = json.loads(found)
    env = {"ECPROC_WEB__LISTEN": listen, "HTTP_PROXY": "http://127.0.0.1:9"}
    return subprocess.run(
        [sys.executable, *arguments], env=env, capture_output=True, timeout=30, check=False
    ).returncode


async def test_the_images_health_check_tells_a_run_from_none(tmp_path: Path) -> None:
    async with open_world(tmp_path, Plan(tickets=0)) as world, await world.start() as running:
        listen = urlsplit(await running.told("web", "url")).netloc
        assert await anyio.to_thread.run_sync(check_health, listen) == 0
        running.send(signal.SIGTERM)
        assert await running.ended(20) == 0, running.said

    assert check_health(listen) == 1


@pytest.mark.slow
def test_it_works_where_no_memory_may_be_both_written_and_executed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WITHOUT_FRESH_CODE, "-m", "ecproc", "demo", "--messages", "30"]

    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)

    if ended.returncode == NO_SUCH_RULE:
        pytest.skip("needs Linux 6.3")
    assert ended.returncode == 0, ended.stderr
    assert "lost 0" in ended.stdout
