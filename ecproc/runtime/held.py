"""Messages that were received and are not known to have left the queue: how near the first of them is to being lost.

At its twentieth receive, or four days after it was sent, the queue drops a message (R23, R24). Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Final, NamedTuple

from ecproc.domain.queue import DeleteOutcome
from ecproc.wire.queue import Envelope

RECEIVES: Final = 20
"""The receive after which a message goes to the failure queue (R23)."""
KEPT_SECONDS: Final = 4 * 86_400
"""How long the queue keeps a message (R24)."""

_MOST: Final = 10_000


class _Held(NamedTuple):
    receives: int | None
    sent_ms: int | None
    since: float


class Undeleted:
    """Those messages, by their keys. Times come in as monotonic seconds, moments as microseconds UTC.

    One leaves when it is deleted, and when the queue answers empty at a time when it would show it: then it is gone,
    whatever became of the answer to its DELETE.
    """

    def __init__(self, visibility: float) -> None:
        self._visibility = visibility
        self._held: dict[bytes, _Held] = {}

    def take(self, messages: Iterable[Envelope], now: float) -> None:
        """These were received; of one that is held already this delivery counts."""
        held = self._held
        for message in messages:
            key = message.key
            held.pop(key, None)
            held[key] = _Held(message.receive_count, message.sent_ms, now)
        for key in list(islice(held, max(0, len(held) - _MOST))):
            del held[key]

    def end(self, keys: Sequence[bytes], outcomes: Iterable[DeleteOutcome]) -> None:
        """What became of the DELETEs of those with these keys."""
        for key, outcome in zip(keys, outcomes, strict=True):
            if outcome is DeleteOutcome.DELETED:
                self._held.pop(key, None)

    def see_empty(self, asked: float) -> None:
        """The queue answered empty to a GET that was sent then."""
        if self._held:
            hidden = asked - self._visibility
            self._held = {key: known for key, known in self._held.items() if known.since > hidden}

    def count_receives_left(self) -> int | None:
        """Receives that are left, at the least; None where nothing is held that tells."""
        counts = [known.receives for known in self._held.values() if known.receives is not None]
        return RECEIVES - max(counts) if counts else None

    def count_seconds_left(self, at: int) -> float | None:
        """Seconds until the queue drops the first of them; None where nothing is held that tells."""
        sent = [known.sent_ms for known in self._held.values() if known.sent_ms is not None]
        return min(sent) / 1_000 + KEPT_SECONDS - at / 1_000_000 if sent else None
