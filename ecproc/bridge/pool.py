"""Connections to one origin, kept for as many calls at once as they may be: asyncio around the exchange of http1."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from functools import partial
from typing import Final, TypeAlias, cast

from ecproc.bridge.base import Answer
from ecproc.bridge.http1 import HttpExchange
from ecproc.bridge.tunnel import open_tunnel
from ecproc.clock import Clock
from ecproc.config.proxy import Proxy
from ecproc.network import NO_ANSWER, HttpFault, Origin, classify, describe_timeout

IDLE_SECONDS: Final = 15.0
"""How long a connection may rest and still be used: a server that closes it just then would cost the next call."""

_CONNECT_SHARE: Final = 0.9
"""Of a call's time, what connecting may take, so that its failure can be told apart from the call's."""

_Outcome: TypeAlias = Answer | HttpFault
"""What became of a request that was sent."""


class ConnectionPool:
    """At most `size` connections to `origin`, through `proxy` if there is one; made and used in one running event loop.

    With `tls` they are verified and a proxy opens tunnels for them; without it, it is handed each request. An answer
    has at most `limit` bytes; `timeout` is how many seconds a call may take, connecting included.
    """

    def __init__(
        self,
        origin: Origin,
        *,
        tls: ssl.SSLContext | None,
        proxy: Proxy | None,
        size: int,
        limit: int,
        timeout: float,
        clock: Clock,
    ) -> None:
        self._origin = origin
        self._tls = tls
        self._proxy = proxy
        self._place = origin.place if proxy is None else f"{origin.place} through {proxy.place}"
        self._limit = limit
        self._timeout = timeout
        self._clock = clock
        self._size = size
        self._used = 0
        self._slots = asyncio.Semaphore(size)
        self._idle: list[_Connection] = []

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__} to {self._origin.scheme}://{self._place}: "
            f"{self._used} of {self._size} used, {len(self._idle)} idle>"
        )

    async def call(self, request: bytes, deadline: float, *, most: int | None = None, kept: bool = True) -> Answer:
        """Send a request once and give its answer, by `deadline` on the loop's clock; on a connection of its own where
        none may be `kept`. Raises HttpFault, also where the answer has more than `most` bytes."""
        connection = await self._acquire(deadline, kept=kept)
        self._used += 1
        try:
            outcome = await connection.call(request, deadline, most=most)
            if kept:
                self._keep(connection)
            else:
                connection.abort()
        except BaseException:
            connection.abort()
            raise
        finally:
            self._used -= 1
            self._slots.release()
        if isinstance(outcome, HttpFault):
            try:
                raise outcome
            finally:
                del outcome  # which would hold this frame that holds it
        return outcome

    async def aclose(self) -> None:
        """Close every connection that no call is using."""
        while self._idle:
            self._idle.pop().abort()
        await asyncio.sleep(0)  # the transports close behind their last callback

    async def _acquire(self, deadline: float, *, kept: bool) -> _Connection:
        """A connection and one of the slots; without a timer's cost where both are there."""
        if kept and not self._slots.locked() and (connection := self._take_idle()) is not None:
            await self._slots.acquire()
            return connection
        try:
            async with asyncio.timeout_at(deadline):
                return await self._wait_for_connection(kept=kept)
        except OSError as error:
            kind, why = classify(error)
            why = describe_timeout(self._timeout, sent=False) if kind == "timeout" else why
        raise HttpFault(kind, f"{self._place}: {why}", sent=False)

    async def _wait_for_connection(self, *, kept: bool) -> _Connection:
        await self._slots.acquire()
        try:
            return (self._take_idle() if kept else None) or await self._connect()
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

    def _keep(self, connection: _Connection) -> None:
        """Hold a connection ready for the next call, or close one that is no good any more."""
        if connection.usable:
            connection.idle_since = self._clock.monotonic()
            self._idle.append(connection)
        else:
            connection.abort()

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
        try:
            raise failure
        finally:
            del failure

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
        forwarder = self._proxy.place if self._proxy is not None and self._tls is None else ""
        exchange = HttpExchange(limit=self._limit, place=self._place, forwarder=forwarder, now=self._clock.now)
        return _Connection(exchange, self._timeout)


class _Connection(asyncio.Protocol):
    """One connection with at most one request on it; whatever ends its use closes it. `timeout` is what a fault at the
    deadline speaks of."""

    def __init__(self, exchange: HttpExchange, timeout: float) -> None:
        self.idle_since = 0.0
        self._exchange = exchange
        self._timeout = timeout
        self._done: Callable[[_Outcome], None] | None = None

    @property
    def usable(self) -> bool:
        """Whether another request may be sent."""
        return self._exchange.usable

    async def call(self, request: bytes, deadline: float, *, most: int | None) -> _Outcome:
        """Send a request; what became of it, at the deadline on the loop's clock at the latest."""
        answered: asyncio.Future[_Outcome] = asyncio.get_running_loop().create_future()
        self._exchange.begin(most)
        self._done = partial(_resolve, answered)
        self._timer = asyncio.get_running_loop().call_at(deadline, self._give_up)
        self._transport.write(request)
        return await answered

    def abort(self) -> None:
        """Close at once; who waits for an answer hears nothing more."""
        if self._done is not None:
            self._done = None
            self._timer.cancel()
        self._close()

    # What the transport and the timer call.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        try:
            outcome: _Outcome | None = self._exchange.feed(data)
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
            outcome: _Outcome | None = self._exchange.end()
        except HttpFault as fault:
            outcome = fault.with_traceback(None)
        self._settle(outcome)

    def _give_up(self) -> None:
        self._settle(self._exchange.give_up("timeout", describe_timeout(self._timeout, sent=True)))

    def _settle(self, outcome: _Outcome | None) -> None:
        done = self._done
        if outcome is not None and done is not None:
            self._done = None
            self._timer.cancel()
            done(outcome)
        if not self._exchange.usable:
            self._close()

    def _close(self) -> None:
        self._exchange.close()
        self._transport.abort()


def _resolve(answered: asyncio.Future[_Outcome], outcome: _Outcome) -> None:
    """Tell a call's outcome to whoever waits for it; one that was cancelled does not."""
    if not answered.done():
        answered.set_result(outcome)
