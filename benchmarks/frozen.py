"""A yardstick that is frozen: GET ten messages and DELETE each in a task of its own, over a copy of our own transport
as it was when the goal was set.

The bare loop over the transport that the processor uses gets faster with it, so a ratio to that one falls where we make
progress. This copy is not to be improved, nor kept in step: it imports nothing of ecproc, and its figures are ratios to
one and the same work. What it leaves out of the original is what the loop never meets: proxies, other ticket calls, a
refused key. What each call did stays: a slot, an idle connection, a deadline of its own, a future, the parser, the
headers that are read, the checks of sizes.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Final, TypeAlias, cast
from urllib.parse import urlsplit

import httptools
import msgspec

from benchmarks.measure import Sample, timing_baseline

_HEAD_BYTES: Final = 64 * 1024
_ANSWER_BYTES: Final = 16 * 1024 * 1024
_DELETE_BYTES: Final = 256 * 1024
_SECONDS: Final = 30.0
_IDLE_SECONDS: Final = 15.0
_FINAL: Final = 200
_KEY: Final = "k" * 40
_FRAMING: Final = frozenset({b"content-length", b"transfer-encoding"})
_IDS: Final = (b"x-amzn-requestid", b"x-amz-apigw-id", b"x-amz-request-id")
_KEPT: Final = _FRAMING | {*_IDS} | {b"content-encoding", b"retry-after"}
_IDENTITY: Final = b"identity"
_Parts: TypeAlias = tuple[int, Mapping[bytes, bytes], bytes]

_is_base64: Final = re.compile(r"[A-Za-z0-9+/=]+").fullmatch


class _Answer(msgspec.Struct, frozen=True):
    status: int
    body: bytes
    retry_after: float | None = None
    request_id: str = ""


class _Fault(Exception):
    pass


_Outcome: TypeAlias = _Answer | _Fault


class _Exchange:
    """What comes back on one connection."""

    def __init__(self, *, limit: int) -> None:
        self.usable = True
        self._limit = self._most = limit
        self._parser: httptools.HttpResponseParser | None = None
        self._awaited = False
        self._fault: _Fault | None = None
        self._whole: _Parts | None = None
        self._start_answer()

    def begin(self, most: int | None = None) -> None:
        self._most = self._limit if most is None else min(most, self._limit)
        if self._parser is None:
            self._parser = httptools.HttpResponseParser(self)
        self._awaited = True
        self._fault = self._whole = None
        self._without_body = 0

    def feed(self, data: bytes) -> _Answer | None:
        if not self._awaited or self._parser is None:
            self.usable = False
            return None
        before = self._size
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._fail("no whole HTTP answer came")
        if self._size == before:
            self._count_without_body(len(data))
        return self._settle()

    def give_up(self, why: str) -> _Fault:
        self.usable = self._awaited = False
        return _Fault(why)

    def close(self) -> None:
        self.usable = self._awaited = False
        self._parser = self._fault = self._whole = None
        self._start_answer()

    def _start_answer(self) -> None:
        self._headers: dict[bytes, bytes] = {}
        self._body = bytearray()
        self._head = self._size = 0
        self._in_body = False

    def _fail(self, why: str) -> None:
        self.usable = False
        if self._awaited:
            self._fault = self.give_up(why)

    def _count_without_body(self, size: int) -> None:
        self._without_body += size
        if self._awaited and self._without_body > _HEAD_BYTES:
            self._fail("no whole HTTP answer came")

    def _settle(self) -> _Answer | None:
        if self._fault is not None:
            raise self._fault
        whole, self._whole = self._whole, None
        return None if whole is None else self._read_answer(*whole)

    def _read_answer(self, status: int, headers: Mapping[bytes, bytes], body: bytes) -> _Answer:
        encoding = headers.get(b"content-encoding", _IDENTITY).strip().lower()
        if encoding != _IDENTITY:
            raise _Fault("a coding that was not asked for")
        wish = headers.get(b"retry-after")
        return _Answer(status, body, None if wish is None else float(wish), _read_id(headers))

    def on_message_begin(self) -> None:
        if not self._awaited:
            self.usable = False

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if name in _KEPT and not self._in_body:
            self._headers[name] = value
        self._head += len(name) + len(value)
        if self._head > _HEAD_BYTES:
            self._fail("no whole HTTP answer came")

    def on_headers_complete(self) -> None:
        self._in_body = True
        if int(self._headers.get(b"content-length", b"0")) > self._most:
            self._fail("too large")

    def on_body(self, body: bytes) -> None:
        self._without_body = 0
        self._size += len(body)
        if self._size > self._most:
            self._fail("too large")
        else:
            self._body += body

    def on_message_complete(self) -> None:
        parser = self._parser
        if parser is None:
            return
        status = parser.get_status_code()
        if status >= _FINAL and self._awaited:
            self._awaited = False
            self._whole = status, self._headers, bytes(self._body)
            self.usable = self.usable and parser.should_keep_alive()
        self._start_answer()


def _read_id(headers: Mapping[bytes, bytes]) -> str:
    named = {name.decode(): headers[name].decode("latin-1") for name in {*_IDS} & headers.keys()}
    return next((named[name.decode()][:128] for name in _IDS if named.get(name.decode())), "")


class _Connection(asyncio.Protocol):
    """One connection with at most one request on it."""

    def __init__(self) -> None:
        self.idle_since = 0.0
        self._exchange = _Exchange(limit=_ANSWER_BYTES)
        self._done: Callable[[_Outcome], None] | None = None

    @property
    def usable(self) -> bool:
        return self._exchange.usable

    async def call(self, request: bytes, deadline: float, *, most: int | None) -> _Outcome:
        answered: asyncio.Future[_Outcome] = asyncio.get_running_loop().create_future()
        self._exchange.begin(most)
        self._done = partial(_resolve, answered)
        self._timer = asyncio.get_running_loop().call_at(deadline, self._give_up)
        self._transport.write(request)
        return await answered

    def abort(self) -> None:
        if self._done is not None:
            self._done = None
            self._timer.cancel()
        self._close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        try:
            outcome: _Outcome | None = self._exchange.feed(data)
        except _Fault as fault:
            outcome = fault.with_traceback(None)
        self._settle(outcome)

    def connection_lost(self, exc: Exception | None) -> None:
        self._settle(self._exchange.give_up("the connection ended"))

    def _give_up(self) -> None:
        self._settle(self._exchange.give_up("no answer in time"))

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
    if not answered.done():
        answered.set_result(outcome)


class _Pool:
    """At most `size` connections."""

    def __init__(self, host: str, port: int, *, tls: ssl.SSLContext | None, size: int) -> None:
        self._place = (host, port)
        self._tls = tls
        self._used = 0
        self._slots = asyncio.Semaphore(size)
        self._idle: list[_Connection] = []

    async def call(self, request: bytes, deadline: float, *, most: int | None = None) -> _Answer:
        connection = await self._acquire(deadline)
        self._used += 1
        try:
            outcome = await connection.call(request, deadline, most=most)
            self._keep(connection)
        except BaseException:
            connection.abort()
            raise
        finally:
            self._used -= 1
            self._slots.release()
        if isinstance(outcome, _Fault):
            raise outcome
        return outcome

    async def aclose(self) -> None:
        while self._idle:
            self._idle.pop().abort()
        await asyncio.sleep(0)

    async def _acquire(self, deadline: float) -> _Connection:
        if not self._slots.locked() and (connection := self._take_idle()) is not None:
            await self._slots.acquire()
            return connection
        async with asyncio.timeout_at(deadline):
            return await self._wait_for_connection()

    async def _wait_for_connection(self) -> _Connection:
        await self._slots.acquire()
        try:
            return self._take_idle() or await self._connect()
        except BaseException:
            self._slots.release()
            raise

    def _take_idle(self) -> _Connection | None:
        now = asyncio.get_running_loop().time()
        while self._idle:
            connection = self._idle.pop()
            if connection.usable and now - connection.idle_since < _IDLE_SECONDS:
                return connection
            connection.abort()
        return None

    def _keep(self, connection: _Connection) -> None:
        if connection.usable:
            connection.idle_since = asyncio.get_running_loop().time()
            self._idle.append(connection)
        else:
            connection.abort()

    async def _connect(self) -> _Connection:
        host, port = self._place
        name = host if self._tls else None
        loop = asyncio.get_running_loop()
        return (await loop.create_connection(_Connection, host, port, ssl=self._tls, server_hostname=name))[1]


class FrozenQueue:
    """The queue's two calls as they were made."""

    def __init__(self, url: str, *, ca_file: str, connections: int) -> None:
        parts = urlsplit(url)
        tls = _trust(ca_file) if ca_file else None
        self._pool = _Pool(parts.hostname or "", parts.port or 0, tls=tls, size=connections)
        lines = {"host": parts.netloc, "accept": "application/json", "accept-encoding": "identity", "user-agent": "x"}
        self._headers = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        self._path = "/client/prod/queue"

    async def receive(self) -> _Answer:
        return await self._call(f"GET {self._path}")

    async def delete(self, receipt_handle: str) -> _Answer:
        return await self._call(f"DELETE {self._path}/{_encode_handle(receipt_handle)}", most=_DELETE_BYTES)

    async def aclose(self) -> None:
        await self._pool.aclose()

    async def _call(self, line: str, *, most: int | None = None) -> _Answer:
        send = partial(self._pool.call, most=most)
        return await self._try(send, f"{line} HTTP/1.1\r\n{self._headers}", _KEY)

    async def _try(self, send: Callable[[bytes, float], Awaitable[_Answer]], head: str, key: str) -> _Answer:
        if not (key and key.isascii() and key.isprintable()):
            raise _Fault("no header can carry the key")
        request = f"{head}x-api-key: {key}\r\n\r\n".encode("ascii")
        return await send(request, asyncio.get_running_loop().time() + _SECONDS)


