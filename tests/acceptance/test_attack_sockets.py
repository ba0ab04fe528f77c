"""Connections that do nothing, by the hundred, and no descriptor left: the processor's work and its probes go on."""

from __future__ import annotations

import resource
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from statistics import median
from typing import Final

import anyio
import httpx
import pytest

from ecproc.control import CONTROL
from tests.acceptance.claims import check_claims
from tests.acceptance.world import LOOK, PATIENCE, Plan, Running, World, is_empty, open_world, wait_for
from tests.sockets import dial_control

PLAN: Final = Plan(tickets=20, rate=60.0, visibility=2.0)
PROBES: Final = ("/livez", "/readyz")
PAGES: Final = (*PROBES, "/version", "/metrics", "/api/v1/tickets?limit=1")

PROBE_SECONDS: Final = 1.0
"""What an orchestrator's probe may take."""

SEVERAL: Final = 10
"""Probes of which a median says something."""

UNDER_ATTACK: Final = 60
"""Messages that have to be appended and deleted while the attack lasts."""


async def probe_until(address: str, reached: Callable[[], bool]) -> int:
    """Ask the probes again and again until so much came about; how often. All must answer, and of several most in time:
    on a busy machine whoever asks may be late as well."""
    took: list[float] = []

    async def ask() -> None:
        while not reached() or len(took) < SEVERAL:
            for path in PROBES:
                # Each a connection of its own, as an orchestrator's.
                async with httpx.AsyncClient(base_url=address, trust_env=False, verify=False, timeout=15) as client:  # noqa: S501
                    began = time.monotonic()
                    # Without a descriptor there is no room (decision 13): it lives, and need not be ready.
                    assert (await client.get(path)).status_code in ((200,) if path == "/livez" else (200, 503))
                    took.append(time.monotonic() - began)
            await anyio.sleep(0.05)

    with anyio.fail_after(PATIENCE):
        await ask()
    assert median(took) < PROBE_SECONDS, sorted(took)
    return len(took)


async def check_pages(address: str) -> None:
    """Everything is served, within a moment: what waited for a descriptor looks again only then."""
    async with httpx.AsyncClient(base_url=address, trust_env=False, timeout=15) as client:
        found: list[int] = []
        with anyio.move_on_after(PATIENCE):
            while found != [200] * len(PAGES):
                found = [(await client.get(page)).status_code for page in PAGES]
                await anyio.sleep(LOOK)
        assert found == [200] * len(PAGES)


@contextmanager
def keep_connecting(address: str, count: int, *, say: bytes = b"") -> Iterator[list[socket.socket]]:
    """So many connections, every other of which begins with `say`."""
    host, port = address.removeprefix("http://").split(":")
    made: list[socket.socket] = []
    try:
        for number in range(count):
            one = socket.socket()
            made.append(one)
            one.settimeout(5)
            one.setsockopt(
                socket.SOL_SOCKET, socket.SO_RCVBUF, 4096
            )  # so that the system takes little for who reads none
            one.connect((host, int(port)))
            if say and number % 2:
                one.sendall(say)
        yield made
    finally:
        for one in made:
            one.close()


