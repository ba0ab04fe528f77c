"""The HTTP bridge against a server that misbehaves: every call ends in time with an answer or an honest fault."""

from __future__ import annotations

import logging
import ssl
import time
import traceback
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest
import trustme

from ecproc.bridge.base import Answer, Request
from ecproc.bridge.http import HttpBridge
from ecproc.clock import SystemClock
from ecproc.config import BridgeConfig, Limits, Secret
from ecproc.errors import BridgeRefused, BridgeUnavailable, ConfigError
from ecproc.http import make_tls_context, parse_retry_after
from ecproc.testing.faultserver import (
    FaultServer,
    Peer,
    Script,
    answering,
    black_hole,
    close_after_request,
    endless,
    make_gzip_bomb,
    make_head,
    reset_after_request,
    reset_at_once,
    slow_loris,
    talk_nonsense,
    truncate,
)

DEADLINE = 0.5
KEY = "canary-api-key"
HANDLE = "canary/handle+=="
LIMIT = 256 * 1024


def make_bridge(
    url: str, *, ca_file: str = "", key: Callable[[], str] = lambda: KEY, connections: int = 8
) -> HttpBridge:
    config = BridgeConfig(url=url, client_name="Client", timeout=DEADLINE, ca_file=ca_file)
    limits = Limits(response_bytes=LIMIT, bridge_connections=connections)
    return HttpBridge(config, api_key=lambda: Secret(key()), limits=limits, clock=SystemClock())


@asynccontextmanager
async def bridge_to(script: Script, *, path: str = "/client/prod") -> AsyncIterator[tuple[HttpBridge, FaultServer]]:
    async with FaultServer(script) as server:
        bridge = make_bridge(server.url + path)
        try:
            yield bridge, server
        finally:
            await bridge.aclose()


async def fail_in_time(bridge: HttpBridge) -> BridgeUnavailable:
    """Make a call that must fail within its deadline and leak nothing."""
    started = time.monotonic()
    with pytest.raises(BridgeUnavailable) as caught:
        await bridge.delete(HANDLE)
    assert time.monotonic() - started < DEADLINE + 1
    assert_clean(caught.value)
    return caught.value


def assert_clean(error: BaseException) -> None:
    """No secret stands in the error, nor in anything that is chained to it."""
    seen: list[BaseException] = []
    queue: list[BaseException | None] = [error]
    while queue:
        current = queue.pop()
        if current is None or current in seen:
            continue
        seen.append(current)
        queue += [current.__cause__, current.__context__]
    text = "".join([*traceback.format_exception(error), *(f"{each!r} {each} {each.args}" for each in seen)])
    for secret in ("canary", "handle%2F"):
        assert secret not in text


