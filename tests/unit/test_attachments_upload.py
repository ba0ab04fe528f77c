"""Uploads against a server that misbehaves: what leaves, what never does, and what each end counts as."""

from __future__ import annotations

import base64
import os
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from ecproc.attachments.base import Failure, Outgoing, Uploaded, UploadFailed
from ecproc.attachments.store import ContentStore
from ecproc.attachments.upload import HttpUploader
from ecproc.clock import SystemClock
from ecproc.config.proxy import Proxy, parse_proxy
from tests.conformance.faultserver import (
    FaultServer,
    Peer,
    Script,
    answering,
    black_hole,
    close_after_request,
    make_head,
    reset_after_request,
    reset_at_once,
)
from tests.conformance.loopback_proxy import LoopbackProxy

F = Failure
LIMIT: Final = 2_000_000
TARGET: Final = "/0123.test1.pdf?X-Amz-Expires=120&X-Amz-Signature=canary%2Fsignature"
EXPIRED: Final = Path(__file__).parents[1] / "fixtures" / "responses" / "error-presigned-url-expired.xml"
PDF: Final = b"%PDF-1.7\n" + bytes(range(256)) * 20
GUIDES_TEXT: Final = b"This is an attachment upload test"
GUIDES_BASE64: Final = b"VGhpcyBpcyBhbiBhdHRhY2htZW50IHVwbG9hZCB0ZXN0"


class Bench:
    """An uploader over a content store in a folder."""

    def __init__(self, folder: Path, *, timeout: float = 60.0, proxy: str = "") -> None:
        behind = parse_proxy(f"http://{proxy}") if proxy else None
        assert behind is None or isinstance(behind, Proxy)
        self.store = ContentStore(folder)
        self.uploader = HttpUploader(
            self.store,
            allowed_hosts=("*.s3.amazonaws.com", "127.0.0.1"),
            max_bytes=LIMIT,
            timeout=timeout,
            max_connections=4,
            clock=SystemClock(),
            proxy=behind,
        )

    async def keep(self, content: bytes, name: str = "test1.pdf", **members: Any) -> Outgoing:
        """Take content into the store, as a file on its way."""
        async with self.store.receive() as upload:
            await upload.write(content)
            stored = await upload.keep()
        return Outgoing(stored.sha256, stored.size, name, **{"type": "application/pdf", **members})


@asynccontextmanager
async def open_bench(
    folder: Path, script: Script, *, timeout: float = 60.0
) -> AsyncIterator[tuple[Bench, FaultServer]]:
    bench = Bench(folder, timeout=timeout)
    await bench.store.sweep()
    async with FaultServer(script) as server:
        try:
            yield bench, server
        finally:
            await bench.uploader.aclose()


async def fail(folder: Path, script: Script, content: bytes = PDF, *, timeout: float = 60.0) -> UploadFailed:
    """Make an upload that must fail and leak nothing."""
    async with open_bench(folder, script, timeout=timeout) as (bench, server):
        file = await bench.keep(content)
        with pytest.raises(UploadFailed) as caught:
            await bench.uploader.upload(file, server.url + TARGET)
    assert "canary" not in "".join(traceback.format_exception(caught.value))
    return caught.value


# --- what leaves ------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("R128", "R129", "I11")
@pytest.mark.parametrize("size", [0, 1, 5_000, 1_500_000])
async def test_the_bytes_leave_with_their_type_and_length_and_no_secret_of_ours(tmp_path: Path, size: int) -> None:
    content = os.urandom(size)
    async with open_bench(tmp_path, answering(200, headers={"x-amz-request-id": "s3-1"})) as (bench, server):
        assert await bench.uploader.upload(await bench.keep(content), server.url + TARGET) == Uploaded(200, "s3-1")
    (put,) = server.requests
    assert (put.method, put.target) == ("PUT", TARGET)
    assert put.body == content
    assert (put.headers["content-type"], put.headers["content-length"]) == ("application/pdf", str(size))
    assert not {"x-api-key", "clientname", "authorization", "cookie", "transfer-encoding"} & set(put.headers)


@pytest.mark.requirement("R135")
async def test_the_guides_base64_example(tmp_path: Path) -> None:
    async with open_bench(tmp_path, answering(200)) as (bench, server):
        file = await bench.keep(GUIDES_TEXT, "test.docx", base64=True)
        await bench.uploader.upload(file, server.url + TARGET)
    (put,) = server.requests
    assert put.body == GUIDES_BASE64
    assert (put.headers["content-type"], put.headers["content-length"]) == ("text/plain", str(len(GUIDES_BASE64)))


@pytest.mark.requirement("R135")
@pytest.mark.parametrize("size", [0, 1, 2, 3, 196_607, 196_608, 196_609, 700_001])
async def test_base64_in_pieces_is_one_text(tmp_path: Path, size: int) -> None:
    content = os.urandom(size)
    async with open_bench(tmp_path, answering(200)) as (bench, server):
        await bench.uploader.upload(await bench.keep(content, base64=True), server.url + TARGET)
    assert server.requests[0].body == base64.b64encode(content)


async def test_each_has_a_connection_of_its_own(tmp_path: Path) -> None:
    async with open_bench(tmp_path, answering(200)) as (bench, server):
        for _ in range(2):
            await bench.uploader.upload(await bench.keep(PDF), server.url + TARGET)
        assert len(server.peers) == 2


async def test_through_a_proxy_it_is_the_same_file(tmp_path: Path) -> None:
    content = os.urandom(500_000)
    async with FaultServer(answering(200)) as server, LoopbackProxy() as proxy:
        bench = Bench(tmp_path, proxy=proxy.place)
        await bench.store.sweep()
        await bench.uploader.upload(await bench.keep(content), server.url + TARGET)
        await bench.uploader.aclose()
    assert [put.body for put in server.requests] == [content]


