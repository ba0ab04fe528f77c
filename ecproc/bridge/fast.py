"""The queue's two calls as bare HTTP/1.1 on the event loop's own transports: the path every message takes.

A general client costs several times what the call itself does; of HTTP nothing more is needed here than one request
without a body at a time on each connection. The bytes are parsed by httptools (llhttp).
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, cast

import httptools

from ecproc import __version__
from ecproc.bridge.base import Answer
from ecproc.bridge.calls import encode_handle, read_key, split_url
from ecproc.clock import Clock
from ecproc.config import BridgeConfig, Limits, Secret
from ecproc.errors import BridgeUnavailable
from ecproc.http import FaultKind, HttpFault, Inflater, make_tls_context, parse_retry_after

IDLE_SECONDS: Final = 15.0
"""How long a connection may rest and still be used: a server that closes it just then would cost the next call."""

HEAD_BYTES: Final = 64 * 1024
"""How much may stand before an answer's body."""

_CONNECT_SHARE: Final = 0.9
_FINAL: Final = 200
_FRAMING: Final = frozenset({b"content-length", b"transfer-encoding"})
_KEPT: Final = _FRAMING | {b"content-encoding", b"retry-after"}


class FastQueue:
    """The queue calls of `Bridge`; made and used in one running event loop. `api_key` is asked at every call (R1, R5).

    TLS is 1.2 or newer and always verified, against the system's authorities or only those of `ca_file` (R3). No
    redirects, proxies, cookies or log lines; nothing is ever sent twice; the deadline spans everything from waiting for
    one of `limits.bridge_connections` to the last byte. Raises ConfigError when the CA file cannot be read.
    """

    def __init__(self, config: BridgeConfig, *, api_key: Callable[[], Secret], limits: Limits, clock: Clock) -> None:
        self._api_key = api_key
        self._clock = clock
        self._timeout = config.timeout
        self._most_bytes = limits.response_bytes
        self._slots = asyncio.Semaphore(limits.bridge_connections)
        self._idle: list[_Connection] = []
        self._origin, path = split_url(config.queue_url)
        self._path = f"{path}/queue"
        secure = self._origin.scheme == "https"
        self._tls = make_tls_context(Path(config.ca_file) if config.ca_file else None) if secure else None
        self._headers = (
            f"host: {self._origin.authority}\r\naccept: application/json\r\naccept-encoding: identity\r\n"
            f"user-agent: ecproc/{__version__}\r\n"
        )

    async def receive(self) -> Answer:
        """GET /queue (R13-R15)."""
        return await self._call("GET", self._path)

    async def delete(self, receipt_handle: str) -> Answer:
        """DELETE /queue/{handle}, encoded once and sent byte for byte (R27)."""
        return await self._call("DELETE", f"{self._path}/{encode_handle(receipt_handle)}")

    async def aclose(self) -> None:
        """Close every connection that no call is using."""
        while self._idle:
            self._idle.pop().abort()
        await asyncio.sleep(0)  # the transports close behind their last callback

    async def _call(self, method: str, target: str) -> Answer:
        key = read_key(self._api_key)
        request = f"{method} {target} HTTP/1.1\r\n{self._headers}x-api-key: {key}\r\n\r\n".encode("ascii")
        deadline = asyncio.get_running_loop().time() + self._timeout
        kind: FaultKind
        sent = False
        try:
            connection = await self._acquire(deadline)
            sent = True
            return self._read_answer(await self._exchange(connection, request, deadline))
        except HttpFault as fault:
            kind = fault.kind
        except OSError as error:
            kind = _kind_of(error)
        # Outside the handlers, so that nothing of the network's own errors is part of ours.
        raise BridgeUnavailable(kind, sent=sent)

    async def _acquire(self, deadline: float) -> _Connection:
        """A connection and one of the slots; without a timer's cost where both are there."""
        if not self._slots.locked() and (connection := self._take_idle()) is not None:
            await self._slots.acquire()
            return connection
        async with asyncio.timeout_at(deadline):
            await self._slots.acquire()
            try:
                return self._take_idle() or await self._connect()
            except BaseException:
                self._slots.release()
                raise

    def _take_idle(self) -> _Connection | None:
        """The connection used last, if it is still good; those that are not are closed on the way."""
        now = self._clock.monotonic()
        while self._idle:
            connection = self._idle.pop()
            if connection.usable and now - connection.idle_since < IDLE_SECONDS:
                return connection
            connection.abort()
        return None

    async def _connect(self) -> _Connection:
        """A new connection to the first of the host's addresses that answers in its share of the time."""
        loop = asyncio.get_running_loop()
        host, port = self._origin.host, self._origin.port
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = dict.fromkeys(str(each[4][0]) for each in found)
        failure = OSError()
        for address in addresses:
            try:
                async with asyncio.timeout(self._timeout * _CONNECT_SHARE / len(addresses)):
                    _, connection = await loop.create_connection(
                        lambda: _Connection(self._most_bytes),
                        address,
                        port,
                        ssl=self._tls,
                        server_hostname=host if self._tls else None,
                    )
                return connection
            except OSError as error:
                failure = error
        raise failure

    async def _exchange(self, connection: _Connection, request: bytes, deadline: float) -> _Parts:
        try:
            parts = await connection.send(request, deadline)
            if connection.usable:
                connection.idle_since = self._clock.monotonic()
                self._idle.append(connection)
            else:
                connection.abort()
        except BaseException:
            connection.abort()
            raise
        finally:
            self._slots.release()
        return parts

    def _read_answer(self, parts: _Parts) -> Answer:
        status, headers, body = parts
        encoding = headers.get(b"content-encoding", b"identity").strip().lower()
        if encoding != b"identity":
            body = _inflate(body, encoding, self._most_bytes)
        wish = headers.get(b"retry-after")
        wait = None if wish is None else parse_retry_after(wish.decode("latin-1"), now=self._clock.now())
        return Answer(status, body, wait)


