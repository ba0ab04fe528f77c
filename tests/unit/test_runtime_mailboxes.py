"""Mailboxes over random histories: nothing lost, nothing out of order, one task per stream, and bounds that hold."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from random import Random
from typing import Literal, TypeAlias

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecproc.config import Limits
from ecproc.domain.log import RecordedEvent
from ecproc.runtime.mailboxes import Mailboxes

FACT, QUIET, DECIDED = "fact", "quiet", "decided"
"""What wants a decision, what waits for the next one that does, and a decision."""
STREAMS = ("a", "b", "c", "d")


class Fold:
    """What was read of a stream, which must come in order."""

    def __init__(self, stream: str) -> None:
        self.stream = stream
        self.seen = 0
        self.facts: list[int] = []
        self.through = 0

    @property
    def undecided(self) -> bool:
        return any(version > self.through for version in self.facts)

    def extend(self, events: Sequence[RecordedEvent]) -> None:
        for event in events:
            assert event.stream == self.stream
            assert event.version == self.seen + 1, "read with a gap or twice"
            self.seen = event.version
            if event.kind == FACT:
                self.facts.append(event.version)
            elif event.kind == DECIDED:
                self.through = max(self.through, int(event.payload))


class Reading(msgspec.Struct):
    """A read of the log on its way: what it saw when it was asked for."""

    fold: Fold
    events: list[RecordedEvent]


Stage: TypeAlias = Literal["read", "log"] | Fold | Reading
"""Where a task is with a stream: about to read, about to look in the log, deciding that fold, waiting for the log."""


class History:
    """A log that grows, its events delivered by chance, and tasks that do what the mailboxes say. Raises
    AssertionError."""

    def __init__(self, rng: Random, limits: Limits, *, mailboxes: type[Mailboxes[Fold]] = Mailboxes) -> None:
        self.rng = rng
        self.limits = limits
        self.boxes = mailboxes(Fold, limits)
        self.log: defaultdict[str, list[RecordedEvent]] = defaultdict(list)
        self.through: defaultdict[str, int] = defaultdict(int)
        self.told: defaultdict[str, set[int]] = defaultdict(set)
        self.on_the_way: list[RecordedEvent] = []
        self.tasks: dict[str, Stage] = {}

    def live(self, steps: int) -> None:
        """So much of whatever may happen, then the rest of it."""
        for _ in range(steps):
            work = self.rng.choice((self.append, self.deliver, self.deliver, self.start, self.go_on, self.go_on))
            work()
            self.check()
        self.come_to_rest()
        for stream in STREAMS:  # what waits for the next fact is read with it
            self.on_the_way.append(self.write(stream, FACT))
        self.come_to_rest()
        assert self.boxes.held == 0, "nothing waits, and yet something is held"
        for stream in set(STREAMS) - self.boxes.parked:
            assert self.through[stream] >= self.last_fact(stream), f"lost in {stream}"

    def come_to_rest(self) -> None:
        for _ in range(10_000):
            if self.boxes.idle and not self.on_the_way:
                return
            self.deliver()
            self.start()
            self.go_on()
            self.check()
        raise AssertionError("no rest")

    def check(self) -> None:
        """What holds at any time."""
        assert 0 <= self.boxes.held <= self.limits.events_held, "the bound on events"
        assert len(self.tasks) == self.boxes.active <= self.limits.actors_at_once
        if self.boxes.idle:
            for stream in set(STREAMS) - self.boxes.parked:
                assert self.through[stream] >= self.last_told_fact(stream), f"idle, and {stream} waits"

    def last_fact(self, stream: str) -> int:
        return max((event.version for event in self.log[stream] if event.kind == FACT), default=0)

    def last_told_fact(self, stream: str) -> int:
        """The last fact that was told together with all that comes before it."""
        last = 0
        for event in self.log[stream]:
            if event.version not in self.told[stream]:
                break
            last = event.version if event.kind == FACT else last
        return last

    # --- the log ---

    def write(self, stream: str, kind: str, payload: bytes = b"") -> RecordedEvent:
        version = len(self.log[stream]) + 1
        event = RecordedEvent(0, stream, version, 0, kind, payload, b"")
        self.log[stream].append(event)
        return event

    def append(self) -> None:
        for _ in range(self.rng.randint(1, 3)):
            stream = self.rng.choice(STREAMS)
            kind = self.rng.choice((FACT, FACT, QUIET)) if self.log[stream] else FACT  # a stream begins with a fact
            self.on_the_way.append(self.write(stream, kind))

    def deliver(self) -> None:
        """In any order, and sometimes twice."""
        if not self.on_the_way:
            return
        event = self.rng.choice(self.on_the_way)
        if self.rng.random() < 0.9:
            self.on_the_way.remove(event)
        self.tell(event)

    def tell(self, event: RecordedEvent) -> None:
        self.told[event.stream].add(event.version)
        self.boxes.put([event], wake=event.kind == FACT)

    # --- the tasks ---

    def start(self) -> None:
        for stream in self.boxes.start_ready():
            assert stream not in self.tasks, "two tasks for one stream"
            assert stream not in self.boxes.parked
            self.tasks[stream] = "read"

    def go_on(self) -> None:
        if not self.tasks:
            return
        stream, stage = self.rng.choice(list(self.tasks.items()))
        match stage:
            case "read":
                self.read(stream)
            case "log":
                self.look_in_log(stream)
            case Reading(fold, events):
                fold.extend(events)
                self.boxes.keep(stream, fold)
                self.tasks[stream] = "log"
            case Fold():
                self.decide(stream, stage)

    def read(self, stream: str) -> None:
        if self.rng.random() < 0.01:
            self.boxes.park(stream)
            self.finish(stream)
            return
        fold = self.boxes.read(stream)
        if fold is None:
            self.tasks[stream] = "log"
        elif fold.undecided:
            self.tasks[stream] = fold
        else:
            self.finish(stream)

    def look_in_log(self, stream: str) -> None:
        if self.boxes.needs_log(stream):
            fold = self.boxes.begin_log(stream) or Fold(stream)
            self.tasks[stream] = Reading(fold, self.log[stream][fold.seen :])
        else:
            self.tasks[stream] = "read"

    def decide(self, stream: str, fold: Fold) -> None:
        """Write a decision of all that was read, or of some of it, unless another owner did so before."""
        self.tasks[stream] = "read"
        if self.rng.random() < 0.1 and fold.seen > self.through[stream]:
            self.decide_elsewhere(stream, fold)
        before, fold.through = fold.through, self.rng.choice((fold.seen, fold.facts[-1]))
        if self.through[stream] != before:
            self.boxes.forget(stream)
            return
        self.through[stream] = fold.through
        own = self.write(stream, DECIDED, b"%d" % fold.through)
        self.told[stream].add(own.version)
        if own.version == fold.seen + 1:
            fold.seen += 1
        else:
            self.tell(own)
        if self.rng.random() < 0.1:
            self.tell(self.write(self.rng.choice(STREAMS), FACT))

    def decide_elsewhere(self, stream: str, fold: Fold) -> None:
        self.through[stream] = fold.seen
        event = self.write(stream, DECIDED, b"%d" % fold.seen)
        self.told[stream].add(event.version)  # nobody says so: who loses the fence reads it

    def finish(self, stream: str) -> None:
        del self.tasks[stream]
        self.boxes.finish([stream])


def make_limits(rng: Random) -> Limits:
    return Limits(
        events_held=rng.choice((1, 2, 5, 1000)),
        actors_at_once=rng.choice((1, 2, 50)),
        states_held=rng.choice((1, 2, 50)),
    )


@pytest.mark.requirement("I3", "I7", "I8")
@settings(max_examples=200)
@given(seed=st.integers(0, 2**32))
def test_whatever_happens_each_stream_is_read_in_order_and_none_is_forgotten(seed: int) -> None:
    rng = Random(seed)

    History(rng, make_limits(rng)).live(150)


class Unbounded(Mailboxes[Fold]):
    """Finds room for everything."""

    def put(self, events: Sequence[RecordedEvent], *, wake: bool) -> None:
        self._limits = Limits()
        super().put(events, wake=wake)


class Twofold(Mailboxes[Fold]):
    """Counts an event that is told twice as two."""

    def put(self, events: Sequence[RecordedEvent], *, wake: bool) -> None:
        before = self.held
        super().put(events, wake=wake)
        self.held = min(before + len(events), self._limits.events_held)


class Lossy(Mailboxes[Fold]):
    """Drops what finds no room."""

    def put(self, events: Sequence[RecordedEvent], *, wake: bool) -> None:
        super().put(events, wake=wake)
        for event in events:
            self._boxes[event.stream].overflown = False


class Hasty(Mailboxes[Fold]):
    """Thinks that what came while the log was read was read there."""

    def keep(self, stream: str, fold: Fold) -> None:
        super().keep(stream, fold)
        self._boxes[stream].overflown = False


class Crowded(Mailboxes[Fold]):
    """Starts a stream for each event."""

    def put(self, events: Sequence[RecordedEvent], *, wake: bool) -> None:
        for event in events:
            if wake and event.stream in self._boxes:
                self._boxes[event.stream].busy = False
        super().put(events, wake=wake)


class Deaf(Mailboxes[Fold]):
    """Hears of what wants a decision only at the moment when it comes, though something before it may be missing."""

    def put(self, events: Sequence[RecordedEvent], *, wake: bool) -> None:
        for event in events:
            if not wake and event.stream in self._boxes:
                self._boxes[event.stream].wanted = False
        super().put(events, wake=wake)


class Jumping(Mailboxes[Fold]):
    """Reads all that waits, whatever is missing before it."""

    def read(self, stream: str) -> Fold | None:
        fold = super().read(stream)
        if fold is not None:
            waiting = self._boxes[stream].events
            fold.extend([waiting.pop(version) for version in sorted(waiting)])
        return fold


class Hoarding(Mailboxes[Fold]):
    """Keeps the room of what a parked stream leaves to the log."""

    def park(self, stream: str) -> None:
        before = self.held
        super().park(stream)
        self.held = before


class Trusting(Mailboxes[Fold]):
    """Goes on with a fold that lost its fence."""

    def forget(self, stream: str) -> None:
        pass


PLANTED = (Unbounded, Twofold, Lossy, Hasty, Crowded, Deaf, Jumping, Hoarding, Trusting)


@pytest.mark.parametrize("planted", PLANTED)
def test_a_planted_bug_is_found(planted: type[Mailboxes[Fold]]) -> None:
    with pytest.raises(AssertionError):
        for seed in range(200):
            rng = Random(seed)
            History(rng, make_limits(rng), mailboxes=planted).live(150)


# --- single questions -------------------------------------------------------------------------------------------------


def fact(stream: str, version: int) -> RecordedEvent:
    return RecordedEvent(0, stream, version, 0, FACT, b"", b"")


def take_all(boxes: Mailboxes[Fold]) -> list[str]:
    """Start, read and give back all that waits."""
    streams = boxes.start_ready()
    for stream in streams:
        boxes.read(stream)
    boxes.finish(streams)
    return streams


def test_streams_start_in_the_order_in_which_they_were_woken_and_no_more_than_there_may_be() -> None:
    boxes = Mailboxes(Fold, Limits(actors_at_once=2))
    boxes.put([fact("c", 1), fact("a", 1), fact("c", 2), fact("b", 1)], wake=True)

    assert boxes.start_ready() == ["c", "a"]
    assert boxes.start_ready() == []
    boxes.finish(["c"])
    assert boxes.start_ready() == ["b"]


@pytest.mark.requirement("I7")
def test_the_folds_used_last_are_kept_and_the_log_is_read_for_the_others() -> None:
    boxes = Mailboxes(Fold, Limits(states_held=2))
    for stream in ("a", "b", "a", "c"):
        version = 2 if stream == "a" and boxes.lag >= 2 else 1
        boxes.put([fact(stream, version)], wake=True)
        take_all(boxes)

    boxes.put([fact("a", 3), fact("b", 2), fact("c", 2)], wake=True)
    boxes.start_ready()

    assert [boxes.read(stream) is None for stream in ("a", "b", "c")] == [False, True, False]


@pytest.mark.requirement("I7")
def test_folds_are_kept_up_to_what_they_weigh_and_the_last_one_in_any_case() -> None:
    weights = {"a": 40, "b": 40, "c": 30, "d": 1_000}
    boxes = Mailboxes(Fold, Limits(states_bytes=100), weigh=lambda fold: weights[fold.stream])

    def list_kept() -> list[str]:
        boxes.put([fact(stream, 2) for stream in weights], wake=True)
        boxes.start_ready()
        kept = [stream for stream in weights if boxes.read(stream) is not None]
        boxes.finish(list(weights))
        return kept

    for stream in ("a", "b", "c"):
        boxes.put([fact(stream, 1)], wake=True)
        take_all(boxes)
    boxes.put([fact("d", 1)], wake=True)
    take_all(boxes)
    assert list_kept() == ["d"]


@pytest.mark.requirement("I7")
def test_events_that_wait_are_held_up_to_their_bytes_and_one_in_any_case() -> None:
    boxes = Mailboxes(Fold, Limits(events_bytes=100))
    boxes.put([msgspec.structs.replace(fact("a", 1), payload=bytes(500))], wake=True)
    assert boxes.held == 1
    boxes.put([msgspec.structs.replace(fact("b", 1), payload=b"x")], wake=True)
    assert boxes.held == 1
    take_all(boxes)
    assert boxes.held == 0


@pytest.mark.requirement("I7")
def test_of_large_messages_fewer_tickets_are_decided_at_once() -> None:
    boxes = Mailboxes(Fold, Limits(actors_at_once=50, events_bytes=8_000_000))
    boxes.put(
        [msgspec.structs.replace(fact(f"{number}", 1), payload=bytes(100_000)) for number in range(60)], wake=True
    )
    assert 5 <= len(boxes.start_ready()) <= 20


def test_lag_is_what_was_told_and_is_not_decided() -> None:
    boxes = Mailboxes(Fold, Limits())
    boxes.put([fact("a", 1), fact("b", 1)], wake=True)
    boxes.put([fact("c", 1)], wake=False)
    assert boxes.lag == 2

    boxes.count_decided(1)
    assert boxes.lag == 1
    boxes.count_decided(5)  # some of it stood in the log already when the process began
    assert boxes.lag == 0


def test_a_parked_stream_takes_no_room_and_is_not_started_again() -> None:
    boxes = Mailboxes(Fold, Limits())
    boxes.put([fact("a", 1), fact("a", 2)], wake=True)
    boxes.start_ready()
    boxes.park("a")
    boxes.finish(["a"])

    boxes.put([fact("a", 3)], wake=True)

    assert boxes.idle
    assert (boxes.held, boxes.parked) == (0, {"a"})


def record(stream: str, version: int, at: int) -> RecordedEvent:
    """A fact that wants a decision, recorded then."""
    return RecordedEvent(version, stream, version, at, FACT, b"{}", b"")


def test_the_oldest_that_waits_is_known_until_it_is_decided() -> None:
    boxes = Mailboxes(Fold, Limits())

    boxes.put([record("a", 1, 50)], wake=True)
    boxes.put([record("b", 1, 40)], wake=True)
    boxes.wake_in_log("c", 60)
    assert boxes.oldest == 40

    boxes.start_ready()
    boxes.read("b")
    boxes.finish(["b"])
    assert boxes.oldest == 50

    boxes.park("a")
    boxes.finish(["a"])
    assert boxes.oldest == 60, "of a parked stream nobody waits for a decision"
    assert Mailboxes(Fold, Limits()).oldest is None
