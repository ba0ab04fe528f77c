"""Requests that take effect when their caller has long given up, perhaps after a later one."""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heappop, heappush
from itertools import count
from typing import Generic, TypeVar

T = TypeVar("T")


class LateRequests(Generic[T]):
    """Requests on a long way, the first to arrive first."""

    def __init__(self) -> None:
        self._order = count()
        self._waiting: list[tuple[float, int, T]] = []

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, request: T, due: float) -> None:
        """Let a request arrive at that time, seconds since the epoch."""
        heappush(self._waiting, (due, next(self._order), request))

    def take_due(self, now: float) -> Iterator[T]:
        """Give what has arrived by now."""
        while self._waiting and self._waiting[0][0] <= now:
            yield heappop(self._waiting)[2]
