"""Every metric with its labels and buckets: the Prometheus side of the catalogue, and the only file that names one."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product
from typing import Final, Generic, TypeVar

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector
from prometheus_client.metrics import MetricWrapperBase

from ecproc.clock import Clock
from ecproc.domain.events import PAUSED_TICKET
from ecproc.telemetry.hooks import (
    ANOMALY_CODES,
    DELETE_OUTCOMES,
    DESTINATIONS,
    EFFECT_KINDS,
    EFFECT_OUTCOMES,
    ENTRY_STATES,
    LANES,
    MESSAGE_TYPES,
    PAUSABLE,
    POLL_OUTCOMES,
    QUARANTINE_REASONS,
    TICKET_STATES,
    WEB_REFUSALS,
    Telemetry,
)
from ecproc.telemetry.tally import Spread, Tally

# Ensono's alarm is an average age of one hour, and a message is lost at four days (R211, R24).
_AGE_BUCKETS: Final = (1, 5, 30, 60, 300, 900, 1_800, 3_600, 14_400, 86_400, 345_600)
# The twentieth receive is the last (R23).
_RECEIVE_BUCKETS: Final = (1, 2, 3, 5, 10, 15, 20)
# A message comes back after 30 seconds, so the edges lie closest there (R21).
_DELETE_BUCKETS: Final = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 20, 25, 30, 45, 60)
_COMMIT_BUCKETS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
_EFFECT_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)

_MICROSECONDS: Final = 1_000_000
_OTHER: Final = "other"
_SUCCESSES: Final = frozenset({"messages", "empty"})

_Metric = TypeVar("_Metric", bound=MetricWrapperBase)


class _Children(Generic[_Metric]):
    """The children of a metric, bound once per known label set, all present from the start."""

    def __init__(self, metric: _Metric, known: Iterable[tuple[str, ...]], *, fallback: str = _OTHER) -> None:
        self._metric = metric
        self._fallback = fallback
        self._children = {values: metric.labels(*values) for values in known}
        self._heads = {values[0] for values in self._children if len(values) > 1}

    def of(self, *values: str) -> _Metric:
        """The child of these label values; what is not known shares one child, so the set stays closed."""
        return self._children.get(values) or self._unknown(values)

    def _unknown(self, values: tuple[str, ...]) -> _Metric:
        head = values[0] if values[0] in self._heads else self._fallback
        closed = (head, *[self._fallback] * (len(values) - 1))
        if closed not in self._children:
            self._children[closed] = self._metric.labels(*closed)
        return self._children[closed]


class PrometheusTelemetry(Telemetry):
    """Reports become metrics in `registry`; every known label set is there at 0 from the start."""

    def __init__(self, registry: CollectorRegistry, *, clock: Clock, version: str, python: str, sqlite: str) -> None:
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]  # they double every counter
        self.registry = registry
        ProcessCollector(registry=registry)
        Info("ecproc_build", "What is running.", registry=registry).info(
            {"version": version, "python": python, "sqlite": sqlite}
        )
        self._clock = clock
        self._define_queue(registry)
        self._define_log(registry)
        self._define_outbox(registry)
        self._refused = _counter(registry, "web_refusals", "Whom these pages turned away.", reason=WEB_REFUSALS)

    def _define_queue(self, registry: CollectorRegistry) -> None:
        self._polls = _counter(registry, "queue_polls", "Reads of the queue.", outcome=POLL_OUTCOMES)
        self._last_success = Gauge(
            "ecproc_queue_last_success_timestamp_seconds",
            "When the queue was last read successfully; 0 is never.",
            registry=registry,
        )
        self._received = Tally(
            registry,
            "ecproc_messages_received",
            "Messages read, redelivered ones too.",
            label="type",
            known=MESSAGE_TYPES,
            fallback="unknown",
        )
        self._duplicates = Counter(
            "ecproc_messages_duplicate", "Messages read again that the log already held.", registry=registry
        )
        self._quarantined = _counter(
            registry, "messages_quarantined", "Messages that could not be taken.", reason=QUARANTINE_REASONS
        )
        self._deleted = Tally(
            registry,
            "ecproc_messages_deleted",
            "Deletes from the queue.",
            label="outcome",
            known=DELETE_OUTCOMES,
            fallback=_OTHER,
        )
        self._age = Spread(
            registry, "ecproc_message_age_seconds", "From a message being sent to its append.", _AGE_BUCKETS
        )
        self._receives = Spread(
            registry,
            "ecproc_message_receive_count",
            "How often received messages had been handed out.",
            _RECEIVE_BUCKETS,
        )
        self._to_delete = Spread(
            registry,
            "ecproc_receive_to_delete_seconds",
            "From sending a read to its message's delete.",
            _DELETE_BUCKETS,
        )

    def _define_log(self, registry: CollectorRegistry) -> None:
        self._append = Spread(
            registry, "ecproc_log_append_duration_seconds", "Commits of the log, fsync included.", _COMMIT_BUCKETS
        )
        self._position = Gauge("ecproc_log_last_position", "The log's last position.", registry=registry)
        self._size = Gauge("ecproc_log_size_bytes", "The log's size on disk.", registry=registry)
        # Both change with every message and are looked at every few seconds: read then, not written now.
        self._lag = self._working = 0
        lag = Gauge("ecproc_projection_lag_events", "Events not folded and decided yet.", registry=registry)
        lag.set_function(lambda: self._lag)
        Gauge("ecproc_actors", "Tickets being worked on.", registry=registry).set_function(lambda: self._working)
        self._tickets = _Children(
            Gauge("ecproc_tickets", "Tickets by their state.", ["type", "state"], registry=registry),
            [(name, state) for name, states in TICKET_STATES.items() for state in states],
        )
        self._anomalies = _counter(
            registry, "anomalies", "Facts applied although the protocol does not foresee them.", code=ANOMALY_CODES
        )
        self._unknown_fields = Counter(
            "ecproc_unknown_fields", "Members of messages that the guide does not know.", registry=registry
        )
        self._replayed = Counter("ecproc_replay_events", "Events folded by rebuilds.", registry=registry)

    def _define_outbox(self, registry: CollectorRegistry) -> None:
        self._entries = _Children(
            Gauge(
                "ecproc_outbox_entries",
                "Outbox entries by their state; completed and cancelled ones since the start.",
                ["lane", "state"],
                registry=registry,
            ),
            product(LANES, ENTRY_STATES),
        )
        self._oldest_due = _Children(
            Gauge(
                "ecproc_outbox_oldest_due_timestamp_seconds",
                "When the oldest due entry became due; 0 when nothing is due.",
                ["lane"],
                registry=registry,
            ),
            [(lane,) for lane in LANES],
        )
        self._effects = _counter(
            registry, "effects", "Ended attempts of effects.", kind=EFFECT_KINDS, outcome=EFFECT_OUTCOMES
        )
        self._effect_seconds = _Children(
            Histogram(
                "ecproc_effect_duration_seconds",
                "How long attempts of effects took.",
                ["kind"],
                buckets=_EFFECT_BUCKETS,
                registry=registry,
            ),
            [(kind,) for kind in EFFECT_KINDS],
        )
        paused = Gauge("ecproc_paused", "What a person paused; of tickets, how many.", ["what"], registry=registry)
        self._paused = _Children(paused, [(what,) for what in (*PAUSABLE, PAUSED_TICKET)])
        left = Gauge("ecproc_breaker_open", "1 while a destination is left alone.", ["destination"], registry=registry)
        self._breakers = _Children(left, [(destination,) for destination in DESTINATIONS])

    def poll_finished(self, outcome: str) -> None:
        self._polls.of(outcome).inc()
        if outcome in _SUCCESSES:
            self._last_success.set(self._clock.now() / _MICROSECONDS)

    def messages_received(self, transaction: str, count: int = 1) -> None:
        self._received.add(transaction, count)

    def message_duplicate(self, count: int = 1) -> None:
        self._duplicates.inc(count)

    def message_quarantined(self, reason: str) -> None:
        self._quarantined.of(reason).inc()

    def message_deleted(self, outcome: str) -> None:
        self._deleted.add(outcome)

    def message_age(self, seconds: float) -> None:
        self._age.add(max(0.0, seconds))

    def receive_count(self, count: int) -> None:
        self._receives.add(count)

    def receive_to_delete(self, seconds: float) -> None:
        self._to_delete.add(seconds)

    def append_finished(self, seconds: float) -> None:
        self._append.add(seconds)

    def log_position(self, position: int, size_bytes: int) -> None:
        self._position.set(position)
        self._size.set(size_bytes)

    def projection_lag(self, events: int) -> None:
        self._lag = events

    def actors(self, count: int) -> None:
        self._working = count

    def tickets_counted(self, ticket_type: str, state: str, count: int) -> None:
        self._tickets.of(ticket_type, state).set(count)

    def ticket_changed(self, before: tuple[str, str | None] | None, after: tuple[str, str | None] | None) -> None:
        if before is not None:
            self._tickets.of(before[0], before[1] or _OTHER).dec()
        if after is not None:
            self._tickets.of(after[0], after[1] or _OTHER).inc()

    def anomaly(self, code: str) -> None:
        self._anomalies.of(code).inc()

    def unknown_fields(self, count: int) -> None:
        if count:
            self._unknown_fields.inc(count)

    def outbox_changed(self, lane: str, before: str | None, after: str | None) -> None:
        if before is not None:
            self._entries.of(lane, before).dec()
        if after is not None:
            self._entries.of(lane, after).inc()

    def outbox_oldest_due(self, lane: str, due_at: int | None) -> None:
        self._oldest_due.of(lane).set((due_at or 0) / _MICROSECONDS)

    def effect_finished(self, kind: str, outcome: str, seconds: float) -> None:
        self._effects.of(kind, outcome).inc()
        self._effect_seconds.of(kind).observe(seconds)

    def paused(self, what: str, count: int) -> None:
        self._paused.of(what).set(count)

    def breaker(self, destination: str, *, is_open: bool) -> None:
        self._breakers.of(destination).set(is_open)

    def replay_events(self, count: int) -> None:
        self._replayed.inc(count)

    def web_refused(self, reason: str) -> None:
        self._refused.of(reason).inc()


def _counter(registry: CollectorRegistry, name: str, text: str, **labels: tuple[str, ...]) -> _Children[Counter]:
    metric = Counter(f"ecproc_{name}", text, list(labels), registry=registry)
    return _Children(metric, product(*labels.values()))