_Parts = tuple[int, Mapping[bytes, bytes], bytes]


class _Connection(asyncio.Protocol):
    """One connection with at most one request on it; what comes unasked closes it."""

    def __init__(self, limit: int) -> None:
        self.usable = True
        self.idle_since = 0.0
        self._limit = limit
        self._parser = httptools.HttpResponseParser(self)
        self._answer: asyncio.Future[_Parts] | None = None
        self._begin()

    async def send(self, request: bytes, deadline: float) -> _Parts:
        """Send a request; its status, headers and body, or an HttpFault, at the deadline on the loop's clock."""
        self._begin()
        loop = asyncio.get_running_loop()
        self._answer = loop.create_future()
        self._transport.write(request)
        timer = loop.call_at(deadline, self._fail, "timeout")
        try:
            return await self._answer
        finally:
            timer.cancel()

    def abort(self) -> None:
        """Close at once."""
        self.usable = False
        self._transport.abort()

    def _begin(self) -> None:
        self._headers: dict[bytes, bytes] = {}
        self._chunks: list[bytes] = []
        self._head = self._size = 0
        self._in_body = False

    @property
    def _is_awaited(self) -> bool:
        return self._answer is not None and not self._answer.done()

    def _fail(self, kind: FaultKind) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(HttpFault(kind, sent=True))
        self.abort()

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if not self._is_awaited:
            self.abort()
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._fail("protocol")
        if not self._in_body:
            self._add_to_head(len(data))

    def eof_received(self) -> None:
        self.usable = False

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is None and self._in_body and self._is_awaited and not self._headers.keys() & _FRAMING:
            self.on_message_complete()  # a body without a length ends where its connection does
        self._fail("connect" if isinstance(exc, OSError) else "protocol")

    # What the parser calls. It goes on to the end of its data, whatever we found on the way.

    def on_message_begin(self) -> None:
        if not self._is_awaited:
            self.abort()

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if name in _KEPT and not self._in_body:
            self._headers[name] = value
        self._add_to_head(len(name) + len(value))

    def on_headers_complete(self) -> None:
        self._in_body = True
        if int(self._headers.get(b"content-length", b"0")) > self._limit:
            self._fail("too_large")

    def on_body(self, body: bytes) -> None:
        self._size += len(body)
        if self._size > self._limit:
            self._fail("too_large")
        else:
            self._chunks.append(body)

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < _FINAL:
            self._begin()
        elif self._answer is not None and not self._answer.done():
            self.usable = self.usable and self._parser.should_keep_alive()
            self._in_body = False
            self._answer.set_result((status, self._headers, b"".join(self._chunks)))

    def _add_to_head(self, size: int) -> None:
        self._head += size
        if self._head > HEAD_BYTES and self._is_awaited:
            self._fail("protocol")


def _inflate(body: bytes, encoding: bytes, limit: int) -> bytes:
    """Undo a coding that we asked the bridge not to use."""
    inflate = Inflater(encoding.decode("latin-1"))
    decoded = inflate.feed(body, limit)
    inflate.finish()
    return decoded


def _kind_of(error: OSError) -> FaultKind:
    if isinstance(error, TimeoutError):
        return "timeout"
    if isinstance(error, socket.gaierror):
        return "dns"
    return "tls" if isinstance(error, ssl.SSLError) else "connect"
