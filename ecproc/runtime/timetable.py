"""When which timer is due, and what time it is for that. Pure: the loop beside it awaits (`timers.py`)."""

from __future__ import annotations

from collections.abc import Iterable
from heapq import heappop, heappush
from math import inf
from typing import Final, TypeAlias

_SECOND: Final = 1_000_000
_TRUSTED: Final = 60.0
"""Seconds that the calendar may be ahead of what passed, and still be taken for right."""
_BELIEVED_AFTER: Final = 900.0
"""Seconds for which it has to be further ahead than that to be believed: until then somebody may put it right."""

TimerKey: TypeAlias = tuple[str, str]
"""A timer's stream and its key there."""
_NOWHERE: Final[tuple[float, TimerKey]] = (inf, ("", ""))


class Calendar:
    """What the time is for what is due by the calendar, in microseconds UTC: never ahead of the machine's, and behind
    it where that leapt forward and has not stayed there for a quarter of an hour (I13)."""

    def __init__(self) -> None:
        self._now: int | None = None
        self._seen = 0.0
        self._leapt: float | None = None

    def read(self, wall: int, monotonic: float) -> int:
        """The time, given what both clocks of the machine show."""
        passed = wall if self._now is None else self._now + int((monotonic - self._seen) * _SECOND)
        if wall <= passed + _TRUSTED * _SECOND:
            self._leapt = None
        elif self._leapt is None:
            self._leapt = monotonic
        elif monotonic - self._leapt >= _BELIEVED_AFTER:
            passed, self._leapt = wall, None
        self._now, self._seen = wall if self._leapt is None else passed, monotonic
        return self._now


class Timetable:
    """The timers that are due next: at most `most` of them, those behind are left in the store and read again when
    these are over (`needs_reading`). `has_news` since the last `take`."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._due: dict[TimerKey, int] = {}
        self._queue: list[tuple[int, TimerKey]] = []
        self._left_from: tuple[float, TimerKey] = _NOWHERE
        self._read = False
        self.has_news = True

    @property
    def needs_reading(self) -> bool:
        """Whether the store may hold timers that are due before any that is held."""
        return not self._read or (not self._due and self._left_from < _NOWHERE)

    @property
    def next_due(self) -> int | None:
        """When the first is due."""
        while self._queue and self._due.get(self._queue[0][1]) != self._queue[0][0]:
            heappop(self._queue)
        return self._queue[0][0] if self._queue else None

    def begin_reading(self) -> None:
        """All timers come now, page by page; what is `put` meanwhile is newer."""
        self._read, self._left_from = True, _NOWHERE

    def add(self, timers: Iterable[tuple[TimerKey, int]]) -> None:
        """Take a page of what the store has."""
        for key, due_at in timers:
            if key not in self._due:
                self.put(key, due_at)

    def put(self, key: TimerKey, due_at: int) -> None:
        """A timer is due then, and at no other time."""
        self.drop(key)
        if (due_at, key) >= self._left_from:
            return
        self.has_news = self.has_news or not self._queue or due_at < self._queue[0][0]
        self._due[key] = due_at
        heappush(self._queue, (due_at, key))
        if len(self._queue) > 2 * self._most:
            self._shorten()

    def drop(self, key: TimerKey) -> None:
        """A timer is over."""
        self._due.pop(key, None)

    def take(self, now: int, most: int) -> list[TimerKey]:
        """The timers that are due, the earliest first, so many at most; they are held no more."""
        self.has_news = False
        taken: list[TimerKey] = []
        while len(taken) < most and (due_at := self.next_due) is not None and due_at <= now:
            _, key = heappop(self._queue)
            del self._due[key]
            taken.append(key)
        return taken

    def _shorten(self) -> None:
        self._queue = sorted((due_at, key) for key, due_at in self._due.items())
        if len(self._queue) > self._most:
            self._left_from = self._queue[self._most]
            del self._queue[self._most :]
            self._due = {key: due_at for due_at, key in self._queue}