@asynccontextmanager
async def attacked(
    folder: Path, *, most_files: int | None = None, plan: Plan = PLAN
) -> AsyncIterator[tuple[World, Running, str]]:
    """A processor at work and its address; after the block it must end in good order and have lost nothing."""
    async with open_world(folder, plan) as world:
        async with await world.start() as running:
            if most_files is not None:
                resource.prlimit(running.pid, resource.RLIMIT_NOFILE, (most_files // 2, most_files))
            address = await running.told("web", "url")
            await world.reach(lambda ledger: ledger.calls["delete"] > 0, running)
            yield world, running, address
            assert not running.is_over, running.said
            await check_pages(address)
            await world.reach(is_empty, running)
            running.send(signal.SIGTERM)
            assert await running.ended(20) == 0, running.said
            assert "Traceback" not in running.said
            assert '"effect_lost"' not in running.said
        await world.drain()
        await check_claims(world)


def count_files(running: Running) -> int:
    return len(list(Path(f"/proc/{running.pid}/fd").iterdir()))


async def test_silent_and_half_sent_connections_blind_nobody(tmp_path: Path) -> None:
    async with attacked(tmp_path) as (world, running, address):
        begun = world.ledger.calls["delete"]
        half = b"GET /api/v1/tickets HTTP/1.1\r\nHost: localhost\r\nX-Slow: "
        with keep_connecting(address, 300, say=half) as clients:
            asked = await probe_until(address, lambda: world.ledger.calls["delete"] >= begun + UNDER_ATTACK)
            await check_pages(address)
            # Bytes now and then buy no time.
            await wait_for(lambda: all(map(is_cut, clients)), within=PATIENCE)
        assert asked > 0
        assert '"event":"web","reason":"connections' in running.said


def is_cut(client: socket.socket) -> bool:
    """Whether the other side has ended it, however much is still said to it."""
    client.setblocking(False)
    try:
        client.send(b"x")
        return client.recv(1024) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


async def test_more_connections_than_descriptors_end_nothing(tmp_path: Path) -> None:
    async with attacked(tmp_path, most_files=256) as (world, running, address):
        soft, hard = resource.prlimit(running.pid, resource.RLIMIT_NOFILE)
        assert (soft, hard) == (256, 256), "it did not raise its limit"
        begun = world.ledger.calls["delete"]
        with keep_connecting(address, 600):
            await probe_until(address, lambda: world.ledger.calls["delete"] >= begun + UNDER_ATTACK)
            assert count_files(running) < soft


async def test_without_a_descriptor_left_the_work_waits_and_is_then_done(tmp_path: Path) -> None:
    async with attacked(tmp_path) as (world, running, address):
        begun = world.ledger.calls["delete"]
        _, hard = resource.prlimit(running.pid, resource.RLIMIT_NOFILE)
        highest = max(int(path.name) for path in Path(f"/proc/{running.pid}/fd").iterdir())
        resource.prlimit(running.pid, resource.RLIMIT_NOFILE, (highest + 1, hard))
        with keep_connecting(address, 200):
            await probe_until(address, lambda: "Too many open files" in running.said)
            resource.prlimit(running.pid, resource.RLIMIT_NOFILE, (hard, hard))
            await probe_until(address, lambda: world.ledger.calls["delete"] >= begun + UNDER_ATTACK)
        async with httpx.AsyncClient(base_url=address, trust_env=False) as client:
            metrics = (await client.get("/metrics")).text
        assert 'ecproc_web_refusals_total{reason="crowded"} 0.0' not in metrics


async def test_clients_that_read_no_answer_hold_nothing(tmp_path: Path) -> None:
    async with attacked(tmp_path) as (world, running, address):
        begun, before = world.ledger.calls["delete"], count_files(running)
        asks = b"GET /api/v1/tickets?limit=1000 HTTP/1.1\r\nHost: localhost\r\n\r\n" * 200
        with keep_connecting(address, 8) as clients:
            for client in clients:
                client.setblocking(False)
                client.send(asks)
            await probe_until(address, lambda: world.ledger.calls["delete"] >= begun + UNDER_ATTACK)
            await wait_for(lambda: "an answer was not read in time" in running.said, within=PATIENCE)
        await wait_for(lambda: count_files(running) < before + 64, within=PATIENCE)


GIGABYTE: Final = 1_000_000_000
PIECE: Final = b"FFFF\r\n" + b"x" * 0xFFFF + b"\r\n"
BODIES: Final = (
    b"Content-Length: %d" % GIGABYTE,
    b"Transfer-Encoding: chunked",
)
LEAST_RATIO: Final = 0.8
"""Of the messages that are taken in some time, how many are while strangers keep it busy."""


def dial_web(address: str) -> socket.socket:
    """A connection to the pages, of which nothing was said yet."""
    host, port = address.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=5)


def measure_memory(running: Running) -> int:
    """The bytes that it holds now."""
    return int(Path(f"/proc/{running.pid}/statm").read_text().split()[1]) * resource.getpagesize()


def pour(dial: Callable[[], socket.socket], head: bytes, path: bytes) -> int:
    """Send a body without end to that path until the other side has enough of it; how many bytes that were."""
    sent = 0
    with suppress(OSError), closing(dial()) as client:
        client.sendall(b"POST %s HTTP/1.1\r\nHost: localhost\r\n%s\r\n\r\n" % (path, head))
        while sent < GIGABYTE:
            client.sendall(PIECE)
            sent += len(PIECE)
    return sent


async def test_bodies_without_end_cost_nothing(tmp_path: Path) -> None:
    async with attacked(tmp_path) as (world, running, address):
        await wait_for((world.data / CONTROL).exists)
        begun, before = world.ledger.calls["delete"], measure_memory(running)
        poured: list[int] = []

        async def pour_all(dial: Callable[[], socket.socket], head: bytes) -> None:
            for path in (b"/livez", b"/api/v1/tickets", b"/api/v1/events", b"/api/v1/outbox/x"):
                poured.append(await anyio.to_thread.run_sync(pour, dial, head, path))

        async with anyio.create_task_group() as tasks:
            for dial in (partial(dial_web, address), partial(dial_control, world.data)):
                for head in BODIES:
                    tasks.start_soon(pour_all, dial, head)
            await probe_until(address, lambda: world.ledger.calls["delete"] >= begun + UNDER_ATTACK)
        assert len(poured) == 16
        assert max(poured) < GIGABYTE / 20
        assert measure_memory(running) < before + 64 * 1024 * 1024


async def test_half_a_body_loses_its_place_on_either_socket(tmp_path: Path) -> None:
    async with attacked(tmp_path) as (world, _, address):
        await wait_for((world.data / CONTROL).exists)
        half = b"POST /api/v1/outbox HTTP/1.1\r\nHost: localhost\r\nContent-Length: 900\r\n\r\n{"
        clients = [
            dial() for dial in (partial(dial_web, address), partial(dial_control, world.data)) for _ in range(20)
        ]
        try:
            for client in clients:
                client.sendall(half)
                client.settimeout(PATIENCE)
                assert client.recv(1024).startswith(b"HTTP/1.1 405 ")
            await wait_for(lambda: all(map(is_cut, clients)), within=PATIENCE)
            await check_pages(address)
        finally:
            for client in clients:
                client.close()


@pytest.mark.parametrize("way", ["tcp", "socket", "follow"])
async def test_five_hundred_connections_do_not_slow_the_queue(way: str, tmp_path: Path) -> None:
    """The ratio is of one run: as many messages without anyone beside it, then with, in the best of a few stretches: a
    busy machine slows some of them, the five hundred would slow all."""
    plan = Plan(tickets=120, rate=60.0, visibility=2.0)
    async with attacked(tmp_path, plan=plan) as (world, running, address):
        await wait_for((world.data / CONTROL).exists)
        dial = partial(dial_control, world.data) if way == "socket" else partial(dial_web, address)
        asks = b"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n"
        half = asks if way == "follow" else b"GET /api/v1/tickets HTTP/1.1\r\nHost: localhost\r\nX-Slow: "

        async def take(count: int) -> float:
            began, wanted = time.monotonic(), world.ledger.calls["delete"] + count
            await world.reach(lambda ledger: ledger.calls["delete"] >= wanted, running)
            return time.monotonic() - began

        await take(UNDER_ATTACK)  # what had gathered until it ran
        alone = sorted([await take(UNDER_ATTACK) for _ in range(3)])[1]
        clients: list[socket.socket] = []
        try:
            for _ in range(500):
                client = await anyio.to_thread.run_sync(dial)
                clients.append(client)
                with suppress(OSError):  # it had to make room
                    client.sendall(half)
            assert alone / min([await take(UNDER_ATTACK) for _ in range(6)]) >= LEAST_RATIO
            await check_pages(address)
        finally:
            for client in clients:
                client.close()


@pytest.mark.parametrize(
    ("listen", "more", "place"),
    [
        ("127.0.0.1:0", {"WEB__HOSTS": "proxy.example", "WEB__READ_TOKEN": "x"}, "ECPROC_WEB__READ_TOKEN"),
        ("127.0.0.1:0", {"WEB__HOSTS": "proxy.example"}, "ECPROC_WEB__HOSTS"),
        ("0.0.0.0:0", {"WEB__READ_TOKEN": "x"}, "ECPROC_WEB__READ_TOKEN"),
        ("127.0.0.1:0", {"WEB__HOSTS": "https://proxy.example"}, "ECPROC_WEB__HOSTS"),
    ],
)
async def test_others_are_let_in_with_a_long_token_only(
    listen: str, more: dict[str, str], place: str, tmp_path: Path
) -> None:
    async with open_world(tmp_path, Plan(tickets=0)) as world:
        for command, advice in ((("run",), "hint"), (("config", "check"), "help")):
            refused = await world.ask(*command, WEB__LISTEN=listen, **more)
            assert (refused.code, place in refused.err, advice in refused.err) == (78, True, True), refused


async def test_a_rotated_token_that_is_too_short_is_not_taken(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("0123456789abcdef", encoding="utf-8")
    file.chmod(0o600)
    async with open_world(tmp_path, Plan(tickets=0)) as world:
        changed = {"WEB__HOSTS": "proxy.example", "WEB__READ_TOKEN_FILE": str(file)}
        async with await world.start(**changed) as running:
            address = await running.told("web", "url")
            file.write_text("short", encoding="utf-8")
            running.send(signal.SIGHUP)
            assert "shorter than 16" in await running.told("secret_not_reloaded", "reason")
            headers = {"authorization": "Bearer 0123456789abcdef", "host": "proxy.example"}
            async with httpx.AsyncClient(base_url=address, trust_env=False) as client:
                assert (await client.get("/api/v1/tickets", headers=headers)).status_code == 200
                short = headers | {"authorization": "Bearer short"}
                assert (await client.get("/api/v1/tickets", headers=short)).status_code == 401
                rebound = headers | {"host": "evil.example"}
                assert (await client.get("/api/v1/tickets", headers=rebound)).status_code == 421


async def test_an_ipv6_address_is_printed_as_a_url(tmp_path: Path) -> None:
    with closing(socket.socket(socket.AF_INET6)) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            pytest.skip("this machine has no IPv6")
    async with open_world(tmp_path, Plan(tickets=0)) as world, await world.start(WEB__LISTEN="[::1]:0") as running:
        address = await running.told("web", "url")
        assert address.startswith("http://[::1]:")
        await check_pages(address)
