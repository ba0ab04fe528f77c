"""HTTP as every adapter here needs it: bounded in time and size, no redirects, cookies or logged addresses.

The only module that imports httpx. Its client is given no more of an address than the origin: the request target
travels beside it, so it is sent byte for byte and can appear in none of httpx's log records, errors and reprs.
"""

from __future__ import annotations

import math
import ssl
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from http.cookiejar import CookieJar, DefaultCookiePolicy
from pathlib import Path
from traceback import clear_frames
from typing import Any, Final, TypeAlias

import anyio
import httpcore
import httpx
import msgspec

from ecproc import __version__
from ecproc.config.proxy import Proxy
from ecproc.network import (
    NO_ANSWER,
    PROXY_REFUSES,
    TUNNEL_HEAD_BYTES,
    FaultKind,
    HttpFault,
    Inflater,
    Origin,
    TunnelAnswer,
    bracket,
    classify,
    describe_refusal,
    describe_timeout,
    follow_causes,
    make_tls_context,
    parse_retry_after,
    pick_request_id,
    read_certificate_end,
)

__all__ = ["ConnectionEnds", "HttpClient", "HttpFault", "HttpResponse", "Origin", "Resolve", "parse_retry_after"]

Resolve: TypeAlias = Callable[[str, int], Awaitable[str]]
"""From a host and port to the one address to connect to."""

_CONNECT_SHARE: Final = 0.45
"""Of the total, for TCP (with the tunnel of a proxy) and for TLS each."""
_CLOSE_SECONDS: Final = 0.5
_REQUEST_BEGUN: Final = "http11.send_request_headers.started"
_FAULTS: Final = (
    httpx.HTTPError,
    httpx.InvalidURL,
    OSError,  # also every ssl.SSLError: httpcore lets those through once the handshake is over
    anyio.BrokenResourceError,
    anyio.ClosedResourceError,
    anyio.EndOfStream,
)


_NOTHING: Final = httpx.ByteStream(b"")


class ConnectionEnds(msgspec.Struct, frozen=True):
    """Between which addresses a connection is, each empty where it is not known, and with TLS when the server's
    certificate ends, in seconds since the epoch."""

    local: str = ""
    remote: str = ""
    certificate_ends: float | None = None


class HttpResponse:
    """An answer whose head has arrived; the body is read while the request is open. `place` is for its faults."""

    def __init__(self, response: httpx.Response, place: str) -> None:
        self._response = response
        self._place = place
        self.status = response.status_code

    def header(self, name: str) -> str | None:
        """A header's value, None where there is none."""
        value: str | None = self._response.headers.get(name)
        return value

    @property
    def request_id(self) -> str:
        """What the answering side calls this call, empty if it does not say."""
        return pick_request_id(self._response.headers)

    @property
    def ends(self) -> ConnectionEnds:
        """What the connection is that it comes by; to be asked before the body is read, which may close it."""
        stream = self._response.extensions["network_stream"]
        until = read_certificate_end(stream.get_extra_info("ssl_object"))
        local, remote = stream.get_extra_info("client_addr"), stream.get_extra_info("server_addr")
        return ConnectionEnds(_address_of(local), _address_of(remote), until)

    @property
    def encoding(self) -> str:
        """The body's content coding, `identity` when it has none."""
        return (self.header("content-encoding") or "identity").strip().lower()

    async def read(self, limit: int) -> bytes:
        """The whole body, decoded if it came as gzip or deflate; at most `limit` bytes before and after decoding."""
        body = bytearray()
        inflate = Inflater(self.encoding, self._place)

        async def take(chunk: bytes) -> None:
            body.extend(inflate.feed(chunk, limit - len(body)))

        await self.copy_to(take, limit)
        inflate.finish()
        return bytes(body)

    async def copy_to(self, write: Callable[[bytes], Awaitable[None]], limit: int) -> None:
        """Pass the body on as it stands on the wire, piece by piece; more than `limit` bytes are `too_large`."""
        if self._announces_more_than(limit):
            raise self._too_large(limit)
        left = limit
        async with aclosing(self._chunks()) as chunks:
            async for chunk in chunks:
                left -= len(chunk)
                if left < 0:
                    raise self._too_large(limit)
                await write(chunk)

    async def _chunks(self) -> AsyncGenerator[bytes, None]:
        chunks = self._response.aiter_raw()
        while True:
            try:
                chunk = await anext(chunks, None)
            except _FAULTS as error:
                kind, why = _classify(error)
                break
            if chunk is None:
                return
            yield chunk
        raise HttpFault(kind, f"{self._place}: {why}", sent=True)

    def _announces_more_than(self, limit: int) -> bool:
        length = self.header("content-length") or ""
        return length.isascii() and length.isdecimal() and (len(length) > len(str(limit)) or int(length) > limit)

    def _too_large(self, limit: int) -> HttpFault:
        return HttpFault("too_large", f"{self._place}: the answer is larger than {limit} bytes", sent=True)


