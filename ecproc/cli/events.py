"""`ecproc events`: the log as lines of JSON."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from typing import Annotated, Final

import anyio
from cyclopts import Parameter, validators

from ecproc.cli.eventline import describe_event
from ecproc.cli.output import flush, write_line
from ecproc.cli.session import Failed, Own, Reveal, TicketArgument, has_log, mention_missing_log
from ecproc.config import Config
from ecproc.domain.log import RecordedEvent
from ecproc.reading.documents import find_stream
from ecproc.store.base import Reader

FOLLOW_SECONDS: Final = 0.5
_PAGE: Final = 500


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
    from ecproc.app import open_reading

    while not has_log(config):  # noqa: ASYNC110 - another process will make it
        await anyio.sleep(FOLLOW_SECONDS)
    async with open_reading(config) as reader:
        tail = _LogTail(reader, after) if ticket is None else _StreamTail(reader, await _find(reader, ticket), after)
        while True:
            async for page in tail.read():
                for event in page:
                    write_line(describe_event(event, reveal=reveal))
                flush()
            if not follow:
                return
            await anyio.sleep(FOLLOW_SECONDS)


async def _find(reader: Reader, ticket: str) -> str:
    """The stream of a ticket's number; a stream that is no ticket (quarantined messages) goes by its own name."""
    stream = await find_stream(reader, ticket)
    if stream is None and (await reader.stream_state(ticket)).version:
        return ticket
    if stream is None:
        raise Failed(f"there is no ticket {ticket}")
    return stream


class _LogTail:
    """What was appended to the log since the last look."""

    def __init__(self, reader: Reader, after: int) -> None:
        self._reader = reader
        self._after = after

    async def read(self) -> AsyncIterator[list[RecordedEvent]]:
        """All events not given before, in pages."""
        async for page in self._reader.read_log(after=self._after):
            yield page
            self._after = page[-1].position


class _StreamTail:
    """What was appended to one stream since the last look, behind a position of the log."""

    def __init__(self, reader: Reader, stream: str, after: int) -> None:
        self._reader = reader
        self._stream = stream
        self._after = after
        self._version = 0

    async def read(self) -> AsyncIterator[list[RecordedEvent]]:
        """All events not given before, in pages."""
        while page := await self._reader.read_stream(self._stream, after=self._version, limit=_PAGE):
            yield [event for event in page if event.position > self._after]
            self._version = page[-1].version
