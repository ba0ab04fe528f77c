"""Which unfinished effect has the first deadline: an attachment's address that is about to end. Pure."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from typing import Final, Protocol

from ecproc.domain.effects import LANES, Lane
from ecproc.domain.entry import Entry
from ecproc.domain.ids import EffectKey
from ecproc.outbox.lanes import TicketLane
from ecproc.outbox.retry import SECOND

_FEW: Final = 1_000
"""Deadlines up to which it is not looked whether they are still anybody's."""


class _Lane(Protocol):
    @property
    def tickets(self) -> Mapping[str, TicketLane]: ...


class Expiries:
    """The deadlines of what is in these lanes."""

    def __init__(self, lanes: Mapping[Lane, _Lane]) -> None:
        self._lanes = lanes
        self._heap: list[tuple[int, Lane, str, EffectKey]] = []
        self._most = _FEW

    def __len__(self) -> int:
        """How many are remembered, finished ones included."""
        return len(self._heap)

    def note(self, stream: str, entry: Entry, former: Entry | None) -> None:
        """Take an entry's newest version, in place of that one."""
        effect = entry.effect
        known = former is not None and not former.finished and former.effect.deadline == effect.deadline
        if effect.deadline is not None and not entry.finished and not known:
            if len(self._heap) >= self._most:
                self._drop_finished()
            heapq.heappush(self._heap, (effect.deadline, LANES[effect.kind], stream, effect.key))

    def first(self) -> tuple[int, str, Entry] | None:
        """The first deadline, in microseconds UTC, with its stream and entry."""
        while self._heap:
            entry = self._find(self._heap[0])
            if entry is not None:
                return self._heap[0][0], self._heap[0][2], entry
            heapq.heappop(self._heap)
        return None

    def _find(self, place: tuple[int, Lane, str, EffectKey]) -> Entry | None:
        """The entry that still has that deadline."""
        deadline, lane, stream, key = place
        ticket = self._lanes[lane].tickets.get(stream)
        entry = ticket.newest(key) if ticket is not None else None
        return entry if entry is not None and not entry.finished and entry.effect.deadline == deadline else None

    def _drop_finished(self) -> None:
        """Forget what is finished behind a first one that is not."""
        self._heap = [place for place in self._heap if self._find(place) is not None]
        heapq.heapify(self._heap)
        self._most = max(_FEW, 2 * len(self._heap))

    def seconds_left(self, now: int) -> float | None:
        """Until the first deadline, negative where it is over; None without one. `now` is in microseconds UTC."""
        first = self.first()
        return None if first is None else (first[0] - now) / SECOND
