"""HTTP as every adapter here needs it: bounded in time and size, no redirects, proxies, cookies or logged addresses.

The only module that imports httpx. Its client is given no more of an address than the origin: the request target
travels beside it, so it is sent byte for byte and can appear in none of httpx's log records, errors and reprs.
"""

from __future__ import annotations

import socket
import ssl
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from datetime import UTC
from email.utils import parsedate_to_datetime
from http.cookiejar import CookieJar, DefaultCookiePolicy
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import anyio
import httpx
import msgspec

from ecproc import __version__
from ecproc.errors import ConfigError, ConfigProblem

FaultKind: TypeAlias = Literal["connect", "dns", "tls", "timeout", "protocol", "too_large"]
Resolve: TypeAlias = Callable[[str, int], Awaitable[str]]
"""From a host and port to the one address to connect to."""

RETRY_AFTER_LONGEST: Final = 300.0

_CONNECT_SHARE: Final = 0.9
_CLOSE_SECONDS: Final = 0.5
_MAX_CAUSES: Final = 16
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_REQUEST_BEGUN: Final = "http11.send_request_headers.started"
_FAULTS: Final = (
    httpx.HTTPError,
    httpx.InvalidURL,
    OSError,  # also every ssl.SSLError: httpcore lets those through once the handshake is over
    anyio.BrokenResourceError,
    anyio.ClosedResourceError,
    anyio.EndOfStream,
)


class HttpFault(Exception):
    """There is no usable answer; `sent` says that the request may have reached the server all the same.

    Neither the text nor the exception's context holds anything of the address, the headers or the body.
    """

    def __init__(self, kind: FaultKind, *, sent: bool) -> None:
        super().__init__(kind)
        self.kind = kind
        self.sent = sent


class Origin(msgspec.Struct, frozen=True):
    """Where requests go: `http` or `https`, a host name or address without brackets, a port."""

    scheme: str
    host: str
    port: int

    @property
    def authority(self) -> str:
        """Host and port as the Host header names them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"


class HttpResponse:
    """An answer whose head has arrived; the body is read while the request is open."""

    def __init__(self, response: httpx.Response) -> None:
        self._response = response
        self.status = response.status_code

    def header(self, name: str) -> str | None:
        """A header's value, None where there is none."""
        value: str | None = self._response.headers.get(name)
        return value

    @property
    def encoding(self) -> str:
        """The body's content coding, `identity` when it has none."""
        return (self.header("content-encoding") or "identity").strip().lower()

    async def read(self, limit: int) -> bytes:
        """The whole body, decoded if it came as gzip or deflate; at most `limit` bytes before and after decoding."""
        body = bytearray()
        inflate = Inflater(self.encoding)

        async def take(chunk: bytes) -> None:
            body.extend(inflate.feed(chunk, limit - len(body)))

        await self.copy_to(take, limit)
        inflate.finish()
        return bytes(body)

    async def copy_to(self, write: Callable[[bytes], Awaitable[None]], limit: int) -> None:
        """Pass the body on as it stands on the wire, piece by piece; more than `limit` bytes are `too_large`."""
        if self._announces_more_than(limit):
            raise HttpFault("too_large", sent=True)
        left = limit
        async with aclosing(self._chunks()) as chunks:
            async for chunk in chunks:
                left -= len(chunk)
                if left < 0:
                    raise HttpFault("too_large", sent=True)
                await write(chunk)

    async def _chunks(self) -> AsyncGenerator[bytes, None]:
        kind: FaultKind
        chunks = self._response.aiter_raw()
        while True:
            try:
                chunk = await anext(chunks, None)
            except _FAULTS as error:
                kind = _kind_of(error)
                break
            if chunk is None:
                return
            yield chunk
        raise HttpFault(kind, sent=True)

    def _announces_more_than(self, limit: int) -> bool:
        length = self.header("content-length") or ""
        return length.isascii() and length.isdecimal() and (len(length) > len(str(limit)) or int(length) > limit)


async def leave_to_system(host: str, _port: int) -> str:
    """Let the system resolve the name while it connects."""
    return host


