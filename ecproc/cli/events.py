"""`ecproc events`: the log, as lines of JSON or for a person."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Final

import anyio
import msgspec
from cyclopts import Parameter, validators

from ecproc.cli.listing import Column, RowWriter
from ecproc.cli.output import flush, say, wants_json, write_line
from ecproc.cli.session import Failed, JsonLines, Limit, Own, Reveal, TicketArgument, has_log, mention_missing_log
from ecproc.collector import spare_the_collector
from ecproc.config import Config

if TYPE_CHECKING:
    from ecproc.reading.queries import Queries

FOLLOW_SECONDS: Final = 0.5
_COLUMNS: Final = (
    Column("position", whole=True),
    Column("at", whole=True),
    Column("stream", whole=True),
    Column("kind", whole=True),
    Column("message or key", least=12),
)


class _Shown(msgspec.Struct):
    """What of an event a person sees."""

    position: int
    at: str
    stream: str
    kind: str
    message_id: str = ""
    data: Any = None

    def columns(self) -> Sequence[str]:
        """Its row."""
        key = self.data.get("key", "") if isinstance(self.data, dict) else ""
        return str(self.position), f"{self.at[:19]}Z", self.stream, self.kind, self.message_id or str(key)


class _Lines:
    """Lines of JSON, as they come."""

    write = staticmethod(write_line)
    flush = staticmethod(flush)


class EventTable:
    """A table of events, a row for each line of JSON."""

    def __init__(self) -> None:
        self._rows = RowWriter(_COLUMNS)

    def write(self, line: bytes) -> None:
        """Write the event in that line."""
        self._rows.write(msgspec.json.decode(line, type=_Shown).columns())

    def flush(self) -> None:
        """Show all that was written."""
        self._rows.flush()
        flush()


def events(
    ticket: TicketArgument | None = None,
    /,
    *,
    after: Annotated[
        int, Parameter(help="Begin behind this position of the log.", validator=validators.Number(gte=0))
    ] = 0,
    follow: Annotated[
        bool, Parameter(help="Go on with what is appended, until interrupted.", show_default=False)
    ] = False,
    limit: Limit = None,
    json: JsonLines = False,
    reveal: Reveal = False,
    session: Own,
) -> None:
    """Print the log, oldest first: a table on a terminal, else JSON, one line per event.

    With TICKET only that ticket's events; the name of a stream does too.

    Example:
        ecproc events e-CS0879727
        ecproc events --after 4242 --follow | jq .kind
    """
    config = session.load_config()
    if not follow and not has_log(config):
        mention_missing_log(config)
        return
    out = _Lines() if wants_json(json) else EventTable()
    spare_the_collector()  # it may follow for days, and what was loaded by now stays
    anyio.run(partial(_print_events, config, ticket, after=after, follow=follow, limit=limit, reveal=reveal, out=out))


async def _print_events(
    config: Config,
    ticket: str | None,
    *,
    after: int,
    follow: bool,
    limit: int | None,
    reveal: bool,
    out: _Lines | EventTable,
) -> None:
    from ecproc.reading.opening import open_queries

    while not has_log(config):  # noqa: ASYNC110 - another process will make it
        await anyio.sleep(FOLLOW_SECONDS)
    async with open_queries(config, reveal=reveal) as queries:
        lines = queries.events(None if ticket is None else await _find(queries, ticket), after=after)
        shown = 0
        while True:
            async for page in lines.read():
                for line in page[: None if limit is None else limit - shown]:
                    out.write(line)
                    shown += 1
                out.flush()
                if shown == limit:
                    return
            if not follow:
                break
            await anyio.sleep(FOLLOW_SECONDS)
        end, _ = await queries.read_end()
        if after > end:
            say(f"the log ends at position {end}")


async def _find(queries: Queries, ticket: str) -> str:
    stream = await queries.find_stream(ticket)
    if stream is None:
        raise Failed(f"there is no ticket {ticket}")
    return stream
