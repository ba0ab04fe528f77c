"""The pages put together: about the process, and about the log."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from ecproc.clock import Clock
from ecproc.commands.intake import Intake
from ecproc.commands.steering import NotFound, NotPossible, Steering
from ecproc.config import Limits, Secret
from ecproc.errors import NoRoom, RowDamaged, StoreError
from ecproc.reading.queries import Queries
from ecproc.web.answers import answer_document
from ecproc.web.commands import CommandPages
from ecproc.web.events import EventPages
from ecproc.web.guard import Guard, Refusals
from ecproc.web.hosts import HostRule
from ecproc.web.openapi import write_document
from ecproc.web.operations import JSON, Given, Operation
from ecproc.web.orders import Orders
from ecproc.web.outbox import OutboxPages
from ecproc.web.problems import answer_refused, problem_answer
from ecproc.web.process import ProcessPages
from ecproc.web.scrape import Scraper
from ecproc.web.state import Health
from ecproc.web.tickets import TicketPages


def build_app(
    queries: Queries | None,
    health: Health,
    *,
    steering: Steering | None,
    intake: Intake | None,
    hosts: HostRule,
    read_token: Callable[[], Secret],
    command_token: Callable[[], Secret],
    limits: Limits,
    refusals: Refusals,
    clock: Clock,
) -> Starlette:
    """The ASGI application; with a `read_token` all but health is for its bearers only, and what changes something for
    bearers of the `command_token`. Without `queries` there are no tickets to show, without `steering` and `intake`
    nothing can be changed.

    Tokens are asked for at every request, so a rotated one counts at once. What is not called by one of `hosts` gets
    probes only. No answer may be cached, and errors are problem documents.
    """
    guard = Middleware(
        Guard,
        hosts=hosts,
        read_token=read_token,
        command_token=command_token,
        answers=limits.web_answers,
        body_bytes=limits.web_body_bytes,
        refusals=refusals,
        clock=clock,
    )
    operations = ProcessPages(health, Scraper(health.registry, clock)).list_operations()
    if queries is not None:
        changes = Orders(steering).list_operations() if steering is not None else ()
        changes += CommandPages(intake).list_operations() if intake is not None else ()
        # A wrong method is refused by the first path that fits: what may be anything comes behind what has a name.
        operations = describe_all((*operations, *changes, *list_operations(queries, limits, clock)))
    return Starlette(
        routes=[
            *(operation.make_route() for operation in operations),
            *([_NOT_YET] if queries is None else []),
        ],
        middleware=[guard],
        exception_handlers={
            HTTPException: _show_refusal,
            StoreError: _show_trouble,
            RowDamaged: _show_damage,
            ClientDisconnect: show_cut,
            NotPossible: _show_impossible,
            Exception: _show_defect,
        },
    )


def list_operations(queries: Queries, limits: Limits, clock: Clock) -> tuple[Operation, ...]:
    """All that can be asked of the log."""
    return (
        *TicketPages(queries, limits).list_operations(),
        *EventPages(queries, limits, clock).list_operations(),
        *OutboxPages(queries, limits).list_operations(),
    )


def describe_all(operations: tuple[Operation, ...]) -> tuple[Operation, ...]:
    """These, and the one that gives the document of them all, itself included."""

    async def show_document(request: Request, asked: Given) -> Response:
        return answer_document(document)

    own = Operation(
        path="/api/v1/openapi.json",
        name="openapi",
        text="What can be asked, as an OpenAPI document.",
        answer=show_document,
        parameters=(),
        answers={JSON: dict[str, Any]},
    )
    document = write_document((*operations, own))
    return (*operations, own)


async def _refuse_for_now(request: Request) -> Response:
    return problem_answer(503, "not ready: it is starting")


_NOT_YET: Final = Route("/{path:path}", _refuse_for_now)
"""What there is to see beside the probes of a process that has not begun."""


async def _show_refusal(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    return answer_refused(error)


async def _show_trouble(request: Request, error: Exception) -> Response:
    return problem_answer(503, str(error) if isinstance(error, NoRoom) else "the log cannot be read now")


async def _show_damage(request: Request, error: Exception) -> Response:
    hint = error.hint if isinstance(error, RowDamaged) else ""
    return problem_answer(500, f"{error}: {hint}")


async def show_cut(request: Request, error: Exception) -> Response:
    """What nobody reads any more: a request that ended before it was whole is no defect of ours."""
    return problem_answer(400, "the request did not come whole")


async def _show_impossible(request: Request, error: Exception) -> Response:
    hint = f": {error.hint}" if isinstance(error, NotPossible) and error.hint else ""
    return problem_answer(404 if isinstance(error, NotFound) else 409, f"{error}{hint}")


async def _show_defect(request: Request, error: Exception) -> Response:
    return problem_answer(500, "internal error")
