"""Who may read what: the Host header, the token, and how many answers are made at once."""

from __future__ import annotations

import hashlib
import hmac
import logging
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ecproc.clock import Clock
from ecproc.config import Secret
from ecproc.control import CONTROL_HOST
from ecproc.domain.refusals import WebRefusal
from ecproc.telemetry.complaints import Complaints
from ecproc.telemetry.hooks import Telemetry
from ecproc.web.connection import CONNECTION, LOCAL, ROLE, WebConnection
from ecproc.web.hosts import HostRule
from ecproc.web.problems import problem_answer

STALLED_SECONDS: Final = 0.25
"""How long an answer of the API may wait for its reader while no other has a place."""
SLOWED_SECONDS: Final = 1.0
"""How long the answer to a wrong token takes."""
SLOWED_AT_ONCE: Final = 16
"""Wrong tokens whose answers wait at the same time; those beyond them are told to come later, at once."""

_PROBES: Final = frozenset({"/livez", "/readyz"})
_OPEN: Final = _PROBES | {"/healthz"}
_COUNTED: Final = "/api/"
_READING: Final = frozenset({"GET", "HEAD"})
_SHOWN: Final = 80
_HINTS: Final = {
    WebRefusal.HOST: "add it to web.hosts if it is a proxy's or this machine's own name; else a web page tried to read",
    WebRefusal.WRONG_TOKEN: "see who asks there; a guess has no chance against a long token, an old one wants renewing",
    WebRefusal.CROWDED: "see who keeps so many connections open; probes and whole requests are still answered",
    WebRefusal.SLOW: "see who opens connections and does not use them",
    WebRefusal.TOO_LARGE: "see who asks there; no request of ours is that long",
}
_REASONS: Final = {
    WebRefusal.HOST: "a request was meant for another host",
    WebRefusal.WRONG_TOKEN: "a wrong token was sent",
    WebRefusal.CROWDED: "connections that asked nothing were closed to make room for others",
    WebRefusal.TOO_LARGE: "requests were longer than any may be",
    WebRefusal.SLOW: "connections were closed because a request did not come or an answer was not read in time",
}


class Refusals:
    """Counts whom the server turned away, and says so once a minute where it may be an attack."""

    def __init__(self, telemetry: Telemetry, clock: Clock) -> None:
        self._telemetry = telemetry
        self._clock = clock
        self._complaints = Complaints()

    def note(self, refusal: WebRefusal, *, peer: str, host: str = "") -> None:
        """One more, from that address; `host` is the one that was asked for."""
        self._telemetry.web_refused(refusal)
        if refusal in _REASONS:
            self._tell(_REASONS[refusal], hint=_HINTS[refusal], peer=peer, host=host[:_SHOWN])

    def run_out(self) -> None:
        """A connection could not be taken because no more files can be open."""
        self._tell("no more files can be open", hint="raise the limit (LimitNOFILE= of a systemd unit, ulimit -n)")

    def _tell(self, reason: str, **fields: str) -> None:
        self._complaints.tell(logging.WARNING, "web", reason, now=self._clock.monotonic(), **fields)


