"""HTTP/1.1 as the bridge's calls need it, without any I/O: the bytes of one connection in, answers out.

The bytes are parsed by httptools (llhttp). What a parser does not judge is judged here: how much may come, where a body
without a length ends, what came unasked, and whose answer it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

import httptools

from ecproc.bridge.base import Answer
from ecproc.network import (
    NO_ANSWER,
    PROXY_REFUSES,
    REQUEST_IDS,
    FaultKind,
    HttpFault,
    Inflater,
    describe_refusal,
    parse_retry_after,
    pick_request_id,
)

HEAD_BYTES: Final = 64 * 1024
"""How much may stand before an answer's body, and how much may come without a byte of one."""

_FINAL: Final = 200
"""The least status of an answer that no other follows."""
_FRAMING: Final = frozenset({b"content-length", b"transfer-encoding"})
_IDS: Final = frozenset(name.encode("ascii") for name in REQUEST_IDS)
_KEPT: Final = _FRAMING | _IDS | {b"content-encoding", b"retry-after", b"date"}
_IDENTITY: Final = b"identity"
_Parts: TypeAlias = tuple[int, Mapping[bytes, bytes], bytes]
"""An answer's status, those of its headers that are read, and its body."""


class HttpExchange:
    """What comes back on one connection: answers, each to one request that was sent whole before it.

    A body has at most `limit` bytes, before and after it is decoded. Faults name `place`; `forwarder` is the proxy that
    requests are handed to in the clear, if any: its own refusal is no answer. `now` is in microseconds since the epoch.
    """

    def __init__(self, *, limit: int, place: str, forwarder: str = "", now: Callable[[], int]) -> None:
        self.usable = True
        """Whether another request may follow."""
        self._limit = self._most = limit
        self._place = place
        self._forwarder = forwarder
        self._now = now
        self._parser: httptools.HttpResponseParser | None = None
        self._awaited = False
        self._fault: HttpFault | None = None
        self._whole: _Parts | None = None
        self._start_answer()

    def begin(self, most: int | None = None) -> None:
        """A request is sent: from here its answer is awaited, of at most `most` bytes where that is less."""
        self._most = self._limit if most is None else min(most, self._limit)
        if self._parser is None:
            self._parser = httptools.HttpResponseParser(self)
        self._awaited = True
        self._fault = self._whole = None
        self._without_body = 0

    def feed(self, data: bytes) -> Answer | None:
        """Take what came; the answer once it is whole. Raises HttpFault when it never will be.

        What comes while none is awaited is no part of any answer, and ends the connection's use.
        """
        if not self._awaited or self._parser is None:
            self.usable = False
            return None
        before = self._size
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._fail("protocol", NO_ANSWER)
        if self._size == before:
            self._count_without_body(len(data))
        return self._settle()

    def end(self) -> Answer | None:
        """The connection was closed in good order: the answer whose body ends there, None if none is awaited. Raises
        HttpFault when an answer was cut off."""
        self.usable = False
        if not self._awaited:
            return None
        if self._in_body and not self._headers.keys() & _FRAMING:
            self.on_message_complete()
        self._fail("protocol", NO_ANSWER)
        return self._settle()

    def give_up(self, kind: FaultKind, why: str) -> HttpFault:
        """End the connection's use; why the request that was sent on it has no answer."""
        self.usable = self._awaited = False
        return HttpFault(kind, f"{self._place}: {why}", sent=True)

    def close(self) -> None:
        """Forget everything that came; nothing can be asked or told any more. Nobody else would break the circle of the
        exchange and its parser, in which a body of megabytes may stand."""
        self.usable = self._awaited = False
        self._parser = self._fault = self._whole = None
        self._start_answer()

    def _start_answer(self) -> None:
        self._headers: dict[bytes, bytes] = {}
        self._body = bytearray()
        self._head = self._size = 0
        self._in_body = False

    def _fail(self, kind: FaultKind, why: str) -> None:
        """End the connection's use, and the wait for an answer if there is one."""
        self.usable = False
        if self._awaited:
            self._fault = self.give_up(kind, why)

    def _count_without_body(self, size: int) -> None:
        """Give up on what goes on and on without a byte of a body."""
        self._without_body += size
        if self._awaited and self._without_body > HEAD_BYTES:
            self._fail("protocol", NO_ANSWER)

    def _settle(self) -> Answer | None:
        """What has become of the answer that was awaited until now."""
        if self._fault is not None:
            raise self._fault
        whole, self._whole = self._whole, None
        return None if whole is None else self._read_answer(*whole)

    def _read_answer(self, status: int, headers: Mapping[bytes, bytes], body: bytes) -> Answer:
        if status == PROXY_REFUSES and self._forwarder:
            raise HttpFault("proxy", f"{self._forwarder}: {describe_refusal(status)}", sent=False)
        coded = headers.get(b"content-encoding")
        if coded is not None and (encoding := coded.strip().lower()) != _IDENTITY:
            inflate = Inflater(encoding.decode("latin-1"), self._place)
            body = inflate.feed(body, self._most)
            inflate.finish()
        wish = headers.get(b"retry-after")
        wait = None if wish is None else parse_retry_after(wish.decode("latin-1"), now=self._now())
        return Answer(status, body, wait, _read_id(headers), headers.get(b"date", b"").decode("latin-1"))

    # What the parser calls. It goes on to the end of its data, whatever we found on the way.

    def on_message_begin(self) -> None:
        if not self._awaited:
            self.usable = False

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if name in _KEPT and not self._in_body:
            self._headers[name] = value
        self._head += len(name) + len(value)
        if self._head > HEAD_BYTES:
            self._fail("protocol", NO_ANSWER)

    def on_headers_complete(self) -> None:
        self._in_body = True
        if int(self._headers.get(b"content-length", b"0")) > self._most:
            self._fail_too_large()

    def on_body(self, body: bytes) -> None:
        self._without_body = 0
        self._size += len(body)
        if self._size > self._most:
            self._fail_too_large()
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

    def _fail_too_large(self) -> None:
        self._fail("too_large", f"the answer is larger than {self._most} bytes")


def _read_id(headers: Mapping[bytes, bytes]) -> str:
    """The bridge's name for the call, empty without one."""
    if _IDS.isdisjoint(headers):
        return ""
    return pick_request_id({name.decode(): headers[name].decode("latin-1") for name in _IDS & headers.keys()})
