"""What a service manager hears: real datagrams, by path and by abstract address, and what is done when none can go."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest
from structlog.testing import capture_logs

from ecproc.clock import SystemClock
from ecproc.systemd import RETRY_SECONDS, ServiceManager

STATES: Final = 64
"""Bytes that hold any state."""


class Stop(Exception):
    """The clock of a test has run out."""


class ShortClock(SystemClock):
    """Sleeps are over at once and do what the test wants then; after so many it stops whoever sleeps."""

    def __init__(self, sleeps: int, meanwhile: Callable[[], object] = lambda: None) -> None:
        self.slept: list[float] = []
        self._sleeps = sleeps
        self._meanwhile = meanwhile

    async def sleep(self, seconds: float) -> None:
        if len(self.slept) == self._sleeps:
            raise Stop
        self.slept.append(seconds)
        self._meanwhile()


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    """Where a manager listens; a test binds it."""
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as listener:
        listener.setblocking(False)
        yield listener


def list_heard(listener: socket.socket) -> list[str]:
    heard = []
    while True:
        try:
            heard.append(listener.recv(STATES).decode())
        except BlockingIOError:
            return heard


def bind(listener: socket.socket, folder: Path, *, abstract: bool = False) -> dict[str, str]:
    """The variable by which a service learns of it."""
    if abstract:
        listener.bind("")  # the kernel chooses a free one
        return {"NOTIFY_SOCKET": f"@{listener.getsockname()[1:].decode()}"}
    listener.bind(str(folder / "notify"))
    return {"NOTIFY_SOCKET": str(folder / "notify")}


@pytest.mark.parametrize("abstract", [False, True])
async def test_it_hears_that_a_run_receives_and_that_it_ends(
    listening: socket.socket, tmp_path: Path, abstract: bool
) -> None:
    manager = ServiceManager(bind(listening, tmp_path, abstract=abstract), ShortClock(0))

    await manager.tell_ready()
    assert list_heard(listening) == ["READY=1"]
    manager.tell_stopping()
    assert list_heard(listening) == ["STOPPING=1"]


async def test_it_hears_twice_in_its_patience_that_a_run_lives_and_nothing_of_one_that_does_not(
    listening: socket.socket, tmp_path: Path
) -> None:
    clock = ShortClock(3)
    variables = {"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}
    manager = ServiceManager(bind(listening, tmp_path) | variables, clock)

    with pytest.raises(Stop):
        await manager.keep_alive(iter((True, False, True, False)).__next__)

    assert list_heard(listening) == ["WATCHDOG=1"] * 2
    assert clock.slept == [15.0] * 3


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"WATCHDOG_USEC": "0"},
        {"WATCHDOG_USEC": "soon"},
        {"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid() + 1)},
    ],
)
async def test_who_does_not_want_to_know_that_a_run_lives_hears_nothing_of_it(
    listening: socket.socket, tmp_path: Path, variables: dict[str, str]
) -> None:
    await ServiceManager(bind(listening, tmp_path) | variables, ShortClock(0)).keep_alive(lambda: True)

    assert list_heard(listening) == []


@pytest.mark.parametrize("named", ["", "vsock:2:1234", "relative/path"])
async def test_without_an_address_of_this_machine_nothing_is_tried(named: str) -> None:
    manager = ServiceManager({"NOTIFY_SOCKET": named, "WATCHDOG_USEC": "1000000"}, ShortClock(0))

    with capture_logs() as lines:
        await manager.tell_ready()
        await manager.keep_alive(lambda: True)
        manager.tell_stopping()

    assert lines == []


async def test_what_finds_no_room_is_sent_again_and_holds_nothing_up(listening: socket.socket, tmp_path: Path) -> None:
    variables = bind(listening, tmp_path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other, pytest.raises(BlockingIOError):
        other.setblocking(False)
        while True:
            other.sendto(b"other", variables["NOTIFY_SOCKET"])
    heard: list[str] = []
    clock = ShortClock(1, lambda: heard.extend(list_heard(listening)))

    manager = ServiceManager(variables, clock)
    manager.tell_stopping()
    await manager.tell_ready()

    assert set(heard) == {"other"}
    assert clock.slept == [RETRY_SECONDS]
    assert list_heard(listening) == ["READY=1"]


async def test_a_manager_that_is_gone_is_told_once_and_stops_nothing(tmp_path: Path) -> None:
    manager = ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "gone")}, ShortClock(0))

    with capture_logs() as lines:
        await manager.tell_ready()
        manager.tell_stopping()

    assert [(line["log_level"], line["event"], line["reason"]) for line in lines] == [
        ("warning", "service_manager", "READY=1 could not be sent: No such file or directory")
    ]
