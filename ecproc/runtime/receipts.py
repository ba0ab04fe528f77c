"""What tells of somebody else who reads the queue: messages that were handed out before, and not to us. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

from ecproc.wire.queue import Envelope

HANDED_OUT: Final = 10
"""Messages that one GET takes at most (R13)."""
MARGIN: Final = 60 * 1_000_000
"""Microseconds by which the bridge's clock may differ from ours, or a GET that failed may have been late there."""
_MOST_FAILURES: Final = 4_096


class _Failure:
    """A GET of which nobody knows what it hid: when it was on its way, and how many more it may have hidden."""

    __slots__ = ("began", "ended", "left")

    def __init__(self, began: int, ended: int) -> None:
        self.began, self.ended = began - MARGIN, ended + MARGIN
        self.left = HANDED_OUT


class Receipts:
    """What is counted from a time on, in microseconds UTC (see `ReceiptWindow`).

    Of a message that was handed out first before that time nothing is said: it may have been to a former process of
    ours, or to the integration that was here before. One that was handed out first while a GET of ours failed was
    handed to us and is `lost`, as far as that GET may have taken so many.
    """

    def __init__(self, since: int) -> None:
        self.since = since
        self.again = self.known = self.lost = self.last = 0
        self._failures = deque[_Failure](maxlen=_MOST_FAILURES)

    def take(self, messages: Sequence[Envelope], *, duplicates: int, now: int) -> None:
        """Count an answer's messages, of which so many were in the log already."""
        self.known += duplicates
        for message in messages:
            count, first = message.receive_count, message.first_received_ms
            if count is not None and count > 1 and first is not None and first * 1000 >= self.since:
                self.again += 1
                self.last = now
                self.lost += self._was_lost(first * 1000)

    def fail(self, began: int, ended: int) -> None:
        """Note a GET that brought no answer that could be read."""
        self._failures.append(_Failure(began, ended))

    def _was_lost(self, first: int) -> bool:
        for failure in self._failures:
            if failure.left and failure.began <= first <= failure.ended:
                failure.left -= 1
                return True
        return False
