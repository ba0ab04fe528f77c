"""HTTP/1.1 on bytes alone: what is an answer and what a fault, and that it never matters how the bytes are cut."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecproc.bridge.base import Answer
from ecproc.bridge.connect import Dialler
from ecproc.bridge.http1 import HEAD_BYTES, HttpExchange
from ecproc.bridge.pool import ConnectionPool
from ecproc.clock import SystemClock
from ecproc.config import Secret
from ecproc.config.proxy import Proxy
from ecproc.network import TUNNEL_HEAD_BYTES, HttpFault, Origin, TunnelAnswer

LIMIT: Final = 1000
PLACE: Final = "bridge.example:443"
NOTHING: Final = f"protocol: {PLACE}: no whole HTTP answer came"
TOO_LARGE: Final = f"too_large: {PLACE}: the answer is larger than {LIMIT} bytes"
BAD_CODING: Final = f"protocol: {PLACE}: the answer's coding cannot be undone"
NEW_YEAR: Final = 1_767_225_600_000_000
"""2026, in microseconds."""
OK: Final = b"HTTP/1.1 200 OK\r\n"
BODY: Final = b"content-length: 2\r\n\r\n{}"
CHUNKED: Final = OK + b"transfer-encoding: chunked\r\n\r\n"


def open_exchange(*, forwarder: str = "") -> HttpExchange:
    """An exchange on which a request was sent."""
    exchange = HttpExchange(limit=LIMIT, place=PLACE, forwarder=forwarder, now=lambda: NEW_YEAR)
    exchange.begin()
    return exchange


def play(pieces: Sequence[bytes], *, ends: bool = False, forwarder: str = "") -> tuple[Answer | str | None, bool]:
    """What comes of these bytes: the answer, a fault's text, or nothing yet; and whether the connection is of use."""
    exchange = open_exchange(forwarder=forwarder)
    told: list[Answer | str] = []
    steps: list[Callable[[], Answer | None]] = [lambda piece=piece: exchange.feed(piece) for piece in pieces]  # type: ignore[misc]
    for step in [*steps, exchange.end] if ends else steps:
        try:
            answer = step()
        except HttpFault as fault:
            assert fault.sent or fault.kind == "proxy"
            told.append(str(fault))
        else:
            told += [answer] if answer is not None else []
    assert len(told) <= 1
    return told[0] if told else None, exchange.usable


def chunk(*bodies: bytes) -> bytes:
    """These bytes as chunks, without the last one."""
    return b"".join(b"%x\r\n%b\r\n" % (len(body), body) for body in bodies)


