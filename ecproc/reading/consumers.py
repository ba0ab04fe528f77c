"""Whether somebody else reads the queue. Two kinds of evidence, each sound, and neither complete: whoever reads it and
is never in our way leaves none.

By the log: three tickets or more whose Create never came although the queue was being read when they were opened, since
other messages were appended within an hour before and after. Only a delete by somebody else, or twenty receives, takes
a message out of a queue that is read.
By what the processor counted (see `ReceiptWindow`): a message that is handed out for the second time was handed out
before. That it was to us is known where the log had it, or a GET of ours failed in the moment when it was handed out
first; and a GET for each reader may have been on its way when the window began, with ten messages at most. What was
handed out again beyond all that was handed to somebody else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from ecproc.domain.times import format_time
from ecproc.store.receipts import ReceiptWindow

FEW_MISSED: Final = 3
"""How many Creates that never came are no accident."""
HANDED_OUT: Final = 10
"""Messages that one GET takes at most (R13)."""
TOLD: Final = 3 * 24 * 3_600 * 1_000_000
"""Microseconds for which it is told what was counted: who has ended the other one is not told of it for ever."""


class Evidence(msgspec.Struct, frozen=True):
    """Why there is a second consumer, and since when, RFC 3339."""

    detail: str
    since: str


def judge_consumers(missed: Sequence[int], windows: Sequence[ReceiptWindow], *, now: int) -> Iterator[Evidence]:
    """Whether somebody else reads the queue: `missed` are the times, in microseconds UTC, when tickets were opened
    whose Create never came while we read."""
    if len(missed) >= FEW_MISSED:
        detail = f"{len(missed)} Creates never came although the queue was read when their tickets were opened"
        yield Evidence(detail, format_time(min(missed)))
    odd = [window for window in windows if now - window.last < TOLD and window.again > _count_ours(window)]
    if odd:
        newest = odd[-1]
        detail = (
            f"{newest.again} messages had been handed out before, and at most {_count_ours(newest)} of them to this"
            f" processor, the last one at {format_time(newest.last)[:19]}Z"
        )
        yield Evidence(detail, format_time(odd[0].since))


def _count_ours(window: ReceiptWindow) -> int:
    """How many of the deliveries that were not the first may have followed one to us."""
    return window.known + window.lost + HANDED_OUT * window.readers
