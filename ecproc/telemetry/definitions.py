"""Every metric with its labels and buckets: the Prometheus side of the catalogue, and the only file that names one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import product
from typing import Final, Generic, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.metrics import MetricWrapperBase

from ecproc.domain.events import PAUSED_TICKET
from ecproc.telemetry.hooks import (
    ANOMALY_CODES,
    BRIDGE_CALLS,
    DELETE_OUTCOMES,
    DESK_POLL_OUTCOMES,
    DESTINATIONS,
    DIRECTIONS,
    EFFECT_KINDS,
    EFFECT_OUTCOMES,
    HOOK_CODES,
    LANES,
    LASTING_STATES,
    LOSS_REASONS,
    LOSSES,
    MESSAGE_TYPES,
    NEWS_OUTCOMES,
    PAUSABLE,
    POLL_OUTCOMES,
    QUARANTINE_REASONS,
    SCOPE_DECISIONS,
    STATUS_CLASSES,
    TICKET_STATES,
    Reading,
)
from ecproc.telemetry.tally import OTHER, Spread, Tally, Watched

# Ensono's alarm is an average age of one hour, and a message is lost at four days (R211, R24).
_AGE_BUCKETS: Final = (1, 5, 30, 60, 300, 900, 1_800, 3_600, 14_400, 86_400, 345_600)
# The twentieth receive is the last (R23).
_RECEIVE_BUCKETS: Final = (1, 2, 3, 5, 10, 15, 20)
# A message comes back after 30 seconds, so the edges lie closest there (R21).
_DELETE_BUCKETS: Final = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 20, 25, 30, 45, 60)
_COMMIT_BUCKETS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
_ARRIVAL_BUCKETS: Final = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3_600, 14_400)
_CALL_BUCKETS: Final = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 30)
# A post is answered within ten seconds.
_HOOK_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_EFFECT_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)

_MICROSECONDS: Final = 1_000_000
READINGS: Final[Mapping[Reading, tuple[str, str, str]]] = {
    Reading.RECEIVES_LEFT: (
        "message_receives_left",
        "Receives left of 20 before a message is lost, the least of the messages that are not deleted yet.",
        "",
    ),
    Reading.QUEUE_EXPIRY: (
        "queue_expiry_seconds",
        "Until the queue drops a message after four days, the first of those that are not deleted yet.",
        "",
    ),
    Reading.ATTACHMENT_EXPIRY: (
        "attachment_expiry_seconds",
        "Until an attachment's address ends, the first of the files that are not fetched yet.",
        "",
    ),
    Reading.OLDEST_DUE: (
        "outbox_oldest_due_age_seconds",
        "How long the oldest due entry has been due; 0 where none is.",
        "lane",
    ),
    Reading.PROJECTION_LAG: (
        "projection_lag_seconds",
        "Age of the oldest event that is not folded and decided yet; 0 where none waits.",
        "",
    ),
    Reading.PARKED: ("tickets_parked", "Tickets that a defect stopped.", ""),
    Reading.RECEIVING: ("receiving", "0 while this lets nothing be received, else 1.", "reason"),
    Reading.POLL_INTERVAL: ("queue_poll_interval_seconds", "Between reads of the queue while it is idle.", ""),
    Reading.LOOP_LAG: (
        "event_loop_lag_seconds",
        "The longest that the event loop kept anything waiting within the last minute.",
        "",
    ),
    Reading.DISK_FREE: ("disk_free_bytes", "Free on the data directory's disk.", ""),
    Reading.DISK_RESERVE: ("disk_reserve_bytes", "Below so many free bytes nothing is received.", ""),
    Reading.CLOCK_SKEW: ("clock_skew_seconds", "How far Ensono's clock is ahead of this machine's.", ""),
    Reading.TLS_END: ("tls_not_after_timestamp_seconds", "When the bridge's certificate ends.", ""),
    Reading.ANCHORED: ("log_anchor_timestamp_seconds", "When the log's anchor was written last.", ""),
    Reading.VERIFIED: (
        "log_verify_last_success_timestamp_seconds",
        "When the log was last found whole by a check.",
        "",
    ),
    Reading.REPLAY_EQUAL: ("replay_equal", "1 if the last compared replay gave what is live, 0 if not.", ""),
}
"""The name of each reading behind `ecproc_`, what it tells, and its label if it has one."""

_Metric = TypeVar("_Metric", bound=MetricWrapperBase)


class _Children(Generic[_Metric]):
    """The children of a metric, bound once per known label set, all present from the start."""

    def __init__(self, metric: _Metric, known: Iterable[tuple[str, ...]], *, fallback: str = OTHER) -> None:
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


class QueueMetrics:
    """What is measured of messages and of the bridge's calls; `last_success` and `waiting` are not known at first."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.polls = define_counter(registry, "queue_polls", "Reads of the queue.", outcome=POLL_OUTCOMES)
        self.last_success: float | None = None
        Watched(
            registry,
            "ecproc_queue_last_success_timestamp_seconds",
            "When the queue was last read successfully.",
            read=lambda: self.last_success,
        )
        self.received = _tally(
            registry, "messages_received", "Messages read, redelivered ones too.", type=MESSAGE_TYPES
        )
        self.duplicates = Tally(
            registry, "ecproc_messages_duplicate", "Messages read again that the log already held.", known=[()]
        )
        self.quarantined = _tally(
            registry, "messages_quarantined", "Messages that could not be taken.", reason=QUARANTINE_REASONS
        )
        self.waiting: int | None = None
        Watched(
            registry,
            "ecproc_messages_quarantined",
            "Messages that wait in quarantine.",
            read=lambda: self.waiting,
        )
        self.deleted = _tally(registry, "messages_deleted", "Deletes from the queue.", outcome=DELETE_OUTCOMES)
        self.age = Spread(
            registry, "From a message being sent to its append.", _AGE_BUCKETS, "ecproc_message_age_seconds"
        )
        self.receives = Spread(
            registry,
            "How often received messages had been handed out.",
            _RECEIVE_BUCKETS,
            "ecproc_message_receives",
            "ecproc_message_receive_count",  # the older name, for one release
        )
        self.to_delete = Spread(
            registry,
            "From sending a read to its message's delete.",
            _DELETE_BUCKETS,
            "ecproc_receive_to_delete_seconds",
        )
        self.calls = Spread(
            registry,
            "How long calls of the bridge took.",
            _CALL_BUCKETS,
            "ecproc_bridge_request_duration_seconds",
            labels=("call", "status_class"),
            known=product(BRIDGE_CALLS, STATUS_CLASSES),
        )


