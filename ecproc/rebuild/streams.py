"""Live rows built aside, stream by stream: evolve only, no effects, no network (decision 3)."""

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
from ecproc.reading.grouping import group_by_stream
from ecproc.store.base import ALL, RebuildWriter, ScanReader, Span

_WRITE_ROWS: Final = 5_000
"""How many rows, counters and compact forms are held before they are written."""
_WRITE_BYTES: Final = 8 * 1024 * 1024
"""Or how many bytes of them."""


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


class RebuildOrder(msgspec.Struct, frozen=True, kw_only=True):
    """What to rebuild from: the bodies as received, up to a position, or (the whole log only) the `compact` form of
    what was decided, where it is of this code. `renew` writes that form aside where it is not."""

    until: int | None = None
    compact: bool = False
    renew: bool = False


FROM_BODIES: Final = RebuildOrder()


async def rebuild(
    reader: ScanReader,
    aside: RebuildWriter,
    order: RebuildOrder = FROM_BODIES,
    *,
    machines: Machines,
    clock: Clock,
    span: Span = ALL,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> Rebuilt:
    """Fold the streams of a span into rows aside: memory holds a few streams at a time.

    Raises CompactUnusable, with `aside` of no more use.
    """
    started = clock.monotonic()
    head = (await reader.head()).position
    total = head if order.until is None else min(order.until, head)
    streams = (
        _from_compact(reader, machines, span)
        if order.compact
        else _from_bodies(reader, machines, until=order.until, span=span)
    )
    writing = _Writing(aside, lambda events: on_progress(Progress(events, total, clock.monotonic() - started)))
    try:
        async for folded in streams:
            await writing.add(folded, renew=order.renew)
    except LogDamaged as damage:
        if order.compact:  # what is damaged may be the cache only
            raise CompactUnusable(damage.reason) from damage
        raise
    if order.compact and span == ALL and writing.events != head:
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

    def __init__(self, aside: RebuildWriter, report: Callable[[int], None]) -> None:
        self.events = self.tickets = 0
        self._aside = aside
        self._report = report
        self._rows: list[Row] = []
        self._counters: list[tuple[str, StreamCounters]] = []
        self._compact: list[Compact] = []
        self._bytes = 0

    async def add(self, folded: _Folded, *, renew: bool) -> None:
        """Take one stream."""
        self._rows += folded.rows
        self._counters.append((folded.stream, folded.counters))
        self.events += folded.size
        self.tickets += any(row.table == "ticket" for row in folded.rows)
        if renew:
            self._compact += compact_events(folded.stream, folded.events)
        self._bytes += sum([len(row.data or b"") for row in folded.rows])
        if len(self._rows) + len(self._counters) + len(self._compact) >= _WRITE_ROWS or self._bytes >= _WRITE_BYTES:
            await self.finish()

    async def finish(self) -> None:
        """Write what is held, and tell how far it is."""
        await self._aside.write(self._rows, self._counters, self._compact)
        self._rows, self._counters, self._compact = [], [], []
        self._bytes = 0
        self._report(self.events)


async def _from_bodies(
    reader: ScanReader, machines: Machines, *, until: int | None, span: Span
) -> AsyncIterator[_Folded]:
    async for stream, events in group_by_stream(reader.read_streams(until=until, span=span)):
        yield _Folded(stream, *fold_events(stream, events, machines.of(stream)), len(events), events)


async def _from_compact(reader: ScanReader, machines: Machines, span: Span) -> AsyncIterator[_Folded]:
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


async def _from_log(reader: ScanReader, machines: Machines, stream: str, state: StreamCounters) -> _Folded:
    events = await reader.read_stream(stream)
    if len(events) != state.version:
        raise CompactUnusable(f"{len(events)} of {state.version} events of stream {stream!r}")
    return _Folded(stream, *fold_events(stream, events, machines.of(stream)), len(events), events)