class TestRequests:
    @pytest.mark.requirement("R27", "R1")
    async def test_handle_is_encoded_once_and_sent_byte_for_byte(self) -> None:
        async with bridge_to(answering(200, b"{}")) as (bridge, server):
            await bridge.delete("AQEB+/==/x")
            await bridge.delete("..")
            await bridge.receive()
        assert [(each.method, each.target) for each in server.requests] == [
            ("DELETE", "/client/prod/queue/AQEB%2B%2F%3D%3D%2Fx"),
            ("DELETE", "/client/prod/queue/.."),
            ("GET", "/client/prod/queue"),
        ]
        assert {each.headers["x-api-key"] for each in server.requests} == {KEY}
        assert {each.headers["accept-encoding"] for each in server.requests} == {"identity"}
        assert {each.headers["host"] for each in server.requests} == {server.url.removeprefix("http://")}

    @pytest.mark.requirement("R9")
    async def test_echo_reads_the_queue_of_dev(self) -> None:
        async with bridge_to(answering(200, b"{}"), path="/client/echo") as (bridge, server):
            await bridge.receive()
            await bridge.delete("h")
            await bridge.send(Request("PUT", "/tickets/e-CS1/returnptn", b'{"a":1}'))
        assert [each.target for each in server.requests] == [
            "/client/dev/queue",
            "/client/dev/queue/h",
            "/client/echo/tickets/e-CS1/returnptn",
        ]
        assert server.requests[2].body == b'{"a":1}'
        assert server.requests[2].headers["content-type"] == "application/json"
        assert "content-type" not in server.requests[0].headers

    @pytest.mark.requirement("R5")
    async def test_rotated_key_is_used_at_once(self) -> None:
        keys = iter(["old", "new"])
        async with FaultServer(answering(200)) as server:
            bridge = make_bridge(server.url, key=lambda: next(keys))
            await bridge.receive()
            await bridge.receive()
            await bridge.aclose()
        assert [each.headers["x-api-key"] for each in server.requests] == ["old", "new"]

    @pytest.mark.parametrize("key", ["", "canary-ké", "canary\r\nx: y"])
    async def test_key_that_no_header_can_carry_is_refused_unsent(self, key: str) -> None:
        async with FaultServer(answering(200)) as server:
            bridge = make_bridge(server.url, key=lambda: key)
            with pytest.raises(BridgeRefused) as caught:
                await bridge.receive()
            await bridge.aclose()
        assert server.requests == []
        assert_clean(caught.value)

    async def test_no_log_record_shows_key_handle_or_target(self, caplog: pytest.LogCaptureFixture) -> None:
        for name in ("", "httpx", "httpcore"):  # a test before this one may have silenced the libraries
            caplog.set_level(logging.DEBUG, logger=name or None)
        async with bridge_to(answering(200, b"{}")) as (bridge, _):
            await bridge.delete(HANDLE)
        async with bridge_to(truncate) as (bridge, _):
            await fail_in_time(bridge)
        assert "httpcore" in {record.name.partition(".")[0] for record in caplog.records}
        assert "canary" not in caplog.text
        assert "/client" not in caplog.text

    async def test_cookies_are_not_kept(self) -> None:
        async with bridge_to(answering(200, headers={"set-cookie": "a=b; Path=/"})) as (bridge, server):
            await bridge.receive()
            await bridge.receive()
        assert all("cookie" not in each.headers for each in server.requests)


class TestAnswers:
    @pytest.mark.parametrize("status", [200, 202, 204, 302, 400, 403, 404, 429, 500, 504])
    async def test_any_status_is_an_answer_and_no_redirect_is_followed(self, status: int) -> None:
        body = b"" if status == 204 else b"{}"
        async with bridge_to(answering(status, body, {"location": "/elsewhere"})) as (bridge, server):
            assert await bridge.receive() == Answer(status, body)
        assert len(server.requests) == 1

    async def test_retry_after_is_read(self) -> None:
        async with bridge_to(answering(503, b"", {"retry-after": "7"})) as (bridge, _):
            assert (await bridge.receive()).retry_after == 7.0

    async def test_body_at_the_limit_passes(self) -> None:
        async with bridge_to(answering(200, bytes(LIMIT))) as (bridge, _):
            assert len((await bridge.receive()).body) == LIMIT

    async def test_small_compressed_body_is_decoded(self) -> None:
        body = make_gzip_bomb(1000)
        async with bridge_to(answering(200, body, {"content-encoding": "gzip"})) as (bridge, _):
            assert (await bridge.receive()).body == bytes(1000)

    async def test_connection_is_shared_by_queue_calls_and_fresh_for_each_ticket_call(self) -> None:
        async with bridge_to(answering(200)) as (bridge, server):
            for _ in range(3):
                await bridge.receive()
            assert len(server.peers) == 1
            for _ in range(3):
                await bridge.send(Request("POST", "/tickets", b"{}"))
        assert len(server.peers) == 4

    async def test_more_calls_than_connections_all_succeed(self) -> None:
        async with FaultServer(answering(200, b"{}")) as server:
            bridge = make_bridge(server.url, connections=3)
            async with anyio.create_task_group() as tasks:
                for _ in range(40):
                    tasks.start_soon(bridge.receive)
            await bridge.aclose()
        assert len(server.requests) == 40
        assert len(server.peers) <= 3


