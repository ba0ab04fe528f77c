"""`ecproc tickets` and `ecproc show`: ticket documents."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Final

import anyio
import msgspec

from ecproc.cli.listing import write_table
from ecproc.cli.moments import Moment, find_position, moment_option
from ecproc.cli.output import say, wants_json, write_human, write_line
from ecproc.cli.session import (
    Failed,
    Json,
    Limit,
    Own,
    Reveal,
    TicketArgument,
    has_log,
    mention_missing_log,
    require_log,
)
from ecproc.cli.words import choice
from ecproc.config import Config
from ecproc.domain import change, incident
from ecproc.domain.events import TicketType
from ecproc.reading.documents import NO_STATE

_STATES: Final = tuple(dict.fromkeys([*map(str, incident.State), *map(str, change.State), NO_STATE]))
_TYPES: Final = tuple(map(str, TicketType))
_COLUMNS: Final = ("ticket", "type", "state", "client ticket", "updated", "description")
_DESCRIPTION: Final = "shortDescription"


class _Shown(msgspec.Struct):
    """What of a document stands in the table."""

    ticket: str | None
    type: str
    state: str | None
    client_ticket: str | None
    updated_at: str
    fields: dict[str, Any]

    def columns(self) -> list[str]:
        """Its row."""
        known = (self.ticket, self.type, self.state, self.client_ticket, self.updated_at[:19] + "Z")
        return [*(text or "–" for text in known), str(self.fields.get(_DESCRIPTION) or "")]


def tickets(
    *,
    state: Annotated[str | None, choice(_STATES, help="Only tickets in this state, or in none.")] = None,
    ticket_type: Annotated[str | None, choice(_TYPES, name="--type", help="Only tickets of this type.")] = None,
    limit: Limit = None,
    json: Json = False,
    reveal: Reveal = False,
    session: Own,
) -> None:
    """List tickets: a table on a terminal, else their whole documents, one per line.

    States are open, workinprogress, pending, resolved, closed and cancelled for incidents and requests; Draft, Assess,
    Authorize, Scheduled, Implement, Review, Closed and Cancelled for changes.

    Example:
        ecproc tickets --state open --type Incident
        ecproc tickets --state none --json | jq .client_ticket
    """
    config = session.load_config()
    if not has_log(config):
        mention_missing_log(config)
        return
    ask = partial(_list_tickets, config, ticket_type=ticket_type, state=state, limit=limit, reveal=reveal)
    anyio.run(partial(ask, as_json=wants_json(json)))


async def _list_tickets(
    config: Config, *, ticket_type: str | None, state: str | None, limit: int | None, reveal: bool, as_json: bool
) -> None:
    from ecproc.reading.opening import open_queries

    rows: list[list[str]] = []
    async with open_queries(config, reveal=reveal) as queries:
        async for document in queries.tickets(ticket_type=ticket_type, state=state, limit=limit):
            if as_json:
                write_line(document)
            else:
                rows.append(msgspec.json.decode(document, type=_Shown).columns())
    if not as_json:
        write_table(_COLUMNS, rows, whole=_COLUMNS[:-1])
        say(f"{len(rows)} tickets")


def show(
    ticket: TicketArgument,
    /,
    *,
    at: Annotated[
        Moment | None, moment_option("As it was then: a position of the log, or a time (UTC unless it has a zone).")
    ] = None,
    json: Json = False,
    reveal: Reveal = False,
    session: Own,
) -> None:
    """Show one ticket: a timeline on a terminal, else its document.

    Example:
        ecproc show e-CS0879727
        ecproc show LOCAL-0000001 --at 2026-01-31T12:00:00Z
    """
    config = session.load_config()
    require_log(config)
    document = anyio.run(partial(_read_ticket, config, ticket, at=at, reveal=reveal))
    if wants_json(json):
        write_line(document)
    else:
        from ecproc.cli.timeline import draw_document

        write_human(*draw_document(document))


async def _read_ticket(config: Config, ticket: str, *, at: Moment | None, reveal: bool) -> bytes:
    from ecproc.reading.opening import open_queries

    async with open_queries(config, reveal=reveal) as queries:
        if at is None:
            document = await queries.ticket(ticket)
        else:
            document = await queries.ticket(ticket, at=await find_position(queries, at))
        if document is not None:
            return document
        if at is not None and await queries.ticket(ticket) is not None:
            raise Failed(f"there was no ticket {ticket} at {at.shown}")
    raise Failed(f"there is no ticket {ticket}")
