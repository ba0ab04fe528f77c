"""One HTTP/1.1 connection, served: parse, ask for a reply, write it in time, or close without a word."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Collection
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import Final, Protocol, cast

import httptools

from ecproc.simulator.exchange import HttpRequest, Reply

MAX_BODY: Final = 64 * 1024 * 1024
REASONS: Final = {status.value: status.phrase for status in HTTPStatus}
NO_CONTENT: Final = 204
"""The one status of ours that goes without a body, and may not even say that it is empty."""
_EXPECT: Final = "expect"
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


class Service(Protocol):
    """What stands behind the connections; `answer` never waits and never raises for what a client sent."""

    @property
    def headers(self) -> Collection[str]:
        """The headers that it reads, in lower case; no others are kept."""

    def answer(self, request: HttpRequest) -> Reply:
        """Give the reply to write."""

    def record_answered(self, request: HttpRequest) -> None:
        """Hear that the answer left or was dropped, or that the client went away before."""


class Connection(asyncio.Protocol):
    """Serves its requests one after the other; `open_connections` holds it for as long as it lives."""

    def __init__(self, service: Service, open_connections: set[Connection]) -> None:
        self._service = service
        self._open_connections = open_connections
        self._wanted = {name.encode("ascii"): name for name in (*service.headers, _EXPECT)}
        if service.headers:  # a parser that nobody asks for them is twice as fast
            self.on_header = self._take_header
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._waiting: deque[tuple[HttpRequest, bool]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._held: HttpRequest | None = None
        self.closed = asyncio.Event()
        self._start_request()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._open_connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._open_connections.discard(self)
        self.closed.set()
        if self._timer is not None and self._held is not None:
            self._timer.cancel()
            self._timer = None
            self._service.record_answered(self._held)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._write(Reply(status=400, body=b'{"message": "Bad Request"}'), keep=False)

    def on_url(self, url: bytes) -> None:
        self._url += url

    def _take_header(self, name: bytes, value: bytes) -> None:
        known = self._wanted.get(name.lower())
        if known is not None:
            self._headers[known] = value.decode("latin-1")
            if known == _EXPECT and self._transport is not None:
                self._transport.write(_CONTINUE)

    def on_body(self, body: bytes) -> None:
        self._size += len(body)
        if self._size <= MAX_BODY:
            self._body.append(body)

    def on_message_complete(self) -> None:
        path, _, query = self._url.decode("latin-1").partition("?")
        request = HttpRequest(
            method=self._parser.get_method().decode(),
            path=path,
            query=query,
            headers=self._headers,
            body=b"".join(self._body),
        )
        too_large = self._size > MAX_BODY
        keep = self._parser.should_keep_alive()
        self._start_request()
        if too_large:
            self._write(Reply(status=413), keep=False)
        elif self._timer is not None:
            self._waiting.append((request, keep))
        elif self._is_open():
            self._serve(request, keep=keep)

    def stop(self) -> None:
        """Close now: politely when idle, at once when an answer is held back."""
        if self._transport is not None:
            if self._timer is None:
                self._transport.close()
            else:
                self._transport.abort()

    def abort(self) -> None:
        """Close without flushing what the client didn't read."""
        if self._transport is not None:
            self._transport.abort()

    def _is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def _start_request(self) -> None:
        self._url = b""
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._size = 0

    def _serve(self, request: HttpRequest, *, keep: bool) -> None:
        reply = self._service.answer(request)
        if reply.delay > 0:
            self._held = request
            self._timer = asyncio.get_running_loop().call_later(reply.delay, self._finish_late, reply, keep)
        else:
            self._finish(request, reply, keep=keep)

    def _finish_late(self, reply: Reply, keep: bool) -> None:
        self._timer = None
        if self._held is not None:
            self._finish(self._held, reply, keep=keep)
        self._serve_waiting()

    def _serve_waiting(self) -> None:
        while self._waiting and self._timer is None and self._is_open():
            request, keep = self._waiting.popleft()
            self._serve(request, keep=keep)

    def _finish(self, request: HttpRequest, reply: Reply, *, keep: bool) -> None:
        if not reply.dropped:
            self._write(reply, keep=keep)
        elif self._transport is not None:
            self._transport.close()
        self._service.record_answered(request)

    def _write(self, reply: Reply, *, keep: bool) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        self._transport.write(encode_reply(reply, keep=keep))
        if not keep:
            self._transport.close()


def encode_reply(reply: Reply, *, keep: bool) -> bytes:
    """A reply on the wire; it says so when the connection does not stay."""
    retry = b"" if reply.retry_after is None else b"retry-after: %d\r\n" % reply.retry_after
    close = b"" if keep else b"connection: close\r\n"
    own = "".join(f"{name}: {value}\r\n" for name, value in reply.headers).encode("latin-1") if reply.headers else b""
    head = _encode_head(reply.status, reply.content_type, int(time.time() if reply.date is None else reply.date))
    if reply.status == NO_CONTENT:
        return b"%b%b%b%b\r\n" % (head, own, retry, close)
    return b"%bcontent-length: %d\r\n%b%b%b\r\n%b" % (head, len(reply.body), own, retry, close, reply.body)


@lru_cache
def _encode_head(status: int, content_type: str, second: int) -> bytes:
    """The lines that replies of a kind have in common within one second."""
    line, date = f"HTTP/1.1 {status} {REASONS.get(status, 'Error')}", formatdate(second, usegmt=True)
    return f"{line}\r\ndate: {date}\r\ncontent-type: {content_type}\r\n".encode("latin-1")
