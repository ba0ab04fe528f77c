"""Downloads against a server that misbehaves: content is stored whole or not at all, and the right one is blamed."""

from __future__ import annotations

import errno
import gc
import gzip
import os
import socket
import ssl
import time
import traceback
import zlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import anyio
import pytest
import trustme

from ecproc.attachments.base import Failure, FetchFailed, OutOfRoom
from ecproc.attachments.fetch import HttpFetcher
from ecproc.attachments.rate import CONNECT_SECONDS, FIRST_SECONDS, PATIENCE_SECONDS
from ecproc.attachments.store import ContentStore, Upload
from ecproc.clock import SystemClock
from ecproc.config.proxy import Proxy, parse_proxy
from ecproc.errors import StoreUnavailable
from ecproc.http import HttpClient, HttpFault, Origin
from ecproc.room import Room
from ecproc.signals import Signal
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
    slow_body,
    talk_nonsense,
    truncate,
)
from tests.conformance.loopback_proxy import LoopbackProxy

DEADLINE = 0.5
"""Seconds a download has whose time must run out."""
PATIENCE = 60.0
"""Seconds a download has that ends by itself: how fast is not asked on a machine that is shared."""
GRACE = 20.0
"""Seconds behind its deadline in which a download must have ended, so that one that waits for PATIENCE has not."""
LIMIT = 200_000
F = Failure
TARGET = "/rocket%20one.jpg?X-Amz-Signature=canary%2Fsignature"
EXPIRED = Path(__file__).parents[1] / "fixtures" / "responses" / "error-presigned-url-expired.xml"


def make_fetcher(store: ContentStore, timeout: float = PATIENCE, *, proxy: str = "") -> HttpFetcher:
    behind = parse_proxy(f"http://{proxy}") if proxy else None
    assert behind is None or isinstance(behind, Proxy)
    return HttpFetcher(
        store,
        allowed_hosts=("*.s3.amazonaws.com", "127.0.0.1"),
        max_bytes=LIMIT,
        timeout=timeout,
        max_connections=4,
        clock=SystemClock(),
        proxy=behind,
    )


@asynccontextmanager
async def fetching(
    data_dir: Path, script: Script, *, timeout: float = PATIENCE
) -> AsyncIterator[tuple[HttpFetcher, FaultServer]]:
    store = ContentStore(data_dir)
    await store.sweep()
    fetcher = make_fetcher(store, timeout)
    async with FaultServer(script) as server:
        try:
            yield fetcher, server
        finally:
            await fetcher.aclose()


async def fail(data_dir: Path, script: Script, *, size: int | None = None, timeout: float = PATIENCE) -> FetchFailed:
    """Make a download that must fail in time, leave no file and leak nothing."""
    async with fetching(data_dir, script, timeout=timeout) as (fetcher, server):
        started = time.monotonic()
        with pytest.raises(FetchFailed) as caught:
            await fetcher.fetch(server.url + TARGET, announced_size=size)
        assert time.monotonic() - started < DEADLINE + GRACE
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


KEY = "attachments.max_bytes"


@pytest.mark.parametrize(
    ("script", "reason", "failure"),
    [
        (answering(301), "HTTP 301", F.COUNTED),
        (answering(304), "HTTP 304", F.COUNTED),
        (answering(400, b"<Code>InvalidArgument</Code>"), "HTTP 400 InvalidArgument", F.COUNTED),
        (answering(403, b"<Code>SignatureDoesNotMatch</Code>"), "HTTP 403 SignatureDoesNotMatch", F.COUNTED),
        (answering(403, bytes(1_000_000)), "HTTP 403", F.COUNTED),
        (answering(404, b"gone", {"content-encoding": "base64"}), "HTTP 404", F.COUNTED),
        (answering(410), "HTTP 410", F.COUNTED),
        (answering(204, b""), "HTTP 204", F.COUNTED),
        (answering(206, b"x"), "HTTP 206 a part of the file only", F.COUNTED),
        (answering(403, EXPIRED.read_bytes()), "HTTP 403 AccessDenied: Request has expired", F.EXPIRED),
        (answering(429), "HTTP 429", F.HELD),
        (answering(500, b"x"), "HTTP 500", F.HELD),
        (answering(503, b"<Code>SlowDown</Code>"), "HTTP 503 SlowDown", F.HELD),
        (answering(200, bytes(LIMIT + 1)), KEY, F.CONFIGURATION),
        (answering(200, bytes(LIMIT + 1), {"content-encoding": "utf-8"}), KEY, F.CONFIGURATION),
        (endless(), KEY, F.CONFIGURATION),
        (endless({"content-length": "9" * 15}), KEY, F.CONFIGURATION),
        (answering(200, make_gzip_bomb(1_000_000), {"content-encoding": "gzip"}), KEY, F.CONFIGURATION),
        (slow_body, "timeout", F.COUNTED),
        (truncate, "protocol", F.COUNTED),
        (black_hole, "timeout", F.HELD),
        (reset_after_request, "connect", F.HELD),
        (close_after_request, "protocol", F.HELD),
        (talk_nonsense, "protocol", F.HELD),
    ],
)
async def test_blame(tmp_path: Path, script: Script, reason: str, failure: Failure) -> None:
    failed = await fail(tmp_path, script, timeout=DEADLINE if reason == "timeout" else PATIENCE)
    assert failed.failure is failure
    assert reason in failed.reason
    if failure is F.CONFIGURATION:
        assert str(LIMIT) in failed.reason
        assert KEY in failed.hint


