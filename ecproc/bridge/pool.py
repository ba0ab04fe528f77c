"""As many requests at once as there may be connections, each answered by callback: those of a batch need neither task
nor future nor timer of their own.

A request waits in a line, has a connection made for it, or is sent. However it leaves the last two, `_release` lets
those that wait go on.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, Protocol, TypeAlias

import msgspec

from ecproc.bridge.base import Answer
from ecproc.bridge.connect import BridgeConnection, CallOutcome
from ecproc.network import HttpFault, describe_timeout

IDLE_SECONDS: Final = 15.0
"""How long a connection may rest and still be used: a server that closes it just then would cost the next call."""

_TICK: Final = 0.001
"""Seconds by which a loop's timer may come before the loop's own clock says so."""

_Ended: TypeAlias = Callable[[int, CallOutcome | None], None]


class Connector(Protocol):
    """Where connections come from; `place` stands in faults, `name` says where they lead."""

    place: str
    name: str

    async def open(self) -> BridgeConnection | HttpFault:
        """A new connection, or why there is none."""


class ConnectionPool:
    """At most `size` connections; used in one running event loop. A call takes `timeout` seconds at most.

    Of requests that come in batches at most `batched` are under way, and none goes before a call that waits. Nothing is
    sent twice, and a connection has one request at a time.
    """

    def __init__(self, connector: Connector, *, size: int, batched: int, timeout: float) -> None:
        self._connector = connector
        self._size = size
        self._timeout = timeout
        self._used = 0
        self._calls = _Line(size)
        self._batches = _Line(batched)
        self._idle: list[BridgeConnection] = []
        self._connecting: set[asyncio.Task[BridgeConnection | HttpFault]] = set()

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__} to {self._connector.name}: "
            f"{self._used} of {self._size} used, {len(self._idle)} idle>"
        )

    async def call(
        self, request: bytes, *, most: int | None = None, kept: bool = True, batched: bool = False
    ) -> Answer:
        """Send a request once and give its answer, on a connection of its own where none may be `kept`. One that is
        `batched` waits as those of batches do. Raises HttpFault, also where the answer has more than `most` bytes."""
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[CallOutcome | None] = loop.create_future()
        line, deadline = self._batches if batched else self._calls, loop.time() + self._timeout
        ask = _Ask(request, partial(_resolve, answered), line, deadline, None, most, kept)
        timer = loop.call_at(deadline, self._give_up, ask)
        line.waiting.append(ask)
        self._pump()
        try:
            outcome = await answered
        finally:
            timer.cancel()
            self._drop(ask)
        if isinstance(outcome, Answer):
            return outcome
        try:
            raise outcome or RuntimeError("a call ended without an outcome")
        finally:
            del outcome, answered, ask, timer  # which would hold this frame that holds them

    async def call_many(
        self, requests: Sequence[bytes], ended: _Ended, *, within: float, most: int | None = None
    ) -> None:
        """Send each request once, and tell `ended` what became of it by its place among them: None where it was not
        begun `within` so many seconds. Each has a call's time from when it is begun."""
        if not requests:
            return
        line, until = self._batches, asyncio.get_running_loop().time() + within
        batch = _Batch(len(requests), ended)
        for place, request in enumerate(requests):
            batch.asks.append(_Ask(request, partial(batch.tell, place), line, until, self._timeout, most))
        line.waiting.extend(batch.asks)
        self._pump()
        self._watch(batch)
        try:
            await batch.done
        finally:
            batch.timer.cancel()
            # The last first: those that wait must not take the places of those before them.
            for ask in reversed(batch.asks):
                self._drop(ask)
            batch.asks.clear()  # which hold the batch that holds them

    async def aclose(self) -> None:
        """Close every connection that no call is using."""
        await asyncio.gather(*[task for task in self._connecting if task.cancelling()], return_exceptions=True)
        while self._idle:
            self._idle.pop().abort()
        await asyncio.sleep(0)  # the transports close behind their last callback

    def _watch(self, batch: _Batch) -> None:
        """Be there when the first of a batch has run out of time."""
        deadlines = [ask.deadline for ask in batch.asks if not ask.ended]
        if deadlines:
            batch.timer = asyncio.get_running_loop().call_at(min(deadlines), self._look, batch)

    def _look(self, batch: _Batch) -> None:
        """End what has run out of time."""
        now = asyncio.get_running_loop().time() + _TICK
        for ask in reversed(batch.asks):
            if ask.deadline <= now and not ask.ended:
                self._give_up(ask)
        self._watch(batch)

    def _give_up(self, ask: _Ask) -> None:
        """End a request whose time has run out."""
        ask.ended = True
        unbegun, sent = ask.where is None, isinstance(ask.where, BridgeConnection)
        self._take_back(ask)
        why = f"{self._connector.place}: {describe_timeout(self._timeout, sent=sent)}"
        ask.tell(None if unbegun and ask.lasting is not None else HttpFault("timeout", why, sent=sent))

    def _drop(self, ask: _Ask) -> None:
        """Nobody waits any more."""
        if not ask.ended:
            ask.ended = True
            self._take_back(ask)

    def _take_back(self, ask: _Ask) -> None:
        """Let go of a request wherever it is."""
        match ask.where:
            case None:
                ask.line.waiting.remove(ask)
            case BridgeConnection() as connection:
                connection.abort()
                self._release(ask)
            case connecting:
                connecting.cancel()  # its place is free when that has ended

    def _pump(self) -> None:
        """Let those that wait go on as far as there is room."""
        for line in (self._calls, self._batches):
            waiting = line.waiting
            while waiting and line.used < line.most and self._used < self._size:
                self._start(waiting.popleft())

    def _start(self, ask: _Ask) -> None:
        now = asyncio.get_running_loop().time()
        self._used += 1
        ask.line.used += 1
        if ask.lasting is not None:
            ask.deadline = now + ask.lasting
        connection = self._take_idle(now) if ask.kept and self._idle else None
        if connection is not None:
            self._send(ask, connection)
            return
        while self._idle and len(self._idle) + self._used > self._size:
            self._idle.pop(0).abort()
        ask.where = task = asyncio.get_running_loop().create_task(self._connector.open())
        self._connecting.add(task)
        task.add_done_callback(partial(self._connected, ask))

    def _send(self, ask: _Ask, connection: BridgeConnection) -> None:
        ask.where = connection
        connection.send(ask.request, partial(self._answered, ask, connection), most=ask.most)

    def _answered(self, ask: _Ask, connection: BridgeConnection, outcome: CallOutcome) -> None:
        ask.ended = True
        self._keep(connection, kept=ask.kept)
        self._release(ask)
        ask.tell(outcome)

    def _connected(self, ask: _Ask, task: asyncio.Task[BridgeConnection | HttpFault]) -> None:
        """Send the request that a connection was made for; if that was taken back, the next one may have it."""
        self._connecting.discard(task)
        opened = None if task.cancelled() else task.exception() or task.result()
        if isinstance(opened, BridgeConnection):
            if not ask.ended:
                self._send(ask, opened)
                return
            self._keep(opened, kept=True)
            opened = None
        self._release(ask)
        if not ask.ended:
            ask.ended = True
            ask.tell(opened or HttpFault("connect", f"{self._connector.place}: it was given up", sent=False))

    def _release(self, ask: _Ask) -> None:
        """A request is under way no longer."""
        ask.where = None
        ask.line.used -= 1
        self._used -= 1
        if self._calls.waiting or self._batches.waiting:
            self._pump()

    def _take_idle(self, now: float) -> BridgeConnection | None:
        """The connection used last, if it is still good; those that are not are closed on the way."""
        while self._idle:
            connection = self._idle.pop()
            if connection.usable and now - connection.idle_since < IDLE_SECONDS:
                return connection
            connection.abort()
        return None

    def _keep(self, connection: BridgeConnection, *, kept: bool) -> None:
        """Hold a connection ready for the next call, or close one that is no good any more."""
        if kept and connection.usable:
            connection.idle_since = asyncio.get_running_loop().time()
            self._idle.append(connection)
        else:
            connection.abort()


