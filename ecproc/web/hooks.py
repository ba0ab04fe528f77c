"""The hooks listener: what other systems post to us, taken in before it is answered, and files that they fetch.

The order of a post's way is the contract's: its path, its method, its size, who sent it (over the raw body), and only
then what it is. What is taken, known already or about nothing of ours is 202 alike: a sender that is refused for days
switches its endpoint off.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, TypeAlias, assert_never

import anyio
import msgspec
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ecproc.clock import Clock
from ecproc.domain.external import Fate
from ecproc.errors import StoreError
from ecproc.web.answers import answer_document
from ecproc.web.guard import mark_private
from ecproc.web.hook_auth import Authenticate
from ecproc.web.operations import JSON
from ecproc.web.problems import problem_answer
from ecproc.webhooks import ID_HEADER

BODY_BYTES: Final = 1024 * 1024
"""Largest body of a post."""
ANSWER_SECONDS: Final = 10.0
"""From the end of a post's head to its answer, at most."""
RETRY_SECONDS: Final = 5
"""When a post that could not be taken is worth another try."""
HOOKS: Final = "/hooks/"
_ID_CHARACTERS: Final = 256
_DIGITS: Final = len(str(BODY_BYTES))
_MINUTE: Final = 60.0

Accept: TypeAlias = Callable[[str, str, bytes], Awaitable[Fate]]
"""From a source's name, the news's id there and the raw body to what became of it, once that is durable."""


class HookTaken(msgspec.Struct, frozen=True):
    """What a post that was taken is answered."""

    accepted: bool = True


class HookSource(msgspec.Struct, frozen=True):
    """Who posts to `/hooks/NAME`, and how that is known."""

    name: str
    authenticate: Authenticate


class RateLimit:
    """So many a minute, and as many at once; `now` is in seconds on a clock that never jumps."""

    def __init__(self, per_minute: int) -> None:
        self._per_second = per_minute / _MINUTE
        self._most = float(per_minute)
        self._left = self._most
        self._at = 0.0

    def take(self, now: float) -> float:
        """Seconds until one more may come; 0 if it may now, and is counted."""
        self._left = min(self._most, self._left + (now - self._at) * self._per_second)
        self._at = now
        if self._left < 1:
            return (1 - self._left) / self._per_second
        self._left -= 1
        return 0.0


class _TooLarge(Exception):
    """The body is longer than any may be."""


class Hooks:
    """The application: posts to a source of `sources` are given to `accept`, all else is `others`' to answer.

    `rate` is how many posts of a source are taken a minute; those of strangers are not counted, so that they cannot use
    it up. `on_answered` hears the source, the status and the seconds of each post.
    """

    def __init__(
        self,
        *,
        sources: Mapping[str, HookSource],
        accept: Accept,
        rate: int,
        others: ASGIApp,
        on_answered: Callable[[str, int, float], None],
        clock: Clock,
    ) -> None:
        self._sources = sources
        self._accept = accept
        self._others = others
        self._rates = {name: RateLimit(rate) for name in sources}
        self._on_answered = on_answered
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        path = str(scope["path"])
        source = self._sources.get(path.removeprefix(HOOKS)) if path.startswith(HOOKS) else None
        if source is None:
            await self._others(scope, receive, send)
            return
        began = self._clock.monotonic()
        answer = await self._answer(source, scope, receive)
        self._on_answered(source.name, answer.status_code, self._clock.monotonic() - began)
        await answer(scope, receive, mark_private(send))

    async def _answer(self, source: HookSource, scope: Scope, receive: Receive) -> Response:
        headers = Headers(scope=scope)
        refused = _judge_head(scope["method"], headers)
        if refused is not None:
            return refused
        with anyio.move_on_after(ANSWER_SECONDS):
            try:
                return await self._take(source, headers, await _read_body(receive))
            except _TooLarge:
                return _too_large()
            except ClientDisconnect:
                return problem_answer(400, "the request did not come whole")
            except StoreError:
                return _later("it cannot be written down now")
        return _later("it took too long")

    async def _take(self, source: HookSource, headers: Headers, body: bytes) -> Response:
        if not source.authenticate(headers, body, self._clock.now() / 1_000_000):
            return problem_answer(401, "authentication failed")
        wait = self._rates[source.name].take(self._clock.monotonic())
        if wait:
            return problem_answer(429, "too many requests", {"retry-after": str(math.ceil(wait))})
        fate = await self._accept(source.name, headers[ID_HEADER], body)
        match fate:
            case Fate.APPENDED | Fate.DUPLICATE | Fate.IGNORED:
                return answer_document(msgspec.json.encode(HookTaken()), 202)
            case Fate.BUSY | Fate.DEFERRED:
                return _later("there is no room for it now")
            case _:
                assert_never(fate)


def _judge_head(method: str, headers: Headers) -> Response | None:
    """Why a post is refused before its body is read; None if it is not. Its id is asked for here: without one nothing
    could be said of it, not even that it is signed."""
    if method != "POST":
        return problem_answer(405, "POST", {"allow": "POST"})
    length = headers.get("content-length")
    if length is not None and "transfer-encoding" in headers:
        return problem_answer(400, "a request has one length", {"connection": "close"})
    if length is not None and (not length.isdecimal() or len(length) > _DIGITS or int(length) > BODY_BYTES):
        return _too_large()
    media = headers.get("content-type", "").partition(";")[0].strip().lower()
    if media != JSON:
        return problem_answer(415, JSON, {"accept-post": JSON})
    message_id = headers.get(ID_HEADER, "")
    if not message_id or len(message_id) > _ID_CHARACTERS:
        return problem_answer(400, f"{ID_HEADER} is missing or too long")
    return None


async def _read_body(receive: Receive) -> bytes:
    """The body as it came. Raises _TooLarge, and ClientDisconnect where it ends too early."""
    body = bytearray()
    while True:
        message: Message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        body += message.get("body", b"")
        if len(body) > BODY_BYTES:
            raise _TooLarge
        if not message.get("more_body", False):
            return bytes(body)


def _too_large() -> Response:
    return problem_answer(413, f"a body has {BODY_BYTES} bytes at most", {"connection": "close"})


def _later(why: str) -> Response:
    return problem_answer(503, why, {"retry-after": str(RETRY_SECONDS)})
