"""The readers' pace: when to ask the queue again, and how many at a time; told what came of the last calls. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum, auto
from random import Random
from typing import Final

from ecproc.domain.queue import DeleteOutcome, PollOutcome

PER_ANSWER: Final = 10
"""Messages that one GET brings at most (R13)."""
_BATCHES_A_READER: Final = 2
"""Answers that a reader holds or asks for: the next one comes while the last one is being deleted."""
_FIRST_BACK_OFF: Final = 0.5
"""Seconds, the longest pause after a first trouble; the next ones double it."""
_LONGEST_BACK_OFF: Final = 60.0
"""Seconds, the longest pause after any number of troubles."""
_CERTAIN_SHARE: Final = 0.5
"""How much of a back-off is waited in any case; the rest is chance."""
_TROUBLES_COUNTED: Final = 10
"""Troubles in a row that are told apart; the back-off is at its longest before that."""
_REFUSED_AS: Final = 6
"""Troubles that a refusal counts as: a wrong key or path is not put right within seconds."""
_NO_ROOM_PAUSE: Final = 1.0
"""Seconds until the store is asked again whether it has room."""
_IDLE_JITTER: Final = 0.1
"""The share by which the interval between looks at an empty queue differs, either way."""
_DELETES_REMEMBERED: Final = 10_000
_NEVER: Final = float("-inf")


_OUT_OF_TIME: Final = frozenset({DeleteOutcome.SKIPPED, DeleteOutcome.EXPIRED})


class Move(Enum):
    """What a reader does whose last answer is a reason to ask again at once."""

    STAY = auto()
    CALL_IN = auto()
    """Go on, beside one more reader."""
    LEAVE = auto()


class Pace:
    """Says when to read how much. Times come in as monotonic seconds.

    A *look* goes from its first GET to the moment when no reader has a reason to ask again at once: one reader while
    the queue is idle, more as messages come. The messages held or asked for are two batches a reader at most. A look
    that brought nothing fresh and freed nothing is followed by a longer pause each time (decision 23).
    """

    def __init__(self, *, max_readers: int, visibility: float, rng: Random, now: float) -> None:
        self.stopping = False
        self._max_readers = max_readers
        self._allowed = max_readers
        self._rng = rng
        self._readers = 0
        self._held = 0
        self._failing = _BackOff()
        self._stalling = _BackOff()
        self._pause = 0.0
        self._held_by_bridge = False
        self._hurried = False
        self.emptied = float("-inf")
        self._proof = _Proof(visibility, now)
        self._gone = _Gone(max_readers)

    # --- looks and readers ---

    def begin_look(self) -> None:
        """Begin with one reader."""
        self._readers = 1
        self._pause = 0.0
        self._held_by_bridge = self._hurried = False

    def end_look(self, interval: float) -> float:
        """The seconds to wait for the next look, unless `hurried`; about `interval` where nothing went wrong."""
        self._failing.end_look()
        self._stalling.end_look()
        return self._pause or interval * self._rng.uniform(1 - _IDLE_JITTER, 1 + _IDLE_JITTER)

    def hurried(self) -> bool:
        """Whether the pause after a look is over before its time."""
        return self._hurried or self.stopping

    def hurry(self) -> None:
        """Look again at once."""
        self._hurried = True

    def try_now(self) -> None:
        """The same, for what the bridge refused has changed."""
        self._failing.forget()
        self.hurry()

    def has_room(self) -> bool:
        """Whether what is held leaves room for what one more GET may bring."""
        return self._held + PER_ANSWER <= _BATCHES_A_READER * PER_ANSWER * self._allowed

    def ask(self, *, writable: bool) -> bool:
        """Whether to send a GET now (I0); it is counted as bringing all it may until its end is told."""
        if self.stopping or self._held_by_bridge:
            return False
        if not writable:
            self._wait(_NO_ROOM_PAUSE)
            return False
        self._held += PER_ANSWER
        return True

    def next_move(self) -> Move:
        """What the reader does after an answer that is a reason to ask again at once."""
        if self._readers > self._allowed:
            return Move.LEAVE
        if self._readers == self._allowed:
            return Move.STAY
        self._readers += 1
        return Move.CALL_IN

    def leave(self) -> None:
        """Count a reader out: it has no reason to ask again at once."""
        self._readers -= 1

    # --- how a GET ended ---

    def lose_answer(self, now: float) -> None:
        """It was interrupted: what it held, nobody knows."""
        self.release(PER_ANSWER)
        self._proof.begin_anew(now)

    def take_trouble(self, outcome: PollOutcome, *, retry_after: float | None, now: float) -> float:
        """It brought nothing usable: the seconds to wait, at least those that the bridge asked for.

        What the bridge says about all our calls (throttled, refused, a wish to wait) holds back all readers.
        """
        self.lose_answer(now)
        self._held_by_bridge |= outcome is not PollOutcome.ERROR or retry_after is not None
        if outcome is PollOutcome.REFUSED:
            self._failing.count_at_least(_REFUSED_AS)
        return self._wait(max(retry_after or 0.0, self._failing.draw(self._rng)))

    def take_empty(self, started: float) -> None:
        """It was sent at `started`, and there was nothing to receive."""
        self.release(PER_ANSWER)
        self._failing.forget()
        self._proof.see_empty(started)
        self.emptied = max(self.emptied, started)

    def take_messages(self, count: int, *, now: float) -> None:
        """It brought so many; each is held until its `release`."""
        self._held += count - PER_ANSWER
        self._failing.forget()
        self._proof.begin_anew(now)

    # --- what became of its messages ---

    def take_fresh(self) -> None:
        """Something of them was new to the log."""
        self._stalling.forget()

    def take_known(self, outcomes: Sequence[DeleteOutcome]) -> bool:
        """All of them were in the log already: whether one is gone from the queue at least; a stall if none is."""
        if DeleteOutcome.DELETED in outcomes:
            self._stalling.forget()
            return True
        self._wait(self._stalling.draw(self._rng))
        return False

    def release(self, messages: int) -> None:
        """So many are held or asked for no more."""
        self._held -= messages

    def end_deletes(
        self, keys: Sequence[bytes], outcomes: Sequence[DeleteOutcome], *, started: float, now: float
    ) -> list[DeleteOutcome]:
        """What became of a batch that came with the GET sent at `started`; what came back is marked as returned.

        Halves the readers when a delivery's time ran out, for it comes again and costs one of twenty receives (R23);
        gives one back for every batch that was in time.
        """
        if _OUT_OF_TIME.isdisjoint(outcomes):
            self._allowed = min(self._max_readers, self._allowed + 1)
        else:
            self._allowed = max(1, self._allowed // 2)
        return [
            DeleteOutcome.RETURNED
            if outcome is DeleteOutcome.DELETED and not self._gone.take(key, started=started, now=now)
            else outcome
            for key, outcome in zip(keys, outcomes, strict=True)
        ]

    # --- what may be known of the queue ---

    @property
    def drained(self) -> bool:
        """Whether the queue answered empty for a whole visibility window since a GET that was anything else."""
        return self._readers == 0 and self._held == 0 and self._proof.complete

    def _wait(self, seconds: float) -> float:
        self._pause = max(self._pause, seconds)
        return seconds


class _BackOff:
    """Pauses that grow with the troubles in a row; one that meets all readers of a look is one."""

    __slots__ = ("_met", "_troubles")

    def __init__(self) -> None:
        self._troubles = 0
        self._met = False

    def draw(self, rng: Random) -> float:
        """Count a trouble in this look, and give the seconds to wait for it."""
        self._met = True
        longest = min(_LONGEST_BACK_OFF, _FIRST_BACK_OFF * 2**self._troubles)
        return rng.uniform(longest * _CERTAIN_SHARE, longest)

    def count_at_least(self, troubles: int) -> None:
        self._troubles = max(self._troubles, troubles)

    def forget(self) -> None:
        self._troubles = 0

    def end_look(self) -> None:
        self._troubles = min(self._troubles + self._met, _TROUBLES_COUNTED)
        self._met = False


class _Proof:
    """Whether the queue was seen empty after whatever was hidden in it must have shown itself."""

    __slots__ = ("_began", "_empty", "_visibility")

    def __init__(self, visibility: float, now: float) -> None:
        self._visibility = visibility
        self._began = now
        self._empty = _NEVER

    def begin_anew(self, now: float) -> None:
        self._began = now

    def see_empty(self, started: float) -> None:
        self._empty = max(self._empty, started)

    @property
    def complete(self) -> bool:
        return self._empty >= self._began + self._visibility


class _Gone:
    """The last deletes by dedupe key: when each was accepted, and how often."""

    __slots__ = ("_deletes", "_most")

    def __init__(self, most: int) -> None:
        self._deletes: dict[bytes, tuple[float, int]] = {}
        self._most = most

    def take(self, key: bytes, *, started: float, now: float) -> bool:
        """Whether the message is gone by the delete: it was not deleted before the GET that brought it now, nor more
        often than there are readers for it."""
        before, times = self._deletes.pop(key, (_NEVER, 0))
        self._deletes[key] = (now, times + 1)
        if len(self._deletes) > _DELETES_REMEMBERED:
            del self._deletes[next(iter(self._deletes))]
        return times == 0 or (before > started and times < self._most)
