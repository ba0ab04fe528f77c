"""The queue's two calls as bare HTTP/1.1 on the event loop's own transports: the path every message takes.

A general client costs several times what the call itself does; of HTTP nothing more is needed here than one request
without a body at a time on each connection. The bytes are parsed by httptools (llhttp).
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Final, cast

import httptools

from ecproc import __version__
from ecproc.bridge.base import Answer
from ecproc.bridge.calls import FORBIDDEN, ApiKey, encode_handle, name_client, read_key, repeat_refused, split_url
from ecproc.bridge.tunnel import open_tunnel
from ecproc.clock import Clock
from ecproc.config import BridgeConfig, Limits, Secret
from ecproc.config.proxy import Proxy
from ecproc.errors import BridgeUnavailable
from ecproc.network import (
    NO_ANSWER,
    PROXY_REFUSES,
    REQUEST_IDS,
    FaultKind,
    HttpFault,
    Inflater,
    Origin,
    classify,
    describe_refusal,
    describe_timeout,
    make_tls_context,
    parse_retry_after,
    pick_request_id,
)

IDLE_SECONDS: Final = 15.0
"""How long a connection may rest and still be used: a server that closes it just then would cost the next call."""

HEAD_BYTES: Final = 64 * 1024
"""How much may stand before an answer's body."""

_CONNECT_SHARE: Final = 0.9
_FINAL: Final = 200
_FRAMING: Final = frozenset({b"content-length", b"transfer-encoding"})
_IDS: Final = frozenset(name.encode("ascii") for name in REQUEST_IDS)
_KEPT: Final = _FRAMING | _IDS | {b"content-encoding", b"retry-after"}


class FastQueue:
    """The queue calls of `Bridge`; made and used in one running event loop. `api_key` is asked at every call (R1, R5).

    TLS is 1.2 or newer and always verified, against the system's authorities or only those of `ca_file` (R3). No
    redirects, cookies or log lines, and no proxy but `config.proxy`; nothing is ever sent twice but a call that was
    refused with 403; the deadline spans everything from waiting for one of `limits.bridge_connections` to the last
    byte. Raises ConfigError when the CA file cannot be read.
    """

    def __init__(self, config: BridgeConfig, *, api_key: ApiKey, limits: Limits, clock: Clock) -> None:
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
        self._proxy = proxy = config.proxy_address
        self._place = self._origin.place if proxy is None else f"{self._origin.place} through {proxy.place}"
        self._name, name_headers = name_client(config)
        forwarded = proxy if self._tls is None else None
        if forwarded is not None:  # what is forwarded names the whole address; a tunnel leads to it already
            self._path = f"http://{self._origin.authority}{self._path}"
        self._headers = _write_headers(self._origin, forwarded, name_headers)

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
        key = self._api_key.value
        answer = await self._try(method, target, key)
        if answer.status == FORBIDDEN:
            return await repeat_refused(self._api_key, key, answer, lambda other: self._try(method, target, other))
        return answer

    async def _try(self, method: str, target: str, key: Secret) -> Answer:
        head = f"{method} {target}{self._name} HTTP/1.1\r\n{self._headers}x-api-key: {read_key(key)}\r\n\r\n"
        deadline = asyncio.get_running_loop().time() + self._timeout
        kind: FaultKind
        sent = False
        try:
            connection = await self._acquire(deadline)
            sent = True
            return self._read_answer(await self._exchange(connection, head.encode("ascii"), deadline))
        except HttpFault as fault:
            kind, detail, sent = fault.kind, fault.detail, fault.sent
        except OSError as error:
            kind, why = classify(error)
            why = describe_timeout(self._timeout, sent=sent) if kind == "timeout" else why
            detail = f"{self._place}: {why}"
        # Outside the handlers, so that nothing of the network's own errors is part of ours.
        raise BridgeUnavailable(kind, detail, sent=sent)

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
        """A new connection, through the proxy if there is one."""
        if self._proxy is None:
            return await self._dial(self._origin.host, self._origin.port)
        if self._tls is not None:
            return await self._secure(await open_tunnel(self._proxy, self._origin.place))
        try:
            return await self._dial(self._proxy.host, self._proxy.port)
        except TimeoutError:
            raise
        except OSError as error:
            why = classify(error)[1]
        raise HttpFault("proxy", f"{self._proxy.place}: {why}", sent=False)

    async def _dial(self, host: str, port: int) -> _Connection:
        """A new connection to the first of the host's addresses that answers in its share of the time."""
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = dict.fromkeys(str(each[4][0]) for each in found)
        name = host if self._tls else None
        failure = OSError()
        for address in addresses:
            try:
                async with asyncio.timeout(self._timeout * _CONNECT_SHARE / len(addresses)):
                    _, connection = await loop.create_connection(
                        self._make, address, port, ssl=self._tls, server_hostname=name
                    )
                return connection
            except OSError as error:
                failure = error
        raise failure

    async def _secure(self, tunnel: socket.socket) -> _Connection:
        """A connection on a tunnel to the origin."""
        try:
            async with asyncio.timeout(self._timeout * _CONNECT_SHARE):
                _, connection = await asyncio.get_running_loop().create_connection(
                    self._make, sock=tunnel, ssl=self._tls, server_hostname=self._origin.host
                )
            return connection
        except BaseException:
            tunnel.close()
            raise

    def _make(self) -> _Connection:
        return _Connection(self._most_bytes, self._place, self._timeout)

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
        if status == PROXY_REFUSES and self._proxy is not None and self._tls is None:
            raise HttpFault("proxy", f"{self._proxy.place}: {describe_refusal(status)}", sent=False)
        encoding = headers.get(b"content-encoding", b"identity").strip().lower()
        if encoding != b"identity":
            inflate = Inflater(encoding.decode("latin-1"), self._place)
            body = inflate.feed(body, self._most_bytes)
            inflate.finish()
        wish = headers.get(b"retry-after")
        wait = None if wish is None else parse_retry_after(wish.decode("latin-1"), now=self._clock.now())
        return Answer(status, body, wait, _read_id(headers))