WHOLE: Final = {
    "a length": (OK + BODY, Answer(200, b"{}"), True),
    "no body": (b"HTTP/1.1 204 No Content\r\n\r\n", Answer(204, b""), True),
    "not modified": (b"HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n", Answer(304, b""), True),
    "a status without words": (b"HTTP/1.1 599 \r\ncontent-length: 0\r\n\r\n", Answer(599, b""), True),
    "chunks": (CHUNKED + chunk(b"{", b"}") + b"0\r\n\r\n", Answer(200, b"{}"), True),
    "extensions": (CHUNKED + b"2;a=b\r\n{}\r\n0\r\n\r\n", Answer(200, b"{}"), True),
    "trailers": (CHUNKED + chunk(b"{}") + b"0\r\nretry-after: 7\r\nx: y\r\n\r\n", Answer(200, b"{}"), True),
    "at the limit": (CHUNKED + chunk(bytes(LIMIT)) + b"0\r\n\r\n", Answer(200, bytes(LIMIT)), True),
    "it closes": (OK + b"connection: close\r\n" + BODY, Answer(200, b"{}"), False),
    "1.0": (b"HTTP/1.0 200 OK\r\n" + BODY, Answer(200, b"{}"), False),
    "1.0 that stays": (b"HTTP/1.0 200 OK\r\nconnection: keep-alive\r\n" + BODY, Answer(200, b"{}"), True),
    "interim": (b"HTTP/1.1 100 Continue\r\nretry-after: 9\r\n\r\n" * 3 + OK + BODY, Answer(200, b"{}"), True),
    "early hints": (b"HTTP/1.1 103 Early Hints\r\nx: y\r\n\r\n" + OK + BODY, Answer(200, b"{}"), True),
    "a wish": (b"HTTP/1.1 429 Slow\r\nRetry-After: 7\r\n" + BODY, Answer(429, b"{}", 7.0), True),
    "a date": (
        b"HTTP/1.1 503 Busy\r\nretry-after: Thu, 01 Jan 2026 00:00:30 GMT\r\n" + BODY,
        Answer(503, b"{}", 30.0),
        True,
    ),
    "names": (OK + b"X-Amz-Request-Id: c\r\nX-Amzn-RequestId: a\r\n" + BODY, Answer(200, b"{}", None, "a"), True),
    "gzip": (
        CHUNKED[:-2] + b"content-encoding: GZIP\r\n\r\n" + chunk(gzip.compress(b"0" * LIMIT)) + b"0\r\n\r\n",
        Answer(200, b"0" * LIMIT),
        True,
    ),
    "identity": (OK + b"content-encoding: Identity\r\n" + BODY, Answer(200, b"{}"), True),
    "another one behind it": (OK + BODY + OK + b"retry-after: 9\r\n" + BODY, Answer(200, b"{}"), False),
    "an interim one behind it": (OK + BODY + b"HTTP/1.1 100 Continue\r\n\r\n", Answer(200, b"{}"), False),
    "nonsense behind it": (OK + BODY + b"nonsense", Answer(200, b"{}"), False),
    "bytes behind one that closes": (OK + b"connection: close\r\n" + BODY + b"more", Answer(200, b"{}"), False),
}
BROKEN: Final = {
    "another protocol": (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", NOTHING),
    "no status": (b"HTTP/1.1 OK\r\n\r\n", NOTHING),
    "a header without a name": (OK + b": x\r\n\r\n", NOTHING),
    "a header with a blank in its name": (OK + b"content length: 2\r\n\r\n{}", NOTHING),
    "two lengths": (OK + b"content-length: 2\r\n" + BODY, NOTHING),
    "a length that is none": (OK + b"content-length: 2x\r\n\r\n{}", NOTHING),
    "a negative length": (OK + b"content-length: -2\r\n\r\n{}", NOTHING),
    "a length beyond all numbers": (OK + b"content-length: " + b"9" * 30 + b"\r\n\r\n", NOTHING),
    "a length and chunks": (OK + b"transfer-encoding: chunked\r\n" + BODY, NOTHING),
    "a chunk without a size": (CHUNKED + b"zz\r\n", NOTHING),
    "a chunk that is longer than it says": (CHUNKED + b"1\r\n{}\r\n", NOTHING),
    "another protocol from here": (b"HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\n\r\n" + OK + BODY, NOTHING),
    "an announced length": (OK + b"content-length: %d\r\n\r\n" % (LIMIT + 1), TOO_LARGE),
    "too much in chunks": (CHUNKED + chunk(*[bytes(LIMIT // 4)] * 5), TOO_LARGE),
    "too much to the end": (OK + b"\r\n" + bytes(LIMIT + 1), TOO_LARGE),
    "no gzip": (OK + b"content-encoding: gzip\r\n" + BODY, BAD_CODING),
    "half of it": (
        OK + b"content-encoding: deflate\r\ncontent-length: 8\r\n\r\n" + zlib.compress(b"{}" * 9)[:8],
        BAD_CODING,
    ),
    "a bomb": (
        CHUNKED[:-2] + b"content-encoding: gzip\r\n\r\n" + chunk(gzip.compress(bytes(LIMIT + 1))) + b"0\r\n\r\n",
        f"too_large: {PLACE}: the decoded answer is too large",
    ),
    "a coding nobody asked for": (
        OK + b"content-encoding: br\r\n" + BODY,
        f"protocol: {PLACE}: the answer has a coding that was not asked for",
    ),
    "a head without end": (OK + b"x: y\r\n" * HEAD_BYTES, NOTHING),
    "a header without end": (OK + b"x: " + b"y" * 2 * HEAD_BYTES, NOTHING),
    "trailers without end": (CHUNKED + chunk(b"{}") + b"0\r\nx: " + b"y" * 2 * HEAD_BYTES, NOTHING),
    "interim answers without end": (b"HTTP/1.1 100 Continue\r\n\r\n" * HEAD_BYTES, NOTHING),
}
CUT_OFF: Final = {
    "nothing": b"",
    "a status line": OK,
    "a head": OK + b"content-length: 9\r\n",
    "a body": OK + b"content-length: 9\r\n\r\n{}",
    "chunks": CHUNKED + chunk(b"{}"),
    "an interim one": b"HTTP/1.1 100 Continue\r\n\r\n",
}
PIECE: Final = 1000
"""As much as a network brings at once."""


def cut(data: bytes, places: Sequence[int]) -> list[bytes]:
    """The data in pieces."""
    places = [*places, *range(0, len(data), PIECE)]
    ends = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[begin:end] for begin, end in pairwise(ends)]


@pytest.mark.parametrize("name", WHOLE)
def test_an_answer_is_whole_where_it_ends(name: str) -> None:
    data, answer, usable = WHOLE[name]
    assert play([data]) == (answer, usable)
    assert play([data[place : place + 1] for place in range(len(data))]) == (answer, usable)


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_answer_is_a_fault_with_a_name(name: str) -> None:
    data, fault = BROKEN[name]
    told, usable = play(cut(data, []))
    assert told == fault
    assert usable == (name in ("no gzip", "half of it", "a bomb", "a coding nobody asked for"))


@pytest.mark.parametrize("name", CUT_OFF)
def test_what_ends_early_is_a_fault(name: str) -> None:
    assert play([CUT_OFF[name]]) == (None, True)
    assert play([CUT_OFF[name]], ends=True) == (NOTHING, False)


@given(name=st.sampled_from([*WHOLE, *BROKEN]), places=st.lists(st.integers(0, 3000), max_size=12), ends=st.booleans())
def test_it_never_matters_how_the_bytes_are_cut(name: str, places: list[int], ends: bool) -> None:
    data = (WHOLE.get(name) or BROKEN[name])[0]
    assert play(cut(data, places), ends=ends) == play(cut(data, []), ends=ends)


def list_framings(body: bytes) -> Iterator[tuple[bytes, bool]]:
    """The ways in which a body may be sent, and whether its end is the connection's."""
    yield b"content-length: %d\r\n\r\n%b" % (len(body), body), False
    yield b"transfer-encoding: chunked\r\n\r\n" + chunk(*cut(body, [3, 50])) + b"0\r\n\r\n", False
    yield b"\r\n" + body, True


@given(
    status=st.sampled_from([200, 202, 302, 400, 403, 429, 500, 504, 599]),
    body=st.binary(min_size=1, max_size=LIMIT),
    framing=st.integers(0, 2),
    interim=st.integers(0, 2),
    places=st.lists(st.integers(0, 2000), max_size=12),
)
def test_any_body_comes_through_in_any_framing(
    status: int, body: bytes, framing: int, interim: int, places: list[int]
) -> None:
    data, ends = list(list_framings(body))[framing]
    data = b"HTTP/1.1 102 Processing\r\n\r\n" * interim + b"HTTP/1.1 %d Told\r\n" % status + data
    assert play(cut(data, places), ends=ends) == (Answer(status, body), not ends)


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=5))
def test_whatever_comes_is_an_answer_or_a_fault_or_nothing_yet(data: bytes, places: list[int]) -> None:
    for whole in (data, b"HTTP/1.1 200 " + data, OK + data):
        told, _ = play(cut(whole, places), ends=True)
        assert isinstance(told, Answer) or told in (NOTHING, TOO_LARGE, BAD_CODING)


def test_one_connection_gives_many_answers() -> None:
    exchange = open_exchange()
    assert exchange.feed(OK + b"retry-after: 3\r\n" + BODY) == Answer(200, b"{}", 3.0)
    for data, answer, usable in WHOLE.values():
        if usable:
            exchange.begin()
            assert exchange.feed(data) == answer
    assert exchange.usable


def test_a_connection_that_ends_at_rest_is_no_fault() -> None:
    exchange = open_exchange()
    assert exchange.feed(OK + BODY) is not None
    assert exchange.end() is None
    assert not exchange.usable


def test_what_comes_unasked_ends_the_use_of_a_connection() -> None:
    exchange = open_exchange()
    assert exchange.feed(OK + BODY) is not None
    assert exchange.feed(OK + BODY) is None
    assert not exchange.usable


def test_a_request_that_was_given_up_hears_nothing_more() -> None:
    exchange = open_exchange()
    fault = exchange.give_up("timeout", "no answer within 5 s")
    assert (str(fault), fault.sent) == (f"timeout: {PLACE}: no answer within 5 s", True)
    assert exchange.feed(OK + BODY) is None
    assert exchange.end() is None
    assert not exchange.usable


def test_only_a_forwarding_proxy_s_own_refusal_is_the_proxy_s() -> None:
    data = b"HTTP/1.1 407 Canary\r\n" + BODY
    told = "proxy: proxy.example:3128: 407 Proxy Authentication Required (check the user and password of bridge.proxy)"
    assert play([data], forwarder="proxy.example:3128") == (told, True)
    assert play([data]) == (Answer(407, b"{}"), True)
    assert play([OK + BODY], forwarder="proxy.example:3128") == (Answer(200, b"{}"), True)


class TestTunnels:
    @pytest.mark.parametrize(
        ("data", "why"),
        [
            (b"HTTP/1.1 200 Connection established\r\n\r\n", None),
            (b"HTTP/1.0 200 OK\r\nvia: x\r\n\r\n", None),
            (b"HTTP/1.1 502 Canary\r\n\r\n", "502 Bad Gateway"),
            (b"HTTP/1.1 200 OK\r\n\r\ncanary", "it says more than that the tunnel stands"),
            (b"HTTP/1.1 200 OK\r\nx: " + b"y" * TUNNEL_HEAD_BYTES, "it says more than that the tunnel stands"),
            (b"HTTP/2 200\r\n\r\n", "it does not speak HTTP"),
            (b"SSH-2.0-canary\r\n\r\n", "it does not speak HTTP"),
            (b"", "it closed the connection"),
        ],
    )
    def test_one_stands_or_there_is_a_reason(self, data: bytes, why: str | None) -> None:
        for size in (1, 7, len(data) or 1):
            answer = TunnelAnswer()
            pieces = [data[place : place + size] for place in range(0, len(data), size)]
            assert [answer.feed(piece) for piece in [*pieces, b""]][-1]
            assert answer.judge() == why

    def test_no_more_is_read_than_its_head(self) -> None:
        answer = TunnelAnswer()
        assert not answer.feed(b"HTTP/1.1 200 OK\r\n\r")
        assert answer.feed(b"\n")
        assert answer.judge() is None


def test_a_pool_s_repr_says_where_it_leads_and_no_secret() -> None:
    dialler = Dialler(
        Origin("https", "bridge.example", 443),
        tls=None,
        proxy=Proxy("proxy.example", 3128, Secret("Basic canary")),
        limit=LIMIT,
        timeout=5,
        clock=SystemClock(),
    )
    pool = ConnectionPool(dialler, size=8, batched=6, timeout=5)
    assert repr(pool) == (
        "<ConnectionPool to https://bridge.example:443 through proxy.example:3128: 0 of 8 used, 0 idle>"
    )
