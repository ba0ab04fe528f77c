"""Downloads against a server that misbehaves: content is stored whole or not at all, and the right one is blamed."""

from __future__ import annotations

import errno
import os
import socket
import ssl
import time
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
import trustme

from ecproc.attachments.base import FetchFailed
from ecproc.attachments.fetch import HttpFetcher
from ecproc.attachments.store import ContentStore
from ecproc.clock import SystemClock
from ecproc.errors import StoreUnavailable
from ecproc.http import HttpClient, HttpFault, Origin
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
LIMIT = 200_000
TARGET = "/rocket%20one.jpg?X-Amz-Signature=canary%2Fsignature"
EXPIRED = Path(__file__).parents[1] / "fixtures" / "responses" / "error-presigned-url-expired.xml"


@asynccontextmanager
async def fetching(data_dir: Path, script: Script) -> AsyncIterator[tuple[HttpFetcher, FaultServer]]:
    store = ContentStore(data_dir)
    await store.sweep()
    fetcher = HttpFetcher(
        store,
        allowed_hosts=("*.s3.amazonaws.com", "127.0.0.1"),
        max_bytes=LIMIT,
        timeout=DEADLINE,
        max_connections=4,
        clock=SystemClock(),
    )
    async with FaultServer(script) as server:
        try:
            yield fetcher, server
        finally:
            await fetcher.aclose()


async def fail(data_dir: Path, script: Script, *, size: int | None = None) -> FetchFailed:
    """Make a download that must fail in time, leave no file and leak nothing."""
    async with fetching(data_dir, script) as (fetcher, server):
        started = time.monotonic()
        with pytest.raises(FetchFailed) as caught:
            await fetcher.fetch(server.url + TARGET, announced_size=size)
        assert time.monotonic() - started < DEADLINE + 1
    assert_nothing_stored(data_dir)
    assert "canary" not in "".join(traceback.format_exception(caught.value))
    return caught.value


def assert_nothing_stored(data_dir: Path) -> None:
    assert [path for path in data_dir.rglob("*") if path.is_file()] == []


@pytest.mark.requirement("R137", "R129", "R140")
async def test_content_is_stored_and_no_secret_of_ours_sent(tmp_path: Path) -> None:
    content = os.urandom(150_000)
    async with fetching(tmp_path, answering(200, content, {"set-cookie": "a=b"})) as (fetcher, server):
        for size in (150_000, None):
            stored = await fetcher.fetch(server.url + TARGET, announced_size=size)
            assert (tmp_path / stored.path).read_bytes() == content
            assert stored.size == 150_000
    assert [each.target for each in server.requests] == [TARGET, TARGET]
    assert {each.headers["accept-encoding"] for each in server.requests} == {"identity"}
    for each in server.requests:
        assert not {"x-api-key", "cookie", "authorization"} & set(each.headers)
    assert len(server.peers) == 2


@pytest.mark.parametrize(
    ("script", "reason", "final", "held"),
    [
        (answering(302, b"", {"location": "https://elsewhere.example/"}), "redirect", True, False),
        (answering(301), "redirect", True, False),
        (answering(400, b"<Code>InvalidArgument</Code>"), "status_400", True, False),
        (answering(403, b"<Code>SignatureDoesNotMatch</Code>"), "status_403", True, False),
        (answering(403, bytes(1_000_000)), "status_403", True, False),
        (answering(404), "status_404", True, False),
        (answering(410), "status_410", True, False),
        (answering(204, b""), "status_204", True, False),
        (answering(206, b"x"), "status_206", True, False),
        (answering(429), "status_429", False, True),
        (answering(408), "status_408", False, True),
        (answering(500, b"x"), "status_500", False, True),
        (answering(503, b"SlowDown"), "status_503", False, True),
        (answering(200, bytes(LIMIT + 1)), "too_large", True, False),
        (endless(), "too_large", True, False),
        (endless({"content-length": "9" * 15}), "too_large", True, False),
        (answering(200, make_gzip_bomb(1_000_000), {"content-encoding": "gzip"}), "encoded", True, False),
        (slow_loris, "timeout", False, False),
        (truncate, "protocol", False, False),
        (black_hole, "timeout", False, True),
        (reset_after_request, "connect", False, True),
        (close_after_request, "protocol", False, True),
        (talk_nonsense, "protocol", False, True),
    ],
)
async def test_blame(tmp_path: Path, script: Script, reason: str, final: bool, held: bool) -> None:
    failure = await fail(tmp_path, script)
    assert (failure.reason, failure.final, failure.held) == (reason, final, held)
    assert not failure.expired


async def test_connection_that_is_refused_or_reset_blames_nobody(tmp_path: Path) -> None:
    assert (await fail(tmp_path, reset_at_once)).held
    async with fetching(tmp_path, black_hole) as (fetcher, server):
        await server.__aexit__(None, None, None)
        with pytest.raises(FetchFailed) as caught:
            await fetcher.fetch(server.url + TARGET, announced_size=None)
    assert (caught.value.reason, caught.value.held) == ("connect", True)


