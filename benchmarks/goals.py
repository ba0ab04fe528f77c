"""What the figures are held against. A goal is a figure of one run; absolute numbers never gate."""

from __future__ import annotations

from typing import Final

import msgspec

from benchmarks.lab import Row


class Goal(msgspec.Struct, frozen=True):
    """The figure of a row must be at least `bound`, or at most where `at_most` says so."""

    key: str
    bound: float
    at_most: bool = False


GOALS: Final = (
    Goal("e2e_bare", 0.60),
    Goal("e2e_stock", 6),
    Goal("append_grouped", 1.5),
    Goal("append_single", 0.80),
    Goal("append_growth", 0.70),
    Goal("replay_compact", 0.65),
    Goal("replay_compact_raw", 2.2),
    Goal("replay_two", 1.5),
    Goal("replay_rss", 1.2, at_most=True),
    Goal("ticket_warm", 10, at_most=True),
    Goal("ticket_idle", 1024, at_most=True),
    Goal("e2e_latency", 0.80),
    Goal("peer_eventsourcing_save", 5),
    Goal("peer_eventsourcing_replay", 2),
    Goal("peer_emmett_append", 4),
    Goal("peer_emmett_read", 3),
    Goal("peer_sqs_consumer", 3),
    Goal("peer_boto3", 6),
    Goal("peer_aiobotocore", 4),
    Goal("peer_faststream", 4),
)

_BY_KEY: Final = {goal.key: goal for goal in GOALS}


def goal_of(row: Row) -> Goal | None:
    """The goal a row is held against, if there is one."""
    return _BY_KEY.get(row.key)


def is_met(row: Row) -> bool | None:
    """Whether the row's figure reaches its goal; None where it has none."""
    goal = goal_of(row)
    if goal is None or row.figure is None:
        return None
    return row.figure <= goal.bound if goal.at_most else row.figure >= goal.bound