class LogMetrics:
    """What is measured of the log and of what follows from it."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.append = Spread(
            registry, "Commits of the log, fsync included.", _COMMIT_BUCKETS, "ecproc_log_append_duration_seconds"
        )
        self.position: int | None = None
        self.size: int | None = None
        Watched(registry, "ecproc_log_last_position", "The log's last position.", read=lambda: self.position)
        Watched(registry, "ecproc_log_size_bytes", "The log's size on disk.", read=lambda: self.size)
        # Both change with every message and are looked at every few seconds: read then, not written now.
        self.lag = self.working = 0
        Watched(
            registry,
            "ecproc_projection_lag_events",
            "Events not folded and decided yet.",
            read=lambda: self.lag,
        )
        Watched(registry, "ecproc_actors", "Tickets being worked on.", read=lambda: self.working)
        self.tickets = _Children(
            Gauge("ecproc_tickets", "Tickets by their state.", ["type", "state"], registry=registry),
            [(name, state) for name, states in TICKET_STATES.items() for state in states],
        )
        self.anomalies = define_counter(
            registry, "anomalies", "Facts applied although the protocol does not foresee them.", code=ANOMALY_CODES
        )
        self.scope = _tally(
            registry,
            "scope_decisions",
            "Messages by whether their ticket is in the client's scope; none without scope rules.",
            decision=SCOPE_DECISIONS,
        )
        self.unknown_fields = Counter(
            "ecproc_unknown_fields", "Members of messages that the guide does not know.", registry=registry
        )


class OutboxMetrics:
    """What is measured of effects."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.entries = _Children(
            Gauge(
                "ecproc_outbox_entries",
                "Outbox entries that came to no good end yet, by their state.",
                ["lane", "state"],
                registry=registry,
            ),
            product(LANES, LASTING_STATES),
        )
        self.oldest_due: dict[str, int | None] = dict.fromkeys(LANES)
        Watched(
            registry,
            "ecproc_outbox_oldest_due_timestamp_seconds",
            "When the oldest due entry became due.",
            read=lambda: {lane: at / _MICROSECONDS for lane, at in self.oldest_due.items() if at is not None},
            label="lane",
        )
        self.effects = Tally(
            registry,
            "ecproc_effects",
            "Ended attempts of effects; `reason` where the effect is given up.",
            labels=("kind", "outcome", "reason"),
            known=_list_effects(),
        )
        self.effect_seconds = _Children(
            _histogram(
                registry, "effect_duration_seconds", "How long attempts of effects took.", _EFFECT_BUCKETS, "kind"
            ),
            [(kind,) for kind in EFFECT_KINDS],
        )
        self.arrivals = _Children(
            _histogram(
                registry,
                "end_to_end_seconds",
                "From an event's record to its effect: a message's at the desk, a command's at Ensono.",
                _ARRIVAL_BUCKETS,
                "direction",
            ),
            [(direction,) for direction in DIRECTIONS],
        )
        paused = Gauge("ecproc_paused", "What a person paused; of tickets, how many.", ["what"], registry=registry)
        self.paused = _Children(paused, [(what,) for what in (*PAUSABLE, PAUSED_TICKET)])
        left = Gauge("ecproc_breaker_open", "1 while a destination is left alone.", ["destination"], registry=registry)
        self.breakers = _Children(left, [(destination,) for destination in DESTINATIONS])


