"""What tells of somebody else who reads the queue: messages that were handed out before, and not to us. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from ecproc.wire.queue import Envelope


class Receipts:
    """What is counted from a time on, in microseconds UTC (see `ReceiptWindow`).

    Of a message that was handed out first before that time nothing is said: it may have been to a former process of
    ours, or to the integration that was here before.
    """

    def __init__(self, since: int) -> None:
        self.since = since
        self.again = self.known = self.failed = self.last = 0

    def take(self, messages: Sequence[Envelope], *, duplicates: int, now: int) -> None:
        """Count an answer's messages, of which so many were in the log already."""
        self.known += duplicates
        again = sum([_is_again(message, self.since) for message in messages])
        if again:
            self.again += again
            self.last = now

    def fail(self) -> None:
        """Count a GET of which nobody knows what it hid."""
        self.failed += 1


def _is_again(message: Envelope, since: int) -> bool:
    count, first = message.receive_count, message.first_received_ms
    return count is not None and count > 1 and first is not None and first * 1000 >= since
