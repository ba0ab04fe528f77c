"""Good answers: one JSON document, and a list of them that is sent while it is read."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

from starlette.responses import Response, StreamingResponse

from ecproc.config import Limits
from ecproc.reading.escaping import one_line
from ecproc.web.operations import JSON, Given, Parameter

PIECE_BYTES: Final = 64 * 1024
"""How much of a long answer is gathered before it is sent: a slow reader holds no more."""
_DEFAULT_LIMIT: Final = 100


def limit_parameter(limits: Limits) -> Parameter:
    """How many documents are wanted."""
    most, usual = limits.web_tickets, min(_DEFAULT_LIMIT, limits.web_tickets)
    return Parameter(name="limit", text=f"At most so many; {usual} if not given.", numbers=(1, most))


def read_limit(asked: Given, limits: Limits) -> int:
    """How many documents are wanted at most."""
    return asked.number("limit", min(_DEFAULT_LIMIT, limits.web_tickets))


def answer_document(body: bytes, status: int = 200) -> Response:
    """One JSON document."""
    return Response(one_line(body), status, media_type=JSON)


async def answer_list(documents: AsyncIterator[bytes]) -> Response:
    """A JSON array of them; what cannot be read at all is raised before the head is sent, and has a status so."""
    return await answer_pieces(_write_array(documents), media_type=JSON)


async def answer_pieces(pieces: AsyncIterator[bytes], *, media_type: str) -> Response:
    """An answer in pieces, of which there is at least one."""
    first = await anext(pieces)
    return StreamingResponse(_chain(first, pieces), media_type=media_type)


async def _write_array(documents: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    piece, separator = bytearray(b"["), b""
    async for document in documents:
        piece += separator + one_line(document)
        separator = b","
        if len(piece) >= PIECE_BYTES:
            yield bytes(piece)
            piece.clear()
    yield bytes(piece + b"]")


async def _chain(first: bytes, others: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for other in others:
        yield other
