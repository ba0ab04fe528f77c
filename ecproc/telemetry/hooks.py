"""The catalogue of everything the running code reports, with the closed sets its words come from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Final, TypeAlias

from ecproc.domain import change, incident
from ecproc.domain.anomalies import Anomaly
from ecproc.domain.effects import EffectKind, Lane
from ecproc.domain.entry import EntryState
from ecproc.domain.events import EffectOutcome, LossReason, QuarantineReason, TicketType, Transaction
from ecproc.domain.external import DeskPoll, Fate
from ecproc.domain.queue import DeleteOutcome, PollOutcome
from ecproc.domain.refusals import WebRefusal

POLL_OUTCOMES: Final = tuple(item.value for item in PollOutcome)
MESSAGE_TYPES: Final = tuple(item.value for item in Transaction)
DELETE_OUTCOMES: Final = tuple(item.value for item in DeleteOutcome if item is not DeleteOutcome.RETURNED)
QUARANTINE_REASONS: Final = tuple(item.value for item in QuarantineReason)
TICKET_STATES: Final[Mapping[str, tuple[str, ...]]] = {
    TicketType.INCIDENT.value: tuple(item.value for item in incident.State),
    TicketType.REQUEST.value: tuple(item.value for item in incident.State),
    TicketType.CHANGE.value: tuple(item.value for item in change.State),
}
ANOMALY_CODES: Final = tuple(item.value for item in Anomaly)
LANES: Final = tuple(item.value for item in Lane)
ENTRY_STATES: Final = tuple(item.value for item in EntryState)
LASTING_STATES: Final = tuple(
    item.value for item in EntryState if item not in (EntryState.COMPLETED, EntryState.CANCELLED)
)
"""The states of entries that came to no good end yet."""
EFFECT_KINDS: Final = tuple(item.value for item in EffectKind)
EFFECT_OUTCOMES: Final = tuple(item.value for item in EffectOutcome)
LOSSES: Final = (EffectOutcome.PARKED.value, EffectOutcome.DISCARDED.value)
"""The outcomes that end an effect without its being done; each has one of LOSS_REASONS."""
LOSS_REASONS: Final = tuple(item.value for item in LossReason)
NEWS_OUTCOMES: Final = tuple(item.value for item in Fate)
DESK_POLL_OUTCOMES: Final = tuple(item.value for item in DeskPoll)
HOOK_CODES: Final = ("202", "400", "401", "405", "413", "415", "429", "503")
"""Statuses that a post to a known source may be answered with."""
WEB_REFUSALS: Final = tuple(item.value for item in WebRefusal)
DESTINATIONS: Final = ("bridge", "desk", "attachments", "uploads")
PAUSABLE: Final = ("bridge", "desk", "attachments")
"""What a person may pause by name; uploads stop with the bridge."""
BRIDGE_CALLS: Final = (
    *("receive", "delete", "create", "update", "notes", "returnptn", "approve", "reject", "attachments", "show"),
)
STATUS_CLASSES: Final = ("2xx", "3xx", "4xx", "5xx", "none")
"""Classes of answers; `none` where none came."""
DIRECTIONS: Final = ("in", "out")
STOPPERS: Final = ("disk_reserve", "store_waits", "backlog", "stopping")
"""Why nothing may be received."""

Read: TypeAlias = Callable[[], float | Mapping[str, float] | None]
"""Gives what a reading is now, by the values of its label where it has one; None where there is nothing to tell."""


class Reading(StrEnum):
    """What is read when somebody asks, and not told when it changes. Times are seconds, moments seconds UTC."""

    RECEIVES_LEFT = "receives_left"
    """How many receives are left of 20, at the worst of the messages that are not deleted yet (R23)."""
    QUEUE_EXPIRY = "queue_expiry"
    """Until the queue drops the first of them (R24)."""
    ATTACHMENT_EXPIRY = "attachment_expiry"
    """Until the first address ends of the files that are still to be fetched (R138)."""
    OLDEST_DUE = "oldest_due"
    """Age of the oldest due entry of each lane; 0 where none is due."""
    PROJECTION_LAG = "projection_lag"
    """Age of the oldest event that is not decided; 0 where none waits."""
    PARKED = "parked"
    """Tickets that a defect of ours stopped."""
    RECEIVING = "receiving"
    """By each of STOPPERS: 0 while it lets nothing be received, else 1."""
    POLL_INTERVAL = "poll_interval"
    LOOP_LAG = "loop_lag"
    """The longest that the event loop kept anything waiting within the last minute."""
    DISK_FREE = "disk_free"
    DISK_RESERVE = "disk_reserve"
    CLOCK_SKEW = "clock_skew"
    """How far Ensono's clock is ahead of ours, by the last answer's Date."""
    TLS_END = "tls_end"
    """When the bridge's certificate ends."""
    ANCHORED = "anchored"
    """When the log's anchor was written last."""
    VERIFIED = "verified"
    """When `log verify` last found the log whole."""
    REPLAY_EQUAL = "replay_equal"
    """1 if the last `replay --verify` gave what is live, 0 if not."""


