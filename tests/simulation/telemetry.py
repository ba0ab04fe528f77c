"""Metrics for tests."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from ecproc.clock import Clock
from ecproc.telemetry.metrics import PrometheusTelemetry


def make_telemetry(clock: Clock) -> PrometheusTelemetry:
    """Metrics in a registry of their own."""
    return PrometheusTelemetry(CollectorRegistry(), clock=clock, version="0.1.0", python="3.11.7", sqlite="3.45.0")
