"""`bridge.proxy`: every call goes through it, byte for byte, and a proxy that refuses is named without its password."""

from __future__ import annotations

import ssl
import time
import traceback
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from ecproc.attachments.base import Failure, FetchFailed
from ecproc.attachments.fetch import HttpFetcher
from ecproc.attachments.store import ContentStore
from ecproc.bridge.base import Request
from ecproc.bridge.fast import FastBridge
from ecproc.bridge.http import HttpBridge
from ecproc.clock import SystemClock
from ecproc.config import BridgeConfig, Limits, LiveSecret, Secret
from ecproc.config.proxy import Proxy, parse_proxy
from ecproc.errors import BridgeUnavailable
from tests.conformance.faultserver import FaultServer, Peer, Script, answering, black_hole, make_head, reset_at_once
from tests.conformance.loopback_proxy import LoopbackProxy
from tests.conformance.transports import Adapter

USER = "canary-user:canary-p@ss"
IN_URL = "canary-user:canary-p%40ss@"
HANDLE = "AQEB+/==/x"
TARGETS = ["/client/prod/queue", "/client/prod/queue/AQEB%2B%2F%3D%3D%2Fx"]
DEADLINE = 0.5
"""Seconds a call has whose time must run out."""
PATIENCE = 60.0
"""Seconds a call has that ends by itself: how fast is not asked on a machine that is shared."""
FILE = "/a%2Fb.txt?X-Amz-Signature=canary"