class Telemetry:
    """Where running code reports to; this one hears nothing, so that tests and commands need no metrics.

    Every call returns at once and never raises. A word outside its closed set counts as `other`.
    """

    def poll_finished(self, outcome: str) -> None:
        """One GET of the queue ended: one of POLL_OUTCOMES."""

    def messages_received(self, transaction: str, count: int = 1) -> None:
        """Messages came out of the queue, redelivered ones too: one of MESSAGE_TYPES, else `unknown`."""

    def message_duplicate(self, count: int = 1) -> None:
        """Messages came that the log already holds (R22)."""

    def message_quarantined(self, reason: str) -> None:
        """A message could not be taken: one of QUARANTINE_REASONS."""

    def message_deleted(self, outcome: str) -> None:
        """One DELETE ended, or was not tried: one of DELETE_OUTCOMES."""

    def message_age(self, seconds: float) -> None:
        """From a message's SentTimestamp to its append (R24)."""

    def receive_count(self, count: int) -> None:
        """How often the bridge says it has handed out a message that was received now (R23)."""

    def receive_to_delete(self, seconds: float) -> None:
        """From sending the GET to the end of a message's DELETE (R21)."""

    def append_finished(self, seconds: float) -> None:
        """One commit of the log took this long, its fsync included."""

    def log_position(self, position: int, size_bytes: int) -> None:
        """The log's last position and its size on disk."""

    def projection_lag(self, events: int) -> None:
        """Events in the log that no actor has folded and decided yet."""

    def actors(self, count: int) -> None:
        """Tickets being worked on now."""

    def tickets_counted(self, ticket_type: str, state: str, count: int) -> None:
        """That many tickets are in this state: said at start, before the first change."""

    def ticket_changed(self, before: tuple[str, str | None] | None, after: tuple[str, str | None] | None) -> None:
        """A ticket (type, state) came into being (`before` None), went from one state to another, or went into another
        one (`after` None)."""

    def anomaly(self, code: str) -> None:
        """A fact the protocol does not foresee was applied and recorded: one of ANOMALY_CODES."""

    def unknown_fields(self, count: int) -> None:
        """That many members of message bodies are none that the guide knows (R45)."""

    def outbox_changed(self, lane: str, before: str | None, after: str | None) -> None:
        """An entry was planned (`before` None), pruned (`after` None) or went from one of ENTRY_STATES to another."""

    def outbox_oldest_due(self, lane: str, due_at: int | None) -> None:
        """When the lane's oldest due entry became due, microseconds UTC; None when nothing is due."""

    def effect_finished(self, kind: str, outcome: str, seconds: float, *, position: int, reason: str = "") -> None:
        """One attempt of an effect ended: one of EFFECT_KINDS, one of EFFECT_OUTCOMES, and of LOSS_REASONS where that
        is one of LOSSES. The event at `position` is its cause."""

    def arrived(self, direction: str, seconds: float, *, position: int) -> None:
        """What the event at `position` asked for was done: one of DIRECTIONS, so long after it was recorded."""

    def breaker(self, destination: str, *, is_open: bool) -> None:
        """A destination's breaker opened or closed: one of DESTINATIONS."""

    def paused(self, what: str, count: int) -> None:
        """So many of one of PAUSABLE, or tickets, are paused now: of a destination one or none."""

    def bridge_called(self, call: str, status: int | None, seconds: float) -> None:
        """A call of the bridge, one of BRIDGE_CALLS, ended with that status, None for no answer."""

    def quarantine_counted(self, count: int) -> None:
        """So many messages wait in quarantine."""

    def external_received(self, source: str, outcome: str) -> None:
        """A news of the desk's came: one of NEWS_OUTCOMES."""

    def desk_polled(self, source: str, outcome: str, *, whole_at: int | None) -> None:
        """A desk was asked for what changed: one of DESK_POLL_OUTCOMES, and when that began, in microseconds UTC, if it
        was told everything."""

    def hook_answered(self, source: str, status: int, seconds: float) -> None:
        """A post of that source was answered, with one of HOOK_CODES."""

    def watch(self, reading: Reading, read: Read) -> None:
        """Ask `read` at every scrape; it must be quick."""

    def web_refused(self, reason: str) -> None:
        """The built-in HTTP server turned somebody away: one of WEB_REFUSALS."""