def _trust(ca_file: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(Path(ca_file))
    return context


def _encode_handle(handle: str) -> str:
    if not _is_base64(handle):
        raise _Fault("a handle that is no base64")
    return handle.replace("/", "%2F").replace("+", "%2B").replace("=", "%3D")


class _Message(msgspec.Struct):
    ReceiptHandle: str


class _Result(msgspec.Struct):
    messages: list[_Message] | None = None


class _Response(msgspec.Struct):
    ReceiveMessageResult: _Result


class _Document(msgspec.Struct):
    ReceiveMessageResponse: _Response


_decode = msgspec.json.Decoder(_Document).decode


async def poll(url: str, *, messages: int, readers: int, connections: int, ca_file: str = "") -> Sample:
    """GET ten messages and DELETE each, a task for each, in `readers` loops at once, until so many are gone."""
    queue = FrozenQueue(url, ca_file=ca_file, connections=connections)
    await _drain(queue, messages // 10, readers)
    with timing_baseline() as watch:
        done = await _drain(queue, messages, readers)
    await queue.aclose()
    return watch.sample(done)


async def _drain(queue: FrozenQueue, messages: int, readers: int) -> int:
    left = messages
    done = 0

    async def read() -> None:
        nonlocal left, done
        while left > 0:
            left -= 10
            found = _decode((await queue.receive()).body).ReceiveMessageResponse.ReceiveMessageResult.messages or ()
            answers = await asyncio.gather(*[queue.delete(message.ReceiptHandle) for message in found])
            done += sum(answer.status == 200 for answer in answers)

    await asyncio.gather(*[read() for _ in range(readers)])
    return done
