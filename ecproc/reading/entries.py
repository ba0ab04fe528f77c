"""Outbox entries: what is to be done outside, how far it got, and of one of them everything there is to know."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Final

import msgspec

from ecproc.domain.entry import Entry
from ecproc.domain.ids import EffectKey
from ecproc.domain.log import RecordedEvent, Row
from ecproc.domain.times import format_time
from ecproc.fold.recorded import Kind, decode_entry
from ecproc.reading.events import describe_event
from ecproc.reading.lanes import LaneState, find_waiting
from ecproc.store.base import Reader

_PAGE: Final = 500
"""Events of one stream that are read at once."""
_MOST_PARTS: Final = 4
"""Of a key, up to the end of its stream's name."""


class ShownEntry(msgspec.Struct, frozen=True):
    """An outbox entry as it is listed."""

    key: str
    kind: str
    lane: str
    ticket: str
    client_ticket: str | None
    generation: int
    state: str
    attempts: int
    tries: int
    next_attempt_at: str | None
    deadline: str | None
    reason: str
    result: Mapping[str, str]
    position: int
    planned_at: str


class LaneNow(msgspec.Struct, frozen=True):
    """What an entry's ticket does in its lane: the entry that runs `next`, and not before `until`."""

    state: LaneState
    unfinished: int
    next: str | None
    until: str | None


class EntryDetail(ShownEntry, frozen=True):
    """An outbox entry with all that belongs to it.

    `fields` are what is to be told, `cause` the event that led to it, `events` all that the log has of its attempts,
    answers and of what people did to it. `waits_for` is the entry that runs before it, `blocks` are those that wait for
    it.
    """

    fields: Mapping[str, str]
    cause: msgspec.Raw
    events: tuple[msgspec.Raw, ...]
    waits_for: str | None
    blocks: tuple[str, ...]
    lane_now: LaneNow


class EntryFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which entries are meant: each condition that is given must hold.

    `reason` is a part of the entry's, in any case. With `unfinished` only those that did not come to a good end, which
    is the quicker question.
    """

    state: str | None = None
    lane: str | None = None
    kind: str | None = None
    stream: str | None = None
    reason: str | None = None
    unfinished: bool = False

    def matches(self, entry: Entry) -> bool:
        """Whether that entry, of the right stream, is meant."""
        return (
            self.state in (None, entry.state)
            and self.lane in (None, entry.lane)
            and self.kind in (None, entry.effect.kind)
            and (self.reason is None or self.reason.casefold() in entry.reason.casefold())
        )


class _Named(msgspec.Struct):
    """The entries that an own event is about."""

    key: str = ""
    keys: list[str] = []


_named = msgspec.json.Decoder(_Named)


async def list_entries(
    reader: Reader,
    wanted: EntryFilter,
    *,
    after: Row | None = None,
) -> AsyncIterator[ShownEntry]:
    """Entries by stream, in planned order, that are wanted, behind that entry's row where one is given."""
    async for row, entry in scan_entries(reader, wanted, after=after):
        yield _describe(row, entry)


async def scan_entries(
    reader: Reader, wanted: EntryFilter, *, after: Row | None = None
) -> AsyncIterator[tuple[Row, Entry]]:
    """The same as they are stored."""
    async for rows in _scan(reader, wanted, after):
        for row in rows:
            entry = decode_entry(row.data or b"")
            if wanted.matches(entry):
                yield row, entry


async def find_entry(reader: Reader, key: str) -> Row | None:
    """The row of the entry with that key, if the key names its stream as those of our own do."""
    _, *parts = key.split(":", _MOST_PARTS)
    for end in range(1, len(parts) + 1):
        if rows := await reader.read_rows("outbox", stream=":".join(parts[:end]), id=key):
            return rows[0]
    return None


async def search_entry(reader: Reader, key: str) -> Row | None:
    """The row of the entry with that key, whatever it names: looks through all there are, for no index has keys."""
    rows = await reader.read_rows("outbox", id=key)
    return rows[0] if rows else None


async def read_entry(reader: Reader, row: Row, *, reveal: bool) -> EntryDetail:
    """An entry's row with all that belongs to it; URL queries in its events are masked unless `reveal`."""
    entry = decode_entry(row.data or b"")
    cause = await reader.read_event(entry.effect.position)
    lane = [found for found in await _read_stream_entries(reader, row.stream) if found.lane is entry.lane]
    waiting = find_waiting(lane)
    behind, first = waiting.behind, waiting.next
    return EntryDetail(
        **msgspec.structs.asdict(_describe(row, entry)),
        fields=entry.effect.fields,
        cause=msgspec.Raw(b"null" if cause is None else describe_event(cause, reveal=reveal)),
        events=tuple([event async for event in _list_events(reader, row.stream, entry.effect.key, reveal=reveal)]),
        waits_for=behind.get(entry.effect.key),
        blocks=tuple(key for key, holder in behind.items() if holder == entry.effect.key),
        lane_now=LaneNow(
            state=waiting.state,
            unfinished=len(behind) + (first is not None),
            next=first.effect.key if first else None,
            until=_time(first.next_attempt_at) if first else None,
        ),
    )


async def _scan(reader: Reader, wanted: EntryFilter, after: Row | None) -> AsyncIterator[list[Row]]:
    if wanted.stream is not None:
        yield list(_behind(await reader.read_rows("outbox", stream=wanted.stream), after))
        return
    if after is not None:
        yield list(_behind(await reader.read_rows("outbox", stream=after.stream), after))
    async for rows in reader.scan_rows("outbox", tagged=wanted.unfinished, after=after.stream if after else ""):
        yield rows


def _behind(rows: list[Row], after: Row | None) -> Iterator[Row]:
    return (row for row in rows if after is None or (row.stream, row.ordinal) > (after.stream, after.ordinal))


async def _read_stream_entries(reader: Reader, stream: str) -> list[Entry]:
    return [decode_entry(row.data or b"") for row in await reader.read_rows("outbox", stream=stream)]


async def _list_events(reader: Reader, stream: str, key: EffectKey, *, reveal: bool) -> AsyncIterator[msgspec.Raw]:
    version = 0
    while page := await reader.read_stream(stream, after=version, limit=_PAGE):
        for event in page:
            if _names(event, key):
                yield msgspec.Raw(describe_event(event, reveal=reveal))
        version = page[-1].version


def _names(event: RecordedEvent, key: EffectKey) -> bool:
    """Whether an own event is about that entry. The decision that planned it, which names others too, is not."""
    if event.kind == Kind.MESSAGE_RECEIVED or key.encode() not in event.payload:
        return False
    try:
        named = _named.decode(event.payload)
    except msgspec.DecodeError:
        return False
    return named.key == key or key in named.keys


def _describe(row: Row, entry: Entry) -> ShownEntry:
    effect = entry.effect
    return ShownEntry(
        key=effect.key,
        kind=effect.kind,
        lane=entry.lane,
        ticket=effect.ticket or row.stream,
        client_ticket=effect.number,
        generation=effect.generation,
        state=entry.state,
        attempts=entry.attempts,
        tries=entry.tries,
        next_attempt_at=_time(entry.next_attempt_at),
        deadline=_time(effect.deadline),
        reason=entry.reason,
        result=entry.result,
        position=effect.position,
        planned_at=format_time(effect.at),
    )


def _time(microseconds: int | None) -> str | None:
    return None if microseconds is None else format_time(microseconds)
