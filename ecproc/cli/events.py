"""`ecproc events`: the log as lines of JSON."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated, Final

import anyio
from cyclopts import Parameter, validators

from ecproc.cli.output import flush, write_line
from ecproc.cli.session import Failed, Own, Reveal, TicketArgument, has_log, mention_missing_log
from ecproc.config import Config

if TYPE_CHECKING:
    from ecproc.reading.queries import Queries

FOLLOW_SECONDS: Final = 0.5


def events(
    ticket: TicketArgument | None = None,
    /,
    *,
    after: Annotated[
        int, Parameter(help="Begin behind this position of the log.", validator=validators.Number(gte=0))
    ] = 0,
    follow: Annotated[bool, Parameter(help="Go on with what is appended, until interrupted.")] = False,
    reveal: Reveal = False,
    session: Own,
) -> None:
    """Print the log, one event per line, oldest first.

    With TICKET only that ticket's events; the name of a stream does too.
    """
    config = session.load_config()
    if not follow and not has_log(config):
        mention_missing_log(config)
        return
    anyio.run(partial(_print_events, config, ticket, after=after, follow=follow, reveal=reveal))


async def _print_events(config: Config, ticket: str | None, *, after: int, follow: bool, reveal: bool) -> None:
    from ecproc.reading.opening import open_queries

    while not has_log(config):  # noqa: ASYNC110 - another process will make it
        await anyio.sleep(FOLLOW_SECONDS)
    async with open_queries(config, reveal=reveal) as queries:
        lines = queries.events(None if ticket is None else await _find(queries, ticket), after=after)
        while True:
            async for page in lines.read():
                for line in page:
                    write_line(line)
                flush()
            if not follow:
                return
            await anyio.sleep(FOLLOW_SECONDS)


async def _find(queries: Queries, ticket: str) -> str:
    stream = await queries.find_stream(ticket)
    if stream is None:
        raise Failed(f"there is no ticket {ticket}")
    return stream