async def test_connection_that_is_refused_or_reset_blames_nobody(tmp_path: Path) -> None:
    assert (await fail(tmp_path, reset_at_once)).failure is F.HELD
    async with fetching(tmp_path, black_hole) as (fetcher, server):
        await server.__aexit__(None, None, None)
        with pytest.raises(FetchFailed) as caught:
            await fetcher.fetch(server.url + TARGET, announced_size=None)
    assert caught.value.failure is F.HELD
    assert "connect" in caught.value.reason


async def test_busy_host_is_heard_and_its_name_for_the_request_kept(tmp_path: Path) -> None:
    failed = await fail(tmp_path, answering(503, b"", {"retry-after": "9", "x-amz-request-id": "4A5B"}))
    assert (failed.retry_after, failed.request_id) == (9.0, "4A5B")


# --- what is kept -----------------------------------------------------------------------------------------------------


async def store_one(data_dir: Path, script: Script, *, size: int | None = None, target: str = TARGET) -> bytes:
    """Download a file that must be kept, and give its content."""
    async with fetching(data_dir, script) as (fetcher, server):
        stored = await fetcher.fetch(server.url + target, announced_size=size)
    files = [path for path in data_dir.rglob("*") if path.is_file()]
    assert files == [data_dir / stored.path]
    content = files[0].read_bytes()
    assert stored.size == len(content)
    return content


@pytest.mark.requirement("R140")
@pytest.mark.parametrize("size", [None, 0, 9, 10, 11, LIMIT])
@pytest.mark.parametrize("status", [200, 203])
async def test_a_whole_transfer_is_kept_whatever_size_was_announced(
    tmp_path: Path, size: int | None, status: int
) -> None:
    assert await store_one(tmp_path, answering(status, bytes(10)), size=size) == bytes(10)


async def chunked(peer: Peer) -> None:
    await peer.request()
    await peer.send(make_head(200, {"transfer-encoding": "chunked"}) + b"6\r\nrocket\r\n0\r\n\r\n")


async def unframed(peer: Peer) -> None:
    await peer.request()
    await peer.send(make_head(200, {"connection": "close"}) + b"rocket")


async def cut_in_a_chunk(peer: Peer) -> None:
    await peer.request()
    await peer.send(make_head(200, {"transfer-encoding": "chunked"}) + b"6\r\nroc")


@pytest.mark.parametrize(("script", "size"), [(chunked, 99), (chunked, 1), (unframed, 6), (unframed, 0), (unframed, 5)])
async def test_what_its_framing_or_its_size_says_is_whole_is_kept(tmp_path: Path, script: Script, size: int) -> None:
    assert await store_one(tmp_path, script, size=size) == b"rocket"


@pytest.mark.parametrize(
    ("script", "size", "reason"),
    [(unframed, 7, "incomplete: 6 of 7 bytes"), (cut_in_a_chunk, 6, "protocol"), (cut_in_a_chunk, 3, "protocol")],
)
async def test_what_broke_off_is_worth_a_repeat(tmp_path: Path, script: Script, size: int, reason: str) -> None:
    failed = await fail(tmp_path, script, size=size)
    assert failed.failure is F.COUNTED
    assert reason in failed.reason


@pytest.mark.parametrize(
    ("headers", "size"), [({"content-range": "bytes 0-5/6"}, None), ({"content-range": "bytes 0-5/*"}, 6), ({}, 6)]
)
async def test_a_part_that_is_the_whole_is_kept(tmp_path: Path, headers: dict[str, str], size: int | None) -> None:
    assert await store_one(tmp_path, answering(206, b"rocket", headers), size=size) == b"rocket"


