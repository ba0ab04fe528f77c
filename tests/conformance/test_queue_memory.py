"""What a call that failed leaves behind: nothing that only the collector would find, which seldom looks."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Final

import anyio
import anyio.lowlevel
import pytest

from ecproc.attachments.base import FetchFailed
from ecproc.attachments.fetch import HttpFetcher
from ecproc.attachments.store import ContentStore
from ecproc.bridge.fast import FastBridge
from ecproc.bridge.http import HttpBridge
from ecproc.clock import SystemClock
from ecproc.config import BridgeConfig, Limits, Secret
from ecproc.errors import BridgeUnavailable
from tests.conformance.faultserver import (
    FaultServer,
    Peer,
    Script,
    answering,
    endless,
    make_gzip_bomb,
    make_head,
    reset_after_request,
    talk_nonsense,
    truncate,
)
from tests.conformance.transports import Adapter

LIMIT: Final = 256 * 1024
CALLS: Final = 3
OURS: Final = ("ecproc", "httpx", "httpcore", "h11", "httptools")
"""Packages of which nothing may be left."""


class FixedKey:
    """An API key that never changes."""

    value = Secret("key")

    def instead_of(self, refused: Secret) -> Secret | None:
        return None

    def settle(self, worked: Secret) -> None:
        raise AssertionError("there is one key only")


def chunks(size: int, count: int) -> Script:
    """A body in so many chunks of that size, and then its end."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(make_head(200, {"transfer-encoding": "chunked"}))
        await peer.send((b"%x\r\n" % size + bytes(size) + b"\r\n") * count + b"0\r\n\r\n")
        await peer.hang()

    return script


