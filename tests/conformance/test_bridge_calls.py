"""Ticket calls, over every transport. Queue calls are held to test_queue_transports.py."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest

from ecproc.bridge.base import Bridge, Request
from ecproc.bridge.fast import FastBridge
from ecproc.clock import SystemClock
from ecproc.config import BridgeConfig, Limits, LiveSecret, Secret
from ecproc.errors import BridgeUnavailable
from ecproc.network import make_tls_context, parse_retry_after
from tests.conformance.faultserver import FaultServer, Peer, answering
from tests.conformance.transports import Adapter

CREATE = Request("POST", "/tickets", b"{}")


@asynccontextmanager
async def open_bridge(
    adapter: Adapter, server: FaultServer, *, environment: str = "prod", ca_file: str = ""
) -> AsyncIterator[Bridge]:
    config = BridgeConfig(url=f"{server.url}/client/{environment}", client_name="Client", timeout=60, ca_file=ca_file)
    bridge = adapter(
        config, api_key=LiveSecret("bridge.api_key", [Secret("key")]), limits=Limits(), clock=SystemClock()
    )
    try:
        yield bridge
    finally:
        await bridge.aclose()


class TestTicketCalls:
    @pytest.mark.requirement("R9", "R1")
    async def test_echo_takes_ticket_calls_while_the_queue_is_devs(self, adapter: Adapter) -> None:
        async with (
            FaultServer(answering(200, b"{}")) as server,
            open_bridge(adapter, server, environment="echo") as bridge,
        ):
            await bridge.send(Request("PUT", "/tickets/e-CS1/returnptn", b'{"a":1}'))
            await bridge.send(Request("GET", "/tickets/a%2Fb%20c"))
            await bridge.receive()
            await bridge.delete("h")
        put, get, *queue = server.requests
        assert (put.method, put.target, put.body) == ("PUT", "/client/echo/tickets/e-CS1/returnptn", b'{"a":1}')
        assert put.headers["content-type"] == "application/json"
        assert (get.method, get.target, get.body) == ("GET", "/client/echo/tickets/a%2Fb%20c", b"")
        assert "content-type" not in get.headers
        assert [each.target for each in queue] == ["/client/dev/queue", "/client/dev/queue/h"]
        assert {each.headers["x-api-key"] for each in server.requests} == {"key"}

    @pytest.mark.requirement("R2", "C28")
    async def test_a_body_names_the_client_so_nothing_else_does(self, adapter: Adapter) -> None:
        async with FaultServer(answering(200, b"{}")) as server:
            config = BridgeConfig(url=server.url, client_name="A&B", client_name_in="query")
            bridge = adapter(config, api_key=LiveSecret("k", [Secret("k")]), limits=Limits(), clock=SystemClock())
            await bridge.send(CREATE)
            await bridge.send(Request("GET", "/tickets/e-CS1"))
            await bridge.send(Request("GET", "/tickets?a=b"))
            await bridge.aclose()
        assert [each.target for each in server.requests] == [
            "/tickets",
            "/tickets/e-CS1?clientName=A%26B",
            "/tickets?a=b&clientName=A%26B",
        ]

    async def test_each_has_a_connection_of_its_own(self, adapter: Adapter) -> None:
        async with FaultServer(answering(200)) as server, open_bridge(adapter, server) as bridge:
            for _ in range(3):
                await bridge.receive()
            assert len(server.peers) == 1
            for _ in range(3):
                await bridge.send(CREATE)
        assert len(server.peers) == 4

    async def test_one_that_may_be_repeated_keeps_a_connection_where_one_is_cheap(self, adapter: Adapter) -> None:
        returned = Request("PUT", "/tickets/e-CS1/returnptn", b'{"a":1}', repeatable=True)
        async with FaultServer(answering(200, b"{}")) as server, open_bridge(adapter, server) as bridge:
            for _ in range(3):
                assert (await bridge.send(returned)).status == 200
                await bridge.send(CREATE)
        assert len(server.peers) == (4 if adapter is FastBridge else 6)
        assert [(each.method, each.body) for each in server.requests] == [("PUT", b'{"a":1}'), ("POST", b"{}")] * 3

    @pytest.mark.requirement("I4")
    async def test_a_call_on_a_connection_that_is_just_closed_is_unknown_and_not_repeated(
        self, adapter: Adapter
    ) -> None:
        async def answer_once(peer: Peer) -> None:
            await peer.request()
            await peer.answer(200, b"{}")
            await peer.request()

        returned = Request("PUT", "/tickets/e-CS1/returnptn", b"{}", repeatable=True)
        async with FaultServer(answer_once) as server, open_bridge(adapter, server) as bridge:
            await bridge.send(returned)
            if adapter is FastBridge:
                with pytest.raises(BridgeUnavailable) as caught:
                    await bridge.send(returned)
                assert (caught.value.kind, caught.value.sent) == ("protocol", True)
            assert (await bridge.send(returned)).status == 200
        assert len(server.requests) == (3 if adapter is FastBridge else 2)

    async def test_cookies_are_not_kept(self, adapter: Adapter) -> None:
        cookie = {"set-cookie": "a=b; Path=/"}
        async with FaultServer(answering(200, headers=cookie)) as server, open_bridge(adapter, server) as bridge:
            for _ in range(2):
                await bridge.send(CREATE)
                await bridge.receive()
        assert all("cookie" not in each.headers for each in server.requests)

    @pytest.mark.requirement("R3")
    async def test_only_a_trusted_server_gets_one(
        self, adapter: Adapter, make_server_tls: Callable[..., ssl.SSLContext], ca_file: str
    ) -> None:
        async with FaultServer(answering(200, b"{}"), tls=make_server_tls()) as server:
            async with open_bridge(adapter, server) as bridge:
                with pytest.raises(BridgeUnavailable) as caught:
                    await bridge.send(CREATE)
            assert (caught.value.kind, caught.value.sent, server.requests) == ("tls", False, [])
            async with open_bridge(adapter, server, ca_file=ca_file) as bridge:
                assert (await bridge.send(CREATE)).status == 200


def test_nothing_weakens_the_context() -> None:
    context = make_tls_context()
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.check_hostname


NOW = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp() * 1_000_000)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("", None),
        ("soon", None),
        ("-1", None),
        ("1.5", None),
        ("0", 0.0),
        (" 12 ", 12.0),
        ("301", 300.0),
        ("9" * 5000, 300.0),
        ("Thu, 01 Jan 2026 00:00:30 GMT", 30.0),
        ("Thu, 01 Jan 2026 00:00:30", 30.0),
        ("Wed, 31 Dec 2025 23:00:00 GMT", 0.0),
        ("Fri, 01 Jan 2027 00:00:00 GMT", 300.0),
        ("Thu, 99 Jan 2026 00:00:00 GMT", None),
        ("\u0663", None),
    ],
)
def test_retry_after(value: str | None, seconds: float | None) -> None:
    assert parse_retry_after(value, now=NOW) == seconds