_Parts = tuple[int, Mapping[bytes, bytes], bytes]


class _Connection(asyncio.Protocol):
    """One connection with at most one request on it; what comes unasked closes it. `place` and `timeout`
    are what its faults speak of."""

    def __init__(self, limit: int, place: str, timeout: float) -> None:
        self.usable = True
        self.idle_since = 0.0
        self._limit = limit
        self._place = place
        self._timeout = timeout
        self._parser = httptools.HttpResponseParser(self)
        self._answer: asyncio.Future[_Parts] | None = None
        self._begin()

    async def send(self, request: bytes, deadline: float) -> _Parts:
        """Send a request; its status, headers and body, or an HttpFault, at the deadline on the loop's clock."""
        self._begin()
        loop = asyncio.get_running_loop()
        self._answer = loop.create_future()
        self._transport.write(request)
        timer = loop.call_at(deadline, self._fail_late)
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

    def _fail(self, kind: FaultKind, why: str) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(HttpFault(kind, f"{self._place}: {why}", sent=True))
        self.abort()

    def _fail_late(self) -> None:
        self._fail("timeout", describe_timeout(self._timeout, sent=True))

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
            self._fail("protocol", NO_ANSWER)
        if not self._in_body:
            self._add_to_head(len(data))

    def eof_received(self) -> None:
        self.usable = False

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is None and self._in_body and self._is_awaited and not self._headers.keys() & _FRAMING:
            self.on_message_complete()  # a body without a length ends where its connection does
        self._fail(*(classify(exc) if isinstance(exc, OSError) else ("protocol", NO_ANSWER)))

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
            self._fail("too_large", f"the answer is larger than {self._limit} bytes")

    def on_body(self, body: bytes) -> None:
        self._size += len(body)
        if self._size > self._limit:
            self._fail("too_large", f"the answer is larger than {self._limit} bytes")
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
            self._fail("protocol", NO_ANSWER)


def _write_headers(origin: Origin, forwarded: Proxy | None, more: Mapping[str, str]) -> str:
    """The lines that every request has; those that a proxy forwards are for the proxy too."""
    headers = {
        "host": origin.authority,
        "accept": "application/json",
        "accept-encoding": "identity",
        "user-agent": f"ecproc/{__version__}",
        **more,
    }
    if forwarded is not None and forwarded.authorization:
        headers["proxy-authorization"] = forwarded.authorization.reveal()
    return "".join(f"{name}: {value}\r\n" for name, value in headers.items())


def _read_id(headers: Mapping[bytes, bytes]) -> str:
    """The bridge's name for the call, empty without one."""
    return pick_request_id({name.decode(): headers[name].decode("latin-1") for name in _IDS & headers.keys()})