class HttpClient:
    """Requests with a total deadline in seconds over at most `max_connections` connections.

    TLS is 1.2 or newer and always verified against the system's authorities, or only those of `ca_file`. With
    `keep_alive` off every request has a connection of its own.
    """

    def __init__(
        self,
        *,
        timeout: float,
        max_connections: int,
        ca_file: Path | None = None,
        keep_alive: bool = True,
    ) -> None:
        self._timeout = timeout
        # httpcore forgets a new connection whose waiting request is cancelled: here nobody ever waits in its pool.
        self._slots = anyio.Semaphore(max_connections)
        self._client = httpx.AsyncClient(
            verify=make_tls_context(ca_file),
            headers={"user-agent": f"ecproc/{__version__}", "accept-encoding": "identity"},
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
            # `open` bounds the whole exchange. Connecting ends a little earlier by itself, because httpcore closes the
            # socket of a TLS handshake that times out, but not of one that is cancelled.
            timeout=httpx.Timeout(None, connect=timeout * _CONNECT_SHARE),
            follow_redirects=False,
            trust_env=False,
            limits=httpx.Limits(
                max_connections=max_connections, max_keepalive_connections=max_connections if keep_alive else 0
            ),
        )

    @asynccontextmanager
    async def open(
        self,
        method: str,
        origin: Origin,
        target: str,
        *,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
        resolve: Resolve = leave_to_system,
    ) -> AsyncIterator[HttpResponse]:
        """Send a request and give its answer of any status; everything until the end of the block is on the deadline.

        `target` is ASCII and is sent byte for byte. `resolve` chooses the address to connect to, while TLS and the Host
        header keep the name; without keep-alive only, since connections are told apart by address. Raises `HttpFault`,
        also out of the block when time runs out.
        """
        progress = _Progress()
        with anyio.move_on_after(self._timeout) as deadline:
            async with self._slots:
                response = await self._send(
                    method, origin, target, headers=headers or {}, content=content, resolve=resolve, progress=progress
                )
                try:
                    yield HttpResponse(response)
                finally:
                    await _close(response)
        if deadline.cancelled_caught:
            raise HttpFault("timeout", sent=progress.sent)

    async def aclose(self) -> None:
        """Close every connection."""
        await self._client.aclose()

    async def _send(
        self,
        method: str,
        origin: Origin,
        target: str,
        *,
        headers: Mapping[str, str],
        content: bytes | None,
        resolve: Resolve,
        progress: _Progress,
    ) -> httpx.Response:
        try:
            address = await resolve(origin.host, origin.port)
            request = self._client.build_request(
                method,
                f"{origin.scheme}://{Origin(origin.scheme, address, origin.port).authority}/",
                headers={"host": origin.authority, **headers},
                content=content,
                extensions={"target": target.encode("ascii"), "sni_hostname": origin.host, "trace": progress.trace},
            )
            return await self._client.send(request, stream=True)
        except _FAULTS as error:
            kind = _kind_of(error)
        # Outside the handler, so that httpx's error with its request and headers is no part of ours.
        raise HttpFault(kind, sent=progress.sent)


class _Progress:
    """Whether the first byte of a request may have left."""

    sent = False

    async def trace(self, event: str, _info: Mapping[str, Any]) -> None:
        """Take httpcore's word for each step."""
        if event == _REQUEST_BEGUN:
            self.sent = True


class Inflater:
    """Undoes a body's content coding without ever holding more than was asked for."""

    def __init__(self, encoding: str) -> None:
        self._inflate = None
        if encoding in ("gzip", "x-gzip", "deflate"):
            self._inflate = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
        elif encoding != "identity":
            raise HttpFault("protocol", sent=True)

    def feed(self, chunk: bytes, room: int) -> bytes:
        """The next decoded bytes, at most `room` of them."""
        if self._inflate is None:
            return chunk
        piece = _inflate_some(self._inflate, chunk, room + 1)
        if piece is None:
            raise HttpFault("protocol", sent=True)
        if len(piece) > room:
            raise HttpFault("too_large", sent=True)
        return piece

    def finish(self) -> None:
        """Raise if the coded body ended too early or too late."""
        if self._inflate is not None and (not self._inflate.eof or self._inflate.unused_data):
            raise HttpFault("protocol", sent=True)


def make_tls_context(ca_file: Path | None = None) -> ssl.SSLContext:
    """A client context: TLS 1.2 or newer, certificate and host name verified; `ca_file` replaces the system's
    authorities (R3). Raises ConfigError when the file is no readable set of certificates."""
    # Not ssl.create_default_context, which writes session keys to a file that the environment may name.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca_file is None:
        context.load_default_certs()
        return context
    try:
        context.load_verify_locations(ca_file)
    except OSError as error:
        reason = error.strerror or "no certificates"
        problem = ConfigProblem(f"cannot read CA certificates: {reason}", str(ca_file), "a file of PEM certificates")
        raise ConfigError(problem) from None
    return context


def parse_retry_after(value: str | None, *, now: int) -> float | None:
    """Seconds to wait from a Retry-After header (a number or an HTTP date), at most 300; None if it says nothing.

    `now` is microseconds since the epoch.
    """
    text = (value or "").strip()
    if text.isascii() and text.isdecimal():
        return min(float(text[:10]), RETRY_AFTER_LONGEST)
    with suppress(ValueError, OverflowError, IndexError, TypeError):
        date = parsedate_to_datetime(text)
        at = date if date.tzinfo else date.replace(tzinfo=UTC)
        return min(max(at.timestamp() - now / 1_000_000, 0.0), RETRY_AFTER_LONGEST)
    return None


async def _close(response: httpx.Response) -> None:
    with anyio.move_on_after(_CLOSE_SECONDS, shield=True), suppress(*_FAULTS):
        await response.aclose()


def _inflate_some(inflate: zlib._Decompress, chunk: bytes, most: int) -> bytes | None:
    try:
        return inflate.decompress(chunk, most)
    except zlib.error:
        return None


def _kind_of(error: BaseException) -> FaultKind:
    if isinstance(error, httpx.TimeoutException):
        return "timeout"
    for cause in _causes(error):
        if isinstance(cause, socket.gaierror):
            return "dns"
        if isinstance(cause, ssl.SSLError) and not isinstance(cause, ssl.SSLWantReadError | ssl.SSLWantWriteError):
            return "tls"
    if isinstance(error, httpx.ProtocolError | httpx.InvalidURL | httpx.UnsupportedProtocol):
        return "protocol"
    return "connect"


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    for _ in range(_MAX_CAUSES):
        if cause is None:
            return
        yield cause
        cause = cause.__cause__ or cause.__context__
