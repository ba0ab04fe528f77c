"""Which unfinished effect has the first deadline: an attachment's address that is about to end. Pure."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from typing import Protocol

from ecproc.domain.effects import LANES, Lane
from ecproc.domain.entry import Entry
from ecproc.domain.ids import EffectKey
from ecproc.outbox.lanes import TicketLane
from ecproc.outbox.retry import SECOND


class _Lane(Protocol):
    @property
    def tickets(self) -> Mapping[str, TicketLane]: ...


class Expiries:
    """The deadlines of what is in these lanes."""

    def __init__(self, lanes: Mapping[Lane, _Lane]) -> None:
        self._lanes = lanes
        self._heap: list[tuple[int, Lane, str, EffectKey]] = []

    def note(self, stream: str, entry: Entry, former: Entry | None) -> None:
        """Take an entry's newest version, in place of that one."""
        effect = entry.effect
        known = former is not None and not former.finished and former.effect.deadline == effect.deadline
        if effect.deadline is not None and not entry.finished and not known:
            heapq.heappush(self._heap, (effect.deadline, LANES[effect.kind], stream, effect.key))

    def first(self) -> tuple[int, str, Entry] | None:
        """The first deadline, in microseconds UTC, with its stream and entry."""
        while self._heap:
            deadline, lane, stream, key = self._heap[0]
            ticket = self._lanes[lane].tickets.get(stream)
            newest = ticket.newest(key) if ticket is not None else None
            if newest is not None and not newest.finished and newest.effect.deadline == deadline:
                return deadline, stream, newest
            heapq.heappop(self._heap)
        return None

    def seconds_left(self, now: int) -> float | None:
        """Until the first deadline, negative where it is over; None without one. `now` is in microseconds UTC."""
        first = self.first()
        return None if first is None else (first[0] - now) / SECOND
