"""The queue's two calls on the wire: what every adapter sends byte for byte, and that every call ends in time."""

from __future__ import annotations

import logging
import re
import ssl
import sys
import time
import traceback
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Literal, Protocol, TypeAlias, get_args

import anyio
import anyio.lowlevel
import msgspec
import pytest

from ecproc.bridge.base import Answer
from ecproc.bridge.fast import FastBridge
from ecproc.bridge.http import HttpBridge
from ecproc.clock import SystemClock
from ecproc.config import BridgeConfig, Limits, LiveSecret, Secret
from ecproc.errors import BridgeRefused, BridgeUnavailable, ConfigError
from tests.conformance.faultserver import (
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
from tests.conformance.transports import Adapter

DEADLINE: Final = 0.5
"""Seconds a call has whose time must run out."""
PATIENCE: Final = 60.0
"""Seconds a call has that ends by itself: how fast is not asked on a machine that is shared."""
GRACE: Final = 20.0
"""Seconds behind its deadline in which a call must have ended, so that one that waits for PATIENCE has not."""
KEY: Final = "canary-api-key"
HANDLE: Final = "canary/handle+=="
LIMIT: Final = 256 * 1024
GZIP: Final = {"content-encoding": "gzip"}
PLACE: Final = r"127\.0\.0\.1:\d+: "
WORDS: Final = {
    "timeout": re.compile(f"{PLACE}no answer within 0.5 s"),
    "connect": re.compile(f"{PLACE}(Connection reset by peer|Broken pipe|the connection failed)"),
    "protocol": re.compile(f"{PLACE}(no whole HTTP answer came|the answer('s coding| has a coding) .*)"),
    "too_large": re.compile(f"{PLACE}the (decoded answer is too large|answer is larger than {LIMIT} bytes)"),
}
"""What a fault may say of why."""
EXITS: Final = 10
"""Per event loop."""


class Queue(Protocol):
    """What an adapter is asked for here."""

    async def receive(self) -> Answer: ...

    async def delete(self, receipt_handle: str) -> Answer: ...

    async def aclose(self) -> None: ...


class Asked:
    """An API key that is what a function says at each call."""

    def __init__(self, key: Callable[[], str]) -> None:
        self._key = key

    @property
    def value(self) -> Secret:
        return Secret(self._key())

    def instead_of(self, refused: Secret) -> Secret | None:
        return None

    def settle(self, worked: Secret) -> None:
        raise AssertionError(f"nothing but {self.value} was sent")


NameIn: TypeAlias = Literal["body", "query", "header"]
Make: TypeAlias = Callable[..., Queue]
MakeServerTls: TypeAlias = Callable[..., ssl.SSLContext]


@pytest.fixture(scope="module", params=[True, False], ids=["uvloop", "asyncio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    """Both event loops: each brings its own TLS and its own idea of a lost connection."""
    return "asyncio", {"use_uvloop": request.param}


@pytest.fixture
def make_queue(adapter: Adapter) -> Make:
    """What makes the adapter for a URL."""

    def make(
        url: str,
        *,
        ca_file: str = "",
        key: Callable[[], str] = lambda: KEY,
        connections: int = 8,
        name_in: NameIn = "body",
        timeout: float = PATIENCE,
    ) -> Queue:
        config = BridgeConfig(
            url=url, client_name="Übër Client/1", client_name_in=name_in, timeout=timeout, ca_file=ca_file
        )
        if name_in == "header":
            config = msgspec.structs.replace(config, client_name="Client 1")
        limits = Limits(response_bytes=LIMIT, bridge_connections=connections)
        return adapter(config, api_key=Asked(key), limits=limits, clock=SystemClock())

    return make


def make_with(adapter: Adapter, url: str, key: LiveSecret) -> Queue:
    """An adapter with a key that can change."""
    config = BridgeConfig(url=url, client_name="Client", timeout=PATIENCE)
    return adapter(config, api_key=key, limits=Limits(), clock=SystemClock())


def accepting(key: str) -> Script:
    """Answer 200 to whoever brings that key, 403 to everyone else."""

    async def script(peer: Peer) -> None:
        while request := await peer.request():
            await peer.answer(200 if request.headers["x-api-key"] == key else 403, b"{}")

    return script


@asynccontextmanager
async def open_queue(
    make: Make, script: Script, *, path: str = "/client/prod", connections: int = 8, timeout: float = PATIENCE
) -> AsyncIterator[tuple[Queue, FaultServer]]:
    async with FaultServer(script) as server:
        queue = make(server.url + path, connections=connections, timeout=timeout)
        try:
            yield queue, server
        finally:
            await queue.aclose()


async def fail_in_time(queue: Queue) -> BridgeUnavailable:
    """Make a call that must fail within its deadline and leak nothing."""
    started = time.monotonic()
    with pytest.raises(BridgeUnavailable) as caught:
        await queue.delete(HANDLE)
    assert time.monotonic() - started < DEADLINE + GRACE
    assert_clean(caught.value)
    return caught.value


def assert_clean(error: BaseException) -> None:
    """No secret stands in the error, nor in anything that is chained to it."""
    seen: list[BaseException] = []
    waiting: list[BaseException | None] = [error]
    while waiting:
        current = waiting.pop()
        if current is not None and current not in seen:
            seen.append(current)
            waiting += [current.__cause__, current.__context__]
    text = "".join([*traceback.format_exception(error), *(f"{each!r} {each} {each.args}" for each in seen)])
    for secret in ("canary", "handle%2F"):
        assert secret not in text


def chunked(*chunks: bytes, end: bytes = b"0\r\n\r\n") -> Script:
    """Answer every request 200 with a body in chunks, each in a piece of its own."""

    async def script(peer: Peer) -> None:
        while await peer.request():
            await peer.send(make_head(200, {"transfer-encoding": "chunked"}))
            for chunk in chunks:
                await peer.send(b"%x\r\n%b\r\n" % (len(chunk), chunk))
                await anyio.lowlevel.checkpoint()
            await peer.send(end)
            if not end:
                return

    return script


def until_close(body: bytes) -> Script:
    """Answer 200 with a body that ends where the connection does."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(make_head(200, {"connection": "close"}) + body)

    return script


def one_after_another(*scripts: Script) -> Script:
    """Give each connection the next script, and the last one for good."""
    left = list(scripts)

    async def script(peer: Peer) -> None:
        await (left.pop(0) if len(left) > 1 else left[0])(peer)

    return script


class TestRequests:
    @pytest.mark.requirement("R27", "R13")
    async def test_target_is_sent_byte_for_byte(self, make_queue: Make) -> None:
        handles = ["AQEB+/==/x", "..", "a%2Fb", "a?b#c d", "AQEB" + "z/+9" * 100 + "=="]
        async with open_queue(make_queue, answering(200, b"{}")) as (queue, server):
            await queue.receive()
            for handle in handles:
                await queue.delete(handle)
        assert [(each.method, each.target) for each in server.requests] == [
            ("GET", "/client/prod/queue"),
            ("DELETE", "/client/prod/queue/AQEB%2B%2F%3D%3D%2Fx"),
            ("DELETE", "/client/prod/queue/.."),
            ("DELETE", "/client/prod/queue/a%252Fb"),
            ("DELETE", "/client/prod/queue/a%3Fb%23c%20d"),
            ("DELETE", f"/client/prod/queue/AQEB{'z%2F%2B9' * 100}%3D%3D"),
        ]
        assert {each.body for each in server.requests} == {b""}

    @pytest.mark.requirement("R9")
    async def test_echo_reads_the_queue_of_dev(self, make_queue: Make) -> None:
        async with open_queue(make_queue, answering(200, b"{}"), path="/client/echo/") as (queue, server):
            await queue.receive()
            await queue.delete("h")
        assert [each.target for each in server.requests] == ["/client/dev/queue", "/client/dev/queue/h"]

    @pytest.mark.requirement("R1")
    async def test_headers(self, make_queue: Make) -> None:
        cookie = {"set-cookie": "a=b; Path=/"}
        async with open_queue(make_queue, answering(200, b"{}", cookie)) as (queue, server):
            await queue.receive()
            await queue.delete(HANDLE)
        for request in server.requests:
            headers = request.headers
            assert headers["x-api-key"] == KEY
            assert headers["accept"] == "application/json"
            assert headers["accept-encoding"] == "identity"
            assert headers["host"] == server.url.removeprefix("http://")
            assert headers["user-agent"].startswith("ecproc/")
            assert not headers.keys() & {"cookie", "authorization", "content-type", "transfer-encoding"}

    @pytest.mark.requirement("R5")
    async def test_rotated_key_is_used_at_once(self, make_queue: Make) -> None:
        keys = iter(["old", "new"])
        async with FaultServer(answering(200)) as server:
            queue = make_queue(server.url, key=lambda: next(keys))
            await queue.receive()
            await queue.receive()
            await queue.aclose()
        assert [each.headers["x-api-key"] for each in server.requests] == ["old", "new"]

    @pytest.mark.requirement("R5")
    async def test_refused_key_is_followed_once_by_the_other_one_which_then_stays(self, adapter: Adapter) -> None:
        async with FaultServer(accepting("B")) as server:
            queue = make_with(adapter, server.url, LiveSecret("bridge.api_key", [Secret("A"), Secret("B")]))
            statuses = [(await queue.receive()).status, (await queue.delete("h")).status]
            await queue.aclose()
        assert statuses == [200, 200]
        assert [each.headers["x-api-key"] for each in server.requests] == ["A", "B", "B"]

    async def test_keys_that_are_all_refused_cost_two_calls_each_and_stay_in_order(self, adapter: Adapter) -> None:
        async with FaultServer(accepting("C")) as server:
            queue = make_with(adapter, server.url, LiveSecret("bridge.api_key", [Secret("A"), Secret("B")]))
            statuses = [(await queue.receive()).status for _ in range(2)]
            await queue.aclose()
        assert statuses == [403, 403]
        assert [each.headers["x-api-key"] for each in server.requests] == ["A", "B", "A", "B"]

    @pytest.mark.requirement("R2", "C28")
    async def test_calls_without_a_body_name_the_client_only_when_configured(self, make_queue: Make) -> None:
        seen = {}
        async with FaultServer(answering(200, b"{}")) as server:
            for where in get_args(NameIn):
                queue = make_queue(server.url, name_in=where)
                await queue.receive()
                await queue.delete("a/b")
                await queue.aclose()
                seen[where] = [(each.target, each.headers.get("clientname")) for each in server.requests]
                server.requests.clear()
        assert seen == {
            "body": [("/queue", None), ("/queue/a%2Fb", None)],
            "query": [
                ("/queue?clientName=%C3%9Cb%C3%ABr%20Client%2F1", None),
                ("/queue/a%2Fb?clientName=%C3%9Cb%C3%ABr%20Client%2F1", None),
            ],
            "header": [("/queue", "Client 1"), ("/queue/a%2Fb", "Client 1")],
        }

    @pytest.mark.parametrize("key", ["", "canary-ké", "canary\r\nx: y"])
    async def test_key_that_no_header_can_carry_is_refused_unsent(self, make_queue: Make, key: str) -> None:
        async with FaultServer(answering(200)) as server:
            queue = make_queue(server.url, key=lambda: key)
            with pytest.raises(BridgeRefused) as caught:
                await queue.receive()
            await queue.aclose()
        assert server.requests == []
        assert_clean(caught.value)

    async def test_proxy_of_the_environment_is_not_used(
        self, make_queue: Make, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, "http://127.0.0.1:1")
        async with open_queue(make_queue, answering(200)) as (queue, _):
            assert (await queue.receive()).status == 200

    async def test_no_log_record_shows_key_or_target(
        self, make_queue: Make, adapter: Adapter, caplog: pytest.LogCaptureFixture
    ) -> None:
        for name in ("", "httpx", "httpcore"):  # a test before this one may have silenced the libraries
            caplog.set_level(logging.DEBUG, logger=name or None)
        async with open_queue(make_queue, answering(200, b"{}")) as (queue, _):
            await queue.delete(HANDLE)
        async with open_queue(make_queue, truncate) as (queue, _):
            await fail_in_time(queue)
        loggers = {record.name.partition(".")[0] for record in caplog.records}
        assert adapter is FastBridge or "httpcore" in loggers
        assert "canary" not in caplog.text
        assert "/client" not in caplog.text


class TestAnswers:
    @pytest.mark.parametrize("status", [200, 202, 204, 302, 400, 403, 404, 429, 500, 504])
    async def test_any_status_is_an_answer_and_no_redirect_is_followed(self, make_queue: Make, status: int) -> None:
        body = b"" if status == 204 else b"{}"
        async with open_queue(make_queue, answering(status, body, {"location": "/elsewhere"})) as (queue, server):
            assert await queue.receive() == Answer(status, body)
            assert await queue.delete("h") == Answer(status, body)
        assert len(server.requests) == 2

    @pytest.mark.parametrize(("value", "seconds"), [("7", 7.0), ("301", 300.0), ("soon", None)])
    async def test_retry_after_is_read(self, make_queue: Make, value: str, seconds: float | None) -> None:
        async with open_queue(make_queue, answering(503, b"", {"Retry-After": value})) as (queue, _):
            assert (await queue.receive()).retry_after == seconds

    @pytest.mark.requirement("R14", "R202")
    @pytest.mark.parametrize(
        ("headers", "request_id"),
        [
            ({"x-amz-request-id": "c", "x-amz-apigw-id": "b", "X-Amzn-RequestId": "a"}, "a"),
            ({"x-amz-request-id": "c", "x-amz-apigw-id": "b"}, "b"),
            ({"x-amz-request-id": "c" * 1000}, "c" * 128),
            ({"x-amzn-requestid": ""}, ""),
        ],
    )
    async def test_the_bridge_s_name_for_the_call_is_kept(
        self, make_queue: Make, headers: dict[str, str], request_id: str
    ) -> None:
        async with open_queue(make_queue, answering(500, b"{}", headers)) as (queue, _):
            assert (await queue.receive()).request_id == request_id

    async def test_interim_answers_are_skipped(self, make_queue: Make) -> None:
        async def script(peer: Peer) -> None:
            while await peer.request():
                await peer.send(make_head(103, {"link": "</x>"}))
                await peer.answer(200, b"{}")

        async with open_queue(make_queue, script) as (queue, server):
            for _ in range(2):
                assert await queue.receive() == Answer(200, b"{}")
        assert len(server.peers) == 1

    @pytest.mark.parametrize("script", [answering(200, bytes(LIMIT)), chunked(bytes(LIMIT)), until_close(bytes(LIMIT))])
    async def test_body_at_the_limit_passes(self, make_queue: Make, script: Script) -> None:
        async with open_queue(make_queue, script) as (queue, _):
            assert (await queue.receive()).body == bytes(LIMIT)

    async def test_chunks_are_put_together(self, make_queue: Make) -> None:
        pieces = [bytes([65 + number % 26]) * number for number in range(1, 200)]
        async with open_queue(make_queue, chunked(*pieces, end=b"0\r\ntrailer: x\r\n\r\n")) as (queue, server):
            for _ in range(2):
                assert (await queue.receive()).body == b"".join(pieces)
        assert len(server.peers) == 1

    async def test_compressed_body_is_decoded(self, make_queue: Make) -> None:
        async with open_queue(make_queue, answering(200, make_gzip_bomb(1000), GZIP)) as (queue, _):
            assert (await queue.receive()).body == bytes(1000)

    async def test_connection_is_kept(self, make_queue: Make) -> None:
        async with open_queue(make_queue, answering(200, b"{}")) as (queue, server):
            for _ in range(5):
                await queue.receive()
                await queue.delete("h")
        assert len(server.peers) == 1

    async def test_more_calls_than_connections_all_succeed(self, make_queue: Make) -> None:
        async with (
            open_queue(make_queue, answering(200, b"{}"), connections=3) as (queue, server),
            anyio.create_task_group() as tasks,
        ):
            for _ in range(40):
                tasks.start_soon(queue.receive)
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
            (chunked(b"x" * 100, end=b""), {"protocol"}),
            (chunked(b"x" * 100, end=b"zz\r\n"), {"protocol"}),
            (talk_nonsense, {"protocol"}),
            (endless(), {"too_large"}),
            (endless({"content-length": "9" * 30}), {"too_large", "protocol"}),
            (answering(200, bytes(LIMIT + 1)), {"too_large"}),
            (chunked(*[bytes(LIMIT // 4)] * 5), {"too_large"}),
            (until_close(bytes(LIMIT + 1)), {"too_large"}),
            (answering(200, make_gzip_bomb(20_000_000), GZIP), {"too_large"}),
            (answering(200, b"no gzip", GZIP), {"protocol"}),
            (answering(200, make_gzip_bomb(10)[:-3], GZIP), {"protocol"}),
            (answering(200, b"x", {"content-encoding": "br"}), {"protocol"}),
            (answering(200, b"", {"x": "y" * 200_000}), {"protocol"}),
        ],
    )
    async def test_fault_ends_in_time_and_is_told_as_sent(
        self, make_queue: Make, script: Script, kinds: set[str]
    ) -> None:
        timeout = DEADLINE if kinds == {"timeout"} else PATIENCE
        async with open_queue(make_queue, script, timeout=timeout) as (queue, _):
            fault = await fail_in_time(queue)
        assert fault.kind in kinds
        assert WORDS[fault.kind].fullmatch(fault.detail), fault.detail
        assert fault.sent

    async def test_deadline_spans_a_whole_body_that_never_stops_coming(self, make_queue: Make) -> None:
        async def script(peer: Peer) -> None:
            await peer.request()
            await peer.send(make_head(200, {"transfer-encoding": "chunked"}))
            while True:
                await peer.send(b"1\r\nx\r\n")
                await anyio.sleep(DEADLINE / 20)

        async with open_queue(make_queue, script, timeout=DEADLINE) as (queue, _):
            assert (await fail_in_time(queue)).kind == "timeout"

    async def test_endless_answer_is_not_read_on(self, make_queue: Make) -> None:
        async with open_queue(make_queue, endless()) as (queue, server):
            await fail_in_time(queue)
            assert server.peers[0].sent_bytes < LIMIT + 16_000_000

    async def test_nobody_listens(self, make_queue: Make) -> None:
        async with FaultServer(black_hole) as server:
            url = server.url
        queue = make_queue(url)
        fault = await fail_in_time(queue)
        await queue.aclose()
        assert (fault.kind, fault.sent) == ("connect", False)
        assert str(fault) == f"the bridge is unavailable (connect: 127.0.0.1:{server.port}: Connection refused)"

    async def test_unknown_host(self, make_queue: Make) -> None:
        queue = make_queue("https://bridge.invalid/client/prod", timeout=DEADLINE)
        fault = await fail_in_time(queue)
        await queue.aclose()
        assert fault.kind in ("dns", "timeout")
        assert re.fullmatch(r"bridge\.invalid:443: (\S.*|no connection within 0\.5 s)", fault.detail)
        assert not fault.sent

    async def test_waiting_for_a_free_connection_is_on_the_deadline_and_not_sent(self, make_queue: Make) -> None:
        faults: list[BridgeUnavailable] = []

        async with open_queue(make_queue, black_hole, connections=1, timeout=DEADLINE) as (queue, _):

            async def call() -> None:
                faults.append(await fail_in_time(queue))

            # Not two: the second may rightly use the instant between the first one's deadline and its own.
            async with anyio.create_task_group() as tasks:
                for _ in range(10):
                    tasks.start_soon(call)
        assert {fault.sent for fault in faults} == {False, True}


class TestAfterAFault:
    @pytest.mark.parametrize(
        "bad",
        [
            black_hole,
            slow_loris,
            reset_after_request,
            truncate,
            endless(),
            talk_nonsense,
            answering(200, bytes(LIMIT + 1)),
            chunked(b"x", end=b"zz\r\n"),
        ],
    )
    async def test_next_call_works(self, make_queue: Make, bad: Script) -> None:
        script = one_after_another(bad, answering(200, b"{}"))
        timeout = 2 * DEADLINE if bad in (black_hole, slow_loris) else PATIENCE  # the good call has no more either
        async with open_queue(make_queue, script, connections=1, timeout=timeout) as (queue, _):
            await fail_in_time(queue)
            assert await queue.receive() == Answer(200, b"{}")

    async def test_call_cut_on_a_kept_connection_is_not_repeated_unasked(self, make_queue: Make) -> None:
        """A repeated GET would hide the messages that the first one took."""

        async def one_answer(peer: Peer) -> None:
            await peer.request()
            await peer.answer(200, b"{}")
            await peer.request()

        async with open_queue(make_queue, one_answer) as (queue, server):
            assert (await queue.receive()).status == 200
            assert (await fail_in_time(queue)).sent
        assert len(server.requests) == 2

    async def test_connection_the_server_closed_while_idle_is_not_used_again(self, make_queue: Make) -> None:
        async def one_answer(peer: Peer) -> None:
            await peer.request()
            await peer.answer(200, b"{}")

        async with open_queue(make_queue, one_answer) as (queue, server):
            answers = 0
            with anyio.fail_after(PATIENCE):
                while answers < 3:
                    try:
                        assert (await queue.receive()).status == 200
                        answers += 1
                    except BridgeUnavailable as fault:
                        assert fault.sent
            assert len(server.peers) >= 3

    async def test_bytes_behind_an_answer_are_never_taken_for_the_next_one(
        self, make_queue: Make, adapter: Adapter
    ) -> None:
        if adapter is HttpBridge:
            pytest.xfail("httpcore reads on where an answer ended, whatever stands there")

        async def script(peer: Peer) -> None:
            while await peer.request():
                forged = make_head(200, {"content-length": "6"}) + b"forged"
                await peer.send(make_head(200, {"content-length": "2"}) + b"{}" + forged)

        async with open_queue(make_queue, script, connections=1) as (queue, _):
            for _ in range(4):
                try:
                    assert (await queue.receive()).body == b"{}"
                except BridgeUnavailable as fault:
                    assert fault.kind == "protocol"

    async def test_cancelled_calls_leave_no_connection_behind(self, make_queue: Make) -> None:
        silent = True

        async def script(peer: Peer) -> None:
            await (black_hole if silent else answering(200, b"{}"))(peer)

        async with open_queue(make_queue, script, connections=2) as (queue, _):
            for steps in (0, 1, 2, 4, 8, 16, 32):
                async with anyio.create_task_group() as tasks:
                    for _ in range(4):
                        tasks.start_soon(queue.receive)
                    for _ in range(steps):
                        await anyio.lowlevel.checkpoint()
                    tasks.cancel_scope.cancel()
            silent = False
            assert (await queue.receive()).status == 200


class TestTls:
    @pytest.mark.requirement("R3")
    @pytest.mark.parametrize("script", [answering(200, bytes(LIMIT)), chunked(bytes(LIMIT))])
    async def test_private_ca(
        self, make_queue: Make, make_server_tls: MakeServerTls, ca_file: str, script: Script
    ) -> None:
        async with FaultServer(script, tls=make_server_tls()) as server:
            queue = make_queue(server.url, ca_file=ca_file)
            for _ in range(3):
                assert (await queue.receive()).body == bytes(LIMIT)
            await queue.aclose()
        assert len(server.peers) == 1

    @pytest.mark.requirement("R3")
    @pytest.mark.parametrize("fault", ["unknown_ca", "wrong_host", "expired", "old_tls"])
    async def test_bad_server_is_refused_before_anything_is_sent(
        self, make_queue: Make, adapter: Adapter, make_server_tls: MakeServerTls, ca_file: str, fault: str
    ) -> None:
        name = "elsewhere.example" if fault == "wrong_host" else "127.0.0.1"
        expires = datetime.now(UTC) - timedelta(days=1) if fault == "expired" else None
        context = make_server_tls(name, expires=expires)
        if fault == "old_tls":
            allow_only_tls_1_1(context)
        async with FaultServer(answering(200, b"{}"), tls=context) as server:
            queue = make_queue(server.url, ca_file="" if fault == "unknown_ca" else ca_file)
            error = await fail_in_time(queue)
            await queue.aclose()
            assert server.requests == []
        assert not error.sent
        if (told := TLS_WORDS.get(fault)) is not None:
            assert error.detail.startswith(f"127.0.0.1:{server.port}: certificate verify failed: {told}")
        # asyncio's own TLS tells a server that hangs up on our version as nothing but a reset.
        assert error.kind == "tls" or (adapter, fault, error.kind) == (FastBridge, "old_tls", "connect")

    async def test_handshake_that_never_ends_is_not_sent(self, make_queue: Make) -> None:
        async with FaultServer(black_hole) as server:
            # The handshake's share of it must end first: httpcore leaves the socket of one that is cancelled.
            queue = make_queue(server.url.replace("http:", "https:"), timeout=6 * DEADLINE)
            fault = await fail_in_time(queue)
            await queue.aclose()
        assert (fault.kind, fault.sent) == ("timeout", False)

    async def test_server_that_speaks_no_tls(self, make_queue: Make, ca_file: str) -> None:
        async def plain(peer: Peer) -> None:
            await peer.send(make_head(400))

        async with FaultServer(plain) as server:
            queue = make_queue(server.url.replace("http:", "https:"), ca_file=ca_file)
            error = await fail_in_time(queue)
            await queue.aclose()
        assert error.kind in ("tls", "connect")
        assert not error.sent

    async def test_reset_inside_the_body(
        self, make_queue: Make, adapter: Adapter, make_server_tls: MakeServerTls, ca_file: str
    ) -> None:
        async def script(peer: Peer) -> None:
            await peer.request()
            await peer.send(make_head(200, {"content-length": "100"}) + bytes(10))
            peer.reset()

        async with FaultServer(script, tls=make_server_tls()) as server:
            queue = make_queue(server.url, ca_file=ca_file)
            error = await fail_in_time(queue)
            await queue.aclose()
        assert error.kind == "connect" or (adapter, error.kind) == (FastBridge, "protocol")
        assert error.sent

    @pytest.mark.parametrize("content", [None, b"not a certificate"])
    async def test_unusable_ca_file_is_the_operators_fault(
        self, make_queue: Make, tmp_path: Path, content: bytes | None
    ) -> None:
        path = tmp_path / "ca.pem"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(ConfigError, match="cannot read CA certificates"):
            make_queue("https://127.0.0.1", ca_file=str(path))


TLS_WORDS: Final = {
    "unknown_ca": "unable to get local issuer certificate",
    "wrong_host": "IP address mismatch, certificate is not valid for '127.0.0.1'",
    "expired": "certificate has expired",
}


def allow_only_tls_1_1(context: ssl.SSLContext) -> None:
    """Offer TLS 1.1 alone; that this is deprecated is the point."""
    with pytest.warns(DeprecationWarning):
        context.minimum_version = ssl.TLSVersion.TLSv1_1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")


CHILD: Final = """
import asyncio, sys, uvloop
from {module} import {name} as Adapter
from ecproc.clock import SystemClock
from ecproc.config import BridgeConfig, Limits, LiveSecret, Secret

async def main(url, close):
    config = BridgeConfig(url=url, client_name="Client", timeout=60)
    queue = Adapter(config, api_key=LiveSecret("k", [Secret("k")]), limits=Limits(), clock=SystemClock())
    await asyncio.gather(queue.receive(), *(queue.delete(str(number)) for number in range(10)))
    if close == "closed":
        await queue.aclose()

(uvloop.run if sys.argv[2] == "uvloop" else asyncio.run)(main(sys.argv[1], sys.argv[3]))
"""


@pytest.mark.slow
async def test_interpreter_ends_cleanly_every_time(
    adapter: Adapter, anyio_backend: tuple[str, dict[str, bool]]
) -> None:
    loop = "uvloop" if anyio_backend[1]["use_uvloop"] else "asyncio"
    code = CHILD.format(module=adapter.__module__, name=adapter.__name__)
    async with FaultServer(answering(200, b"{}")) as server:
        for number in range(EXITS):
            closing = "closed" if number % 4 else "left"
            child = await anyio.run_process([sys.executable, "-c", code, server.url, loop, closing], check=False)
            assert child.returncode == 0, child.stderr
            assert closing == "left" or child.stderr == b""
