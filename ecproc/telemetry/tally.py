"""Counters and histograms of what happens with every message: plain numbers here, metrics when somebody scrapes.

A child of prometheus_client's costs a lock and several calls each time, which together were a twentieth of a message.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

_BEYOND: Final = ("+Inf",)


class Tally(Collector):
    """A counter with one label of a closed set, all there at 0 from the start; what is not known is `fallback`."""

    def __init__(
        self, registry: CollectorRegistry, name: str, text: str, *, label: str, known: Iterable[str], fallback: str
    ) -> None:
        self._name, self._text, self._label, self._fallback = name, text, label, fallback
        self._counts = dict.fromkeys(known, 0)
        registry.register(self)

    def add(self, value: str, count: int = 1) -> None:
        """Count that many more."""
        counts = self._counts
        if value not in counts:
            value = self._fallback
        counts[value] = counts.get(value, 0) + count

    def collect(self) -> Iterator[CounterMetricFamily]:
        """What prometheus_client asks for at a scrape."""
        family = CounterMetricFamily(self._name, self._text, labels=[self._label])
        for value, count in self._counts.items():
            family.add_metric([value], count)
        yield family


class Spread(Collector):
    """A histogram without labels."""

    def __init__(self, registry: CollectorRegistry, name: str, text: str, bounds: Sequence[float]) -> None:
        self._name, self._text, self._bounds = name, text, bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0
        registry.register(self)

    def add(self, value: float) -> None:
        """Count a value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """What prometheus_client asks for at a scrape."""
        names = (*map(floatToGoString, self._bounds), *_BEYOND)
        buckets = list(zip(names, accumulate(self._counts), strict=True))
        family = HistogramMetricFamily(self._name, self._text)
        family.add_metric([], buckets, self._sum)
        yield family
