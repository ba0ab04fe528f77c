"""Rebuilding all live rows from the log: evolve only, no effects, no network, aside until it is whole (decision 3)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Final

import msgspec

from ecproc.clock import Clock
from ecproc.domain.rows import Row
from ecproc.runtime.fold import fold_rows
from ecproc.store.base import Reader, Rebuild, RecordedEvent, StreamState

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


async def rebuild(
    reader: Reader,
    aside: Rebuild,
    *,
    clock: Clock,
    until: int | None = None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> Rebuilt:
    """Fold the log up to a position into rows aside, stream by stream: memory holds one stream at a time."""
    started = clock.monotonic()
    head = (await reader.head()).position
    total = head if until is None else min(until, head)
    events = tickets = 0
    rows: list[Row] = []
    counters: list[tuple[str, StreamState]] = []
    async for stream, recorded in _by_stream(reader.read_streams(until=until)):
        stream_rows, state = fold_rows(stream, recorded)
        rows += stream_rows
        counters.append((stream, state))
        events += len(recorded)
        tickets += any(row.table == "ticket" for row in stream_rows)
        if len(rows) + len(counters) >= _WRITE_ROWS:
            await aside.write(rows, counters)
            rows, counters = [], []
            on_progress(Progress(events, total, clock.monotonic() - started))
    await aside.write(rows, counters)
    seconds = clock.monotonic() - started
    on_progress(Progress(events, total, seconds))
    return Rebuilt(events=events, tickets=tickets, seconds=seconds)


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
