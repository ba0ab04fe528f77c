"""What goes wrong, how often, and when: seeded, and exact enough that a run can count on it."""

from __future__ import annotations

from collections import Counter
from enum import StrEnum
from math import ceil
from random import Random
from typing import TypeVar

import msgspec

F = TypeVar("F", bound=StrEnum)


class CallKind(StrEnum):
    """The three kinds of calls that have their own faults; `files` are pre-signed downloads and uploads."""

    QUEUE = "queue"
    TICKETS = "tickets"
    FILES = "files"


class Fault(StrEnum):
    """What can happen to one call, and in what order it is tried when several are due."""

    ERROR_BEFORE = "error_before"
    THROTTLE = "throttle"
    HANG = "hang"
    LATE = "late"
    LOST = "lost"
    ERROR_AFTER = "error_after"
    GARBAGE = "garbage"


class QueueFault(StrEnum):
    """What can happen to one message at its delete."""

    DUPLICATE = "duplicate"
    UNDELETED = "undeleted"
    EXPIRED_HANDLE = "expired_handle"


class CallFaults(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Shares (0 to 1) of one lane's calls; error_before, throttle and hang are not applied, the others are.

    `hang` gives no answer for `hang_seconds`, then closes; `late` does so too, and takes effect some time within
    `late_seconds`; `lost` closes at once; `garbage` answers 200 with no JSON.
    `latency` is the range in seconds that every answer of the lane takes.
    """

    error_before: float = 0.0
    throttle: float = 0.0
    hang: float = 0.0
    late: float = 0.0
    lost: float = 0.0
    error_after: float = 0.0
    garbage: float = 0.0
    latency: tuple[float, float] = (0.0, 0.0)


class MessageFaults(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Shares (0 to 1) of the deletes of a message.

    `duplicate`: deleted, yet delivered once more. `undeleted`: answered 200, not applied. `expired_handle`: refused
    with the documented body, not applied.
    """

    duplicate: float = 0.0
    undeleted: float = 0.0
    expired_handle: float = 0.0


class FaultPlan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All rates of a simulator; `retry_after` in seconds goes with 429."""

    queue: CallFaults = CallFaults()
    tickets: CallFaults = CallFaults()
    files: CallFaults = CallFaults()
    messages: MessageFaults = MessageFaults()
    hang_seconds: float = 60.0
    late_seconds: tuple[float, float] = (1.0, 240.0)
    retry_after: int = 1


NONE = FaultPlan()
MILD = FaultPlan(
    queue=CallFaults(
        error_before=0.01, throttle=0.005, lost=0.01, error_after=0.01, garbage=0.005, latency=(0.0, 0.005)
    ),
    tickets=CallFaults(error_before=0.02, throttle=0.01, latency=(0.001, 0.01)),
    files=CallFaults(error_before=0.03, lost=0.02, latency=(0.001, 0.02)),
    messages=MessageFaults(duplicate=0.04, undeleted=0.01, expired_handle=0.005),
)
"""Enough of everything to see it: 4 % of the messages come once more after their delete."""
PRESETS = {"none": NONE, "mild": MILD}


class Quota:
    """Fires `rate` times per call on average, once in each stretch of 1/rate calls, at a random place in it.

    So n calls see at least floor(n * rate) of it, whatever the seed.
    """

    def __init__(self, rate: float, rng: Random) -> None:
        self._stretch = 1 / rate if rate > 0 else float("inf")
        self._rng = rng
        self._calls = 0
        self._fired = 0
        self._next = self._pick_next()

    def advance(self) -> bool:
        """Count one call and say whether the fault is due; it stays due until it is taken."""
        self._calls += 1
        return self._calls >= self._next

    def take(self) -> None:
        """Let the due fault happen now."""
        self._fired += 1
        self._next = self._pick_next()

    def _pick_next(self) -> float:
        if self._stretch == float("inf"):
            return self._stretch
        return max(1, ceil(self._stretch * (self._fired + self._rng.random())))


class FaultSource:
    """Decides about each call and each delete by the plan that holds now; counts what it let happen."""

    def __init__(self, plan: FaultPlan, rng: Random) -> None:
        self._rng = rng
        self.counts: Counter[str] = Counter()
        self.change_plan(plan)

    def change_plan(self, plan: FaultPlan) -> None:
        """Follow another plan from now on; counting starts anew, counts stay."""
        self.plan = plan
        lanes = {CallKind.QUEUE: plan.queue, CallKind.TICKETS: plan.tickets, CallKind.FILES: plan.files}
        self._latencies = {lane: faults.latency for lane, faults in lanes.items()}
        self._calls = {
            lane: {fault: Quota(getattr(faults, fault), self._rng) for fault in Fault} for lane, faults in lanes.items()
        }
        self._messages = {fault: Quota(getattr(plan.messages, fault), self._rng) for fault in QueueFault}

    def draw_call(self, lane: CallKind) -> Fault | None:
        """Give the fault that happens to this call of the lane."""
        fault = _take_first_due(self._calls[lane])
        if fault is not None:
            self.counts[f"{lane}.{fault}"] += 1
        return fault

    def draw_delete(self) -> QueueFault | None:
        """Give the fault that happens to this delete of a message."""
        fault = _take_first_due(self._messages)
        if fault is not None:
            self.counts[f"messages.{fault}"] += 1
        return fault

    def draw_latency(self, lane: CallKind) -> float:
        """Give the seconds this answer takes."""
        low, high = self._latencies[lane]
        return self._rng.uniform(low, high) if high > 0 else 0.0

    def draw_lateness(self) -> float:
        """Give the seconds after which a late request takes effect."""
        return self._rng.uniform(*self.plan.late_seconds)

    def draw_server_error(self) -> int:
        """Give one of the 5xx statuses a gateway answers with."""
        return self._rng.choice((500, 502, 503, 504))


def _take_first_due(quotas: dict[F, Quota]) -> F | None:
    due = [fault for fault, quota in quotas.items() if quota.advance()]
    if not due:
        return None
    quotas[due[0]].take()
    return due[0]