@pytest.mark.parametrize("label", ["base64", "utf-8", "binary", "aws-chunked", "br", "something/else", "identity", ""])
@pytest.mark.parametrize("size", [None, 6, 77])
async def test_a_label_that_is_no_coding_changes_nothing(tmp_path: Path, label: str, size: int | None) -> None:
    script = answering(200, b"rocket", {"content-encoding": label})
    assert await store_one(tmp_path, script, size=size) == b"rocket"


CODED = gzip.compress(b"rocket" * 100, mtime=0)


@pytest.mark.parametrize(
    ("label", "sent", "size", "kept"),
    [
        ("gzip", CODED, 600, b"rocket" * 100),
        ("x-gzip", CODED, None, b"rocket" * 100),
        ("deflate", zlib.compress(b"rocket"), 0, b"rocket"),
        ("aws-chunked, gzip", CODED, 1, b"rocket" * 100),
        ("gzip", CODED, len(CODED), CODED),  # the file itself is one: its size on the wire is what was announced
        ("gzip", b"rocket", 7, b"rocket"),  # it only says so
        ("deflate", b"rocket", None, b"rocket"),
        ("gzip", CODED[:-4], 600, CODED[:-4]),
        ("gzip", b"", 600, b""),
    ],
    ids=["gzip", "x-gzip", "deflate", "beside a label", "the file itself", "plain", "plain too", "cut", "empty"],
)
async def test_a_coding_is_undone_unless_the_bytes_are_the_file_already(
    tmp_path: Path, label: str, sent: bytes, size: int | None, kept: bytes
) -> None:
    assert await store_one(tmp_path, answering(200, sent, {"content-encoding": label}), size=size) == kept


@pytest.mark.parametrize("target", ["/a b.txt?x=1\n", "\r\n/a%20b.txt?x=1", "/a\t b.txt?x=1 "])
async def test_an_address_is_put_right_before_it_is_asked(tmp_path: Path, target: str) -> None:
    async with fetching(tmp_path, answering(200, b"rocket")) as (fetcher, server):
        await fetcher.fetch(f" {server.url}{target}", announced_size=6)
    assert [each.target for each in server.requests] == ["/a%20b.txt?x=1"]


# --- redirects --------------------------------------------------------------------------------------------------------


def redirecting(*locations: str, status: int = 307) -> Script:
    """Answer /rocket… with the first of these, /1 with the second and so on, then with the file."""

    async def script(peer: Peer) -> None:
        while request := await peer.request():
            step = int(request.target[1]) if request.target[1].isdecimal() else 0
            if step < len(locations):
                await peer.answer(status, b"<Error/>", {"location": locations[step], "set-cookie": "a=b"})
            else:
                await peer.answer(200, b"rocket")

    return script


@pytest.mark.requirement("R137", "R129", "R1")
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_followed_with_nothing_of_the_former_request(tmp_path: Path, status: int) -> None:
    script = redirecting("/1?x=%2F", "2", "/3 ", status=status)
    async with fetching(tmp_path, script) as (fetcher, server):
        stored = await fetcher.fetch(server.url + TARGET, announced_size=6)
        assert (tmp_path / stored.path).read_bytes() == b"rocket"
    assert [each.target for each in server.requests] == [TARGET, "/1?x=%2F", "/2", "/3"]
    for each in server.requests:
        assert not {"cookie", "referer", "authorization", "x-api-key"} & set(each.headers)


@pytest.mark.parametrize("locations", [("/1", "/2", "/3", "/4"), (TARGET,), ("/1", "/1")])
async def test_redirects_without_end_are_a_counted_failure(tmp_path: Path, locations: tuple[str, ...]) -> None:
    failed = await fail(tmp_path, redirecting(*locations))
    assert (failed.reason, failed.failure) == ("more than 3 redirects", F.COUNTED)


@pytest.mark.requirement("R137")
@pytest.mark.parametrize(
    ("location", "failure", "reason"),
    [
        ("https://elsewhere.example/a?canary=1", F.CONFIGURATION, "elsewhere.example is not in attachments.allowed"),
        ("//s3.us-west-1.amazonaws.com/b/a", F.CONFIGURATION, "s3.us-west-1.amazonaws.com is not in attachments.all"),
        ("http://bucket.s3.amazonaws.com/a", F.REFUSED, "url_scheme"),
        ("https://bucket.s3.amazonaws.com:8443/a", F.REFUSED, "url_port"),
        ("https://canary@bucket.s3.amazonaws.com/a", F.REFUSED, "url_userinfo"),
        ("http://169.254.169.254/latest/meta-data/", F.REFUSED, "url_address"),
        ("http://[::1]:22/", F.REFUSED, "url_address"),
        ("http://localhost/", F.REFUSED, "url_loopback"),
        ("file:///etc/passwd", F.REFUSED, "url_scheme"),
        ("https://[", F.REFUSED, "url_host"),
    ],
)
async def test_a_redirect_leads_nowhere_that_an_announcement_may_not(
    tmp_path: Path, location: str, failure: Failure, reason: str
) -> None:
    failed = await fail(tmp_path, redirecting(location))
    assert failed.failure is failure
    assert reason in failed.reason


