"""The control socket of a real process: who may use it, when it is there, and what a command hears over it."""

from __future__ import annotations

import os
import signal
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import msgspec
import pytest

from ecproc.cli.control import Control, ControlFailed, connect
from ecproc.config import Config, DataConfig
from ecproc.control import CONTROL
from ecproc.errors import ExitCode
from tests.acceptance.test_attack_sockets import is_cut
from tests.acceptance.world import Plan, Running, World, open_world, wait_for
from tests.sockets import dial_control


def config_of(data: Path) -> Config:
    return Config(data=DataConfig(dir=data))


@asynccontextmanager
async def begun(folder: Path, **changed: str) -> AsyncIterator[tuple[World, Running]]:
    """A processor whose socket is there."""
    async with open_world(folder, Plan(tickets=0, visibility=0.5)) as world, await world.start(**changed) as running:
        data = Path(changed.get("DATA__DIR", world.data))
        await wait_for((data / CONTROL).exists)
        yield world, running


async def ask(data: Path, target: str) -> tuple[int, object]:
    """What the processor on that directory answers."""
    async with connect(config_of(data)) as control:
        assert control is not None
        answered = await control.call("GET", target)
        return answered.status, msgspec.json.decode(answered.body)


async def test_it_serves_the_api_to_its_own_user_only_and_without_a_token(tmp_path: Path) -> None:
    token = {"WEB__HOSTS": "proxy.example", "WEB__READ_TOKEN": "0123456789abcdef"}
    async with begun(tmp_path, **token) as (world, running):
        seen = (world.data / CONTROL).lstat()
        assert (stat.S_ISSOCK(seen.st_mode), stat.S_IMODE(seen.st_mode)) == (True, 0o600)
        assert await ask(world.data, "/api/v1/tickets") == (200, [])
        with dial_control(world.data) as client:
            client.sendall(b"GET /api/v1/tickets HTTP/1.1\r\nHost: proxy.example\r\nConnection: close\r\n\r\n")
            assert client.recv(1024).startswith(b"HTTP/1.1 421 ")
        running.send(signal.SIGTERM)
        assert await running.ended() == 0, running.said
        assert list(world.data.glob(f"{CONTROL}*")) == []


async def test_one_that_a_killed_process_left_is_replaced(tmp_path: Path) -> None:
    async with begun(tmp_path) as (world, running):
        running.send(signal.SIGKILL)
        assert await running.ended() == -signal.SIGKILL
        assert (world.data / CONTROL).exists()
        async with connect(config_of(world.data)) as control:
            assert control is None
        before = (world.data / CONTROL).lstat().st_ino
        async with await world.start() as again:
            await wait_for(lambda: (world.data / CONTROL).lstat().st_ino != before)
            assert (await ask(world.data, "/api/v1/tickets"))[0] == 200
            again.send(signal.SIGTERM)
            assert await again.ended() == 0, again.said


async def test_a_data_directory_whose_path_fits_into_no_socket_address_has_one_too(tmp_path: Path) -> None:
    data = tmp_path / ("long" * 30) / ("longer" * 30)
    async with begun(tmp_path, DATA__DIR=str(data)) as (_, running):
        assert stat.S_IMODE((data / CONTROL).lstat().st_mode) == 0o600
        assert (await ask(data, "/version"))[0] == 200
        running.send(signal.SIGTERM)
        assert await running.ended() == 0, running.said
        assert not (data / CONTROL).exists()


async def test_where_none_can_be_made_the_work_goes_on_and_that_is_told(tmp_path: Path) -> None:
    async with open_world(tmp_path, Plan(tickets=2, visibility=0.5)) as world:
        (world.data / CONTROL).mkdir(parents=True)
        async with await world.start() as running:
            await world.reach(lambda ledger: ledger.calls["delete"] > 0, running)
            said = [line["reason"] for line in running.list_lines() if line["event"] == "web" and "reason" in line]
            assert [CONTROL in reason or "control socket" in reason for reason in said] == [True]
            with pytest.raises(ControlFailed, match="takes no commands") as caught:
                async with connect(config_of(world.data), patience=0.3):
                    pass
        assert (caught.value.exit_code, caught.value.sent) == (ExitCode.TEMPORARY, False)


async def test_a_processor_that_stands_still_or_dies_is_told_in_words(tmp_path: Path) -> None:
    async with begun(tmp_path) as (world, running):
        async with connect(config_of(world.data)) as control:
            assert isinstance(control, Control)
            os.kill(running.pid, signal.SIGSTOP)
            with pytest.raises(ControlFailed, match=r"no answer within 0\.2 s") as late:
                await control.call("GET", "/version", seconds=0.2)
            assert late.value.sent
            with pytest.raises(ControlFailed, match=f"process {running.pid}, which takes no commands"):
                async with connect(config_of(world.data), patience=0.3):
                    pass
            running.send(signal.SIGKILL)
            await running.ended()
            with pytest.raises(ControlFailed, match="it is gone") as gone:
                await control.call("GET", "/version")
            assert not gone.value.sent
        async with connect(config_of(world.data)) as nobody:
            assert nobody is None


async def test_silent_clients_lose_their_place_and_others_are_served(tmp_path: Path) -> None:
    async with begun(tmp_path) as (world, running):
        clients = [dial_control(world.data) for _ in range(120)]
        try:
            for client in clients[::2]:
                with suppress(OSError):  # it had to make room
                    client.send(b"POST /api/v1/tickets HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\nhalf")
            assert (await ask(world.data, "/api/v1/tickets"))[0] == 200
            await wait_for(lambda: all(map(is_cut, clients)))
            assert (await ask(world.data, "/api/v1/tickets"))[0] == 200
        finally:
            for client in clients:
                client.close()
        assert not running.is_over