async def test_what_the_proxy_turned_away_was_not_sent(tmp_path: Path) -> None:
    async with FaultServer(answering(407)) as server:
        bench = Bench(tmp_path, proxy=server.place)
        await bench.store.sweep()
        with pytest.raises(UploadFailed) as caught:
            await bench.uploader.upload(await bench.keep(PDF), "http://127.0.0.1:9" + TARGET)
        await bench.uploader.aclose()
    assert (caught.value.failure, caught.value.uncertain) == (F.HELD, False)
    assert "bridge.proxy" in str(caught.value)


# --- what each end counts as ------------------------------------------------------------------------------------------


@pytest.mark.requirement("R130")
@pytest.mark.parametrize(
    ("script", "failure", "uncertain", "status"),
    [
        (answering(403, EXPIRED.read_bytes()), F.EXPIRED, False, 403),
        (answering(400, b"<Error><Code>ExpiredToken</Code></Error>"), F.EXPIRED, False, 400),
        (answering(403, b"<Error><Code>SignatureDoesNotMatch</Code></Error>"), F.COUNTED, False, 403),
        (answering(403, b""), F.COUNTED, False, 403),
        (answering(307, headers={"location": "https://elsewhere.s3.amazonaws.com/"}), F.COUNTED, False, 307),
        (answering(400), F.COUNTED, False, 400),
        (answering(503, b"<Error><Code>SlowDown</Code></Error>", {"retry-after": "7"}), F.HELD, False, 503),
        (answering(429), F.HELD, False, 429),
        (answering(500), F.HELD, True, 500),
        (answering(504), F.HELD, True, 504),
        (reset_after_request, F.HELD, True, None),
        (close_after_request, F.HELD, True, None),
    ],
)
async def test_the_hosts_answer_decides(
    tmp_path: Path, script: Script, failure: Failure, uncertain: bool, status: int | None
) -> None:
    failed = await fail(tmp_path, script)

    assert (failed.failure, failed.uncertain, failed.status) == (failure, uncertain, status)
    assert failed.retry_after == (7.0 if status == 503 else None)


@pytest.mark.requirement("I4")
async def test_a_host_that_never_answers_may_have_taken_it(tmp_path: Path) -> None:
    failed = await fail(tmp_path, black_hole, timeout=0.5)

    assert (failed.failure, failed.uncertain) == (F.HELD, True)


@pytest.mark.requirement("I4")
async def test_a_host_that_took_less_than_all_has_nothing(tmp_path: Path) -> None:
    async def take_a_part(peer: Peer) -> None:
        await peer.take(100_000)
        peer.reset()

    for script in (take_a_part, reset_at_once):
        failed = await fail(tmp_path, script, os.urandom(1_900_000))
        assert (failed.failure, failed.uncertain) == (F.HELD, False)


@pytest.mark.requirement("R130")
async def test_an_answer_that_comes_before_all_was_sent_is_heard(tmp_path: Path) -> None:
    async def refuse_early(peer: Peer) -> None:
        body = EXPIRED.read_bytes()
        await peer.take(1)
        await peer.send(make_head(403, {"content-length": str(len(body)), "connection": "close"}) + body)
        await peer.hang()

    failed = await fail(tmp_path, refuse_early, os.urandom(1_900_000))

    assert (failed.failure, failed.status) == (F.EXPIRED, 403)


# --- what is never sent -----------------------------------------------------------------------------------------------


@pytest.mark.requirement("I11")
@pytest.mark.parametrize(
    ("url", "failure"),
    [
        ("https://evil.example/a?X-Amz-Signature=canary", F.CONFIGURATION),
        ("http://bucket.s3.amazonaws.com/a?canary", F.COUNTED),
        ("https://169.254.169.254/a?canary", F.COUNTED),
        ("http://localhost:1/a?canary", F.COUNTED),
        ("ftp://bucket.s3.amazonaws.com/canary", F.COUNTED),
    ],
)
async def test_an_address_passes_the_guard_of_downloads(tmp_path: Path, url: str, failure: Failure) -> None:
    bench = Bench(tmp_path)
    await bench.store.sweep()
    with pytest.raises(UploadFailed) as caught:
        await bench.uploader.upload(await bench.keep(PDF), url)

    assert caught.value.failure is failure
    assert "canary" not in str(caught.value)
    assert (failure is F.CONFIGURATION) == ("attachments.allowed_hosts" in caught.value.hint)


@pytest.mark.requirement("R133", "R134")
async def test_what_would_not_be_taken_is_found_before(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    await bench.store.sweep()
    fit = await bench.keep(PDF)
    await bench.uploader.examine(fit)
    unfit = [
        (await bench.keep(PDF, "test1.csv"), F.REFUSED, "not csv"),
        (await bench.keep(b"MZ\x90\x00\x03" + bytes(100), "notes.txt"), F.REFUSED, "program"),
        (await bench.keep(bytes(LIMIT + 1), "a.bin"), F.CONFIGURATION, "attachments.max_bytes"),
        (msgspec.structs.replace(fit, sha256="0" * 64), F.REFUSED, "cannot be read"),
        (msgspec.structs.replace(fit, sha256=f"../{fit.sha256}"), F.REFUSED, "no digest"),
        (msgspec.structs.replace(fit, size=fit.size + 1), F.REFUSED, "not what was taken in"),
    ]
    for file, failure, words in unfit:
        with pytest.raises(UploadFailed) as caught:
            await bench.uploader.examine(file)
        assert caught.value.failure is failure
        assert words in f"{caught.value} {caught.value.hint}"