def stalling(body: bytes) -> Script:
    """Half of a body, and then nothing more."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(make_head(200, {"content-length": str(2 * len(body))}) + body)
        await peer.hang()

    return script


async def flood_interim(peer: Peer) -> None:
    """Interim answers without end."""
    await peer.request()
    while True:
        await peer.send(make_head(103, {"x": "y" * 100}) * 100)


async def reset_within(peer: Peer) -> None:
    """Half of a body, then a reset."""
    await peer.request()
    await peer.send(make_head(200, {"content-length": str(LIMIT)}) + bytes(LIMIT // 2))
    peer.reset()


SCRIPTS: Final[dict[str, Script]] = {
    "too large": answering(200, bytes(LIMIT + 1)),
    "endless": endless(),
    "too many chunks": chunks(1000, 300),
    "bomb": answering(200, make_gzip_bomb(4_000_000), {"content-encoding": "gzip"}),
    "no gzip": answering(200, bytes(LIMIT // 2), {"content-encoding": "gzip"}),
    "stalls": stalling(bytes(LIMIT // 2)),
    "truncated": truncate,
    "reset": reset_after_request,
    "reset within": reset_within,
    "interim": flood_interim,
    "nonsense": talk_nonsense,
    "well": answering(200, bytes(LIMIT // 2)),
}


def is_ours(item: object) -> bool:
    """Whether this is of a package that calls go through, or one of its calls that is not over."""
    if isinstance(item, FrameType):
        return any(f"/{package}/" in item.f_code.co_filename for package in OURS)
    return type(item).__module__.partition(".")[0] in OURS


@contextmanager
def seeing_what_stays() -> Iterator[Counter[str]]:
    """Count, at the end, what of ours only the collector would have freed."""
    left = Counter[str]()
    gc.collect()
    gc.disable()
    try:
        yield left
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        left.update(
            f"{item.f_code.co_qualname}()" if isinstance(item, FrameType) else type(item).__qualname__
            for item in gc.garbage
            if is_ours(item)
        )
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


@pytest.fixture(scope="module", params=[True, False], ids=["uvloop", "asyncio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    """Both event loops: each has its own idea of a lost connection."""
    return "asyncio", {"use_uvloop": request.param}


@pytest.fixture
def make_queue(adapter: Adapter) -> Callable[[str], FastBridge | HttpBridge]:
    def make(url: str) -> FastBridge | HttpBridge:
        config = BridgeConfig(url=url, client_name="Client", timeout=0.3)
        return adapter(config, api_key=FixedKey(), limits=Limits(response_bytes=LIMIT), clock=SystemClock())

    return make


@pytest.mark.requirement("I7")
@pytest.mark.parametrize("name", SCRIPTS)
async def test_a_call_leaves_nothing_to_the_collector(
    make_queue: Callable[[str], FastBridge | HttpBridge], name: str
) -> None:
    async with FaultServer(SCRIPTS[name]) as server:
        queue = make_queue(server.url)
        with seeing_what_stays() as left:
            for _ in range(CALLS):
                with suppress(BridgeUnavailable):
                    await queue.receive()
            await anyio.lowlevel.checkpoint()
        await queue.aclose()
    assert not left


@pytest.mark.requirement("I7")
@pytest.mark.parametrize("name", SCRIPTS)
async def test_many_deletes_leave_nothing_to_the_collector(
    make_queue: Callable[[str], FastBridge | HttpBridge], name: str
) -> None:
    async with FaultServer(SCRIPTS[name]) as server:
        queue = make_queue(server.url)
        with seeing_what_stays() as left:
            for within in (60.0, 0.05):
                await queue.delete_many(["a", "b", "c"], lambda place, outcome: None, within=within)
            await anyio.lowlevel.checkpoint()
        await queue.aclose()
    assert not left


@pytest.mark.requirement("I7")
async def test_a_call_that_was_given_up_leaves_nothing_to_the_collector(
    make_queue: Callable[[str], FastBridge | HttpBridge],
) -> None:
    async with FaultServer(stalling(bytes(LIMIT // 2))) as server:
        queue = make_queue(server.url)
        with seeing_what_stays() as left:
            for _ in range(CALLS):
                with anyio.move_on_after(0.05):
                    await queue.receive()
            await anyio.lowlevel.checkpoint()
        await queue.aclose()
    assert not left


@pytest.mark.requirement("I7")
@pytest.mark.parametrize("secure", [False, True], ids=["forwarded", "tunnelled"])
@pytest.mark.parametrize("name", ["refuses", "nobody listens"])
async def test_a_proxy_that_fails_leaves_nothing_to_the_collector(adapter: Adapter, *, name: str, secure: bool) -> None:
    async with FaultServer(answering(407)) as server:
        port = server.port
        if name == "nobody listens":
            await server.__aexit__(None, None, None)
        config = BridgeConfig(
            url=f"http{'s' * secure}://bridge.example/client/prod",
            client_name="Client",
            timeout=2.0,
            proxy=Secret(f"http://user:password@127.0.0.1:{port}"),
        )
        queue = adapter(config, api_key=FixedKey(), limits=Limits(), clock=SystemClock())
        with seeing_what_stays() as left:
            for _ in range(CALLS):
                with pytest.raises(BridgeUnavailable, match="proxy"):
                    await queue.receive()
            await anyio.lowlevel.checkpoint()
        await queue.aclose()
    assert not left


@pytest.mark.requirement("I7")
@pytest.mark.parametrize("name", ["too large", "endless", "stalls", "reset within", "truncated", "well"])
async def test_a_download_leaves_nothing_to_the_collector(tmp_path: Path, name: str) -> None:
    content = ContentStore(tmp_path)
    await content.sweep()
    async with FaultServer(SCRIPTS[name]) as server:
        fetcher = HttpFetcher(
            content,
            allowed_hosts=["127.0.0.1"],
            max_bytes=LIMIT,
            timeout=0.3,
            max_connections=4,
            clock=SystemClock(),
        )
        with seeing_what_stays() as left:
            for _ in range(CALLS):
                with suppress(FetchFailed):
                    await fetcher.fetch(f"{server.url}/file", announced_size=None)
            await anyio.lowlevel.checkpoint()
        await fetcher.aclose()
    assert not left


def test_a_cycle_is_seen() -> None:
    """The harness sees what it looks for."""
    with seeing_what_stays() as left:
        fault = BridgeUnavailable("timeout", sent=True)
        fault.__context__ = fault
        del fault
    assert left == {"BridgeUnavailable": 1}
