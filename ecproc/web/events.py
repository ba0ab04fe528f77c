"""The log over HTTP: a page of lines, or a stream that goes on with what is appended."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Final

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from ecproc.clock import Clock
from ecproc.config import Limits
from ecproc.reading.escaping import one_line
from ecproc.reading.events import EventLine, EventLines
from ecproc.reading.queries import Queries
from ecproc.web.answers import PIECE_BYTES, answer_pieces
from ecproc.web.connection import is_ending
from ecproc.web.operations import Given, Operation, Parameter
from ecproc.web.tickets import find_stream

NDJSON: Final = "application/x-ndjson"
EVENT_STREAM: Final = "text/event-stream"
FOLLOW_SECONDS: Final = 0.5
"""Between two looks at the end of the log."""
KEEP_ALIVE_SECONDS: Final = 15.0
"""After which a follower that was told nothing hears that it is still served."""
_READ_AT_ONCE: Final = 16
"""Events held for one reader: no more are read before it took these."""
_LARGEST: Final = 2**63 - 1
_LAST_ID: Final = "Last-Event-ID"


class _Placed(msgspec.Struct):
    position: int


_placed: Final = msgspec.json.Decoder(_Placed)


class EventPages:
    """The log's page, and who follows it."""

    def __init__(self, queries: Queries, limits: Limits, clock: Clock) -> None:
        self._queries = queries
        self._limits = limits
        self._clock = clock
        self._followers = 0

    def list_operations(self) -> tuple[Operation, ...]:
        """What can be asked."""
        most = self._limits.web_events
        return (
            Operation(
                path="/api/v1/events",
                name="events",
                text="The log's events, oldest first, one JSON document per line; an empty answer is its end. With"
                f" `Accept: {EVENT_STREAM}` it goes on with what is appended: `id` is the position, `data` the line.",
                answer=self.list_events,
                parameters=(
                    Parameter(name="after", text="Begin behind this position.", numbers=(0, _LARGEST)),
                    Parameter(name="stream", text="Only events of this ticket, by either number, or of this stream."),
                    Parameter(name="limit", text=f"At most so many lines; {most} if not given.", numbers=(1, most)),
                    Parameter(
                        name=_LAST_ID,
                        text="Where a stream of events goes on; stands above `after`.",
                        numbers=(0, _LARGEST),
                        in_header=True,
                    ),
                ),
                answers={NDJSON: EventLine, EVENT_STREAM: None},
                fails={404: "There is no such ticket or stream."},
            ),
        )

    async def list_events(self, request: Request, asked: Given) -> Response:
        stream = await find_stream(self._queries, asked, "stream")
        if EVENT_STREAM in request.headers.get("accept", ""):
            after = asked.number(_LAST_ID, asked.number("after", 0))
            return self._follow(request, self._queries.events(stream, after=after, page=_READ_AT_ONCE))
        lines = self._queries.events(stream, after=asked.number("after", 0), page=_READ_AT_ONCE)
        pieces = _write_lines(lines, asked.number("limit", self._limits.web_events))
        return await answer_pieces(pieces, media_type=NDJSON)

    def _follow(self, request: Request, lines: EventLines) -> Response:
        if request.method == "HEAD":
            return Response(media_type=EVENT_STREAM)
        if self._followers >= self._limits.web_followers:
            raise HTTPException(503, "too many follow the log at once", {"retry-after": "10"})
        self._followers += 1
        return _Following(self._write_events(request, lines), media_type=EVENT_STREAM, on_end=self._leave)

    def _leave(self) -> None:
        self._followers -= 1

    async def _write_events(self, request: Request, lines: EventLines) -> AsyncIterator[bytes]:
        yield b": the log\n\n"
        told_at = self._clock.monotonic()
        while True:
            async for page in lines.read():
                for line in page:
                    yield b"id: %d\ndata: %s\n\n" % (_placed.decode(line).position, one_line(line))
                told_at = self._clock.monotonic()
                if is_ending(request.scope):
                    return
            await self._clock.sleep(FOLLOW_SECONDS)
            if is_ending(request.scope):
                return
            if self._clock.monotonic() - told_at >= KEEP_ALIVE_SECONDS:
                yield b": still here\n\n"
                told_at = self._clock.monotonic()


class _Following(StreamingResponse):
    """An answer without an end; `on_end` hears of the end all the same, however it comes."""

    def __init__(self, pieces: AsyncIterator[bytes], *, media_type: str, on_end: Callable[[], None]) -> None:
        super().__init__(pieces, media_type=media_type)
        self._on_end = on_end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._on_end()


async def _write_lines(lines: EventLines, limit: int) -> AsyncIterator[bytes]:
    piece, left = bytearray(), limit
    async for page in lines.read():
        for line in page[:left]:
            piece += one_line(line) + b"\n"
            if len(piece) >= PIECE_BYTES:
                yield bytes(piece)
                piece.clear()
        left -= min(left, len(page))
        if not left:
            break
    yield bytes(piece)