class TestFaults:
    @pytest.mark.parametrize(
        ("script", "kinds"),
        [
            (black_hole, {"timeout"}),
            (slow_loris, {"timeout"}),
            (reset_at_once, {"connect", "protocol"}),
            (reset_after_request, {"connect"}),
            (close_after_request, {"protocol"}),
            (truncate, {"protocol"}),
            (talk_nonsense, {"protocol"}),
            (endless(), {"too_large"}),
            (endless({"content-length": "9" * 30}), {"too_large", "protocol"}),
            (answering(200, bytes(LIMIT + 1)), {"too_large"}),
            (answering(200, make_gzip_bomb(20_000_000), {"content-encoding": "gzip"}), {"too_large"}),
            (answering(200, b"no gzip", {"content-encoding": "gzip"}), {"protocol"}),
            (answering(200, make_gzip_bomb(10)[:-3], {"content-encoding": "gzip"}), {"protocol"}),
            (answering(200, b"x", {"content-encoding": "br"}), {"protocol"}),
            (answering(200, b"", {"x": "y" * 200_000}), {"protocol"}),
        ],
    )
    async def test_fault_ends_in_time_and_is_told_as_sent(self, script: Script, kinds: set[str]) -> None:
        async with bridge_to(script) as (bridge, _):
            fault = await fail_in_time(bridge)
        assert fault.kind in kinds
        assert fault.sent
        assert fault.retry_after is None

    async def test_endless_answer_is_not_read_on(self) -> None:
        async with bridge_to(endless()) as (bridge, server):
            await fail_in_time(bridge)
            assert server.peers[0].sent_bytes < LIMIT + 16_000_000

    async def test_nobody_listens(self) -> None:
        async with FaultServer(black_hole) as server:
            url = server.url
        bridge = make_bridge(url)
        fault = await fail_in_time(bridge)
        await bridge.aclose()
        assert (fault.kind, fault.sent) == ("connect", False)

    async def test_unknown_host(self) -> None:
        bridge = make_bridge("https://bridge.invalid/client/prod")
        fault = await fail_in_time(bridge)
        await bridge.aclose()
        assert fault.kind in ("dns", "timeout")
        assert not fault.sent

    async def test_waiting_for_a_free_connection_is_on_the_deadline_and_not_sent(self) -> None:
        async with FaultServer(black_hole) as server:
            bridge = make_bridge(server.url, connections=1)
            faults: list[BridgeUnavailable] = []

            async def call() -> None:
                faults.append(await fail_in_time(bridge))

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(call)
                tasks.start_soon(call)
            await bridge.aclose()
        assert sorted(fault.sent for fault in faults) == [False, True]

    async def test_handshake_that_never_ends_is_not_sent(self) -> None:
        async with FaultServer(black_hole) as server:
            bridge = make_bridge(server.url.replace("http:", "https:"))
            fault = await fail_in_time(bridge)
            await bridge.aclose()
        assert (fault.kind, fault.sent) == ("timeout", False)


class TestAfterAFault:
    @pytest.mark.parametrize("bad", [black_hole, slow_loris, reset_after_request, truncate, endless(), talk_nonsense])
    async def test_next_call_works(self, bad: Script) -> None:
        scripts = iter([bad])

        async def script(peer: Peer) -> None:
            await next(scripts, answering(200, b"{}"))(peer)

        async with FaultServer(script) as server:
            bridge = make_bridge(server.url, connections=1)
            await fail_in_time(bridge)
            assert (await bridge.receive()).status == 200
            await bridge.aclose()

    async def test_connection_the_server_closed_while_idle_is_not_used_again(self) -> None:
        closed = anyio.Event()

        async def one_answer(peer: Peer) -> None:
            await peer.request()
            await peer.answer(200, b"{}")

        async def script(peer: Peer) -> None:
            await one_answer(peer)
            closed.set()

        async with bridge_to(script) as (bridge, server):
            assert (await bridge.receive()).status == 200
            await closed.wait()
            with anyio.fail_after(5):
                while True:
                    try:
                        assert (await bridge.receive()).status == 200
                        break
                    except BridgeUnavailable as fault:
                        assert fault.sent
            assert len(server.peers) >= 2

    async def test_cancelled_calls_leave_no_connection_behind(self) -> None:
        silent = True

        async def script(peer: Peer) -> None:
            await (black_hole if silent else answering(200, b"{}"))(peer)

        async with FaultServer(script) as server:
            bridge = make_bridge(server.url, connections=2)
            for steps in (0, 1, 2, 4, 8, 16, 32):
                async with anyio.create_task_group() as tasks:
                    for _ in range(4):
                        tasks.start_soon(bridge.receive)
                    for _ in range(steps):
                        await anyio.lowlevel.checkpoint()
                    tasks.cancel_scope.cancel()
            silent = False
            assert (await bridge.receive()).status == 200
            await bridge.aclose()


