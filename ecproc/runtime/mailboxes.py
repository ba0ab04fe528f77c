"""Mailboxes: which events wait for which stream, which streams go next, and what is kept of them in memory. Pure."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeVar

from ecproc.config import Limits
from ecproc.domain.log import RecordedEvent


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
    """

    def __init__(self, open_fold: Callable[[str], _F], limits: Limits) -> None:
        self.parked: set[str] = set()
        self.active = 0
        self.held = 0
        self.lag = 0
        self._open_fold = open_fold
        self._limits = limits
        self._boxes: dict[str, _Box[_F]] = {}
        self._folds: OrderedDict[str, _F] = OrderedDict()
        self._ready: deque[str] = deque()

    @property
    def idle(self) -> bool:
        """Whether no stream was started and none waits for it."""
        return self.active == 0 and not self._ready

    # --- what comes ---

    def put(self, events: Sequence[RecordedEvent], *, wake: bool) -> None:
        """Take events that were appended, of each stream in any order; those that `wake` want a decision."""
        for event in events:
            box = self._box(event.stream)
            if event.version not in box.events:
                if self.held >= self._limits.events_held or event.stream in self.parked:
                    box.overflown = True
                else:
                    box.events[event.version] = event
                    self.held += 1
            if wake:
                self.lag += 1
                box.wanted = True
            if box.wanted and not box.busy:  # or what was missing before it has come now
                self._wake(event.stream, box)

    def wake_in_log(self, stream: str) -> None:
        """Take what stands of the stream in the log, and wants a decision."""
        box = self._box(stream)
        box.overflown = True
        self._wake(stream, box)

    # --- which streams to start ---

    def start_ready(self) -> list[str]:
        """The streams to start now, in the order in which they were woken; as many as there may be at once."""
        streams: list[str] = []
        while self._ready and self.active < self._limits.actors_at_once:
            streams.append(self._ready.popleft())
            self.active += 1
        return streams

    def finish(self, streams: Sequence[str]) -> None:
        """Give back started streams, of which nothing waits that could be decided now."""
        for stream in streams:
            box = self._boxes[stream]
            box.busy, box.fold = False, None
            if not box.events and not box.overflown:
                del self._boxes[stream]
        self.active -= len(streams)

    def park(self, stream: str) -> None:
        """Stop a stream at this version: what waits of it, and what will come, is left to the log."""
        box = self._boxes[stream]
        self.parked.add(stream)
        self._folds.pop(stream, None)
        self.held -= len(box.events)
        box.events.clear()
        box.overflown = True

    def count_decided(self, events: int) -> None:
        """So many events fewer wait for a decision."""
        self.lag = max(0, self.lag - events)

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
            fold.extend(self._take_next(box, after=fold.seen))
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
        self._folds[stream] = fold
        self._folds.move_to_end(stream)
        while len(self._folds) > self._limits.states_held:
            self._folds.popitem(last=False)

    def forget(self, stream: str) -> None:
        """Drop a fold that went further than the log did: the stream is to be read again."""
        box = self._boxes[stream]
        self._folds.pop(stream, None)
        box.overflown, box.fold = True, None

    def _box(self, stream: str) -> _Box[_F]:
        box = self._boxes.get(stream)
        if box is None:
            box = self._boxes[stream] = _Box()
        return box

    def _wake(self, stream: str, box: _Box[_F]) -> None:
        if not box.busy and stream not in self.parked:
            box.busy = True
            self._ready.append(stream)

    def _take_next(self, box: _Box[_F], *, after: int) -> list[RecordedEvent]:
        """Out of the mailbox: the events that follow on that version, without a gap."""
        taken: list[RecordedEvent] = []
        for version in sorted(box.events):
            following = after + len(taken) + 1
            if version > following:
                break
            event = box.events.pop(version)
            self.held -= 1
            if version == following:
                taken.append(event)
        return taken


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
