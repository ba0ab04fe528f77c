"""The account of the disk: two marks, promises, and which faults are no more than a want of room."""

from __future__ import annotations

import errno
import sqlite3
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from ecproc.errors import NoRoom, StoreError, StoreFailed, StoreUnavailable
from ecproc.room import LOOK_SECONDS, Promise, Room, estimate_bytes, is_no_room

RESERVE = 160_000_000
HALF = 80_000_000 + 4 * 1024 * 1024
"""Half of the reserve and the slack above it."""

UNIT = 10_000_000


class Disk:
    """A disk and a clock."""

    def __init__(self, free: int, reserve: int = RESERVE) -> None:
        self.free = free
        self.now = 0.0
        self.room = Room(Path(), reserve_bytes=reserve, free_bytes=lambda _: self.free, now=lambda: self.now)

    def wait(self) -> None:
        self.now += 2 * LOOK_SECONDS

    def see(self, free: int) -> None:
        self.free = free
        self.wait()


@pytest.mark.requirement("I0")
@pytest.mark.parametrize(
    ("free", "receive", "perform"),
    [(RESERVE, True, True), (RESERVE - 1, False, True), (HALF, False, True), (HALF - 1, False, False)],
)
def test_there_are_two_marks(free: int, receive: bool, perform: bool) -> None:
    room = Disk(free).room
    assert (room.may_receive(), room.may_perform()) == (receive, perform)


def test_what_was_written_counts_before_the_next_look() -> None:
    disk = Disk(HALF + 30_000_000)
    assert disk.room.may_perform(20_000_000)
    disk.room.wrote(10_000_000, owed=0, by="ecproc.db")
    assert not disk.room.may_perform(20_000_000)
    disk.wait()
    assert disk.room.may_perform(20_000_000)


def test_what_is_not_yet_in_the_database_is_kept_free_for_it() -> None:
    disk = Disk(HALF + 30_000_000)
    disk.room.wrote(1, owed=25_000_000, by="ecproc.db")
    disk.wait()
    assert not disk.room.may_perform(10_000_000)
    disk.room.wrote(1, owed=0, by="ecproc.db")
    disk.wait()
    assert disk.room.may_perform(10_000_000)


@pytest.mark.requirement("I0")
def test_what_is_taken_nobody_else_gets_also_after_the_next_look() -> None:
    disk = Disk(HALF + 30_000_000)
    with disk.room.taking(20_000_000) as one, disk.room.taking(20_000_000) as other:
        assert (one, other) == (True, False)
        disk.wait()
        assert not disk.room.may_perform(20_000_000)
        assert disk.room.promise(20_000_000) is None
        with disk.room.taking(10_000_000) as small:
            assert small
    assert disk.room.may_perform(30_000_000)


def test_nothing_is_received_while_something_waits_that_does_not_fit() -> None:
    disk = Disk(RESERVE)
    with disk.room.taking(RESERVE - HALF + 1) as large:
        assert not large
    assert (disk.room.may_receive(), disk.room.may_perform()) == (False, True)
    with disk.room.taking(10_000_000) as small:
        assert small
    assert not disk.room.may_receive()
    disk.see(RESERVE + 1)
    assert disk.room.may_receive()
    with disk.room.taking(RESERVE - HALF + 1) as large:
        assert large
    disk.see(RESERVE)
    assert disk.room.may_receive()


def test_each_database_owes_for_itself() -> None:
    disk = Disk(HALF + 30_000_000)
    disk.room.owe(15_000_000, by="ecproc.db")
    disk.room.owe(10_000_000, by="desk.db")
    assert not disk.room.may_perform(10_000_000)
    disk.room.owe(0, by="ecproc.db")
    assert disk.room.may_perform(20_000_000)


def test_promises_add_up_and_are_given_back() -> None:
    disk = Disk(HALF + 100)
    first = disk.room.promise(60)
    assert first is not None
    assert disk.room.promise(60) is None
    assert first.spend(60)
    assert not first.spend(60), "more than was promised and is free"
    assert first.spend(40)
    disk.see(HALF + 100)
    first.end()
    second = disk.room.promise(100)
    assert second is not None
    disk.see(HALF + 50)
    assert not second.spend(60), "somebody else took it"
    second.end()
    assert disk.room.promise(50)


@pytest.mark.requirement("I0")
def test_a_promise_holds_up_neither_receiving_nor_appends() -> None:
    disk = Disk(RESERVE + 50_000_000)
    assert [bool(disk.room.promise(50_000_000)) for _ in range(3)] == [True, True, False]
    disk.see(RESERVE)
    assert disk.room.may_receive()
    assert disk.room.may_perform(20_000_000)
    assert disk.room.promise(1) is None


def test_what_is_owed_holds_up_receiving_as_it_does_appends() -> None:
    disk = Disk(RESERVE)
    disk.room.wrote(1, owed=RESERVE - HALF + 1, by="ecproc.db")
    disk.wait()
    assert (disk.room.may_receive(), disk.room.may_perform()) == (False, False)


def test_files_share_what_is_left_of_their_promises_by_who_comes_first() -> None:
    disk = Disk(HALF + 120)
    one, other = disk.room.promise(60), disk.room.promise(60)
    assert one is not None
    assert other is not None
    disk.see(HALF + 70)
    assert one.spend(60)
    assert not other.spend(60)
    assert other.spend(10)