def make_server_tls(ca: trustme.CA, *names: str, expires: datetime | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert(*names, not_after=expires).configure_cert(context)
    return context


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca_file(ca: trustme.CA, tmp_path: Path) -> str:
    path = tmp_path / "ca.pem"
    ca.cert_pem.write_to_path(str(path))
    return str(path)


class TestTls:
    @pytest.mark.requirement("R3")
    async def test_private_ca(self, ca: trustme.CA, ca_file: str) -> None:
        async with FaultServer(answering(200, b"{}"), tls=make_server_tls(ca, "127.0.0.1")) as server:
            bridge = make_bridge(server.url, ca_file=ca_file)
            for _ in range(2):
                assert (await bridge.receive()).status == 200
            assert (await bridge.send(Request("POST", "/tickets", b"{}"))).status == 200
            await bridge.aclose()

    @pytest.mark.requirement("R3")
    @pytest.mark.parametrize("fault", ["unknown_ca", "wrong_host", "expired", "old_tls"])
    async def test_bad_server_is_refused_before_anything_is_sent(
        self, ca: trustme.CA, ca_file: str, fault: str
    ) -> None:
        name = "elsewhere.example" if fault == "wrong_host" else "127.0.0.1"
        expires = datetime.now(UTC) - timedelta(days=1) if fault == "expired" else None
        context = make_server_tls(ca, name, expires=expires)
        if fault == "old_tls":
            allow_only_tls_1_1(context)
        async with FaultServer(answering(200, b"{}"), tls=context) as server:
            bridge = make_bridge(server.url, ca_file="" if fault == "unknown_ca" else ca_file)
            error = await fail_in_time(bridge)
            await bridge.aclose()
            assert server.requests == []
        assert not error.sent
        assert error.kind == "tls"

    async def test_server_that_speaks_no_tls(self, ca_file: str) -> None:
        async def plain(peer: Peer) -> None:
            await peer.send(make_head(400))

        async with FaultServer(plain) as server:
            bridge = make_bridge(server.url.replace("http:", "https:"), ca_file=ca_file)
            error = await fail_in_time(bridge)
            await bridge.aclose()
        assert error.kind in ("tls", "connect")
        assert not error.sent

    async def test_reset_inside_the_body(self, ca: trustme.CA, ca_file: str) -> None:
        async def script(peer: Peer) -> None:
            await peer.request()
            await peer.send(make_head(200, {"content-length": "100"}) + bytes(10))
            peer.reset()

        async with FaultServer(script, tls=make_server_tls(ca, "127.0.0.1")) as server:
            bridge = make_bridge(server.url, ca_file=ca_file)
            error = await fail_in_time(bridge)
            await bridge.aclose()
        assert (error.kind, error.sent) == ("connect", True)

    def test_nothing_weakens_the_context(self) -> None:
        context = make_tls_context()
        assert context.minimum_version == ssl.TLSVersion.TLSv1_2
        assert context.verify_mode == ssl.CERT_REQUIRED
        assert context.check_hostname

    @pytest.mark.parametrize("content", [None, b"not a certificate"])
    def test_unusable_ca_file_is_the_operators_fault(self, content: bytes | None, tmp_path: Path) -> None:
        path = tmp_path / "ca.pem"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(ConfigError, match="cannot read CA certificates"):
            make_tls_context(path)


def allow_only_tls_1_1(context: ssl.SSLContext) -> None:
    """Offer TLS 1.1 alone; that this is deprecated is the point."""
    with pytest.warns(DeprecationWarning):
        context.minimum_version = ssl.TLSVersion.TLSv1_1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")


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
