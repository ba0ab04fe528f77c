"""Documents out of live rows, and out of the log.

`headers` are the tables, of those in `LISTS`, that the store has: the others are not asked.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Final

from ecproc.domain.ids import normalise_number
from ecproc.domain.log import RecordedEvent, Row
from ecproc.fold.machine import Machines
from ecproc.fold.whole import fold_events
from ecproc.reading.join import CAPPED, LISTS, join_document
from ecproc.reading.waiting import Around, WaitingFor, find_wait, look_around, read_wait
from ecproc.store.base import Reader

TICKETS: Final = ("ticket",)
"""The headers of a store that holds nothing but tickets."""
_MIXED_LETTERS: Final = 6
"""Letters of a number of which every mix of cases is tried: 64 look-ups, some milliseconds."""
NO_STATE: Final = "none"
"""What a filter calls the state of a ticket that is in none yet."""


async def find_stream(reader: Reader, name: str, *, headers: Sequence[str] = TICKETS) -> str | None:
    """The stream with a document of that very name, or of a ticket by Ensono's number or ours, spelled in any case and
    with or without `e-` (C27)."""
    if not is_text(name):
        return None
    if await _read_header(reader, name, headers) is not None:
        return name
    rows = await reader.read_rows("client_ticket", id=name) or await reader.read_rows(
        "ticket", id=normalise_number(name)
    )
    for spelling in () if rows else _list_spellings(name.strip()):
        if rows := await reader.read_rows("client_ticket", id=spelling):
            break
    return rows[0].stream if rows else None


def _list_spellings(number: str) -> Iterator[str]:
    """One of our numbers in upper case, in lower case and, if it has few letters, in every mix of both: each is looked
    up by the index, where a comparison in any case would read the whole table for each number that there is not."""
    yield from dict.fromkeys((number, number.upper(), number.lower()))
    if sum(character.lower() != character.upper() for character in number) <= _MIXED_LETTERS:
        cases = (dict.fromkeys((character.upper(), character.lower())) for character in number)
        yield from map("".join, product(*cases))


async def read_document(reader: Reader, stream: str, *, entries: int, headers: Sequence[str] = TICKETS) -> bytes | None:
    """One stream's document, None if it has none; long lists show their last `entries`."""
    header = await _read_header(reader, stream, headers)
    if header is None:
        return None
    rows, waiting = await read_parts(reader, header, await look_around(reader), entries=entries)
    count = await reader.count_rows("outbox", stream)
    return join_document(header, rows, effects_count=count, waiting_for=waiting)


def document_of(stream: str, events: Sequence[RecordedEvent], *, machines: Machines, entries: int) -> bytes | None:
    """The document as these events, all of a stream up to some point, left it, decided or not."""
    rows, _ = fold_events(stream, events, machines.of(stream), undecided=True)
    tables: defaultdict[str, list[Row]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: row.ordinal):
        tables[row.table].append(row)
    header = next((tables[table][0] for table in LISTS if tables[table]), None)
    if header is None:
        return None
    shown = {table: tables[table][-entries:] if table in CAPPED else tables[table] for table in LISTS[header.table]}
    waiting = find_wait(header, tables["outbox"], tables["timer"], tables["pause"], around=Around())
    return join_document(header, shown, effects_count=len(tables["outbox"]), waiting_for=waiting)


async def _read_header(reader: Reader, stream: str, headers: Sequence[str]) -> Row | None:
    for table in headers:
        if rows := await reader.read_rows(table, stream=stream):
            return rows[0]
    return None


async def read_parts(
    reader: Reader, header: Row, around: Around, *, entries: int
) -> tuple[dict[str, list[Row]], WaitingFor | None]:
    """The rows of the lists of that header's document, the last `entries` of long ones, and what it waits for."""
    stream = header.stream
    rows = {
        table: await reader.read_rows(table, stream=stream, last=entries if table in CAPPED else None)
        for table in LISTS[header.table]
    }
    return rows, await read_wait(reader, header, rows["outbox"], around)


def is_text(name: str) -> bool:
    """Whether it can be a name at all: an argument may hold bytes that are no text."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
