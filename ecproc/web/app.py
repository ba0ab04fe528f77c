"""The pages: metrics, health and ticket documents."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from typing import Final

import msgspec
from prometheus_client.exposition import choose_encoder
from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ecproc.config import Limits, Secret
from ecproc.reading.queries import Queries
from ecproc.telemetry.hooks import TICKET_STATES
from ecproc.web.state import Check, Health

_OPEN: Final = frozenset({"/livez", "/healthz", "/readyz", "/version"})
_PARAMETERS: Final = frozenset({"type", "state", "limit", "after"})
_STATES: Final = frozenset(state for states in TICKET_STATES.values() for state in states)
_DEFAULT_LIMIT: Final = 100
_SHOWN: Final = 80


def build_app(queries: Queries, health: Health, *, read_token: Callable[[], Secret], limits: Limits) -> Starlette:
    """The ASGI application; with a `read_token` all but health and version is for its bearers only.

    The token is asked for at every request, so a rotated one counts at once.
    Nothing here changes state. No answer may be cached, and errors of the JSON API are `{"error": "…"}`.
    """
    pages = _Pages(queries, health, limits.web_tickets)
    return Starlette(
        routes=[
            Route("/metrics", pages.show_metrics),
            Route("/livez", pages.show_liveness),
            Route("/healthz", pages.show_liveness),
            Route("/readyz", pages.show_readiness),
            Route("/version", pages.show_version),
            Route("/api/v1/tickets", pages.list_tickets),
            Route("/api/v1/tickets/{number:path}", pages.show_ticket),
        ],
        middleware=[Middleware(_Guard, token=read_token)],
        exception_handlers={HTTPException: _show_refusal, Exception: _show_defect},
    )


class _Pages:
    """One method per page."""

    def __init__(self, queries: Queries, health: Health, most_tickets: int) -> None:
        self._queries = queries
        self._health = health
        self._most_tickets = most_tickets

    async def show_metrics(self, request: Request) -> Response:
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(self._health.registry), headers={"content-type": content_type})

    async def show_liveness(self, request: Request) -> Response:
        live = self._health.live()
        return PlainTextResponse("ok\n" if live else "not live\n", 200 if live else 503)

    async def show_readiness(self, request: Request) -> Response:
        checks = self._health.checks()
        ready = all(check.ok for check in checks)
        shown = [check for check in checks if not check.ok or "verbose" in request.query_params]
        text = "".join(f"{_describe_check(check)}\n" for check in shown)
        return PlainTextResponse(f"{text}{'ready' if ready else 'not ready'}\n", 200 if ready else 503)

    async def show_version(self, request: Request) -> Response:
        return _json(msgspec.json.encode(self._health.version()))

    async def list_tickets(self, request: Request) -> Response:
        query = request.query_params
        unknown = sorted(set(query) - _PARAMETERS)
        if unknown:
            raise HTTPException(400, f"unknown parameter {unknown[0][:_SHOWN]}")
        documents = self._queries.tickets(
            ticket_type=_one_of("type", query.get("type"), frozenset(TICKET_STATES)),
            state=_one_of("state", query.get("state"), _STATES),
            limit=self._parse_limit(query.get("limit")),
            after=query.get("after"),
        )
        return _json(b"[" + b",".join([document async for document in documents]) + b"]")

    async def show_ticket(self, request: Request) -> Response:
        number = str(request.path_params["number"])
        document = await self._queries.ticket(number)
        if document is None:
            raise HTTPException(404, f"no ticket {number[:_SHOWN]}")
        return _json(document)

    def _parse_limit(self, text: str | None) -> int:
        if text is None:
            return min(_DEFAULT_LIMIT, self._most_tickets)
        if text.isascii() and text.isdecimal() and len(text) < 10 and 1 <= int(text) <= self._most_tickets:
            return int(text)
        raise HTTPException(400, f"limit must be a whole number from 1 to {self._most_tickets}")


class _Guard:
    """Asks for the token where one is needed, and marks every answer as private."""

    def __init__(self, app: ASGIApp, token: Callable[[], Secret]) -> None:
        self._app = app
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["cache-control"] = "no-store"
                headers["x-content-type-options"] = "nosniff"
            await send(message)

        if scope["type"] == "http" and not self._may_pass(scope):
            refusal = _error(401, "a bearer token is required", {"www-authenticate": "Bearer"})
            await refusal(scope, receive, send_marked)
        else:
            await self._app(scope, receive, send_marked)

    def _may_pass(self, scope: Scope) -> bool:
        wanted = self._token()
        if not wanted or scope["path"] in _OPEN:
            return True
        kind, _, token = Headers(scope=scope).get("authorization", "").partition(" ")
        # Digests are of one length, so the comparison says nothing about the token's.
        return hmac.compare_digest(_digest(token.strip()), _digest(wanted.reveal())) and kind.lower() == "bearer"


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def _one_of(name: str, value: str | None, known: frozenset[str]) -> str | None:
    if value is not None and value not in known:
        raise HTTPException(400, f"{name} must be one of {', '.join(sorted(known))}")
    return value


def _describe_check(check: Check) -> str:
    detail = f": {check.detail}" if check.detail else ""
    return f"[{'+' if check.ok else '-'}] {check.name}{detail}"


def _json(body: bytes) -> Response:
    return Response(body, media_type="application/json")


def _error(status: int, message: str, headers: dict[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode({"error": message}), status, headers, "application/json")


async def _show_refusal(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    return _error(error.status_code, error.detail, dict(error.headers or {}))


async def _show_defect(request: Request, error: Exception) -> Response:
    return _error(500, "internal error")