@pytest.mark.requirement("R138")
@pytest.mark.parametrize(
    ("status", "body"),
    [
        (403, EXPIRED.read_bytes()),
        (403, b"<Error><Code>AccessDenied</Code></Error>"),
        (400, b"<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>"),
    ],
)
async def test_expired_url_is_final_and_said_to_be_expired(tmp_path: Path, status: int, body: bytes) -> None:
    failure = await fail(tmp_path, answering(status, body))
    assert (failure.reason, failure.final, failure.expired) == ("expired", True, True)


async def test_expiry_is_read_without_an_xml_engine(tmp_path: Path) -> None:
    entity = b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><Error><Code>&e;</Code></Error>'
    assert not (await fail(tmp_path, answering(403, entity))).expired


async def test_busy_host_is_heard(tmp_path: Path) -> None:
    assert (await fail(tmp_path, answering(503, b"", {"retry-after": "9"}))).retry_after == 9.0


@pytest.mark.requirement("R140")
@pytest.mark.parametrize("size", [0, 9, 11, LIMIT])
async def test_other_size_than_announced_is_worth_a_repeat(tmp_path: Path, size: int) -> None:
    failure = await fail(tmp_path, answering(200, bytes(10)), size=size)
    assert (failure.reason, failure.final, failure.held) == ("size_mismatch", False, False)


async def test_announced_as_too_large_is_not_even_asked(tmp_path: Path) -> None:
    async with fetching(tmp_path, answering(200, b"x")) as (fetcher, server):
        with pytest.raises(FetchFailed) as caught:
            await fetcher.fetch(server.url + TARGET, announced_size=LIMIT + 1)
    assert (caught.value.reason, caught.value.final) == ("too_large", True)
    assert server.peers == []


async def test_refused_url_is_not_asked(tmp_path: Path) -> None:
    async with fetching(tmp_path, answering(200, b"x")) as (fetcher, server):
        for url in (server.url.replace("127.0.0.1", "localhost"), "http://10.0.0.1/?canary"):
            with pytest.raises(FetchFailed) as caught:
                await fetcher.fetch(url, announced_size=None)
            assert caught.value.reason.startswith("url_")
            assert caught.value.final
            assert "canary" not in str(caught.value)
    assert server.peers == []


async def test_name_that_leads_inside_is_never_connected_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    connected: list[object] = []

    async def getaddrinfo(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    async def connect_tcp(*args: object, **_: object) -> None:
        connected.append(args)

    monkeypatch.setattr(anyio, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(anyio, "connect_tcp", connect_tcp)
    async with fetching(tmp_path, answering(200, b"x")) as (fetcher, server):
        with pytest.raises(FetchFailed) as caught:
            await fetcher.fetch("https://bucket.s3.amazonaws.com/a", announced_size=None)
    assert (caught.value.reason, caught.value.final) == ("address", False)
    assert connected == []
    assert server.peers == []


@pytest.mark.parametrize("name", ["files.example.test", "other.example.test"])
async def test_checked_address_is_connected_to_under_the_name(tmp_path: Path, name: str) -> None:
    ca = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("files.example.test").configure_cert(context)
    asked: list[str | None] = []
    context.sni_callback = lambda _socket, asked_name, _context: asked.append(asked_name)
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))

    async def resolve(host: str, port: int) -> str:
        return "127.0.0.1"

    client = HttpClient(timeout=DEADLINE, max_connections=1, ca_file=tmp_path / "ca.pem", keep_alive=False)
    async with FaultServer(answering(200, b"x"), tls=context) as server:
        origin = Origin("https", name, server.port)
        try:
            async with client.open("GET", origin, "/a", resolve=resolve) as response:
                assert await response.read(10) == b"x"
            assert name == "files.example.test"
            assert server.requests[0].headers["host"] == f"{name}:{server.port}"
        except HttpFault as fault:
            assert (name, fault.kind, fault.sent) == ("other.example.test", "tls", False)
        await client.aclose()
    assert asked == [name]


@pytest.mark.parametrize(("code", "held"), [(errno.ENOSPC, True), (errno.EDQUOT, True), (errno.EIO, False)])
async def test_full_disk_holds_and_a_broken_one_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, held: bool
) -> None:
    def refuse(descriptor: int) -> None:
        raise OSError(code, os.strerror(code))

    async with fetching(tmp_path, answering(200, b"x")) as (fetcher, server):
        monkeypatch.setattr(os, "fsync", refuse)
        with pytest.raises(FetchFailed if held else StoreUnavailable) as caught:
            await fetcher.fetch(server.url + TARGET, announced_size=1)
        monkeypatch.undo()
    if isinstance(caught.value, FetchFailed):
        assert (caught.value.reason, caught.value.held, caught.value.final) == ("disk_full", True, False)
    assert_nothing_stored(tmp_path)


async def test_cancelled_download_leaves_nothing(tmp_path: Path) -> None:
    body_begun = anyio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(make_head(200) + bytes(1000))
        body_begun.set()
        await peer.hang()

    async with fetching(tmp_path, script) as (fetcher, server), anyio.create_task_group() as tasks:

        async def fetch() -> None:
            await fetcher.fetch(server.url + TARGET, announced_size=None)

        tasks.start_soon(fetch)
        await body_begun.wait()
        tasks.cancel_scope.cancel()
    assert_nothing_stored(tmp_path)