async def test_redirects_share_one_deadline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ecproc.attachments.fetch._REDIRECTED_SECONDS", 0.0)

    async def script(peer: Peer) -> None:
        while await peer.request():
            await anyio.sleep(DEADLINE * 0.8)  # each alone is far within its time, all four are not
            await peer.answer(302, b"", {"location": "/again"})

    async with fetching(tmp_path, script, timeout=2 * DEADLINE) as (fetcher, server):
        started = time.monotonic()
        with pytest.raises(FetchFailed) as caught:
            await fetcher.fetch(server.url + TARGET, announced_size=None)
        assert time.monotonic() - started < DEADLINE + GRACE
    assert (caught.value.failure, caught.value.reason) == (F.COUNTED, "timeout")


# --- what is not asked ------------------------------------------------------------------------------------------------


@pytest.mark.requirement("R141")
async def test_announced_as_too_large_is_not_even_asked(tmp_path: Path) -> None:
    async with fetching(tmp_path, answering(200, b"x")) as (fetcher, server):
        with pytest.raises(FetchFailed) as caught:
            await fetcher.fetch(server.url + TARGET, announced_size=LIMIT + 1)
    assert caught.value.failure is F.CONFIGURATION
    assert caught.value.reason == f"too large: {LIMIT + 1} bytes announced, {KEY} is {LIMIT}"
    assert server.peers == []


@pytest.mark.requirement("R137")
@pytest.mark.parametrize(
    ("url", "failure", "reason"),
    [
        ("http://10.0.0.1/?canary", F.REFUSED, "url_address"),
        ("http://localhost/?canary", F.REFUSED, "url_loopback"),
        ("https://canary@bucket.s3.amazonaws.com/a", F.REFUSED, "url_userinfo"),
        ("https://s3.eu-west-1.amazonaws.com/b/a?canary", F.CONFIGURATION, "s3.eu-west-1.amazonaws.com is not in"),
        ("https://my.bucket.s3.amazonaws.com/a?canary", F.CONFIGURATION, "my.bucket.s3.amazonaws.com is not in"),
    ],
)
async def test_refused_url_is_not_asked(tmp_path: Path, url: str, failure: Failure, reason: str) -> None:
    async with fetching(tmp_path, answering(200, b"x")) as (fetcher, server):
        with pytest.raises(FetchFailed) as caught:
            await fetcher.fetch(url, announced_size=None)
    assert caught.value.failure is failure
    assert reason in caught.value.reason
    assert ("attachments.allowed_hosts" in caught.value.hint) == (failure is F.CONFIGURATION)
    assert "canary" not in caught.value.reason + caught.value.hint + str(caught.value)
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
    assert caught.value.failure is F.COUNTED
    assert caught.value.reason.startswith("address")
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

    client = HttpClient(timeout=PATIENCE, max_connections=1, ca_file=tmp_path / "ca.pem", keep_alive=False)
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
        assert (caught.value.reason, caught.value.failure) == ("disk_full", F.HELD)
    assert_nothing_stored(tmp_path)


@pytest.mark.parametrize(
    ("part", "why"),
    [
        ("silence", "nothing of the file within 0.5 s"),
        ("head", "nothing of the file within 0.5 s"),
        ("body", "0.2 s behind 1024 bytes per second"),
        ("pause", "0.2 s behind 1024 bytes per second"),
    ],
)
async def test_a_host_behind_the_least_rate_is_given_up_before_the_deadline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str, why: str
) -> None:
    monkeypatch.setattr("ecproc.attachments.rate.PATIENCE_SECONDS", 0.2)
    if part in ("silence", "head"):
        monkeypatch.setattr("ecproc.attachments.rate.FIRST_SECONDS", 0.5)

    async def drip(peer: Peer) -> None:
        await peer.request()
        head = make_head(200, {"content-length": "100000"})
        if part == "silence":
            await peer.hang()
        if part == "head":
            await peer.drip(head, seconds_per_byte=0.05)
        await peer.send(head)
        if part == "pause":
            await peer.send(bytes(90_000))  # haste buys no long sleep
            await peer.hang()
        await peer.drip(bytes(10_000), seconds_per_byte=0.01)

    error = await fail(tmp_path, drip)
    assert error.reason == f"too slow: {why}"
    assert error.failure is F.COUNTED


