"""The process on a disk that fills: nothing is lost, it stays alive, half of its reserve stays free, and it goes on."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from pathlib import Path
from sqlite3 import connect
from typing import Any, Final

import anyio
import httpx
import msgspec
import pytest

from ecproc.simulator.bridge import RawMessage
from tests.acceptance.claims import check_claims
from tests.acceptance.world import Plan, Running, World, is_empty, open_world, wait_for
from tests.conformance.faultserver import FaultServer, Peer

MEGABYTE: Final = 1024 * 1024
MARGIN: Final = 1024 * MEGABYTE
"""Bytes that others may write to or free on a shared disk while a test counts on what is free."""


class SmallDisk:
    """A file system of its own, as large as it is said to be."""

    def __init__(self, path: Path, size: int) -> None:
        self.path = path
        path.mkdir()
        self._mount(f"size={size},mode=0700")

    @property
    def free(self) -> int:
        return shutil.disk_usage(self.path).free

    def grow(self, size: int) -> None:
        self._mount(f"remount,size={size}")

    def fill(self, *, leave: int) -> Path:
        """Let somebody else take all but so many bytes."""
        filler = self.path / "filler"
        with filler.open("wb", buffering=0) as file, suppress(OSError):
            while (more := self.free - leave) > 0:
                file.write(bytes(min(more, 64 * 1024)))
        return filler

    def _mount(self, options: str) -> None:
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "none", str(self.path)], capture_output=True, text=True, check=False
        )
        if mounted.returncode != 0:
            pytest.skip(f"NOT TESTED: mounting a tmpfs needs CAP_SYS_ADMIN (root) here: {mounted.stderr.strip()}")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """A small disk where the data directory will be."""
    disk = SmallDisk(tmp_path / "data", 48 * MEGABYTE)
    yield disk
    subprocess.run(["umount", "--lazy", str(disk.path)], check=True)


def announce(number: int, url: str, size: int) -> RawMessage:
    body = {
        "ticketType": "Incident",
        "ticketNumber": f"e-CS{number}",
        "attachmentInfo": f"https://envisiontest.service-now.com/api/now/attachment/file{number}",
        "attachmentName": "rocket.jpg",
        "attachmentSize": str(size),
        "attachment": url,
    }
    return as_message(number, "Attachment", body)


def as_message(number: int, transaction: str, body: Mapping[str, Any]) -> RawMessage:
    names = {"MessageGroupId": f"e-CS{number}", "TransactionType": transaction, "SequenceNumber": str(number)}
    return RawMessage(msgspec.Raw(msgspec.json.encode(body)), names)


def create(number: int, size: int) -> RawMessage:
    text = {"shortDescription": "hello", "description": "x" * size, "status": "open"}
    return as_message(number, "Create", {"ticketType": "Incident", "ticketNumber": f"e-CS{number}", **text})


async def get(running: Running, page: str) -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False, timeout=5) as client:
        return await client.get(f"{await running.told('web', 'url')}{page}")


async def see(running: Running, *, ready: bool, why: str = "") -> None:
    """It lives, and is ready or says why not."""
    assert (await get(running, "/livez")).status_code == 200
    answer = await get(running, "/readyz")
    assert answer.status_code == (200 if ready else 503), answer.text
    assert why in answer.text


async def told(running: Running, event: str, text: str) -> None:
    """Wait for that line of its log."""
    with anyio.fail_after(20):
        while not any(event == line["event"] and text in line.get("reason", "") for line in running.list_lines()):
            assert not running.is_over, running.said
            await anyio.sleep(0.05)


async def end(running: Running) -> None:
    running.send(signal.SIGTERM)
    assert await running.ended(20) == 0, running.said


# --- a disk that fills ------------------------------------------------------------------------------------------------


@pytest.mark.requirement("I0", "I1")
async def test_messages_and_files_stop_above_half_of_the_reserve_and_go_on_with_more_room(
    tmp_path: Path, disk: SmallDisk
) -> None:
    messages, files, size = 120, 12, 2 * MEGABYTE
    half = 8 * MEGABYTE

    async def send(peer: Peer) -> None:
        await peer.request()
        await peer.answer(200, bytes(size))

    async with FaultServer(send) as server, open_world(tmp_path, Plan(tickets=0, visibility=2.0)) as world:
        for number in range(messages):
            world.simulator.bridge.send_raw(create(number, 200_000))
        for number in range(files):
            url = f"{server.url}/{number}"
            world.simulator.bridge.send_raw(announce(messages + number, url, size if number % 2 else 10))
        lowest = disk.free
        async with await world.start(DATA__RESERVE_BYTES=str(2 * half)) as running:
            with anyio.fail_after(20):
                while not any(line["event"] == "disk_reserve" for line in running.list_lines()):
                    lowest = min(lowest, disk.free)
                    await anyio.sleep(0.01)
            for _ in range(200):
                lowest = min(lowest, disk.free)
                await anyio.sleep(0.01)
            assert lowest >= half, f"{half - lowest} bytes below half of the reserve"
            assert not is_empty(world.ledger), "there was room for everything"
            await see(running, ready=False)
            disk.grow(512 * MEGABYTE)
            await world.reach(is_empty, running, 30)
            await see(running, ready=True)
            await end(running)
        await world.drain()
        counts = world.ledger.count_messages()
        assert counts.left == 0
        assert len(list_messages(world)) == messages + files
        assert len([path for path in (disk.path / "attachments").rglob("*") if path.is_file()]) == 1


@pytest.mark.requirement("I0", "I1")
@pytest.mark.parametrize("reserve", [0, 4 * MEGABYTE])
async def test_a_disk_that_is_full_all_at_once_loses_nothing(tmp_path: Path, disk: SmallDisk, reserve: int) -> None:
    plan = Plan(tickets=15, seed=5, visibility=1.0)
    async with open_world(tmp_path, plan) as world:
        async with await world.start(DATA__RESERVE_BYTES=str(reserve)) as running:
            await world.reach(lambda ledger: ledger.calls["delete"] >= 10, running)
            filler = disk.fill(leave=0)
            await anyio.sleep(2)
            if running.is_over:  # it was in a COMMIT: that one may end it, with a word
                assert await running.ended() == 70, running.said
            else:
                await see(running, ready=False)
            filler.unlink()
            if not running.is_over:
                await world.reach(is_empty, running, 30)
                await end(running)
        await world.drain()
        await check_claims(world)


# --- a disk that is full at the start ---------------------------------------------------------------------------------


@pytest.mark.requirement("I0")
@pytest.mark.parametrize("known", [False, True], ids=["new", "with a log"])
async def test_on_a_full_disk_it_starts_and_waits(tmp_path: Path, disk: SmallDisk, known: bool) -> None:
    async with open_world(tmp_path, Plan(tickets=4, seed=6, visibility=1.0)) as world:
        if known:
            await world.kill_when(lambda ledger: ledger.calls["delete"] >= 4)
        before = world.ledger.calls["receive"]
        filler = disk.fill(leave=0)
        async with await world.start(DATA__RESERVE_BYTES=str(4 * MEGABYTE)) as running:
            await see(running, ready=False, why="no room")
            assert (await get(running, "/metrics")).status_code == 200
            assert (await get(running, "/api/v1/tickets")).status_code == 503
            await anyio.sleep(1)
            assert world.ledger.calls["receive"] == before
            filler.unlink()
            await world.reach(is_empty, running, 30)
            await see(running, ready=True)
            await end(running)
        await world.drain()
        await check_claims(world)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
async def test_a_signal_ends_a_start_that_waits(
    tmp_path: Path, disk: SmallDisk, number: signal.Signals, code: int
) -> None:
    async with open_world(tmp_path, Plan(tickets=0)) as world:
        disk.fill(leave=0)
        async with await world.start() as running:
            await told(running, "store_waits", "no room")
            running.send(number)
            assert await running.ended(10) == code, running.said
        drained = await world.ask("run", "--drain", "--timeout", "1")
        assert drained.code == 75, drained


# --- without a disk of one's own --------------------------------------------------------------------------------------


@pytest.mark.requirement("I0")
async def test_effects_pause_below_half_of_the_reserve_and_stay_due(tmp_path: Path) -> None:
    ballast = tmp_path / "ballast"
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, 2 * MARGIN)
    reserve = 2 * (shutil.disk_usage(tmp_path).free + MARGIN)
    async with open_world(tmp_path, Plan(tickets=6, seed=7, visibility=1.0)) as world:
        await world.die_at("project.committed", 4)  # what was planned then nobody has begun
        due = list_due(world)
        assert due, "there was nothing to do"
        actions = count_actions(world)
        async with await world.start(DATA__RESERVE_BYTES=str(reserve)) as running:
            await told(running, "disk_reserve", "pause")
            await wait_for(lambda: not is_under_way(world), 20)  # what was so when the process died is recovered
            waiting = list_due(world)  # ... and has one try more
            await anyio.sleep(2)
            assert count_actions(world) == actions
            assert list_due(world) == waiting
            assert [key for key, _ in waiting] == [key for key, _ in due]
            await see(running, ready=False)
            ballast.unlink()
            await wait_for(lambda: count_actions(world) > actions, 20)
            await told(running, "disk_reserve", "go on")
            await end(running)
        await world.drain()
        await check_claims(world)


def list_messages(world: World) -> list[str]:
    with closing(connect(world.data / "ecproc.db")) as log:
        return [stream for (stream,) in log.execute("SELECT stream FROM event WHERE kind = 'MessageReceived'")]


def list_due(world: World) -> list[tuple[str, int]]:
    rows = list_outbox(world)
    return [(row["effect"]["key"], row.get("tries", 0)) for row in rows if row.get("state") != "completed"]


def is_under_way(world: World) -> bool:
    return any(row.get("state") == "executing" for row in list_outbox(world))


def list_outbox(world: World) -> list[dict[str, Any]]:
    with closing(connect(world.data / "ecproc.db")) as log:
        return [msgspec.json.decode(data) for (data,) in log.execute("SELECT data FROM outbox ORDER BY id")]


def count_actions(world: World) -> int:
    with closing(connect(world.data / "desk.db")) as desk:
        return int(desk.execute("SELECT count(*) FROM action").fetchone()[0])