async def leave_to_system(host: str, _port: int) -> str:
    """Let the system resolve the name while it connects."""
    return host


class HttpClient:
    """Requests with a total deadline in seconds over at most `max_connections` connections.

    Within `connect_seconds` there is a connection, and within as many more TLS on it. Whoever cancels a request earlier
    than that may leave its socket open.
    TLS is 1.2 or newer and always verified against the system's authorities, or only those of `ca_file`. With
    `keep_alive` off every request has a connection of its own. With a `proxy` every request goes through it, which then
    resolves the names; the environment names none. With `unix_socket` every request goes to the server on that address
    of this machine, and names are only names.
    """

    def __init__(
        self,
        *,
        timeout: float,
        max_connections: int,
        connect_seconds: float = math.inf,
        ca_file: Path | None = None,
        keep_alive: bool = True,
        proxy: Proxy | None = None,
        unix_socket: str | None = None,
    ) -> None:
        self._timeout = timeout
        self._proxy = proxy
        # httpcore forgets a new connection whose waiting request is cancelled: here nobody ever waits in its pool.
        self._slots = anyio.Semaphore(max_connections)
        tls = make_tls_context(ca_file) if unix_socket is None else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        limits = httpx.Limits(
            max_connections=max_connections, max_keepalive_connections=max_connections if keep_alive else 0
        )
        # `open` bounds the whole exchange. Connecting ends earlier by itself, because httpcore closes the socket of a
        # TLS handshake that times out, but not of one that is cancelled.
        self._connect_seconds = min(connect_seconds, timeout * _CONNECT_SHARE)
        self._client = httpx.AsyncClient(
            transport=_Transport(tls, limits, proxy, unix_socket),
            headers={"user-agent": f"ecproc/{__version__}", "accept-encoding": "identity"},
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
            timeout=httpx.Timeout(None, connect=self._connect_seconds),
            follow_redirects=False,
            trust_env=False,
        )

    @asynccontextmanager
    async def open(
        self,
        method: str,
        origin: Origin,
        target: str,
        *,
        headers: Mapping[str, str] | None = None,
        content: bytes | AsyncIterable[bytes] | None = None,
        resolve: Resolve = leave_to_system,
        on_sent: Callable[[], None] = lambda: None,
    ) -> AsyncIterator[HttpResponse]:
        """Send a request and give its answer of any status; everything until the end of the block is on the deadline.

        `target` is ASCII and is sent byte for byte. Content in pieces needs a Content-Length among the headers, and is
        taken once. `resolve` chooses the address to connect to, while TLS and the Host header keep the name; without
        keep-alive only, since connections are told apart by address, and not asked where a proxy connects. `on_sent`
        hears when the request begins to leave. Raises `HttpFault`, also out of the block when time runs out.
        """
        progress = _Progress(on_sent)
        place = origin.place if self._proxy is None else f"{origin.place} through {self._proxy.place}"
        call = _Call(method=method, origin=origin, target=target, headers=headers or {}, content=content, place=place)
        with anyio.move_on_after(self._timeout) as deadline:
            async with self._slots:
                response = await self._send(call, resolve=resolve, progress=progress)
                try:
                    yield HttpResponse(response, place)
                finally:
                    await _close(response)
        if deadline.cancelled_caught:
            why = describe_timeout(self._timeout, sent=progress.sent)
            raise HttpFault("timeout", f"{place}: {why}", sent=progress.sent)

    async def aclose(self) -> None:
        """Close every connection."""
        await self._client.aclose()

    async def _send(self, call: _Call, *, resolve: Resolve, progress: _Progress) -> httpx.Response:
        try:
            request = await self._build(call, resolve, progress)
            response = await self._client.send(request, stream=True)
        except HttpFault as refused:
            fault = refused
        except _FAULTS as error:
            kind, why = _classify(error)
            why = why or describe_timeout(self._connect_seconds, sent=progress.sent)
            fault = HttpFault(kind, f"{call.place}: {why}", sent=progress.sent)
        else:
            if self._proxy is None or call.origin.scheme == "https" or response.status_code != PROXY_REFUSES:
                return response
            await _close(response)
            fault = HttpFault("proxy", f"{self._proxy.place}: {describe_refusal(PROXY_REFUSES)}", sent=False)
        # Outside the handlers, so that httpx's error with its request and headers is no part of ours.
        fault.__context__ = None
        try:
            raise fault.with_traceback(None)
        finally:
            del fault  # which would hold this frame that holds it

    async def _build(self, call: _Call, resolve: Resolve, progress: _Progress) -> httpx.Request:
        origin, proxy = call.origin, self._proxy
        target, headers = call.target, {"host": origin.authority, **call.headers}
        host, port = origin.host, origin.port
        if proxy is None:
            host = await resolve(host, port)
        elif origin.scheme == "http":
            target = f"http://{origin.authority}{target}"
            headers |= {"proxy-authorization": proxy.authorization.reveal()} if proxy.authorization else {}
            host, port = proxy.host, proxy.port
        return self._client.build_request(
            call.method,
            f"{origin.scheme}://{bracket(host)}:{port}/",
            headers=headers,
            content=call.content,
            extensions={"target": target.encode("ascii"), "sni_hostname": origin.host, "trace": progress.trace},
        )