async def test_a_proxy_that_scans_the_file_first_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ecproc.attachments.rate.PATIENCE_SECONDS", DEADLINE)

    async def scan(peer: Peer) -> None:
        await peer.request()
        await anyio.sleep(2 * DEADLINE)
        await peer.answer(200, b"clean")

    async with fetching(tmp_path, scan) as (fetcher, server):
        assert (await fetcher.fetch(server.url + TARGET, announced_size=None)).size == 5


@pytest.mark.requirement("I8")
@pytest.mark.parametrize("way", ["direct", "tunnel", "no tunnel"])
async def test_a_handshake_that_hangs_leaves_no_socket_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    assert 2 * CONNECT_SECONDS < PATIENCE_SECONDS < FIRST_SECONDS, "patience would end what closes its socket by itself"
    monkeypatch.setattr("ecproc.attachments.fetch.CONNECT_SECONDS", 0.4 * DEADLINE)
    monkeypatch.setattr("ecproc.attachments.rate.FIRST_SECONDS", 10 * DEADLINE)
    ended, changed = [], Signal()

    async def say_nothing(peer: Peer) -> None:
        await peer.hang()
        ended.append(peer)
        changed.notify()

    store = ContentStore(tmp_path)
    await store.sweep()
    async with FaultServer(say_nothing) as server, LoopbackProxy() as proxy:
        fetcher = make_fetcher(store, proxy={"direct": "", "tunnel": proxy.place, "no tunnel": server.place}[way])
        with without_collector():
            for _ in range(3):
                with pytest.raises(FetchFailed, match=r"no connection within 0\.2 s") as caught:
                    await fetcher.fetch(f"https://{server.place}/a", announced_size=None)
                assert caught.value.failure is F.HELD
                del caught
            with anyio.fail_after(GRACE):
                await changed.wait_until(lambda: len(ended) == len(server.peers) == 3)
        await fetcher.aclose()


@contextmanager
def without_collector() -> Iterator[None]:
    """Run the block with a collector that closes nothing that was forgotten."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


async def test_a_host_at_the_least_rate_is_waited_for_and_our_own_disk_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ecproc.attachments.rate.PATIENCE_SECONDS", DEADLINE / 5)
    monkeypatch.setattr("ecproc.attachments.rate.LEAST_RATE", 10)
    write = Upload.write

    async def write_slowly(upload: Upload, piece: bytes) -> None:
        if upload.size == 0:
            await anyio.sleep(DEADLINE / 4)
        await write(upload, piece)

    async def drip(peer: Peer) -> None:
        await peer.request()
        await peer.send(make_head(200, {"content-length": "4"}))
        await peer.drip(b"slow", seconds_per_byte=DEADLINE / 10)

    monkeypatch.setattr(Upload, "write", write_slowly)
    async with fetching(tmp_path, drip) as (fetcher, server):
        assert (await fetcher.fetch(server.url + TARGET, announced_size=None)).size == 4


async def test_downloads_keep_what_they_announce_and_none_comes_near_half_of_the_reserve(tmp_path: Path) -> None:
    free, sent = 1_000_000, 40_000
    room = Room(tmp_path, reserve_bytes=1_600_000, free_bytes=lambda _: free)

    async def send(peer: Peer) -> None:
        await peer.request()
        await peer.answer(200, bytes(sent))

    store = ContentStore(tmp_path, room)
    await store.sweep()
    fetcher = make_fetcher(store)
    async with FaultServer(send) as server:
        held = room.promise(70_000)
        assert held is not None
        with pytest.raises(OutOfRoom):
            await fetcher.fetch(server.url + TARGET, announced_size=sent)
        assert server.requests == [], "it was asked for before there was room"
        for lie in (None, 10):
            with pytest.raises(OutOfRoom):
                await fetcher.fetch(server.url + TARGET, announced_size=lie)
        held.end()
        assert (await fetcher.fetch(server.url + TARGET, announced_size=sent)).size == sent
        await fetcher.aclose()
    assert len(server.requests) == 3


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENFILE])
async def test_no_descriptor_is_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    real = os.open

    def refuse(path: Path, *arguments: int) -> int:
        if "tmp" in Path(path).parent.name:
            raise OSError(code, os.strerror(code))
        return real(path, *arguments)

    async with fetching(tmp_path, answering(200, b"x")) as (fetcher, server):
        monkeypatch.setattr(os, "open", refuse)
        with pytest.raises(OutOfRoom):
            await fetcher.fetch(server.url + TARGET, announced_size=1)
        monkeypatch.undo()


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