class DeskMetrics:
    """What is measured of the news that the client's systems tell; `whole` is when each was last asked and told all.
    `polled` says how many seconds are between two polls of those that are asked."""

    def __init__(
        self,
        registry: CollectorRegistry,
        sources: Sequence[str],
        polled: Mapping[str, float],
        *,
        now: Callable[[], float],
    ) -> None:
        began = now()
        self.received = Tally(
            registry,
            "ecproc_external_received",
            "News of other systems, by what became of them.",
            labels=("source", "outcome"),
            known=product(sources, NEWS_OUTCOMES),
        )
        self.polls = Tally(
            registry,
            "ecproc_watch_polls",
            "Polls of the desk for what changed there.",
            labels=("source", "outcome"),
            known=product(sources, DESK_POLL_OUTCOMES),
        )
        self.posts = Tally(
            registry,
            "ecproc_hook_requests",
            "Posts of other systems, by what they were answered.",
            labels=("source", "code"),
            known=product(sources, HOOK_CODES),
        )
        self.answers = Spread(
            registry,
            "From a post's head to its answer.",
            _HOOK_BUCKETS,
            "ecproc_hook_seconds",
            labels=("source",),
            known=product(sources),
        )
        self.whole: dict[str, float] = {}
        Watched(
            registry,
            "ecproc_watch_last_success_timestamp_seconds",
            "When the desk was last asked and told everything.",
            read=lambda: self.whole,
            label="source",
        )
        Watched(
            registry,
            "ecproc_watch_lag_seconds",
            "How long ago the desk was last asked and told everything; before the first time, since the start.",
            read=lambda: {source: now() - self.whole.get(source, began) for source in polled},
            label="source",
        )
        Watched(
            registry,
            "ecproc_watch_poll_interval_seconds",
            "Seconds between two polls of the desk.",
            read=lambda: polled,
            label="source",
        )


def _list_effects() -> Iterable[tuple[str, str, str]]:
    """The label sets of ended attempts: a reason belongs to what is given up."""
    for kind, outcome in product(EFFECT_KINDS, EFFECT_OUTCOMES):
        for reason in LOSS_REASONS if outcome in LOSSES else ("",):
            yield kind, outcome, reason


def _tally(registry: CollectorRegistry, name: str, text: str, **labels: tuple[str, ...]) -> Tally:
    return Tally(registry, f"ecproc_{name}", text, labels=list(labels), known=product(*labels.values()))


def _histogram(
    registry: CollectorRegistry, name: str, text: str, buckets: tuple[float, ...], *labels: str
) -> Histogram:
    return Histogram(f"ecproc_{name}", text, list(labels), buckets=buckets, unit="seconds", registry=registry)


def define_counter(registry: CollectorRegistry, name: str, text: str, **labels: tuple[str, ...]) -> _Children[Counter]:
    metric = Counter(f"ecproc_{name}", text, list(labels), registry=registry)
    return _Children(metric, product(*labels.values()))
