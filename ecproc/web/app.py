"""The pages: metrics, health and ticket documents."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Final

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from ecproc.clock import Clock
from ecproc.config import Limits, Secret
from ecproc.errors import RowDamaged, StoreError
from ecproc.reading.documents import NO_STATE
from ecproc.reading.escaping import one_line
from ecproc.reading.queries import Queries
from ecproc.telemetry.hooks import TICKET_STATES
from ecproc.web.guard import Guard, Refusals, error_answer
from ecproc.web.hosts import HostRule
from ecproc.web.scrape import Scraper
from ecproc.web.state import Check, Health

_PARAMETERS: Final = frozenset({"type", "state", "limit", "after"})
_STATES: Final = frozenset({NO_STATE, *(state for states in TICKET_STATES.values() for state in states)})
_DEFAULT_LIMIT: Final = 100
_SHOWN: Final = 80
_PIECE_BYTES: Final = 64 * 1024
"""How much of a long answer is gathered before it is sent: a slow reader holds no more."""


def build_app(
    queries: Queries | None,
    health: Health,
    *,
    hosts: HostRule,
    read_token: Callable[[], Secret],
    limits: Limits,
    refusals: Refusals,
    clock: Clock,
) -> Starlette:
    """The ASGI application; with a `read_token` all but health is for its bearers only. Without `queries`
    there are no tickets to show.

    The token is asked for at every request, so a rotated one counts at once. What is not called by one of `hosts` gets
    probes only. Nothing here changes state. No answer may be cached, and errors of the JSON API are `{"error": "…"}`.
    """
    guard = Middleware(Guard, hosts=hosts, token=read_token, answers=limits.web_answers, refusals=refusals, clock=clock)
    pages = _Pages(health, Scraper(health.registry, clock))
    return Starlette(
        routes=[
            Route("/metrics", pages.show_metrics),
            Route("/livez", pages.show_liveness),
            Route("/healthz", pages.show_liveness),
            Route("/readyz", pages.show_readiness),
            Route("/version", pages.show_version),
            *([_NOT_YET] if queries is None else _Tickets(queries, limits.web_tickets).list_routes()),
        ],
        middleware=[guard],
        exception_handlers={
            HTTPException: _show_refusal,
            StoreError: _show_trouble,
            RowDamaged: _show_damage,
            Exception: _show_defect,
        },
    )


class _Pages:
    """One method per page about the process."""

    def __init__(self, health: Health, scraper: Scraper) -> None:
        self._health = health
        self._scraper = scraper

    async def show_metrics(self, request: Request) -> Response:
        made = await self._scraper.scrape(request.headers.get("accept", ""))
        return Response(made.body, headers={"content-type": made.content_type})

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


class _Tickets:
    """One method per page about tickets."""

    def __init__(self, queries: Queries, most_tickets: int) -> None:
        self._queries = queries
        self._most_tickets = most_tickets

    def list_routes(self) -> list[Route]:
        """Where they are."""
        return [
            Route("/api/v1/tickets", self.list_tickets),
            Route("/api/v1/tickets/{number:path}", self.show_ticket),
        ]

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
        pieces = _write_array(documents)
        first = await anext(pieces)  # before the head is sent: what cannot be read at all has a status of its own
        return StreamingResponse(_chain(first, pieces), media_type="application/json")

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


def _one_of(name: str, value: str | None, known: frozenset[str]) -> str | None:
    if value is not None and value not in known:
        raise HTTPException(400, f"{name} must be one of {', '.join(sorted(known))}")
    return value


def _describe_check(check: Check) -> str:
    detail = f": {check.detail}" if check.detail else ""
    return f"[{'+' if check.ok else '-'}] {check.name}{detail}"


def _json(body: bytes) -> Response:
    return Response(one_line(body), media_type="application/json")


async def _write_array(documents: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """A JSON array of them, in pieces."""
    piece, separator = bytearray(b"["), b""
    async for document in documents:
        piece += separator + one_line(document)
        separator = b","
        if len(piece) >= _PIECE_BYTES:
            yield bytes(piece)
            piece.clear()
    yield bytes(piece + b"]")


async def _chain(first: bytes, others: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for other in others:
        yield other


async def _refuse_for_now(request: Request) -> Response:
    return error_answer(503, "not ready: it is starting")


_NOT_YET: Final = Route("/{path:path}", _refuse_for_now)
"""What there is to see beside the probes of a process that has not begun."""


async def _show_refusal(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    return error_answer(error.status_code, error.detail, dict(error.headers or {}))


async def _show_trouble(request: Request, error: Exception) -> Response:
    return error_answer(503, "the log cannot be read now")


async def _show_damage(request: Request, error: Exception) -> Response:
    hint = error.hint if isinstance(error, RowDamaged) else ""
    return error_answer(500, f"{error}: {hint}")


async def _show_defect(request: Request, error: Exception) -> Response:
    return error_answer(500, "internal error")