class Writing(RuleBasedStateMachine):
    """Messages, files and strangers on one disk, in any order; sizes are in `UNIT` bytes."""

    def __init__(self) -> None:
        super().__init__()
        self.disk = Disk(RESERVE)
        self.room = self.disk.room
        self.owed = 0
        self.refused = 0
        self.promises: list[Promise] = []

    @rule(free=st.integers(0, 30))
    def strangers(self, free: int) -> None:
        self.disk.see(free * UNIT)

    @rule(sizes=st.lists(st.integers(0, 5), min_size=1, max_size=3))
    def append(self, sizes: list[int]) -> None:
        """All of them ask before the first one is written."""
        with ExitStack() as over:
            asked = [(size, over.enter_context(self.room.taking(estimate_bytes(size * UNIT)))) for size in sizes]
            for need, taken in [(estimate_bytes(size * UNIT), taken) for size, taken in asked]:
                if not taken or need >= self.refused:
                    self.refused = 0 if taken else max(self.refused, need)
            for size, taken in asked:
                self.disk.free -= size * UNIT * taken
                self.owed += size * UNIT * taken
                self.room.wrote(size * UNIT * taken, owed=self.owed, by="ecproc.db")
            self.disk.wait()
        if any(taken for _, taken in asked):
            assert self.disk.free - self.owed >= HALF

    @rule()
    def move(self) -> None:
        self.disk.free -= self.owed
        self.owed = 0
        self.room.wrote(0, owed=0, by="ecproc.db")
        self.disk.wait()

    @rule(size=st.integers(0, 15))
    def promise(self, size: int) -> None:
        before = self.room.may_receive(), self.room.may_perform()
        promise = self.room.promise(size * UNIT)
        assert before == (self.room.may_receive(), self.room.may_perform())
        if promise is not None:
            assert self.disk.free - self.owed - size * UNIT >= HALF
            self.promises.append(promise)

    @precondition(lambda self: self.promises)
    @rule(size=st.integers(0, 5))
    def spend(self, size: int) -> None:
        if self.promises[0].spend(size * UNIT):
            self.disk.free -= size * UNIT
            assert self.disk.free - self.owed >= HALF
        self.promises.append(self.promises.pop(0))

    @precondition(lambda self: self.promises)
    @rule()
    def end(self) -> None:
        before = self.room.may_receive(), self.room.may_perform()
        self.promises.pop(0).end()
        assert before == (self.room.may_receive(), self.room.may_perform())

    @invariant()
    def keeps_to_the_marks(self) -> None:
        left = self.disk.free - self.owed
        assert self.room.may_receive() is (self.disk.free >= RESERVE and left - self.refused >= HALF)
        assert self.room.may_perform() is (left >= HALF)
        if not self.promises:
            assert self.room._promised == 0


@pytest.mark.requirement("I0")
def test_whatever_happens_receiving_and_appending_agree_and_no_file_takes_what_is_to_stay_free() -> None:
    run_state_machine_as_test(Writing, settings=settings(max_examples=60, stateful_step_count=30, deadline=None))


def test_a_full_disk_is_met_before_a_transaction_also_without_a_reserve() -> None:
    disk = Disk(100_000, reserve=0)
    assert not disk.room.fits(0)
    assert not disk.room.may_receive()
    disk.free = 1_000_000
    assert disk.room.fits(0)
    assert not disk.room.fits(900_000)


def sqlite_error(code: int) -> sqlite3.Error:
    error = sqlite3.OperationalError("x")
    error.sqlite_errorcode = code
    return error


def caused_by(error: Exception) -> StoreError:
    return caused(StoreUnavailable("x"), error)


def caused(wrapped: StoreError, error: Exception) -> StoreError:
    wrapped.__cause__ = error
    return wrapped


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (sqlite_error(sqlite3.SQLITE_BUSY), True),
        (sqlite_error(sqlite3.SQLITE_BUSY | 2 << 8), True),
        (sqlite_error(sqlite3.SQLITE_FULL), True),
        (sqlite_error(sqlite3.SQLITE_CANTOPEN), True),
        (sqlite_error(sqlite3.SQLITE_IOERR), False),
        (sqlite_error(sqlite3.SQLITE_IOERR_FSYNC), False),
        (sqlite_error(sqlite3.SQLITE_CORRUPT), False),
        (OSError(errno.EMFILE, ""), True),
        (OSError(errno.EDQUOT, ""), True),
        (OSError(errno.EIO, ""), False),
        (PermissionError(errno.EACCES, ""), False),
        (caused_by(OSError(errno.ENOSPC, "")), True),
        (caused_by(sqlite_error(sqlite3.SQLITE_NOTADB)), False),
        (StoreUnavailable("x"), False),
        (caused(StoreFailed("x"), OSError(errno.ENOSPC, "")), False),
        (caused(StoreFailed("x"), sqlite_error(sqlite3.SQLITE_FULL)), False),
        (NoRoom("x"), True),
        (ValueError(), False),
    ],
)
def test_only_what_may_pass_by_itself_is_no_room(error: Exception, passes: bool) -> None:
    assert is_no_room(error) is passes
