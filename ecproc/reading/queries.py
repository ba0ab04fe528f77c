"""All that people and pages ask, of one reader: documents, events, entries and quarantine, masked or revealed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection

import anyio

from ecproc.domain.log import RecordedEvent, Row
from ecproc.fold.machine import Machines
from ecproc.reading.documents import document_of, find_stream, is_text, read_document
from ecproc.reading.entries import (
    EntryDetail,
    EntryFilter,
    ShownEntry,
    find_entry,
    list_entries,
    read_entry,
    search_entry,
)
from ecproc.reading.events import EventLines, find_end
from ecproc.reading.filters import TicketFilter
from ecproc.reading.join import LISTS
from ecproc.reading.listing import EVERY, list_documents
from ecproc.reading.masking import mask_json, mask_struct
from ecproc.reading.quarantine import QuarantineDetail, QuarantinedMessage, list_quarantined, read_quarantined
from ecproc.reading.timeline import Timeline, tell_timeline
from ecproc.store.base import Reader


class Queries:
    """Answers about one log; unless `reveal`, the query of every URL in them is masked, for it may hold a key.

    `tables` are the store's live tables, `machines` fold what stood at a position; long lists of a document show their
    last `entries`.
    """

    def __init__(
        self, reader: Reader, *, tables: Collection[str], machines: Machines, entries: int, reveal: bool = False
    ) -> None:
        self._reader = reader
        self._machines = machines
        self._headers = tuple(table for table in LISTS if table in tables)
        self._entries = entries
        self._reveal = reveal
        self._searching = anyio.Lock()

    async def find_stream(self, name: str) -> str | None:
        """The stream of a ticket by either number, or any stream by its name, also one that has no document."""
        found = await self._find_document(name)
        if found is None and is_text(name) and (await self._reader.stream_state(name)).version:
            return name
        return found

    async def read_end(self) -> tuple[int, int]:
        """The log's last position and when that was appended, in microseconds UTC; zeros if it is empty."""
        position = (await self._reader.head()).position
        last = await self._reader.read_event(position)
        return position, last.at if last is not None else 0

    async def find_position(self, time: int) -> int:
        """Where the log ended at that time, in microseconds UTC; 0 if it had not begun.

        Where the machine's clock jumped it is one of the positions that the time fits.
        """
        return await find_end(self._reader, time)

    async def ticket(self, name: str, *, at: int | None = None) -> bytes | None:
        """The document of a ticket by either number, or of any stream by its name; as of a position if one is given.

        None if there is none, or was none at that position.
        """
        stream = await self._find_document(name)
        if stream is None:
            return None
        if at is None:
            document = await read_document(self._reader, stream, entries=self._entries, headers=self._headers)
        else:
            document = await self._read_former(stream, at)
        return None if document is None else self._mask(document)

    async def timeline(self, name: str, *, at: int | None = None) -> Timeline | None:
        """What happened to a ticket, by either number, or to any stream by its name, also one that has no document, up
        to a position if one is given; None if nothing of it came by then."""
        stream = await self.find_stream(name)
        events = [] if stream is None else await self._read_until(stream, at)
        if stream is None or not events:
            return None
        timeline = tell_timeline(stream, events, self._machines.of(stream), entries=self._entries)
        return timeline if self._reveal else mask_struct(timeline)

    async def list_tickets(
        self, wanted: TicketFilter = EVERY, *, after: str | None = None, limit: int | None = None
    ) -> AsyncIterator[bytes]:
        """Documents of the tickets that are wanted, by stream, behind that one where it is given."""
        given = 0
        async for document in list_documents(
            self._reader, wanted, after=after, entries=self._entries, reveal=self._reveal
        ):
            yield self._mask(document)
            given += 1
            if given == limit:
                return

    async def count_tickets(self) -> int:
        """How many tickets have a document."""
        return sum((await self._reader.count_tags("ticket")).values())

    def events(self, stream: str | None = None, *, after: int = 0, page: int | None = None) -> EventLines:
        """The lines of the log, or of one stream, behind a position; so many of them at once, where that is given."""
        return EventLines(self._reader, stream=stream, after=after, page=page, reveal=self._reveal)

    async def entries(
        self,
        wanted: EntryFilter = EntryFilter(),  # noqa: B008 - it is frozen
        *,
        after: str | None = None,
    ) -> AsyncIterator[ShownEntry]:
        """Outbox entries by stream, in planned order, that are wanted, behind the entry with that key where one is
        given; none where there is no such entry."""
        row = None if after is None else await self._find_entry(after)
        if after is not None and row is None:
            return
        async for entry in list_entries(self._reader, wanted, after=row):
            yield entry if self._reveal else mask_struct(entry)

    async def has_entry(self, key: str) -> bool:
        """Whether there is an outbox entry with that key."""
        return await self._find_entry(key) is not None

    async def entry(self, key: str) -> EntryDetail | None:
        """The outbox entry with that key and all that belongs to it, None if there is none."""
        row = await self._find_entry(key)
        if row is None:
            return None
        found = await read_entry(self._reader, row, reveal=self._reveal)
        return found if self._reveal else mask_struct(found)

    async def quarantine(self, *, after: int = 0, reason: str | None = None) -> AsyncIterator[QuarantinedMessage]:
        """Messages that could not be taken, by position, behind that one and for that reason where they are given."""
        async for message in list_quarantined(self._reader, reveal=self._reveal, after=after, reason=reason):
            yield message if self._reveal else mask_struct(message)

    async def quarantined(self, name: str) -> QuarantineDetail | None:
        """The message in quarantine at that position or with that MessageId, None if there is none."""
        found = await read_quarantined(self._reader, name, machines=self._machines, reveal=self._reveal)
        return found if found is None or self._reveal else mask_struct(found)

    async def _find_entry(self, key: str) -> Row | None:
        if not is_text(key):
            return None
        found = await find_entry(self._reader, key)
        if found is None:
            async with self._searching:  # it may take long, and the process needs its other readers
                found = await search_entry(self._reader, key)
        return found

    async def _find_document(self, name: str) -> str | None:
        return await find_stream(self._reader, name, headers=self._headers)

    async def _read_former(self, stream: str, at: int) -> bytes | None:
        events = await self._read_until(stream, at)
        return document_of(stream, events, machines=self._machines, entries=self._entries)

    async def _read_until(self, stream: str, at: int | None) -> list[RecordedEvent]:
        return [event for event in await self._reader.read_stream(stream) if at is None or event.position <= at]

    def _mask(self, document: bytes) -> bytes:
        return document if self._reveal else mask_json(document)