@pytest.fixture(scope="module", params=[True, False], ids=["uvloop", "asyncio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    """Both event loops: each has its own way to speak TLS on a socket that is connected already."""
    return "asyncio", {"use_uvloop": request.param}


@asynccontextmanager
async def opened(
    adapter: Adapter, url: str, proxy: str, *, user: str = IN_URL, ca_file: str = "", timeout: float = PATIENCE
) -> AsyncIterator[HttpBridge | FastBridge]:
    config = BridgeConfig(
        url=f"{url}/client/prod",
        client_name="Client",
        timeout=timeout,
        ca_file=ca_file,
        proxy=Secret(f"http://{user}{proxy}"),
    )
    key = LiveSecret("bridge.api_key", [Secret("key")])
    queue = adapter(config, api_key=key, limits=Limits(), clock=SystemClock())
    try:
        yield queue
    finally:
        await queue.aclose()


async def fail(queue: HttpBridge | FastBridge) -> BridgeUnavailable:
    """Make a call that must fail, with no credential in what is raised nor in what it comes from."""
    with pytest.raises(BridgeUnavailable) as caught:
        await queue.receive()
    text = "".join(traceback.format_exception(caught.value)) + repr(caught.value)
    for secret in ("canary", "Y2FuYXJ5", "/client"):
        assert secret not in text
    return caught.value


class TestHttpTargets:
    @pytest.mark.requirement("R4")
    async def test_the_proxy_is_given_the_whole_address_byte_for_byte(self, adapter: Adapter) -> None:
        async with FaultServer(answering(200, b"{}")) as server, LoopbackProxy(USER) as proxy:
            # The name resolves nowhere: only a proxy that is asked for it can lead there.
            place = f"bridge.invalid:{server.port}"
            async with opened(adapter, f"http://{place}", proxy.place) as queue:
                for _ in range(2):
                    assert (await queue.receive()).body == b"{}"
                    assert (await queue.delete(HANDLE)).status == 200
                assert "canary" not in repr(queue)
            assert [each.target for each in proxy.seen] == [f"http://{place}{target}" for target in TARGETS] * 2
            assert [each.target for each in server.requests] == TARGETS * 2
            assert {each.headers["host"] for each in server.requests} == {place}
            assert all("proxy-authorization" not in each.headers for each in server.requests)

    async def test_another_status_is_the_bridge_s_answer(self, adapter: Adapter) -> None:
        async with FaultServer(answering(503, b"busy")) as server, LoopbackProxy() as proxy:
            async with opened(adapter, server.url, proxy.place, user="") as queue:
                assert (await queue.receive()).status == 503
            assert "proxy-authorization" not in proxy.seen[0].headers


class TestHttpsTargets:
    async def test_the_proxy_sees_a_tunnel_and_nothing_in_it(
        self, adapter: Adapter, make_server_tls: Callable[..., ssl.SSLContext], ca_file: str
    ) -> None:
        async with (
            FaultServer(answering(200, b"{}"), tls=make_server_tls("bridge.invalid")) as server,
            LoopbackProxy(USER) as proxy,
        ):
            place = f"bridge.invalid:{server.port}"
            async with opened(adapter, f"https://{place}", proxy.place, ca_file=ca_file) as queue:
                for _ in range(2):
                    await queue.receive()
                    await queue.delete(HANDLE)
            assert [(each.method, each.target) for each in proxy.seen] == [("CONNECT", place)]
            assert [each.target for each in server.requests] == TARGETS * 2
            assert all("proxy-authorization" not in each.headers for each in server.requests)
            assert b"/client" not in proxy.tunnelled

    async def test_the_server_behind_it_is_verified_as_without_one(
        self, adapter: Adapter, make_server_tls: Callable[..., ssl.SSLContext], ca_file: str
    ) -> None:
        async with FaultServer(answering(200), tls=make_server_tls("else.example")) as server, LoopbackProxy() as proxy:
            place = f"bridge.invalid:{server.port}"
            async with opened(adapter, f"https://{place}", proxy.place, ca_file=ca_file) as queue:
                error = await fail(queue)
            assert (error.kind, error.sent, server.requests) == ("tls", False, [])
            assert error.detail.startswith(f"{place} through {proxy.place}: certificate verify failed: Hostname mismat")


class TestProxiesThatRefuse:
    @pytest.mark.parametrize("scheme", ["http", "https"])
    @pytest.mark.parametrize("user", ["", "canary-user:canary-wrong@"])
    async def test_without_the_right_password(self, adapter: Adapter, scheme: str, user: str) -> None:
        async with FaultServer(answering(200)) as server, LoopbackProxy(USER) as proxy:
            async with opened(adapter, f"{scheme}://127.0.0.1:{server.port}", proxy.place, user=user) as queue:
                error = await fail(queue)
            assert server.requests == []
        assert (error.kind, error.sent) == ("proxy", False)
        assert error.detail == (
            f"{proxy.place}: 407 Proxy Authentication Required (check the user and password of bridge.proxy)"
        )

    @pytest.mark.parametrize("scheme", ["http", "https"])
    async def test_nobody_listens(self, adapter: Adapter, scheme: str) -> None:
        async with LoopbackProxy() as proxy:
            place = proxy.place
        async with opened(adapter, f"{scheme}://bridge.invalid", place) as queue:
            error = await fail(queue)
        assert str(error) == f"the bridge is unavailable (proxy: {place}: Connection refused)"
        assert not error.sent

    async def test_a_name_that_leads_nowhere(self, adapter: Adapter) -> None:
        for scheme in ("http", "https"):
            async with opened(adapter, f"{scheme}://127.0.0.1:1", "proxy.invalid:3128") as queue:
                error = await fail(queue)
            assert error.kind == "proxy"
            assert error.detail.startswith("proxy.invalid:3128: ")
            assert not error.sent

    @pytest.mark.parametrize(
        ("answer", "why"),
        [
            (make_head(502), "502 Bad Gateway"),
            (make_head(599), "599"),
            (make_head(403, {"content-length": "6"}) + b"canary", "403 Forbidden"),
            (make_head(200) + b"canary", "it says more than that the tunnel stands"),
            (b"SSH-2.0-canary\r\n\r\n", "it does not speak HTTP"),
            (b"", "it closed the connection"),
        ],
    )
    async def test_a_tunnel_that_does_not_stand(self, adapter: Adapter, answer: bytes, why: str) -> None:
        async def script(peer: Peer) -> None:
            await peer.request()
            await peer.send(answer)

        async with FaultServer(script) as server:
            place = f"127.0.0.1:{server.port}"
            async with opened(adapter, "https://bridge.invalid", place) as queue:
                error = await fail(queue)
        assert (error.kind, error.detail, error.sent) == ("proxy", f"{place}: {why}", False)

    @pytest.mark.parametrize(("script", "kind"), [(black_hole, "timeout"), (reset_at_once, "proxy")])
    async def test_a_tunnel_that_never_comes_ends_in_time_unsent(
        self, adapter: Adapter, script: Script, kind: str
    ) -> None:
        async with FaultServer(script) as server:
            place = f"127.0.0.1:{server.port}"
            started = time.monotonic()
            timeout = DEADLINE if kind == "timeout" else PATIENCE
            async with opened(adapter, "https://bridge.invalid", place, timeout=timeout) as queue:
                error = await fail(queue)
        assert time.monotonic() - started < PATIENCE / 2
        assert (error.kind, error.sent) == (kind, False)
        assert place in error.detail


async def test_ticket_calls_go_through_it_with_their_bodies() -> None:
    async with FaultServer(answering(200, b"{}")) as server, LoopbackProxy(USER) as proxy:
        async with opened(HttpBridge, server.url, proxy.place) as bridge:
            assert isinstance(bridge, HttpBridge)
            await bridge.send(Request("PUT", "/tickets/e-CS1/returnptn", b'{"a":1}'))
        [put] = server.requests
        assert (put.method, put.target, put.body) == ("PUT", "/client/prod/tickets/e-CS1/returnptn", b'{"a":1}')
        assert len(proxy.seen) == 1


class TestAttachments:
    async def test_they_go_through_it_and_it_resolves(self, tmp_path: Path) -> None:
        async with FaultServer(answering(200, b"abc")) as server, LoopbackProxy() as proxy:
            stored = await self.fetch(tmp_path, f"{server.url}{FILE}", proxy.place)
            assert (tmp_path / stored).read_bytes() == b"abc"
            assert [each.target for each in server.requests] == [FILE]
            assert len(proxy.seen) == 1

    async def test_host_and_port_are_still_checked(self, tmp_path: Path) -> None:
        async with LoopbackProxy() as proxy:
            for url in ("https://elsewhere.example/a", "https://b.s3.amazonaws.com:8443/a", "http://10.0.0.1/a"):
                with pytest.raises(FetchFailed) as caught:
                    await self.fetch(tmp_path, url, proxy.place)
                assert caught.value.failure in (Failure.REFUSED, Failure.CONFIGURATION)
            assert proxy.seen == []

    async def test_a_public_name_is_the_proxy_s_to_resolve(self, tmp_path: Path) -> None:
        async with FaultServer(answering(502)) as server:
            with pytest.raises(FetchFailed) as caught:
                await self.fetch(tmp_path, "https://b.s3.amazonaws.com/a", f"127.0.0.1:{server.port}")
            assert [each.target for each in server.requests] == ["b.s3.amazonaws.com:443"]
        assert caught.value.failure is Failure.HELD

    async def fetch(self, folder: Path, url: str, place: str) -> str:
        """Download through the proxy; the content's path."""
        store = ContentStore(folder)
        await store.sweep()
        proxy = parse_proxy(f"http://{place}")
        assert isinstance(proxy, Proxy)
        fetcher = HttpFetcher(
            store,
            allowed_hosts=("*.s3.amazonaws.com", "127.0.0.1"),
            max_bytes=1_000,
            timeout=PATIENCE,
            max_connections=2,
            clock=SystemClock(),
            proxy=proxy,
        )
        try:
            return (await fetcher.fetch(url, announced_size=None)).path
        finally:
            await fetcher.aclose()
