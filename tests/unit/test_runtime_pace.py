"""The readers' pace over random histories: bounded, never busy without a reason, drained only when that is proven."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from random import Random
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecproc.domain.queue import DeleteOutcome, PollOutcome
from ecproc.runtime.pace import PER_ANSWER, Move, Pace

VISIBILITY = 30.0
INTERVAL = 0.1
"""Seconds between two looks: less than any back-off, so that a missing one shows."""
LONGEST_WISH = 100.0
LONGEST_PAUSE = 60.0


class Weather(NamedTuple):
    """How likely a GET brings messages, nothing, trouble or no answer, that some are fresh, and a delete is good."""

    answers: tuple[int, int, int, int]
    fresh: float = 0.5
    deleted: float = 0.7


ENDS = (DeleteOutcome.DELETED, DeleteOutcome.EXPIRED, DeleteOutcome.INVALID, DeleteOutcome.ERROR, DeleteOutcome.SKIPPED)
WEATHERS = (
    Weather((5, 1, 0, 0), fresh=0.9),
    Weather((1, 9, 0, 0)),
    Weather((0, 0, 1, 0)),
    Weather((1, 0, 0, 0), fresh=0.0, deleted=0.0),
    Weather((2, 1, 1, 1)),
)


class Batch:
    """Messages of one answer on their way out of the queue; `reader` waits for them if none was fresh."""

    def __init__(self, size: int, *, started: float, reader: Reader | None) -> None:
        self.size = self.left = size
        self.started = started
        self.reader = reader


class Reader:
    """One reader: it is about to ask, waits for an answer, or for its deletes."""

    def __init__(self) -> None:
        self.asked_at: float | None = None
        self.deleting = False


class History:
    """What readers and a queue do by chance, told to a pace, beside what it must then say. Raises AssertionError."""

    def __init__(self, rng: Random, *, pace: type[Pace] = Pace, max_readers: int) -> None:
        self.rng = rng
        self.now = self.born = 1_000.0
        self.max_readers = self.allowed = max_readers
        self.pace = pace(max_readers=max_readers, visibility=VISIBILITY, rng=rng, now=self.now)
        self.readers: list[Reader] = []
        self.batches: list[Batch] = []
        self.gets: list[tuple[float, float, bool]] = []
        """Of each GET when it was sent, when it ended, and whether it was answered empty."""
        self.bad_looks = self.stuck_looks = 0
        self.weather = WEATHERS[-1]
        self.begin_look()

    @property
    def held(self) -> int:
        """Messages asked for or not deleted yet."""
        asking = [reader for reader in self.readers if reader.asked_at is not None]
        return PER_ANSWER * len(asking) + sum(batch.left for batch in self.batches)

    def begin_look(self) -> None:
        self.good = self.bad = self.progress = self.stuck = self.waited_for = self.bridge_holds = False
        self.wish = 0.0
        self.pace.begin_look()
        self.readers = [Reader()]

    def live(self, steps: int) -> None:
        for _ in range(steps):
            self.now += self.rng.choice((0.0, 0.0, 0.1, 1.0, 40.0))
            if self.rng.random() < 0.02:
                self.weather = self.rng.choice(WEATHERS)
            self.take_step()
            assert self.pace.drained == self.proven()
            self.pace.stopping |= self.rng.random() < 0.001

    def take_step(self) -> None:
        ready = [reader for reader in self.readers if not reader.deleting and reader.asked_at is None]
        asking = [reader for reader in self.readers if reader.asked_at is not None]
        choices = [*[(self.try_to_ask, reader) for reader in ready], *[(self.answer, reader) for reader in asking]]
        if self.batches and (not choices or self.rng.random() < 0.4):
            self.delete_one(self.rng.choice(self.batches))
        elif choices:
            work, reader = self.rng.choice(choices)
            work(reader)
        else:
            self.end_look()

    def proven(self) -> bool:
        """Whether nothing can be in the queue: an empty answer, asked for when all that was hidden had shown itself."""
        if self.readers or self.held:
            return False
        last = max([self.born, *(ended for _, ended, empty in self.gets if not empty)])
        return any(empty and started >= last + VISIBILITY for started, _, empty in self.gets)

    # --- a reader's way ---

    def try_to_ask(self, reader: Reader) -> None:
        if not self.pace.has_room():
            assert self.held, "nobody would ever ask again"
            assert self.held + PER_ANSWER > 2 * PER_ANSWER * self.allowed
            return
        writable = self.rng.random() < 0.95
        if self.pace.ask(writable=writable):
            assert writable
            assert not self.pace.stopping
            assert not self.bridge_holds, "the bridge wishes to be left alone"
            reader.asked_at = self.now
            assert self.held <= 2 * PER_ANSWER * self.max_readers, "too much is held"
        else:
            self.waited_for |= not (writable or self.bridge_holds or self.pace.stopping)
            self.leave(reader)

    def answer(self, reader: Reader) -> None:
        started, reader.asked_at = reader.asked_at or 0.0, None
        (kind,) = self.rng.choices(("messages", "empty", "trouble", "lost"), weights=self.weather.answers)
        self.gets.append((started, self.now, kind == "empty"))
        match kind:
            case "messages":
                self.take_messages(reader, self.rng.randint(1, PER_ANSWER), started)
            case "empty":
                self.good, self.bad_looks = True, 0
                self.pace.take_empty(started)
                self.leave(reader)
            case "trouble":
                self.take_trouble()
                self.leave(reader)
            case _:
                self.pace.lose_answer(self.now)
                self.leave(reader)

    def take_trouble(self) -> None:
        trouble = self.rng.choice((PollOutcome.THROTTLED, PollOutcome.REFUSED, PollOutcome.ERROR))
        wish = self.rng.choice((None, None, self.rng.uniform(0, LONGEST_WISH)))
        self.bad = True
        self.bridge_holds |= trouble is not PollOutcome.ERROR or wish is not None
        self.wish = max(self.wish, wish or 0.0)
        assert self.pace.take_trouble(trouble, retry_after=wish, now=self.now) >= (wish or 0.0)

    def take_messages(self, reader: Reader, count: int, started: float) -> None:
        self.good, self.bad_looks = True, 0
        self.pace.take_messages(count, now=self.now)
        fresh = self.rng.random() < self.weather.fresh
        self.batches.append(Batch(count, started=started, reader=None if fresh else reader))
        if fresh:
            self.pace.take_fresh()
            self.go_on(reader)
        else:
            reader.deleting = True

    def delete_one(self, batch: Batch) -> None:
        batch.left -= 1
        self.pace.release(1)
        if batch.left:
            return
        self.batches.remove(batch)
        good = self.weather.deleted
        fates = self.rng.choices(ENDS, weights=(good, *[(1 - good) / 4] * 4), k=batch.size)
        keys = [self.rng.randbytes(1) for _ in fates]
        told = self.pace.end_deletes(keys, fates, started=batch.started, now=self.now)
        late = any(fate in (DeleteOutcome.SKIPPED, DeleteOutcome.EXPIRED) for fate in fates)
        self.allowed = max(1, self.allowed // 2) if late else min(self.max_readers, self.allowed + 1)
        if batch.reader is not None:
            self.take_known(batch.reader, told)

    def take_known(self, reader: Reader, fates: Sequence[DeleteOutcome]) -> None:
        reader.deleting = False
        if self.pace.take_known(fates):
            assert DeleteOutcome.DELETED in fates
            self.go_on(reader)
        else:
            assert DeleteOutcome.DELETED not in fates
            self.stuck = True
            self.leave(reader)

    def go_on(self, reader: Reader) -> None:
        self.progress, self.stuck_looks = True, 0
        before = len(self.readers)
        match self.pace.next_move():
            case Move.CALL_IN:
                assert before < self.allowed
                self.readers.append(Reader())
            case Move.STAY:
                assert before == self.allowed
            case Move.LEAVE:
                assert before > self.allowed >= 1
                self.leave(reader)

    def leave(self, reader: Reader) -> None:
        self.readers.remove(reader)
        self.pace.leave()

    # --- between looks ---

    def end_look(self) -> None:
        pause = self.pace.end_look(INTERVAL)
        assert 0.9 * INTERVAL <= pause <= max(LONGEST_PAUSE, self.wish)
        assert pause >= self.wish
        assert pause >= 1.0 or not self.waited_for
        if self.bad and not self.good:
            assert pause >= least_pause(self.bad_looks)
            self.bad_looks += 1
        if self.stuck and not self.progress:
            assert pause >= least_pause(self.stuck_looks)
            self.stuck_looks += 1
        assert self.pace.hurried() == self.pace.stopping
        if self.rng.random() < 0.05:
            self.pace.try_now()
            self.bad_looks = 0
            assert self.pace.hurried()
        else:
            self.now += pause
        self.begin_look()


def least_pause(looks: int) -> float:
    """Seconds at least after so many looks like the last one."""
    return float(min(LONGEST_PAUSE, 0.5 * 2.0**looks)) / 2


@pytest.mark.requirement("I7", "I0", "I8")
@settings(max_examples=200)
@given(seed=st.integers(0, 2**32), max_readers=st.integers(1, 8))
def test_whatever_happens_the_pace_is_kept(seed: int, max_readers: int) -> None:
    History(Random(seed), max_readers=max_readers).live(400)


class Boundless(Pace):
    """Asks without counting what is held."""

    def has_room(self) -> bool:
        return True


class Leaky(Pace):
    """Gives back the room of a lost answer twice."""

    def lose_answer(self, now: float) -> None:
        super().lose_answer(now)
        self.release(PER_ANSWER)


class Busy(Pace):
    """Waits no longer for messages that come again and again."""

    def take_known(self, fates: Sequence[DeleteOutcome]) -> bool:
        return DeleteOutcome.DELETED in fates


class Impatient(Pace):
    """Waits as long after the tenth trouble as after the first."""

    def end_look(self, interval: float) -> float:
        self._failing.forget()
        return super().end_look(interval)


class Credulous(Pace):
    """Thinks nothing of a GET whose answer was lost."""

    def lose_answer(self, now: float) -> None:
        self.release(PER_ANSWER)


class Rude(Pace):
    """Lets the other readers go on when the bridge wishes to be left alone."""

    def ask(self, *, writable: bool) -> bool:
        self._held_by_bridge = False
        return super().ask(writable=writable)


class Crowded(Pace):
    """Never sends a reader away."""

    def next_move(self) -> Move:
        move = super().next_move()
        return Move.STAY if move is Move.LEAVE else move


@pytest.mark.parametrize("planted", [Boundless, Leaky, Busy, Impatient, Credulous, Rude, Crowded])
def test_a_planted_bug_is_found(planted: type[Pace]) -> None:
    with pytest.raises(AssertionError):
        for seed in range(100):
            History(Random(seed), pace=planted, max_readers=1 + seed % 8).live(400)


# --- single answers ---------------------------------------------------------------------------------------------------


def make_pace(max_readers: int = 8) -> Pace:
    pace = Pace(max_readers=max_readers, visibility=VISIBILITY, rng=Random(1), now=0.0)
    pace.begin_look()
    return pace


def end_one(pace: Pace, fate: DeleteOutcome, *, started: float, now: float, key: bytes = b"m1") -> DeleteOutcome:
    (told,) = pace.end_deletes([key], [fate], started=started, now=now)
    return told


def test_what_was_deleted_before_the_get_that_brought_it_has_returned() -> None:
    pace = make_pace()

    assert end_one(pace, DeleteOutcome.DELETED, started=0, now=1) is DeleteOutcome.DELETED
    assert end_one(pace, DeleteOutcome.DELETED, started=2, now=3) is DeleteOutcome.RETURNED
    assert end_one(pace, DeleteOutcome.DELETED, started=2, now=3, key=b"m2") is DeleteOutcome.DELETED


def test_what_two_readers_hold_at_once_is_gone_by_both_deletes_and_by_no_more_than_there_are_readers() -> None:
    pace = make_pace(max_readers=3)

    told = [end_one(pace, DeleteOutcome.DELETED, started=0, now=count) for count in range(1, 6)]

    assert told == [DeleteOutcome.DELETED] * 3 + [DeleteOutcome.RETURNED] * 2


def test_only_an_accepted_delete_can_have_returned() -> None:
    pace = make_pace()

    assert end_one(pace, DeleteOutcome.ERROR, started=0, now=1) is DeleteOutcome.ERROR
    assert end_one(pace, DeleteOutcome.DELETED, started=2, now=3) is DeleteOutcome.DELETED
    assert end_one(pace, DeleteOutcome.INVALID, started=4, now=5) is DeleteOutcome.INVALID


def test_deletes_are_remembered_up_to_a_bound() -> None:
    pace = make_pace()
    for count in range(20_000):
        end_one(pace, DeleteOutcome.DELETED, started=0, now=1, key=b"%d" % count)

    assert end_one(pace, DeleteOutcome.DELETED, started=2, now=3, key=b"19999") is DeleteOutcome.RETURNED
    assert end_one(pace, DeleteOutcome.DELETED, started=2, now=3, key=b"1") is DeleteOutcome.DELETED


@pytest.mark.requirement("R217")
def test_a_refusal_is_waited_for_long_from_the_first_one_on() -> None:
    pace = make_pace()
    pace.ask(writable=True)

    assert pace.take_trouble(PollOutcome.REFUSED, retry_after=None, now=1) >= 16


def test_pauses_grow_to_their_longest_and_no_further() -> None:
    pace, pauses = make_pace(), []
    for _ in range(20):
        pace.begin_look()
        pace.ask(writable=True)
        pace.take_trouble(PollOutcome.ERROR, retry_after=None, now=1)
        pace.leave()
        pauses.append(pace.end_look(INTERVAL))

    assert 0.25 <= pauses[0] <= 0.5
    assert all(later > former / 2 for former, later in pairwise(pauses))
    assert all(30 <= pause <= 60 for pause in pauses[8:])
