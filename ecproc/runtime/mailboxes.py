"""Mailboxes: which events wait for which stream, which streams go next, and what is kept of them in memory. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Sequence
from typing import Final, Generic, Protocol, TypeVar

from ecproc.config import Limits
from ecproc.domain.log import RecordedEvent

_COPIES: Final = 8
"""About how many times its bytes a message takes while it is decided: as a fact, a decision, rows, and what is written
of these."""
_FIRST_BYTES: Final = 64 * 1024.0
"""How large messages are held to be while none was seen."""
_REMEMBERED: Final = 16
"""Over how many messages their size is averaged."""


class _Fold(Protocol):
    """What a stream is read into: `seen` is the last version of it."""

    @property
    def seen(self) -> int: ...

    def extend(self, events: Sequence[RecordedEvent]) -> object: ...


_F = TypeVar("_F", bound=_Fold)


class Mailboxes(Generic[_F]):
    """Says which streams to start, and reads what waits of each into its fold: in the order of versions, without a gap.

    A stream that was started is its starter's alone until `finish`. The log is the overflow buffer: of a stream for
    which an event found no room in memory, the log is to be read. `parked` streams are not started again; `active` is
    how many are started, `held` how many events are in memory, `lag` how many of those delivered wait for a decision.
    Folds are kept up to a number and up to what they `weigh` together, in bytes.
    """

    def __init__(
        self, open_fold: Callable[[str], _F], limits: Limits, *, weigh: Callable[[_F], int] = lambda fold: 0
    ) -> None:
        self.parked: set[str] = set()
        self.active = self.held = self.lag = 0
        self._open_fold = open_fold
        self._limits = limits
        self._weigh = weigh
        self._weights, self._weight, self._held_bytes = dict[str, int](), 0, 0
        self._usual = _FIRST_BYTES
        self._boxes: dict[str, _Box[_F]] = {}
        self._folds: dict[str, _F] = {}
        self._ready, self._oldest = deque[str](), dict[str, int]()

    @property
    def idle(self) -> bool:
        """Whether no stream was started and none waits for it."""
        return self.active == 0 and not self._ready

    @property
    def oldest(self) -> int | None:
        """When the oldest event that waits for a decision was recorded, microseconds UTC."""
        return min((at for stream, at in self._oldest.items() if stream not in self.parked), default=None)

    # --- what comes ---

    def put(self, events: Sequence[RecordedEvent], *, wake: bool) -> None:
        """Take events that were appended, of each stream in any order; those that `wake` want a decision."""
        for event in events:
            box = self._box(event.stream)
            if event.version not in box.events:
                if event.stream in self.parked or not self._has_room(event):
                    box.overflown = True
                else:
                    box.events[event.version] = event
                    self._hold(event)
            if wake:
                self._note_size(len(event.payload))
                self.lag += 1
                box.wanted = True
                self._oldest.setdefault(event.stream, event.at)
            if box.wanted and not box.busy:  # or what was missing before it has come now
                self._wake(event.stream, box)

    def wake_in_log(self, stream: str, now: int) -> None:
        """Take what stands of the stream, parked or not, in the log, and wants a decision."""
        self.parked.discard(stream)
        self._oldest.setdefault(stream, now)
        box = self._box(stream)
        box.overflown = True
        self._wake(stream, box)

    # --- which streams to start ---

    def start_ready(self, asked: Collection[str] = ()) -> list[str]:
        """The streams to start now, as woken: those `asked` for, and as many as there may be, fewer of large ones."""
        streams: list[str] = []
        if asked:
            streams, self._ready = _pick(self._ready, asked)
            self.active += len(streams)
        fitting = int(self._limits.events_bytes / max(1.0, _COPIES * self._usual))
        at_once = max(1, min(self._limits.actors_at_once, fitting))
        while self._ready and self.active < at_once:
            streams.append(self._ready.popleft())
            self.active += 1
        return streams

    def finish(self, streams: Sequence[str]) -> None:
        """Give back started streams, of which nothing waits that could be decided now."""
        for stream in streams:
            box = self._boxes[stream]
            if box.fold is not None and stream in self._folds:  # it has grown meanwhile
                self._put_fold(stream, box.fold)
            box.busy, box.fold = False, None
            if not box.events:
                self._oldest.pop(stream, None)
                if not box.overflown:
                    del self._boxes[stream]
        self.active -= len(streams)

    def park(self, stream: str) -> None:
        """Stop a stream at this version: what waits of it, and what will come, is left to the log."""
        box = self._boxes[stream]
        self.parked.add(stream)
        self._drop_fold(stream)
        for event in box.events.values():
            self._hold(event, sign=-1)
        box.events.clear()
        box.overflown = True

    def is_at_rest(self, stream: str) -> bool:
        """Whether the stream was not started and does not wait for it."""
        box = self._boxes.get(stream)
        return box is None or not box.busy

    def count_decided(self, events: int) -> None:
        """So many events fewer wait for a decision."""
        self.lag = max(0, self.lag - events)

    def borrow(self, stream: str) -> _F | None:
        """Start a stream at once, before all that wait, and give its fold with what waits read into it; None where that
        cannot be. Of a stream that is not held it is a new one, whatever the log has, and is kept only by `keep`."""
        box, fold = self._boxes.get(stream), self._folds.get(stream)
        if stream in self.parked or (box is not None and (fold is None or box.busy or box.overflown)):
            return None
        box = self._box(stream)
        box.busy, box.fold = True, fold or self._open_fold(stream)
        self.active += 1
        return self.read(stream)

    # --- what to read of a started stream ---

    def read(self, stream: str) -> _F | None:
        """The stream's fold with everything that waits read into it; None if the log has to be read for that."""
        box = self._boxes[stream]
        fold = box.fold or self._folds.get(stream)
        if fold is None and 1 in box.events:
            fold = self._open_fold(stream)
        if fold is None or box.overflown:
            return None
        if box.fold is None:
            self.keep(stream, fold)
        if box.events:
            seen, popped = fold.seen, box.pop_next(fold.seen)
            for event in popped:
                self._hold(event, sign=-1)
            if popped and stream in self._oldest:  # what was read before is decided
                self._oldest[stream] = popped[0].at
            fold.extend([event for event in popped if event.version > seen])
        box.wanted = box.wanted and bool(box.events)
        return fold

    def needs_log(self, stream: str) -> bool:
        """Whether `read` needs something that stands in the log only."""
        box = self._boxes[stream]
        return box.overflown or box.fold is None

    def begin_log(self, stream: str) -> _F | None:
        """The fold to go on with, if one is kept: from now on all that comes counts as not read in the log."""
        box = self._boxes[stream]
        box.overflown = False
        return box.fold or self._folds.get(stream)

    def keep(self, stream: str, fold: _F) -> None:
        """Keep the fold until the stream is given back, and for as long as it is among those used last."""
        self._boxes[stream].fold = fold
        self._put_fold(stream, fold)
        self._note_size(max(self._usual, self._weights.get(stream, 0)))

    def forget(self, stream: str) -> None:
        """Drop a fold that went further than the log did: the stream is to be read again."""
        box = self._boxes[stream]
        self._drop_fold(stream)
        box.overflown, box.fold = True, None

    def _put_fold(self, stream: str, fold: _F) -> None:
        """Keep it as the one used last, and of the others as many as there may be beside it."""
        self._drop_fold(stream)
        weight = self._weights[stream] = self._weigh(fold)
        self._weight += weight
        self._folds[stream] = fold
        limits = self._limits
        while len(self._folds) > limits.states_held or (self._weight > limits.states_bytes and len(self._folds) > 1):
            self._drop_fold(next(iter(self._folds)))

    def _drop_fold(self, stream: str) -> None:
        if self._folds.pop(stream, None) is not None:
            self._weight -= self._weights.pop(stream)

    def _note_size(self, size: float) -> None:
        self._usual += (size - self._usual) / _REMEMBERED

    def _has_room(self, event: RecordedEvent) -> bool:
        if self.held >= self._limits.events_held:
            return False
        return not self.held or self._held_bytes + len(event.payload) <= self._limits.events_bytes

    def _hold(self, event: RecordedEvent, *, sign: int = 1) -> None:
        self.held += sign
        self._held_bytes += sign * len(event.payload)

    def _box(self, stream: str) -> _Box[_F]:
        box = self._boxes.get(stream)
        if box is None:
            box = self._boxes[stream] = _Box()
        return box

    def _wake(self, stream: str, box: _Box[_F]) -> None:
        if not box.busy and stream not in self.parked:
            box.busy = True
            self._ready.append(stream)


def _pick(ready: deque[str], asked: Collection[str]) -> tuple[list[str], deque[str]]:
    """Those of the streams that are asked for, as they are, and the others, in a time that grows with either."""
    others = set(ready)
    picked = [stream for stream in asked if stream in others]
    others.difference_update(picked)
    return picked, deque([stream for stream in ready if stream in others])


class _Box(Generic[_F]):
    """Events of one stream that were not read, by version, and whether one of them wants a decision; its fold, from
    when it is started until it is given back."""

    __slots__ = ("busy", "events", "fold", "overflown", "wanted")

    def __init__(self) -> None:
        self.events: dict[int, RecordedEvent] = {}
        self.busy = False
        self.fold: _F | None = None
        self.overflown = False
        self.wanted = False

    def pop_next(self, after: int) -> list[RecordedEvent]:
        """Out of it: the events that follow on that version, without a gap, and those that stand before them."""
        popped: list[RecordedEvent] = []
        following = after + 1
        for version in sorted(self.events):
            if version > following:
                break
            popped.append(self.events.pop(version))
            following += version == following
        return popped
