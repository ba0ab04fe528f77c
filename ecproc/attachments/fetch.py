"""The download of one attachment: checked address, own connection, no secrets of ours, bounded in bytes and time."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio

from ecproc.attachments.answers import (
    GIVES,
    REDIRECTS,
    find_gap,
    is_coded,
    judge_refusal,
    resolve_redirect,
)
from ecproc.attachments.base import Failure, FetchFailed, OutOfRoom, Stored
from ecproc.attachments.client import LateClient, read_error_text
from ecproc.attachments.rate import CONNECT_SECONDS, Patience, TooSlow
from ecproc.attachments.resolve import AddressRefused, resolve_global, resolve_loopback
from ecproc.attachments.store import ContentStore, Decoding, Upload
from ecproc.attachments.url import CheckedUrl, check_url
from ecproc.clock import Clock
from ecproc.config.proxy import Proxy
from ecproc.descriptors import is_out_of_files
from ecproc.errors import StoreUnavailable
from ecproc.network import HttpFault, Origin, parse_retry_after
from ecproc.room import is_no_room
from ecproc.wire.urls import normalise_url

if TYPE_CHECKING:
    from ecproc.http import HttpResponse

_MOST_REDIRECTS: Final = 3
_REDIRECTED_SECONDS: Final = 1.0
"""What redirects may take beyond the time of one request."""


class HttpFetcher:
    """Gets attachments into a content store, over connections that carry neither API key nor cookies (R129, R137).

    `timeout` is the total of one download in seconds, `max_bytes` the largest content that is stored. Every address is
    checked, also one that a redirect names; behind a `proxy`, which resolves names by itself, only its text is.
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
        self._timeout = timeout
        self._clock = clock
        self._client = LateClient(
            timeout=timeout,
            connect_seconds=CONNECT_SECONDS,
            max_connections=max_connections,
            ca_file=ca_file,
            proxy=proxy,
        )

    async def fetch(self, url: str, *, announced_size: int | None) -> Stored:
        """Download `url` and keep what it holds, durably, whatever size was announced; 0 announces none.

        Raises FetchFailed, OutOfRoom among them, and StoreUnavailable when the disk fails in any other way.
        """
        checked = self._check(url)
        if announced_size is not None and announced_size > self._max_bytes:
            raise self._too_large(f"{announced_size} bytes announced")
        with _translating_disk_errors():
            async with self._store.receive(announced_size or 0) as upload:
                await self._client.get()  # now, so that no download's time is spent on it
                await self._download(checked, upload, announced_size or None)
                return await upload.keep()

    async def aclose(self) -> None:
        """Close every connection."""
        await self._client.aclose()

    def _check(self, url: str) -> CheckedUrl:
        """The address as it may be asked; raises FetchFailed."""
        checked = check_url(normalise_url(url), self._allowed_hosts)
        if isinstance(checked, CheckedUrl):
            return checked
        failure = Failure.CONFIGURATION if checked.host else Failure.REFUSED
        raise FetchFailed(checked.explanation, failure, hint=checked.hint)

    async def _download(self, url: CheckedUrl, upload: Upload, announced: int | None) -> None:
        with anyio.move_on_after(self._timeout + _REDIRECTED_SECONDS):
            for _ in range(1 + _MOST_REDIRECTS):
                elsewhere = await self._ask_in_time(url, upload, announced)
                if elsewhere is None:
                    return
                url = self._check(elsewhere)
            raise FetchFailed(f"more than {_MOST_REDIRECTS} redirects", Failure.COUNTED)
        raise FetchFailed("timeout", Failure.COUNTED)

    async def _ask_in_time(self, url: CheckedUrl, upload: Upload, announced: int | None) -> str | None:
        patience = Patience()
        with suppress(TooSlow), patience.running():
            return await self._ask(url, upload, announced, patience)
        # What drips must cost this attachment an attempt: else it would come first again and again.
        failure = Failure.COUNTED if patience.asked else Failure.HELD
        raise FetchFailed(patience.describe(), failure, hint="see what holds up the way to the storage host")

    async def _ask(self, url: CheckedUrl, upload: Upload, announced: int | None, patience: Patience) -> str | None:
        """The address that the answer sends us to; None once the upload holds the file."""
        answered = False
        resolve = resolve_loopback if url.loopback else resolve_global
        origin = Origin(url.scheme, url.host, url.port)
        try:
            client = await self._client.get()
            asked = client.open("GET", origin, url.target, resolve=resolve, on_sent=patience.note_asked)
            async with asked as response:
                answered = True
                location = response.header("location")
                if response.status in REDIRECTS and location:
                    return resolve_redirect(f"{url.scheme}://{origin.authority}{url.target}", normalise_url(location))
                await self._take(response, upload, announced, patience)
                return None
        except AddressRefused:
            failure = FetchFailed("address: the host's name does not lead to the public internet", Failure.COUNTED)
        except HttpFault as fault:
            failure = self._explain(fault, answered=answered)
        try:
            raise failure
        finally:
            del failure  # which would hold this frame that holds it

    async def _take(self, response: HttpResponse, upload: Upload, announced: int | None, patience: Patience) -> None:
        """Read the file into the upload, whole and without a coding that was only for the transfer."""
        request_id = response.header("x-amz-request-id") or ""
        if response.status not in GIVES:
            wait = parse_retry_after(response.header("retry-after"), now=self._clock.now())
            raise judge_refusal(
                response.status, await read_error_text(response), retry_after=wait, request_id=request_id
            )
        await response.copy_to(patience.writing(upload.write), self._max_bytes)
        patience.rest()
        if is_coded(response.header("content-encoding")) and upload.size != announced:
            decoding = await upload.decode(self._max_bytes)
            if decoding is Decoding.TOO_LARGE:
                raise self._too_large("decoded it is more")
            if decoding is Decoding.DECODED:
                return  # a coding has its own end and checksum
        gap = find_gap(
            response.status,
            size=upload.size,
            announced=announced,
            content_range=response.header("content-range"),
            framed=_is_framed(response),
        )
        if gap is not None:
            raise gap

    def _too_large(self, what: str) -> FetchFailed:
        reason = f"too large: {what}, attachments.max_bytes is {self._max_bytes}"
        return FetchFailed(reason, Failure.CONFIGURATION, hint="raise attachments.max_bytes if the file is wanted")

    def _explain(self, fault: HttpFault, *, answered: bool) -> FetchFailed:
        if fault.kind == "too_large":
            return self._too_large("the host sends more")
        # Once the storage host has answered, it is this attachment that breaks off or takes too long.
        return FetchFailed(str(fault), Failure.COUNTED if answered else Failure.HELD)


def _is_framed(response: HttpResponse) -> bool:
    """Whether the answer says where it ends; else it ends with the connection, which may break too early."""
    return response.header("content-length") is not None or response.header("transfer-encoding") is not None


@contextmanager
def _translating_disk_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if is_out_of_files(error):
            raise OutOfRoom("no more files can be open", hint="raise the limit of open files") from error
        if is_no_room(error):
            raise OutOfRoom from error
        raise StoreUnavailable(f"cannot store an attachment: {error.strerror}") from error