class Guard:
    """Everything but probes is for requests that call us by our name, and with a token for its bearers only: with a
    `read_token` to read, with a `command_token` to change something.

    Who has the role `LOCAL` needs none, calls us `CONTROL_HOST`, and has as many answers beside those of all others.
    A right token never waits. A wrong one is answered late, or with 429 where enough of them wait already. Where as
    many answers are under way as may be, the one that has waited longest for its reader makes room.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        hosts: HostRule,
        read_token: Callable[[], Secret],
        command_token: Callable[[], Secret],
        answers: int,
        body_bytes: int,
        refusals: Refusals,
        clock: Clock,
    ) -> None:
        self._app = app
        self._hosts = hosts
        self._local_hosts = HostRule(CONTROL_HOST, ())
        self._read_token = read_token
        self._command_token = command_token
        self._most = answers
        self._body_bytes = body_bytes
        self._answered: defaultdict[str, list[Callable[[], WebConnection | None]]] = defaultdict(list)  # by role
        self._slowed = 0
        self._refusals = refusals
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        send = mark_private(send)
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refusal = self._find_refusal(scope)
        if refusal is not None:
            await (await self._refuse(scope, refusal))(scope, receive, send)
        elif scope["path"].startswith(_COUNTED):
            await self._answer(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        connection = scope.get("state", {}).get(CONNECTION, _no_connection)
        answered = self._answered[find_role(scope)]
        answered.append(connection)
        try:
            await self._app(scope, receive, send)
        finally:
            answered.remove(connection)

    def _find_refusal(self, scope: Scope) -> WebRefusal | None:
        path, headers = scope["path"], Headers(scope=scope)
        if "content-length" in headers and "transfer-encoding" in headers:
            return WebRefusal.MALFORMED  # what one server takes for its body another takes for the next request
        if int(headers.get("content-length", "0")) > self._body_bytes:
            return WebRefusal.TOO_LARGE
        role = find_role(scope)
        hosts = self._local_hosts if role == LOCAL else self._hosts
        if path not in _PROBES and not hosts.allows(headers.get("host", "")):
            return WebRefusal.HOST
        if role != LOCAL and path not in _OPEN:
            refusal = self._judge_bearer(scope["method"], headers.get("authorization", ""))
            if refusal is not None:
                return refusal
        return WebRefusal.BUSY if path.startswith(_COUNTED) and not self._make_place(role) else None

    def _judge_bearer(self, method: str, authorization: str) -> WebRefusal | None:
        """Who may change something may also read; where nobody has to show a token, both are free."""
        reads, commands = self._read_token(), self._command_token()
        if method in _READING:
            return _judge_token(authorization, [token for token in (reads, commands) if token]) if reads else None
        if reads and not commands:
            return WebRefusal.NO_COMMANDS
        return _judge_token(authorization, [commands]) if commands else None

    def _make_place(self, role: str) -> bool:
        """Whether one more answer may be made for that role, if need be in the place of one that nobody reads."""
        answered = self._answered[role]
        if len(answered) < self._most:
            return True
        open_ = [connection for connection in (find() for find in answered) if connection is not None]
        slowest = max(open_, key=lambda connection: connection.stalled_seconds, default=None)
        if slowest is None or slowest.stalled_seconds < STALLED_SECONDS:
            return False
        slowest.give_up(WebRefusal.SLOW)
        return True

    async def _refuse(self, scope: Scope, refusal: WebRefusal) -> Response:
        host = Headers(scope=scope).get("host", "") if refusal is WebRefusal.HOST else ""
        self._refusals.note(refusal, peer=(scope.get("client") or ("",))[0], host=host)
        match refusal:
            case WebRefusal.MALFORMED:
                return problem_answer(400, "a request has one length", {"connection": "close"})
            case WebRefusal.TOO_LARGE:
                told = f"a body has {self._body_bytes} bytes at most"
                return problem_answer(413, told, {"connection": "close"})
            case WebRefusal.HOST:
                return problem_answer(421, "this server has another name: ask it as localhost, or see web.hosts")
            case WebRefusal.NO_COMMANDS:
                return problem_answer(403, "nothing can be changed here: web.command_token is not set")
            case WebRefusal.BUSY:
                return problem_answer(503, "too many requests at once", {"retry-after": "1"})
            case WebRefusal.WRONG_TOKEN if not await self._slow_down():
                return problem_answer(429, "too many wrong tokens", {"retry-after": "1", "connection": "close"})
            case _:
                return problem_answer(401, "a bearer token is required", {"www-authenticate": "Bearer"})

    async def _slow_down(self) -> bool:
        """Wait before a wrong token is answered; False if too many do."""
        if self._slowed >= SLOWED_AT_ONCE:
            return False
        self._slowed += 1
        try:
            await self._clock.sleep(SLOWED_SECONDS)
        finally:
            self._slowed -= 1
        return True


def find_role(scope: Scope) -> str:
    """Who asks: `LOCAL` where it came by the control socket; empty where nothing but the request itself can tell."""
    return str(scope.get("state", {}).get(ROLE, ""))


def _no_connection() -> None:
    """What there is of a request that came on no socket."""


def mark_private(send: Send) -> Send:
    """`send` with every answer marked as private."""

    async def send_marked(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers["cache-control"] = "no-store"
            headers["x-content-type-options"] = "nosniff"
        await send(message)

    return send_marked


def _judge_token(authorization: str, wanted: Sequence[Secret]) -> WebRefusal | None:
    kind, _, token = authorization.partition(" ")
    token = token.strip()
    # Digests are of one length, so the comparison says nothing about the token's.
    right = [hmac.compare_digest(_digest(token), _digest(one.reveal())) for one in wanted]
    if any(right) and kind.lower() == "bearer":
        return None
    return WebRefusal.WRONG_TOKEN if token else WebRefusal.NO_TOKEN


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
