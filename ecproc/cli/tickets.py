"""`ecproc tickets` and `ecproc show`: ticket documents."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Literal

import anyio
from cyclopts import Parameter, validators

from ecproc.cli.output import wants_json, write_human, write_line
from ecproc.cli.session import Failed, Json, Own, Reveal, TicketArgument, has_log, mention_missing_log, require_log
from ecproc.config import Config
from ecproc.domain import change, incident


def _check_state(_type: object, value: str | None) -> None:
    states = dict.fromkeys([*map(str, incident.State), *map(str, change.State)])
    if value is not None and value not in states:
        raise ValueError(f"it is one of {', '.join(states)}")


def tickets(
    *,
    state: Annotated[str | None, Parameter(help="Only tickets in this state.", validator=_check_state)] = None,
    ticket_type: Annotated[
        Literal["Incident", "Request", "Change"] | None, Parameter(name="--type", help="Only tickets of this type.")
    ] = None,
    reveal: Reveal = False,
    session: Own,
) -> None:
    """Print every ticket's document, one per line.

    States are open, workinprogress, pending, resolved, closed and cancelled for incidents and requests; Draft, Assess,
    Authorize, Scheduled, Implement, Review, Closed and Cancelled for changes.
    """
    config = session.load_config()
    if has_log(config):
        anyio.run(partial(_print_tickets, config, ticket_type=ticket_type, state=state, reveal=reveal))
    else:
        mention_missing_log(config)


async def _print_tickets(config: Config, *, ticket_type: str | None, state: str | None, reveal: bool) -> None:
    from ecproc.reading.opening import open_queries

    async with open_queries(config, reveal=reveal) as queries:
        async for document in queries.tickets(ticket_type=ticket_type, state=state):
            write_line(document)


def show(
    ticket: TicketArgument,
    /,
    *,
    at: Annotated[
        int | None, Parameter(help="As it was at this position of the log.", validator=validators.Number(gte=1))
    ] = None,
    json: Json = False,
    reveal: Reveal = False,
    session: Own,
) -> None:
    """Show one ticket: a timeline on a terminal, else its document."""
    config = session.load_config()
    require_log(config)
    document = anyio.run(partial(_read_ticket, config, ticket, at=at, reveal=reveal))
    if wants_json(json):
        write_line(document)
    else:
        from ecproc.cli.timeline import draw_document

        write_human(*draw_document(document))


async def _read_ticket(config: Config, ticket: str, *, at: int | None, reveal: bool) -> bytes:
    from ecproc.reading.opening import open_queries

    async with open_queries(config, reveal=reveal) as queries:
        document = await queries.ticket(ticket, at=at)
        if document is not None:
            return document
        if at is not None and await queries.ticket(ticket) is not None:
            raise Failed(f"there was no ticket {ticket} at position {at}")
    raise Failed(f"there is no ticket {ticket}")
