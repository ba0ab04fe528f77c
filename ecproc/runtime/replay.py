"""Rebuilding all live rows from the log: evolve only, no effects, no network, aside until it is whole (decision 3)."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final, NamedTuple

import msgspec

from ecproc.clock import Clock
from ecproc.domain.log import Compact, RecordedEvent, Row, StreamCounters
from ecproc.errors import LogDamaged
from ecproc.fold.machine import Machines
from ecproc.fold.whole import compact_events, fold_compact, fold_events
from ecproc.store.base import ALL, Reader, Rebuild, Span

_WRITE_ROWS: Final = 5_000


class Progress(msgspec.Struct, frozen=True):
    """How far a rebuild is: events folded, events in all, seconds since its start."""

    events: int
    total: int
    seconds: float

    @property
    def rate(self) -> float:
        """Events per second so far."""
        return self.events / self.seconds if self.seconds > 0 else 0.0

    @property
    def eta(self) -> float | None:
        """Seconds that are left at this rate."""
        return (self.total - self.events) / self.rate if self.rate > 0 else None


class Rebuilt(msgspec.Struct, frozen=True):
    """What a rebuild went through."""

    events: int
    tickets: int
    seconds: float


class CompactUnusable(Exception):
    """The compact form and the counters do not tell of every event of the log: rebuild from its bodies."""


async def rebuild(
    reader: Reader,
    aside: Rebuild,
    *,
    machines: Machines,
    clock: Clock,
    until: int | None = None,
    compact: bool = False,
    renew: bool = False,
    span: Span = ALL,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> Rebuilt:
    """Fold the log up to a position into rows aside, stream by stream: memory holds a few streams at a time.

    From the bodies as received, or (the whole log only) from the `compact` form of what was decided, where it is of
    this code; `renew` writes that form aside where it is not. `span` is for several processes at once.
    Raises CompactUnusable, with `aside` of no more use.
    """
    started = clock.monotonic()
    head = (await reader.head()).position
    total = head if until is None else min(until, head)
    streams = _from_compact(reader, machines, span) if compact else _from_bodies(reader, machines, until, span)
    writing = _Writing(aside, lambda events: on_progress(Progress(events, total, clock.monotonic() - started)))
    try:
        async for folded in streams:
            await writing.add(folded, renew=renew)
    except LogDamaged as damage:
        if compact:  # what is damaged may be the cache only
            raise CompactUnusable(damage.reason) from damage
        raise
    if compact and span == ALL and writing.events != head:
        raise CompactUnusable(f"{writing.events} of {head} events")
    await writing.finish()
    return Rebuilt(events=writing.events, tickets=writing.tickets, seconds=clock.monotonic() - started)


class _Folded(NamedTuple):
    """A stream's rows and counters, how many events they are of, and these where they were read."""

    stream: str
    rows: list[Row]
    counters: StreamCounters
    size: int
    events: Sequence[RecordedEvent] = ()


class _Writing:
    """Puts folded streams aside, many at a time."""

    def __init__(self, aside: Rebuild, report: Callable[[int], None]) -> None:
        self.events = self.tickets = 0
        self._aside = aside
        self._report = report
        self._rows: list[Row] = []
        self._counters: list[tuple[str, StreamCounters]] = []
        self._compact: list[Compact] = []

    async def add(self, folded: _Folded, *, renew: bool) -> None:
        """Take one stream."""
        self._rows += folded.rows
        self._counters.append((folded.stream, folded.counters))
        self.events += folded.size
        self.tickets += any(row.table == "ticket" for row in folded.rows)
        if renew:
            self._compact += compact_events(folded.stream, folded.events)
        if len(self._rows) + len(self._counters) + len(self._compact) >= _WRITE_ROWS:
            await self.finish()

    async def finish(self) -> None:
        """Write what is held, and tell how far it is."""
        await self._aside.write(self._rows, self._counters, self._compact)
        self._rows, self._counters, self._compact = [], [], []
        self._report(self.events)


async def divide_streams(reader: Reader, parts: int) -> list[Span]:
    """Spans of streams with about as many events each, as the counters tell."""
    total = (await reader.head()).position
    ends: list[str] = []
    events = 0
    async for page in reader.list_streams():
        for stream, state in page:
            if len(ends) < parts - 1 and events >= total * (len(ends) + 1) / parts:
                ends.append(stream)
            events += state.version
    return [Span(first, end) for first, end in zip(["", *ends], [*ends, None], strict=True)]


async def _from_bodies(reader: Reader, machines: Machines, until: int | None, span: Span) -> AsyncIterator[_Folded]:
    async for stream, events in _by_stream(reader.read_streams(until=until, span=span)):
        yield _Folded(stream, *fold_events(stream, events, machines.of(stream)), len(events), events)


async def _from_compact(reader: Reader, machines: Machines, span: Span) -> AsyncIterator[_Folded]:
    """Every stream out of its compact form; from the log, where that does not tell all of it."""
    steps: deque[Compact] = deque()
    pages = reader.read_compact(span=span)
    async for known in reader.list_streams(span=span):
        for stream, state in known:
            while not steps or steps[-1].stream <= stream:
                page = await anext(pages, None)
                if page is None:
                    break
                steps.extend(page)
            own: list[Compact] = []
            while steps and steps[0].stream <= stream:
                step = steps.popleft()
                if step.stream == stream:
                    own.append(step)
            folded = fold_compact(stream, own, machines.of(stream))
            if folded is not None and folded[1].version == state.version:
                yield _Folded(stream, *folded, state.version)
            else:
                yield await _from_log(reader, machines, stream, state)


async def _from_log(reader: Reader, machines: Machines, stream: str, state: StreamCounters) -> _Folded:
    events = await reader.read_stream(stream)
    if len(events) != state.version:
        raise CompactUnusable(f"{len(events)} of {state.version} events of stream {stream!r}")
    return _Folded(stream, *fold_events(stream, events, machines.of(stream)), len(events), events)


async def _by_stream(
    pages: AsyncIterator[list[RecordedEvent]],
) -> AsyncIterator[tuple[str, list[RecordedEvent]]]:
    """Whole streams out of pages of events that come by (stream, version)."""
    current: list[RecordedEvent] = []
    async for page in pages:
        for event in page:
            if current and current[0].stream != event.stream:
                yield current[0].stream, current
                current = []
            current.append(event)
    if current:
        yield current[0].stream, current
