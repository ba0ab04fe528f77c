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
    Goal("e2e_limit", 0.60),
    Goal("e2e_frozen", 0.40),
    Goal("e2e_stock", 12),
    Goal("e2e_effects", 0.35),
    Goal("e2e_effects_commits", 0.35, at_most=True),
    Goal("effect_http", 0.35),
    Goal("settle", 0.60),
    Goal("decode_translate", 0.35),
    Goal("append_grouped", 1.5),
    Goal("append_single", 0.80),
    Goal("append_growth", 0.70),
    Goal("replay_written", 0.60),
    Goal("replay_compact", 0.40),
    Goal("replay_compact_raw", 2.2),
    Goal("replay_two", 1.5),
    Goal("replay_rss", 1.2, at_most=True),
    Goal("ticket_warm", 10, at_most=True),
    Goal("ticket_idle", 1024, at_most=True),
    Goal("ticket_cold", 0.40),
    Goal("startup", 4, at_most=True),
    Goal("startup_many", 1.3, at_most=True),
    Goal("e2e_latency", 0.80),
    Goal("scrape_tickets", 3, at_most=True),
    Goal("scrape_ingest", 0.90),
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


def goal_of(key: str) -> Goal | None:
    """The goal that the row of that key is held against, if there is one."""
    return _BY_KEY.get(key)


def is_met(row: Row) -> bool | None:
    """Whether the row's figure reaches its goal; None where it has none."""
    goal = goal_of(row.key)
    if goal is None or row.figure is None:
        return None
    return row.figure <= goal.bound if goal.at_most else row.figure >= goal.bound
