"""Reports become Prometheus metrics, which `definitions` names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import prometheus_client
from prometheus_client import CollectorRegistry, Info, ProcessCollector

from ecproc.clock import Clock
from ecproc.domain.events import EffectOutcome
from ecproc.domain.queue import DeleteOutcome
from ecproc.telemetry.definitions import READINGS, DeskMetrics, LogMetrics, OutboxMetrics, QueueMetrics, define_counter
from ecproc.telemetry.hooks import LASTING_STATES, LOSSES, WEB_REFUSALS, Read, Reading, Telemetry
from ecproc.telemetry.tally import OTHER, Watched

_MICROSECONDS: Final = 1_000_000
_SUCCESSES: Final = frozenset({"messages", "empty"})


class PrometheusTelemetry(Telemetry):
    """Reports become metrics in `registry`: counts are there at 0 from the start, times and ages once they exist."""

    def __init__(
        self,
        registry: CollectorRegistry,
        *,
        clock: Clock,
        version: str,
        python: str,
        sqlite: str,
        sources: Sequence[str] = (),
        polled: Mapping[str, float] | None = None,
    ) -> None:
        """`sources` are the names of the systems that tell us news, `polled` the seconds between two polls."""
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]  # they double every counter
        self.registry = registry
        ProcessCollector(registry=registry)
        Info("ecproc_build", "What is running.", registry=registry).info(
            {"version": version, "python": python, "sqlite": sqlite}
        )
        self._clock = clock
        self._watched: dict[Reading, Watched] = {}
        self._queue, self._log, self._outbox, self._desk = (
            QueueMetrics(registry),
            LogMetrics(registry),
            OutboxMetrics(registry),
            DeskMetrics(registry, sources, polled or {}, now=lambda: clock.now() / _MICROSECONDS),
        )
        self._refused = define_counter(registry, "web_refusals", "Whom these pages turned away.", reason=WEB_REFUSALS)

    @property
    def last_success(self) -> float | None:
        """When the queue was last read successfully, in seconds UTC."""
        return self._queue.last_success

    def totals(self) -> Mapping[str, int]:
        """What was counted since the start, in a few words for a log line."""
        return {
            "received": self._queue.received.count(),
            "duplicates": self._queue.duplicates.count(),
            "deleted": self._queue.deleted.count(DeleteOutcome.DELETED),
            "quarantined": self._queue.quarantined.count(),
            "effects": self._outbox.effects.count("", EffectOutcome.SUCCEEDED),
            "effects_lost": sum(self._outbox.effects.count("", outcome) for outcome in LOSSES),
        }

    def watch(self, reading: Reading, read: Read) -> None:
        known = self._watched.get(reading)
        if known is None:
            name, text, label = READINGS[reading]
            self._watched[reading] = Watched(self.registry, f"ecproc_{name}", text, read=read, label=label)
        else:
            known.read = read

    def poll_finished(self, outcome: str) -> None:
        self._queue.polls.of(outcome).inc()
        if outcome in _SUCCESSES:
            self._queue.last_success = self._clock.now() / _MICROSECONDS

    def messages_received(self, transaction: str, count: int = 1) -> None:
        self._queue.received.add(transaction, count=count)

    def message_duplicate(self, count: int = 1) -> None:
        self._queue.duplicates.add(count=count)

    def message_quarantined(self, reason: str) -> None:
        self._queue.quarantined.add(reason)

    def quarantine_counted(self, count: int) -> None:
        self._queue.waiting = count

    def message_deleted(self, outcome: str) -> None:
        self._queue.deleted.add(outcome)

    def message_age(self, seconds: float) -> None:
        self._queue.age.add(max(0.0, seconds))

    def receive_count(self, count: int) -> None:
        self._queue.receives.add(count)

    def receive_to_delete(self, seconds: float) -> None:
        self._queue.to_delete.add(seconds)

    def append_finished(self, seconds: float) -> None:
        self._log.append.add(seconds)

    def log_position(self, position: int, size_bytes: int) -> None:
        self._log.position, self._log.size = position, size_bytes

    def projection_lag(self, events: int) -> None:
        self._log.lag = events

    def actors(self, count: int) -> None:
        self._log.working = count

    def tickets_counted(self, ticket_type: str, state: str, count: int) -> None:
        self._log.tickets.of(ticket_type, state).set(count)

    def ticket_changed(self, before: tuple[str, str | None] | None, after: tuple[str, str | None] | None) -> None:
        if before is not None:
            self._log.tickets.of(before[0], before[1] or OTHER).dec()
        if after is not None:
            self._log.tickets.of(after[0], after[1] or OTHER).inc()

    def anomaly(self, code: str) -> None:
        self._log.anomalies.of(code).inc()

    def scope_decided(self, decision: str, count: int) -> None:
        self._log.scope.add(decision, count=count)

    def unknown_fields(self, count: int) -> None:
        if count:
            self._log.unknown_fields.inc(count)

    def outbox_changed(self, lane: str, before: str | None, after: str | None) -> None:
        if before in LASTING_STATES:
            self._outbox.entries.of(lane, before).dec()
        if after in LASTING_STATES:
            self._outbox.entries.of(lane, after).inc()

    def outbox_oldest_due(self, lane: str, due_at: int | None) -> None:
        self._outbox.oldest_due[lane] = due_at

    def effect_finished(self, kind: str, outcome: str, seconds: float, *, position: int, reason: str = "") -> None:
        self._outbox.effects.add(kind, outcome, reason)
        self._outbox.effect_seconds.of(kind).observe(seconds, {"position": str(position)})

    def arrived(self, direction: str, seconds: float, *, position: int) -> None:
        self._outbox.arrivals.of(direction).observe(seconds, {"position": str(position)})

    def paused(self, what: str, count: int) -> None:
        self._outbox.paused.of(what).set(count)

    def breaker(self, destination: str, *, is_open: bool) -> None:
        self._outbox.breakers.of(destination).set(is_open)

    def bridge_called(self, call: str, status: int | None, seconds: float) -> None:
        self._queue.calls.add(seconds, call, "none" if status is None else f"{status // 100}xx")

    def external_received(self, source: str, outcome: str) -> None:
        self._desk.received.add(source, outcome)

    def desk_polled(self, source: str, outcome: str, *, whole_at: int | None) -> None:
        self._desk.polls.add(source, outcome)
        if whole_at is not None:
            self._desk.whole[source] = whole_at / _MICROSECONDS

    def hook_answered(self, source: str, status: int, seconds: float) -> None:
        self._desk.posts.add(source, str(status))
        self._desk.answers.add(seconds, source)

    def web_refused(self, reason: str) -> None:
        self._refused.of(reason).inc()
