"""The upload of one file: checked content, checked address, no secrets of ours, each address used once (R126-R135)."""

from __future__ import annotations

import os
import re
from base64 import b64encode
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

import anyio.to_thread

from ecproc.attachments.answers import judge_refusal
from ecproc.attachments.base import Failure, Outgoing, Uploaded, UploadFailed
from ecproc.attachments.client import LateClient, read_error_text
from ecproc.attachments.kinds import HEAD_BYTES, find_mismatch
from ecproc.attachments.rate import CONNECT_SECONDS
from ecproc.attachments.resolve import AddressRefused, resolve_global, resolve_loopback
from ecproc.attachments.store import ContentStore
from ecproc.attachments.url import CheckedUrl, check_url
from ecproc.clock import Clock
from ecproc.config.proxy import Proxy
from ecproc.network import HttpFault, Origin, parse_retry_after

if TYPE_CHECKING:
    from ecproc.http import HttpResponse

_PIECE: Final = 3 * 64 * 1024
"""Bytes that are read at once: of pieces like that each one's Base64 has no padding but the last one's."""
_TAKEN: Final = range(200, 300)
_TURNED_AWAY: Final = 503
"""The one status from 500 on of a host that did not look at the file."""
_FORBIDDEN_HINT: Final = "send it under the extension that it has, or packed into a zip"
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_BASE64_TYPE: Final = "text/plain"


class HttpUploader:
    """Puts content of the store, over connections that carry neither API key nor cookies (R129).

    `timeout` is the total of one upload in seconds, `max_bytes` the largest content that is sent. Addresses go through
    the guard of downloads.
    """

    def __init__(
        self,
        store: ContentStore,
        *,
        allowed_hosts: Collection[str],
        max_bytes: int,
        timeout: float,
        max_connections: int,
        clock: Clock,
        ca_file: Path | None = None,
        proxy: Proxy | None = None,
    ) -> None:
        self._store = store
        self._allowed_hosts = allowed_hosts
        self._max_bytes = max_bytes
        self._clock = clock
        self._client = LateClient(
            timeout=timeout,
            connect_seconds=CONNECT_SECONDS,
            max_connections=max_connections,
            ca_file=ca_file,
            proxy=proxy,
        )

    async def examine(self, file: Outgoing) -> None:
        """Raise UploadFailed where this file is too large, gone from the store, or not what its name says (R134)."""
        if file.size > self._max_bytes:
            reason = f"too large: it has {file.size} bytes, attachments.max_bytes is {self._max_bytes}"
            raise UploadFailed(reason, Failure.CONFIGURATION, hint="raise attachments.max_bytes if it is to be sent")
        with self._open(file) as content:
            head = await anyio.to_thread.run_sync(content.read, HEAD_BYTES)
        mismatch = await anyio.to_thread.run_sync(find_mismatch, file.name, head)
        if mismatch:
            raise UploadFailed(f"{file.name}: {mismatch}", Failure.REFUSED, hint=_FORBIDDEN_HINT)

    async def upload(self, file: Outgoing, url: str) -> Uploaded:
        """Put the file to `url`, once, streamed. Raises UploadFailed; its failure is `expired` where another address
        may do, and it is `uncertain` where the whole file had left."""
        checked = check_url(url, self._allowed_hosts)
        if not isinstance(checked, CheckedUrl):
            failure = Failure.CONFIGURATION if checked.host else Failure.COUNTED
            raise UploadFailed(checked.explanation, failure, hint=checked.hint)
        with self._open(file) as content:
            return await self._put(checked, _Body(content, file), file)

    async def aclose(self) -> None:
        """Close every connection."""
        await self._client.aclose()

    @contextmanager
    def _open(self, file: Outgoing) -> Iterator[BinaryIO]:
        if not _DIGEST.fullmatch(file.sha256):
            raise UploadFailed("its content has no digest", Failure.REFUSED)
        try:
            content = self._store.locate(file.sha256).open("rb", buffering=0)
        except OSError as error:
            raise UploadFailed(f"its content cannot be read: {error.strerror}", Failure.REFUSED) from None
        with content:
            if os.fstat(content.fileno()).st_size != file.size:
                raise UploadFailed("its content is not what was taken in", Failure.REFUSED)
            yield content

    async def _put(self, url: CheckedUrl, body: _Body, file: Outgoing) -> Uploaded:
        origin = Origin(url.scheme, url.host, url.port)
        headers = {
            "content-type": _BASE64_TYPE if file.base64 else file.type,
            "content-length": str(body.length),
        }
        put = partial(
            (await self._client.get()).open,
            "PUT",
            origin,
            url.target,
            headers=headers,
            content=body,
            resolve=resolve_loopback if url.loopback else resolve_global,
        )
        try:
            async with put() as response:
                return await self._judge(response)
        except AddressRefused:
            failed = UploadFailed("address: the host's name does not lead to the public internet", Failure.COUNTED)
        except HttpFault as fault:
            failed = UploadFailed(str(fault), Failure.HELD, uncertain=fault.sent and body.whole)
        try:
            raise failed
        finally:
            del failed  # which would hold this frame that holds it

    async def _judge(self, response: HttpResponse) -> Uploaded:
        """What the host made of it; raises UploadFailed."""
        status, request_id = response.status, response.header("x-amz-request-id") or ""
        if status in _TAKEN:
            return Uploaded(status, request_id)
        wait = parse_retry_after(response.header("retry-after"), now=self._clock.now())
        refusal = judge_refusal(status, await read_error_text(response), retry_after=wait, request_id=request_id)
        # A session that is over has signed this address only: the next one is signed anew.
        over = refusal.failure is Failure.REFUSED
        raise UploadFailed(
            refusal.reason,
            Failure.EXPIRED if over else refusal.failure,
            uncertain=status >= 500 and status != _TURNED_AWAY,
            status=status,
            retry_after=refusal.retry_after,
            hint=refusal.hint,
            request_id=request_id,
        )


class _Body:
    """A file's bytes in pieces, as they go out; `whole` once the last one was taken."""

    def __init__(self, content: BinaryIO, file: Outgoing) -> None:
        self._content = content
        self._base64 = file.base64
        self.length = (file.size + 2) // 3 * 4 if file.base64 else file.size
        self.whole = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while piece := await anyio.to_thread.run_sync(self._content.read, _PIECE):
            yield b64encode(piece) if self._base64 else piece
        self.whole = True
