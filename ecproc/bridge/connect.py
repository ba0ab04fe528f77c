"""Connections to one origin: asyncio around the exchange of http1, and how one is made."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import Final, TypeAlias, cast

from ecproc.bridge.base import Answer
from ecproc.bridge.http1 import HttpExchange
from ecproc.bridge.tunnel import open_tunnel
from ecproc.clock import Clock
from ecproc.config.proxy import Proxy
from ecproc.network import NO_ANSWER, HttpFault, Origin, classify, describe_timeout, read_certificate_end

_CONNECT_SHARE: Final = 0.9
"""Of a call's time, what connecting may take, so that its failure can be told apart from the call's."""

CallOutcome: TypeAlias = Answer | HttpFault
"""What became of a request that was sent."""


class BridgeConnection(asyncio.Protocol):
    """One connection with at most one request on it; whatever ends its use closes it."""

    def __init__(self, exchange: HttpExchange) -> None:
        self.idle_since = 0.0
        self._exchange = exchange
        self._tell: Callable[[CallOutcome], None] | None = None

    @property
    def usable(self) -> bool:
        """Whether another request may be sent."""
        return self._exchange.usable and not self._transport.is_closing()

    @property
    def certificate_end(self) -> float | None:
        """When the other side's certificate ends, in seconds UTC; None without TLS."""
        return read_certificate_end(self._transport.get_extra_info("ssl_object"))

    def send(self, request: bytes, tell: Callable[[CallOutcome], None], *, most: int | None) -> None:
        """Send a request; what becomes of it is told once, unless it is given up before."""
        self._exchange.begin(most)
        self._tell = tell
        self._transport.write(request)

    def abort(self) -> None:
        """Close at once; nothing more is told."""
        self._tell = None
        self._exchange.close()
        self._transport.abort()

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        try:
            outcome: CallOutcome | None = self._exchange.feed(data)
        except HttpFault as fault:
            outcome = fault.with_traceback(None)
        self._settle(outcome)

    def eof_received(self) -> None:
        self._exchange.usable = False

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is not None:
            kind, why = classify(exc) if isinstance(exc, OSError) else ("protocol", NO_ANSWER)
            self._settle(self._exchange.give_up(kind, why))
            return
        try:
            outcome: CallOutcome | None = self._exchange.end()
        except HttpFault as fault:
            outcome = fault.with_traceback(None)
        self._settle(outcome)

    def _settle(self, outcome: CallOutcome | None) -> None:
        tell = self._tell
        if outcome is not None and tell is not None:
            self._tell = None
            tell(outcome)
        if not self._exchange.usable:
            self.abort()


class Dialler:
    """Makes connections to `origin`, through `proxy` if there is one; `name` says so.

    With `tls` they are verified and a proxy opens tunnels for them; without it, it is handed each request. An answer
    has at most `limit` bytes; `timeout` is how many seconds a call may take, most of which may go into connecting.
    """

    def __init__(
        self,
        origin: Origin,
        *,
        tls: ssl.SSLContext | None,
        proxy: Proxy | None,
        limit: int,
        timeout: float,
        clock: Clock,
    ) -> None:
        self._origin = origin
        self._tls = tls
        self._proxy = proxy
        self._limit = limit
        self._timeout = timeout
        self._clock = clock
        self.place = origin.place if proxy is None else f"{origin.place} through {proxy.place}"
        self.name = f"{origin.scheme}://{self.place}"
        self.certificate_end: float | None = None

    async def open(self) -> BridgeConnection | HttpFault:
        """A new connection, or why there is none."""
        try:
            connection = await self._connect()
            self.certificate_end = connection.certificate_end or self.certificate_end
            return connection
        except HttpFault as fault:
            return fault.with_traceback(None)
        except OSError as error:
            kind, why = classify(error)
        why = describe_timeout(self._timeout, sent=False) if kind == "timeout" else why
        return HttpFault(kind, f"{self.place}: {why}", sent=False)

    async def _connect(self) -> BridgeConnection:
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

    async def _dial(self, host: str, port: int) -> BridgeConnection:
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
        try:
            raise failure
        finally:
            del failure

    async def _secure(self, tunnel: socket.socket) -> BridgeConnection:
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

    def _make(self) -> BridgeConnection:
        forwarder = self._proxy.place if self._proxy is not None and self._tls is None else ""
        exchange = HttpExchange(limit=self._limit, place=self.place, forwarder=forwarder, now=self._clock.now)
        return BridgeConnection(exchange)
