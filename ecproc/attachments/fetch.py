"""The download of one attachment: checked address, own connection, no secrets of ours, bounded in bytes and time."""

from __future__ import annotations

import errno
import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from ecproc.attachments.base import FetchFailed, Stored
from ecproc.attachments.resolve import AddressRefused, resolve_global, resolve_loopback
from ecproc.attachments.store import ContentStore, Upload
from ecproc.attachments.url import CheckedUrl, UrlRefused, check_url
from ecproc.clock import Clock
from ecproc.config.proxy import Proxy
from ecproc.errors import StoreUnavailable
from ecproc.http import HttpClient, HttpFault, HttpResponse, Origin, parse_retry_after

_ERROR_TEXT_BYTES: Final = 64 * 1024
_EXPIRED: Final = re.compile(rb"Request has expired|<Code>\s*(?:AccessDenied|ExpiredToken)\s*</Code>")
_BUSY: Final = frozenset({408, 425, 429})
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


class HttpFetcher:
    """Gets attachments into a content store, over connections that carry neither API key nor cookies (R129, R137).

    `timeout` is the total of one download in seconds, `max_bytes` the largest content that is stored. Behind a `proxy`,
    which resolves names by itself, host and port are still checked, the address a name leads to is not.
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
        self._client = HttpClient(
            timeout=timeout, max_connections=max_connections, ca_file=ca_file, keep_alive=False, proxy=proxy
        )

    async def fetch(self, url: str, *, announced_size: int | None) -> Stored:
        """Download `url` and keep what it holds, durably.

        Raises FetchFailed, and StoreUnavailable when the disk fails in any other way than being full.
        """
        checked = check_url(url, self._allowed_hosts)
        if isinstance(checked, UrlRefused):
            raise FetchFailed(f"url_{checked.reason}", final=True)
        if announced_size is not None and announced_size > self._max_bytes:
            raise FetchFailed("too_large", final=True)
        with _translating_disk_errors():
            async with self._store.receive() as upload:
                await self._download(checked, upload, announced_size)
                return await upload.keep()

    async def aclose(self) -> None:
        """Close every connection."""
        await self._client.aclose()

    async def _download(self, url: CheckedUrl, upload: Upload, announced_size: int | None) -> None:
        answered = False
        limit = self._max_bytes if announced_size is None else announced_size
        resolve = resolve_loopback if url.loopback else resolve_global
        origin = Origin(url.scheme, url.host, url.port)
        try:
            async with self._client.open("GET", origin, url.target, resolve=resolve) as response:
                answered = True
                await self._check_head(response)
                await response.copy_to(upload.write, limit)
        except AddressRefused:
            failure = FetchFailed("address")
        except HttpFault as fault:
            failure = _explain(fault, answered=answered, announced=limit < self._max_bytes)
        else:
            if announced_size in (None, upload.size):
                return
            failure = FetchFailed("size_mismatch")
        raise failure

    async def _check_head(self, response: HttpResponse) -> None:
        status = response.status
        if status == 200 and response.encoding == "identity":
            return
        if status == 200:
            raise FetchFailed("encoded", final=True)
        if status in _BUSY or status >= 500:
            wait = parse_retry_after(response.header("retry-after"), now=self._clock.now())
            raise FetchFailed(f"status_{status}", held=True, retry_after=wait)
        if await _says_expired(response):
            raise FetchFailed("expired", final=True, expired=True)
        raise FetchFailed("redirect" if 300 <= status < 400 else f"status_{status}", final=True)


def _explain(fault: HttpFault, *, answered: bool, announced: bool) -> FetchFailed:
    if fault.kind == "too_large":
        return FetchFailed("size_mismatch") if announced else FetchFailed("too_large", final=True)
    # Once the storage host has answered, it is this attachment that breaks off or takes too long.
    return FetchFailed(fault.kind, held=not answered)


async def _says_expired(response: HttpResponse) -> bool:
    if response.status not in (400, 403):
        return False
    text = b""
    with suppress(HttpFault):
        text = await response.read(_ERROR_TEXT_BYTES)
    return _EXPIRED.search(text) is not None


@contextmanager
def _translating_disk_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise FetchFailed("disk_full", held=True) from error
        raise StoreUnavailable(f"cannot store an attachment: {error.strerror}") from error
