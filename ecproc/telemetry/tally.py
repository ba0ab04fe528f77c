"""Counters and histograms of what happens with every message: plain numbers here, metrics when somebody scrapes.

A child of prometheus_client's costs a lock and several calls each time, which together were a twentieth of a message.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Final

from msgspec import Struct
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from ecproc.domain.events import Transaction
from ecproc.telemetry.hooks import Read

OTHER: Final = "other"
"""What stands for all values that are not known."""

_BEYOND: Final = ("+Inf",)


class Tally(Collector):
    """A counter whose label sets are closed, all there at 0 from the start.

    A label that has no value in a set is not shown with it. What is not known shares one set.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        name: str,
        text: str,
        *,
        labels: Sequence[str] = (),
        known: Iterable[tuple[str, ...]],
    ) -> None:
        self._name, self._text, self._labels = name, text, tuple(labels)
        self._counts = dict.fromkeys(known, 0)
        unknown = (Transaction.UNKNOWN.value,) * len(self._labels)
        self._fallback = unknown if unknown in self._counts else (OTHER,) * len(self._labels)
        registry.register(self)

    def add(self, *values: str, count: int = 1) -> None:
        """Count that many more."""
        counts = self._counts
        if values not in counts:
            values = self._fallback
        counts[values] = counts.get(values, 0) + count

    def count(self, *values: str) -> int:
        """How much was counted, of the sets that begin with these values: an empty one stands for any."""
        wanted = list(enumerate(values))
        return sum(
            count
            for known, count in self._counts.items()
            if all(not value or known[place] == value for place, value in wanted)
        )

    def collect(self) -> Iterator[CounterMetricFamily]:
        """What prometheus_client asks for at a scrape."""
        family = CounterMetricFamily(self._name, self._text)
        for values, count in self._counts.items():
            shown = {name: value for name, value in zip(self._labels, values, strict=True) if value}
            family.add_sample(f"{self._name}_total", shown, count)
        yield family


class Spread(Collector):
    """A histogram under one name or several; its label sets are closed, all there from the start."""

    def __init__(
        self,
        registry: CollectorRegistry,
        text: str,
        bounds: Sequence[float],
        *names: str,
        labels: Sequence[str] = (),
        known: Iterable[tuple[str, ...]] = ((),),
    ) -> None:
        self._names, self._text, self._bounds, self._labels = names, text, bounds, labels
        self._series = {values: _Series([0] * (len(bounds) + 1)) for values in known}
        registry.register(self)

    def add(self, value: float, *values: str) -> None:
        """Count a value, of that label set."""
        series = self._series.get(values) or self._open(values)
        series.counts[bisect_left(self._bounds, value)] += 1
        series.sum += value

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """What prometheus_client asks for at a scrape."""
        edges = (*map(floatToGoString, self._bounds), *_BEYOND)
        for name in self._names:
            family = HistogramMetricFamily(name, self._text, labels=self._labels, unit=unit_of(name))
            for values, series in self._series.items():
                buckets = list(zip(edges, accumulate(series.counts), strict=True))
                family.add_metric(values, buckets, series.sum)
            yield family

    def _open(self, values: tuple[str, ...]) -> _Series:
        closed = (OTHER,) * len(values)
        return self._series.setdefault(closed, _Series([0] * (len(self._bounds) + 1)))


class _Series(Struct):
    """One label set's numbers."""

    counts: list[int]
    sum: float = 0.0


class Watched(Collector):
    """A gauge that is read at each scrape: absent while there is nothing to read.

    With a `label`, what is read are values by that label's.
    """

    def __init__(self, registry: CollectorRegistry, name: str, text: str, *, read: Read, label: str = "") -> None:
        self._name, self._text, self._label = name, text, label
        self.read = read
        registry.register(self)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """What prometheus_client asks for at a scrape."""
        try:
            found = self.read()
        except Exception:  # one that cannot be read must not cost all the others
            return
        family = GaugeMetricFamily(
            self._name, self._text, labels=[self._label] if self._label else [], unit=unit_of(self._name)
        )
        for label, value in found.items() if isinstance(found, Mapping) else [("", found)]:
            if value is not None:
                family.add_metric([label] if self._label else [], value)
        if family.samples:
            yield family


def unit_of(name: str) -> str:
    """The unit that a metric's name ends with, empty for none: what OpenMetrics tells beside its type."""
    unit = name.rpartition("_")[2]
    return unit if unit in _UNITS else ""


_UNITS: Final = frozenset({"seconds", "bytes"})
