"""Whether live rows are what was written: each by its checksum, and what is tagged by its number too."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress

from ecproc.domain.log import StreamCounters
from ecproc.errors import RowDamaged
from ecproc.store.base import Tables
from ecproc.store.canonical import STREAM_TABLE
from ecproc.store.seals import checksum_counters, is_sealed, read_row
from ecproc.store.sqlite.connections import Fetch
from ecproc.store.sqlite.reader import PAGE_ROWS, Kept, blaming_rows, list_kept, scan_kept
from ecproc.store.sqlite.sql import live, log


async def check_rows(fetch: Fetch, tables: Tables) -> AsyncIterator[list[RowDamaged]]:
    """See Store; a row without a checksum is none of ours here."""
    found: list[RowDamaged] = []
    first = (
        _check_streams(fetch),
        *(_check_open(fetch, table) for table in sorted(tables.searched_by_tag)),
        *(_check_table(fetch, table) for table in sorted(tables.searched_by_id)),
    )
    for pages in first:
        async for page in pages:
            found += page
    yield found
    for table in sorted(tables.names - tables.searched_by_id):
        async for page in _check_table(fetch, table):
            yield page


async def _check_streams(fetch: Fetch) -> AsyncIterator[list[RowDamaged]]:
    counted, events = (await fetch(log.COUNT_EVENTS))[0]
    if counted != events:
        yield [RowDamaged(STREAM_TABLE, reason=f"it speaks of {counted} of {events} events")]
    stream = ""
    try:
        with blaming_rows(STREAM_TABLE):
            while rows := await fetch(log.CHECK_STREAMS, (stream, PAGE_ROWS)):
                yield [
                    RowDamaged(STREAM_TABLE, str(name))
                    for name, *counters, checksum in rows
                    if checksum != checksum_counters(name, StreamCounters(*counters))
                ]
                stream = rows[-1][0]
    except RowDamaged as damaged:
        yield [damaged]


async def _check_open(fetch: Fetch, table: str) -> AsyncIterator[list[RowDamaged]]:
    counted, expected = (await fetch(live.compare_open(table)))[0]
    if counted != expected:
        yield [RowDamaged(table, reason="rows of what is still to be done are missing, or too many")]
    async for page in _check_pages(table, scan_kept(fetch, table, tagged=True)):
        yield page


def _check_table(fetch: Fetch, table: str) -> AsyncIterator[list[RowDamaged]]:
    return _check_pages(table, list_kept(fetch, table))


async def _check_pages(table: str, pages: AsyncIterator[list[Kept]]) -> AsyncIterator[list[RowDamaged]]:
    try:
        async for page in pages:
            yield [damaged for row in page if (damaged := _check_row(table, row)) is not None]
    except RowDamaged as damaged:
        yield [damaged]


def _check_row(table: str, kept: Kept) -> RowDamaged | None:
    stream, id, _, data, _ = kept
    with suppress(RowDamaged):
        read_row(table, *kept)
        if is_sealed(data):
            return None
    return RowDamaged(table, str(stream), str(id))
