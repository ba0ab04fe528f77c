"""Documents of many tickets, of which only those that are meant are read whole."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Final

from ecproc.domain.log import Row
from ecproc.reading.documents import read_parts
from ecproc.reading.filters import TicketFilter
from ecproc.reading.join import join_document
from ecproc.reading.waiting import Around, find_passed_over, find_wait, look_around
from ecproc.store.base import Reader

EVERY: Final = TicketFilter()


async def list_documents(
    reader: Reader,
    wanted: TicketFilter = EVERY,
    *,
    after: str | None = None,
    entries: int,
    reveal: bool = True,
) -> AsyncIterator[bytes]:
    """The documents of the tickets that are meant, by stream, behind that one where it is given.

    Headers are read by type and state where these are given, and all that a condition has to see beside them once and
    forward, in pages: no more is held of a log however long it is. Long lists of a document show their last `entries`.
    """
    tags = None
    if wanted.chooses_tags:
        tags = [tag for tag in await reader.count_tags("ticket") if wanted.matches_tag(tag)]
    tables = {
        table: _Forward(reader.scan_rows(table, tagged=table == "outbox", after=after or "")) for table in wanted.tables
    }
    async for headers in reader.scan_rows("ticket", tags=tags, after=after or ""):
        around = await look_around(reader)
        for header in headers:
            rows = {name: await table.read(header.stream) for name, table in tables.items()}
            if not wanted.matches(header, rows, reveal=reveal):
                continue
            if wanted.waiting is not None and await _find_word(reader, header, rows, around) != wanted.waiting:
                continue
            lists, waiting = await read_parts(reader, header, around, entries=entries)
            # It may have gone on since its rows were looked at.
            if wanted.waiting is None or (waiting is not None and waiting.what == wanted.waiting):
                count = await reader.count_rows("outbox", header.stream)
                yield join_document(header, lists, effects_count=count, waiting_for=waiting)


async def _find_word(reader: Reader, header: Row, rows: Mapping[str, Sequence[Row]], around: Around) -> str | None:
    stream = header.stream
    if stream not in around.undecided and not any(rows.values()):
        return None
    passed_over = await find_passed_over(reader, stream, around)
    waiting = find_wait(header, rows["outbox"], rows["timer"], rows["pause"], around=around, passed_over=passed_over)
    return None if waiting is None else waiting.what


class _Forward:
    """The rows of a table, read once from its beginning, for streams that are asked for in order."""

    def __init__(self, pages: AsyncIterator[list[Row]]) -> None:
        self._pages = pages
        self._page: list[Row] = []
        self._next = 0

    async def read(self, stream: str) -> list[Row]:
        """That stream's rows."""
        found = []
        while (row := await self._look()) is not None and row.stream <= stream:
            self._next += 1
            if row.stream == stream:
                found.append(row)
        return found

    async def _look(self) -> Row | None:
        """The next row, None behind the last one."""
        while self._next == len(self._page):
            page = await anext(self._pages, None)
            if page is None:
                return None
            self._page, self._next = page, 0
        return self._page[self._next]