class _Call(msgspec.Struct, frozen=True, kw_only=True):
    """One request as it was asked for."""

    method: str
    origin: Origin
    target: str
    headers: Mapping[str, str]
    content: bytes | AsyncIterable[bytes] | None
    place: str
    """What its faults name."""


class _Progress:
    """Whether the first byte of a request may have left."""

    def __init__(self, on_sent: Callable[[], None]) -> None:
        self.sent = False
        self._on_sent = on_sent

    async def trace(self, event: str, _info: Mapping[str, Any]) -> None:
        """Take httpcore's word for each step."""
        if event == _REQUEST_BEGUN:
            self.sent = True
            self._on_sent()


class _Transport(httpx.AsyncHTTPTransport):
    """httpx's own transport, on connections that a proxy may have made.

    httpcore's proxy classes are no use here: they would send the request's target in place of the tunnel's, in the
    clear, and report the request begun before the tunnel stands.
    """

    def __init__(self, tls: ssl.SSLContext, limits: httpx.Limits, proxy: Proxy | None, unix_socket: str | None) -> None:
        super().__init__(verify=tls, limits=limits, trust_env=False, uds=unix_socket)
        if proxy is not None:
            self._pool = httpcore.AsyncConnectionPool(
                ssl_context=tls,
                max_connections=limits.max_connections,
                max_keepalive_connections=limits.max_keepalive_connections,
                keepalive_expiry=limits.keepalive_expiry,
                network_backend=_ProxyBackend(proxy),
            )


class _ProxyBackend(httpcore.AsyncNetworkBackend):
    """Connects to the proxy itself, and through a tunnel to everyone else. Raises HttpFault."""

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy
        self._system = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's interface
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        proxy = self._proxy
        with anyio.move_on_after(timeout):
            stream, why = await self._connect()
            if stream is not None and (host, port) != (proxy.host, proxy.port):
                why = await _open_tunnel(stream, proxy, Origin("https", host, port).place)
            if stream is not None and not why:
                return stream
            raise HttpFault("proxy", f"{proxy.place}: {why}", sent=False)
        raise HttpFault("timeout", f"{proxy.place}: {describe_timeout(timeout or 0, sent=False)}", sent=False)

    async def _connect(self) -> tuple[httpcore.AsyncNetworkStream | None, str]:
        """A connection to the proxy, or why there is none."""
        try:
            return await self._system.connect_tcp(self._proxy.host, self._proxy.port), ""
        except httpcore.ConnectError as error:
            return None, classify(error)[1]


async def _open_tunnel(stream: httpcore.AsyncNetworkStream, proxy: Proxy, place: str) -> str:
    """Why there is no tunnel, empty once it stands; without one the stream is closed."""
    why: str | None = "the request for a tunnel was cut off"
    try:
        await stream.write(proxy.request_tunnel(place))
        answer = TunnelAnswer()
        while not answer.feed(await stream.read(TUNNEL_HEAD_BYTES)):
            pass
        why = answer.judge()
    except (httpcore.ReadError, httpcore.WriteError) as error:
        why = classify(error)[1]
    finally:
        if why is not None:
            with anyio.CancelScope(shield=True):
                await stream.aclose()
    return why or ""


async def _close(response: httpx.Response) -> None:
    with anyio.move_on_after(_CLOSE_SECONDS, shield=True), suppress(*_FAULTS):
        await response.aclose()
    response.stream = _NOTHING  # its own one holds the response, and both what was received


def _address_of(end: object) -> str:
    return str(end[0]) if isinstance(end, tuple) else ""


def _classify(error: BaseException) -> tuple[FaultKind, str]:
    """What kind of failure it is and why; of a timeout the caller knows more.

    The frames it came through, which some hold in a circle with what was received, are cleared.
    """
    for cause in follow_causes(error):
        clear_frames(cause.__traceback__)
    if isinstance(error, httpx.TimeoutException):
        return "timeout", ""
    kind, why = classify(error)
    if kind == "connect" and isinstance(error, httpx.ProtocolError | httpx.InvalidURL | httpx.UnsupportedProtocol):
        return "protocol", NO_ANSWER
    return kind, why
