"""The metrics as text, in either of the formats that scrapers ask for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST, generate_latest

_OPENMETRICS: Final = CONTENT_TYPE_LATEST.partition(";")[0]


class OpenMetricsView:
    """A registry as OpenMetrics allows it: there a counter takes its name without `_total` too, so that one beside a
    gauge of that name is told as of no type."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterator[Metric]:
        """The families, in order."""
        families = list(self._registry.collect())
        gauges = {family.name for family in families if family.type == "gauge"}
        for family in families:
            yield _untype(family) if family.type == "counter" and family.name in gauges else family

    def write(self) -> bytes:
        """The text."""
        text: bytes = generate_latest(self)  # type: ignore[no-untyped-call]  # it asks for `collect` alone
        return text


def write_metrics(registry: CollectorRegistry, accept: str) -> tuple[bytes, str]:
    """The metrics in a format that this Accept header names, plain text where none can be made of it, and that
    format's content type."""
    try:
        encode, content_type = choose_encoder(accept)
    except (TypeError, ValueError):  # it compares versions without a look whether they are numbers
        encode, content_type = choose_encoder("")
    if content_type.startswith(_OPENMETRICS):
        return OpenMetricsView(registry).write(), content_type
    return encode(registry), content_type


def _untype(counter: Metric) -> Metric:
    family = Metric(f"{counter.name}_total", counter.documentation, "unknown")
    family.samples = counter.samples
    return family
