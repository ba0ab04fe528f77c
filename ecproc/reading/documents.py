"""Ticket documents out of live rows."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence

from ecproc.domain.ids import normalise_number
from ecproc.domain.log import RecordedEvent, Row
from ecproc.fold.machine import Machines
from ecproc.fold.whole import fold_events
from ecproc.reading.join import CAPPED, LISTS, join_document
from ecproc.store.base import Reader


async def find_stream(reader: Reader, number: str) -> str | None:
    """The stream of a ticket by Ensono's number or ours, spelled in any case and with or without `e-` (C27)."""
    rows = (
        await reader.read_rows("ticket", stream=number)
        or await reader.read_rows("client_ticket", id=number)
        or await reader.read_rows("ticket", id=normalise_number(number))
    )
    return rows[0].stream if rows else None


async def read_document(reader: Reader, stream: str, *, entries: int) -> bytes | None:
    """One ticket's document, None if that stream is no ticket; long lists show their last `entries`."""
    headers = await reader.read_rows("ticket", stream=stream)
    if not headers:
        return None
    rows = {
        table: await reader.read_rows(table, stream=stream, last=entries if table in CAPPED else None)
        for table in LISTS
    }
    return join_document(headers[0], rows, effects_count=await reader.count_rows("outbox", stream))


async def list_documents(
    reader: Reader,
    *,
    ticket_type: str | None = None,
    state: str | None = None,
    after: str | None = None,
    entries: int,
) -> AsyncIterator[bytes]:
    """Every ticket's document by stream, of that type and state and behind that stream where they are given."""
    async for headers in reader.scan_rows("ticket"):
        for header in headers:
            if header.stream > (after or "") and _matches(header, ticket_type, state):
                document = await read_document(reader, header.stream, entries=entries)
                if document is not None:
                    yield document


def _matches(header: Row, ticket_type: str | None, state: str | None) -> bool:
    found_type, _, found_state = (header.tag or "").partition(":")
    return ticket_type in (None, found_type) and state in (None, found_state)


def document_of(stream: str, events: Sequence[RecordedEvent], *, machines: Machines, entries: int) -> bytes | None:
    """The document as these events, all of a stream up to some point, left it, decided or not."""
    rows, _ = fold_events(stream, events, machines.of(stream), undecided=True)
    tables: Mapping[str, list[Row]] = {table: [] for table in (*LISTS, "ticket", "quarantine")}
    for row in sorted(rows, key=lambda row: row.ordinal):
        tables[row.table].append(row)
    if not tables["ticket"]:
        return None
    effects = len(tables["outbox"])
    shown = {table: tables[table][-entries:] if table in CAPPED else tables[table] for table in LISTS}
    return join_document(tables["ticket"][0], shown, effects_count=effects)
