"""MessageDeduplicationIds: which of the last minutes' messages came with the same one (R41)."""

from __future__ import annotations

from operator import itemgetter
from typing import Final

from ecproc.domain.anomalies import Anomaly
from ecproc.domain.deltas import Delta
from ecproc.domain.events import Message
from ecproc.domain.state import Memory, TicketState, flag

DEDUP_WINDOW: Final = 5 * 60 * 1_000_000
"""Microseconds in which the queue itself drops a repeated MessageDeduplicationId."""

_MANY_DEDUPS: Final = 16
"""Deduplication ids after which those that are older than the window are forgotten."""


def flag_repeated(state: TicketState, message: Message) -> list[Delta]:
    """Flag a deduplication id that another message of the last minutes had: probably the same news twice (R41)."""
    if not message.dedup:
        return []
    known = state.memory.dedups.get(message.dedup)
    remember_dedup(state.memory, message.dedup, message.at)
    if known is None or known <= message.at - DEDUP_WINDOW:
        return []
    detail = "another message of the last five minutes had this MessageDeduplicationId"
    return [flag(state, Anomaly.REPEATED_DEDUP_ID, detail, message.position)]


def remember_dedup(memory: Memory, dedup: int, at: int) -> None:
    """Keep it behind all others, which stand in the order of their times, and forget the oldest: a burst has thousands
    of them within the window."""
    dedups = memory.dedups
    dedups.pop(dedup, None)
    is_newest = not dedups or at >= dedups[next(reversed(dedups))]
    dedups[dedup] = at
    if not is_newest:  # the clock was set back
        dedups = memory.dedups = dict(sorted(dedups.items(), key=itemgetter(1)))
    if len(dedups) > _MANY_DEDUPS:
        oldest = at - DEDUP_WINDOW
        while dedups and dedups[first := next(iter(dedups))] <= oldest:
            del dedups[first]
