"""Live rows in canonical order: their digest, and where two sets of them differ."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from hashlib import sha256
from typing import Final

import msgspec

from ecproc.domain.log import Row, StreamCounters
from ecproc.store.base import Difference, Tables
from ecproc.store.chain import encode_field

STREAM_TABLE: Final = "stream"
"""The stream counters, listed beside the live tables as if they were rows too."""


def order_tables(tables: Tables) -> list[str]:
    """The live tables and the counters in canonical order."""
    return sorted((*tables.names, STREAM_TABLE))


def counters_row(stream: str, state: StreamCounters) -> Row:
    """The counters of a stream with events as a row; `wanted` is left out: it says what is to do, not what is."""
    data = msgspec.json.encode({"version": state.version, "through": state.through, "last": state.last})
    return Row(table=STREAM_TABLE, stream=stream, id="", ordinal=0, data=data)


async def digest_rows(pages: AsyncIterator[list[Row]]) -> str:
    """SHA-256 over rows given in order of table, stream and id, each field length-prefixed."""
    digest = sha256()
    async for page in pages:
        for row in page:
            fields = (row.table, row.stream, row.id, row.ordinal, row.tag, row.data)
            digest.update(b"".join([encode_field(field) for field in fields]))
    return digest.hexdigest()


async def compare_rows(
    live: AsyncIterator[list[Row]], rebuilt: AsyncIterator[list[Row]], *, limit: int
) -> tuple[int, list[Difference]]:
    """How many rows differ, and the first `limit` of them, both sides given in order of table, stream and id."""
    count = 0
    found: list[Difference] = []
    async for pair in _align(live, rebuilt):
        if pair[0] == pair[1]:
            continue
        count += 1
        if len(found) < limit:
            found.append(_describe(*pair))
    return count, found


async def _align(
    live: AsyncIterator[list[Row]], rebuilt: AsyncIterator[list[Row]]
) -> AsyncIterator[tuple[Row | None, Row | None]]:
    left, right = _Cursor(live), _Cursor(rebuilt)
    one, other = await left.next(), await right.next()
    while one is not None or other is not None:
        if other is None or (one is not None and _key(one) < _key(other)):
            yield one, None
            one = await left.next()
        elif one is None or _key(other) < _key(one):
            yield None, other
            other = await right.next()
        else:
            yield one, other
            one, other = await left.next(), await right.next()


class _Cursor:
    """Rows one by one out of pages."""

    def __init__(self, pages: AsyncIterator[list[Row]]) -> None:
        self._pages = pages
        self._page: Iterator[Row] = iter(())

    async def next(self) -> Row | None:
        row = next(self._page, None)
        while row is None:
            page = await anext(self._pages, None)
            if page is None:
                return None
            self._page = iter(page)
            row = next(self._page, None)
        return row


def _key(row: Row) -> tuple[str, str, str]:
    return row.table, row.stream, row.id


def _describe(live: Row | None, rebuilt: Row | None) -> Difference:
    match live, rebuilt:
        case Row(), Row() if live.data == rebuilt.data:
            return Difference(*_key(live), live=_place(live), rebuilt=_place(rebuilt))
        case Row(), _:
            return Difference(*_key(live), live=live.data, rebuilt=None if rebuilt is None else rebuilt.data)
        case _, Row():
            return Difference(*_key(rebuilt), live=None, rebuilt=rebuilt.data)
        case _:
            raise ValueError("nothing stands on either side")


def _place(row: Row) -> bytes:
    return msgspec.json.encode({"ordinal": row.ordinal, "tag": row.tag})


def sort_rows(rows: Iterable[Row]) -> list[Row]:
    """Rows in canonical order; code points sort as their UTF-8 bytes do, so this is the database's order too."""
    return sorted(rows, key=_key)