class _Line:
    """Requests that wait, the first first; at most so many that were in it are under way at once."""

    __slots__ = ("most", "used", "waiting")

    def __init__(self, most: int) -> None:
        self.most = most
        self.used = 0
        self.waiting: deque[_Ask] = deque()


class _Ask(msgspec.Struct, eq=False):
    """One request; where it is while it does not wait in its line.

    It has until `deadline`; one with `lasting` waits until then, and has so many seconds from when it is begun.
    """

    request: bytes
    tell: Callable[[CallOutcome | BaseException | None], None]
    line: _Line
    deadline: float
    lasting: float | None
    most: int | None
    kept: bool = True
    ended: bool = False
    where: BridgeConnection | asyncio.Task[BridgeConnection | HttpFault] | None = None


class _Batch:
    """Requests that are awaited together."""

    __slots__ = ("asks", "done", "ended", "left", "timer")

    def __init__(self, left: int, ended: _Ended) -> None:
        self.left = left
        self.ended = ended
        self.asks: list[_Ask] = []
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.timer: asyncio.TimerHandle

    def tell(self, place: int, outcome: CallOutcome | BaseException | None) -> None:
        """One of them has ended. A defect is told to whoever waits: the network's callbacks are no place for it."""
        self.left -= 1
        try:
            if outcome is not None and not isinstance(outcome, Answer | HttpFault):
                raise outcome
            self.ended(place, outcome)
        except BaseException as error:
            if not self.done.done():
                self.done.set_exception(error)
        if not self.left and not self.done.done():
            self.done.set_result(None)


def _resolve(answered: asyncio.Future[CallOutcome | None], outcome: CallOutcome | BaseException | None) -> None:
    """Tell a call's outcome to whoever waits for it; one that was cancelled does not."""
    if answered.done():
        return
    if outcome is None or isinstance(outcome, Answer | HttpFault):
        answered.set_result(outcome)
    else:
        answered.set_exception(outcome)
