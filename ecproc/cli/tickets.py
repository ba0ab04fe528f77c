"""`ecproc tickets` and `ecproc show`: ticket documents."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any, Final

import anyio
import msgspec
from cyclopts import Parameter

from ecproc.cli.listing import Column, RowWriter
from ecproc.cli.moments import Moment, find_position, moment_option, since_option
from ecproc.cli.output import say, wants_json, write_human, write_line
from ecproc.cli.session import (
    Failed,
    Json,
    JsonLines,
    Limit,
    Own,
    Reveal,
    TicketArgument,
    has_log,
    mention_missing_log,
    require_log,
)
from ecproc.cli.spans import describe_span
from ecproc.cli.words import choice
from ecproc.clock import SystemClock
from ecproc.config import Config
from ecproc.domain import change, incident
from ecproc.domain.anomalies import Anomaly
from ecproc.domain.events import TicketType
from ecproc.domain.times import parse_time
from ecproc.errors import DataDirUnusable
from ecproc.reading.documents import NO_STATE
from ecproc.reading.filters import TicketFilter
from ecproc.reading.timeline import Timeline, TimelineEntry
from ecproc.reading.waiting import WaitWord
from ecproc.store.opening import find_holder

_STATES: Final = tuple(dict.fromkeys([*map(str, incident.State), *map(str, change.State), NO_STATE]))
_TYPES: Final = tuple(map(str, TicketType))
_WAITS: Final = tuple(map(str, WaitWord))
_ANOMALIES: Final = tuple(map(str, Anomaly))
_DESCRIPTION: Final = "shortDescription"
_COLUMNS: Final = (
    Column("ticket", whole=True),
    Column("type"),
    Column("state"),
    Column("ours", whole=True),
    Column("age", whole=True),
    Column("waiting for"),
    Column("anomalies"),
    Column("description", least=16),
)


class _Wait(msgspec.Struct):
    """What of a verdict stands in the table."""

    what: str


class _Flag(msgspec.Struct):
    """What of an anomaly does."""

    code: str


class _Shown(msgspec.Struct):
    """What of a document does."""

    ticket: str | None
    type: str | None
    state: str | None
    client_ticket: str | None
    opened_at: str | None
    fields: dict[str, Any]
    anomalies: list[_Flag]
    anomalies_count: int
    waiting_for: _Wait | None

    def columns(self, now: int) -> list[str]:
        """Its row, at that time in microseconds UTC."""
        known = (self.ticket, self.type, self.state, self.client_ticket, self._age(now))
        waits = self.waiting_for.what if self.waiting_for else ""
        return [*(text or "–" for text in known), waits, self._flags(), str(self.fields.get(_DESCRIPTION) or "")]

    def _age(self, now: int) -> str | None:
        opened = parse_time(self.opened_at or "")
        return None if opened is None else describe_span(now - opened, parts=1)

    def _flags(self) -> str:
        more = self.anomalies_count - 1
        return f"{self.anomalies[-1].code}{f' +{more}' if more else ''}" if self.anomalies else ""


class _Stream(msgspec.Struct):
    """What is told of a stream that has no document."""

    stream: str
    timeline: Sequence[TimelineEntry]
    timeline_count: int


def tickets(
    *,
    search: Annotated[
        str | None, Parameter(help="Only tickets with this text in a number, a field or a note, in any case.")
    ] = None,
    state: Annotated[str | None, choice(_STATES, help="Only tickets in this state, or in none.")] = None,
    ticket_type: Annotated[str | None, choice(_TYPES, name="--type", help="Only tickets of this type.")] = None,
    waiting: Annotated[str | None, choice(_WAITS, help="Only tickets that wait for this.")] = None,
    anomaly: Annotated[str | None, choice(_ANOMALIES, help="Only tickets with this anomaly.")] = None,
    since: Annotated[
        int | None, since_option("Only tickets with news since then: a time (UTC unless it has a zone), 30m, 2h or 7d.")
    ] = None,
    limit: Limit = None,
    json: JsonLines = False,
    reveal: Reveal = False,
    session: Own,
) -> None:
    """List tickets: a table on a terminal, else their whole documents, one per line.

    All conditions that are given must hold. States are open, workinprogress, pending, resolved, closed and cancelled
    for incidents and requests; Draft, Assess, Authorize, Scheduled, Implement, Review, Closed and Cancelled for
    changes. What a ticket waits for, and who can do something about it, is told by `ecproc show`.

    Example:
        ecproc tickets --state open --type Incident
        ecproc tickets --waiting dead_letter --since 7d
        ecproc tickets --search 'mail server' --limit 20
        ecproc tickets --anomaly gap --json | jq .ticket
    """
    config = session.load_config()
    if not has_log(config):
        mention_missing_log(config)
        return
    wanted = TicketFilter(
        ticket_type=ticket_type,
        state=state,
        search=search or None,
        waiting=WaitWord(waiting) if waiting else None,
        anomaly=anomaly,
        since=since,
    )
    write = _write_documents if wants_json(json) else _write_table
    anyio.run(partial(write, config, wanted, limit=limit, reveal=reveal))


async def _write_documents(config: Config, wanted: TicketFilter, *, limit: int | None, reveal: bool) -> None:
    from ecproc.reading.opening import open_queries

    async with open_queries(config, reveal=reveal) as queries:
        async for document in queries.list_tickets(wanted, limit=limit):
            write_line(document)


async def _write_table(config: Config, wanted: TicketFilter, *, limit: int | None, reveal: bool) -> None:
    from ecproc.reading.opening import open_queries

    now, table = SystemClock().now(), RowWriter(_COLUMNS)
    async with open_queries(config, reveal=reveal) as queries:
        async for document in queries.list_tickets(wanted, limit=limit):
            table.write(msgspec.json.decode(document, type=_Shown).columns(now))
        total = await queries.count_tickets()
    table.flush()
    more = ", the first that match" if table.rows == limit else ""
    say(f"{table.rows:,} of {total:,} tickets{more}")


def show(
    ticket: TicketArgument,
    /,
    *,
    at: Annotated[
        Moment | None, moment_option("As it was then: a position of the log, or a time (UTC unless it has a zone).")
    ] = None,
    full: Annotated[bool, Parameter(help="Texts whole, and not their first lines only.", show_default=False)] = False,
    json: Json = False,
    reveal: Reveal = False,
    session: Own,
) -> None:
    """Show one ticket: on a terminal what it waits for, what to do about it, and its timeline; else its document.

    The timeline tells messages, moves, notes, effects with their attempts, commands, approvals, attachments, anomalies,
    what people did, and times that came, each with its position in the log, which --at takes. Any stream can be shown
    by its name: one that is no ticket has a timeline only.

    Example:
        ecproc show e-CS0879727
        ecproc show LOCAL-0000001 --full
        ecproc show e-CS0879727 --at 2026-01-31T12:00:00Z
    """
    config = session.load_config()
    require_log(config)
    as_json = wants_json(json)
    document, timeline = anyio.run(partial(_read_ticket, config, ticket, at=at, reveal=reveal, tells=not as_json))
    if as_json:
        write_line(document or msgspec.json.encode(_Stream(ticket, timeline.entries, timeline.count)))
        return
    from ecproc.cli.document import draw_document, draw_stream

    now = SystemClock().now()
    if document is None:
        write_human(*draw_stream(ticket, timeline, now=now, full=full))
    else:
        runs = at is not None or _has_processor(config)  # as of then it may have been otherwise
        write_human(*draw_document(document, timeline, now=now, full=full, runs=runs))


def _has_processor(config: Config) -> bool:
    """Whether a processor works on that log, also where that cannot be told."""
    try:
        return find_holder(config.data) is not None
    except DataDirUnusable:
        return True


async def _read_ticket(
    config: Config, ticket: str, *, at: Moment | None, reveal: bool, tells: bool
) -> tuple[bytes | None, Timeline]:
    """The document, None of a stream that has none, and where it is to be told, or stands alone, the timeline."""
    from ecproc.reading.opening import open_queries

    async with open_queries(config, reveal=reveal) as queries:
        position = None if at is None else await find_position(queries, at)
        document = await queries.ticket(ticket, at=position)
        if document is None and at is not None and await queries.ticket(ticket) is not None:
            raise Failed(f"there was no ticket {ticket} at {at.shown}")
        told = await queries.timeline(ticket, at=position) if tells or document is None else None
    if document is None and told is None:
        raise Failed(f"there is no ticket {ticket}")
    return document, told or Timeline((), 0)
