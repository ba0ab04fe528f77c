"""Room: what is free on the data directory's disk, against two marks, and which faults mean that there is none."""

from __future__ import annotations

import errno
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import disk_usage
from threading import Lock
from typing import Final

from ecproc.errors import NoRoom, StoreError, StoreFailed

LOOK_SECONDS: Final = 0.2
"""How long one look at the free space counts; what we write meanwhile is taken off it."""
_PAGES_BYTES: Final = 128 * 1024
"""What any transaction takes beside its content: pages of tables and indexes that it touches."""
_SMALL_BYTES: Final = 64 * 1024
"""Content up to which a transaction asks for nothing of its own: the slack is for such ones."""
_COPIES: Final = 2
"""How often content is written: to the write-ahead log, and into the database's file."""
_SLACK_SHARE: Final = 16
"""The part of the reserve that is kept above its half for what is under way when nothing more is begun."""
_MOST_SLACK: Final = 4 * 1024 * 1024
"""Bytes that this part is at most: an outcome for each of the effects under way."""
_LEAST: Final = 256 * 1024
"""Free bytes below which nothing at all is written, less where the reserve is small: a full disk is met before a
COMMIT, which must not fail (decision 13)."""

_NO_ROOM_ERRNOS: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE})
_NO_ROOM_CODES: Final = frozenset(
    {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_CANTOPEN}
)
_NO_SPACE_FOR_INDEX: Final = 4874
"""SQLITE_IOERR_SHMSIZE: the write-ahead log's index finds no space."""


def is_no_room(error: BaseException) -> bool:
    """Whether a lock, no space or no descriptor is all that is wrong: it may pass by itself.

    Of a StoreError its cause counts, but for a StoreFailed. It says nothing about whether what was begun is undone.
    """
    if isinstance(error, NoRoom | StoreFailed):
        return isinstance(error, NoRoom)
    cause = error.__cause__ if isinstance(error, StoreError) else error
    if isinstance(cause, sqlite3.Error):
        return primary_code(cause) in _NO_ROOM_CODES or getattr(cause, "sqlite_errorcode", 0) == _NO_SPACE_FOR_INDEX
    return isinstance(cause, OSError) and cause.errno in _NO_ROOM_ERRNOS


def primary_code(error: sqlite3.Error) -> int | None:
    """The kind of fault that SQLite names; None where the error is not SQLite's own."""
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


class Room:
    """The account of one disk, for all who write to it from whatever thread.

    At or above the reserve messages are received, and what is received can be appended; down to about half of it what
    was received is decided and carried out; below that only outcomes of what is under way are written, and they fit
    above the half. What is owed to the databases' files, and what was taken for something until that is over, counts
    as written for all of these. A promise keeps bytes from other files only and holds up nothing else: none is given,
    and nothing of one is spent, that would leave less than the half, and what others took meanwhile is no longer there
    for it.
    A look that fails finds nothing free. `now` is monotonic seconds.
    """

    def __init__(
        self,
        directory: Path,
        *,
        reserve_bytes: int,
        free_bytes: Callable[[Path], int] = lambda path: disk_usage(path).free,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        slack = reserve_bytes // _SLACK_SHARE
        self._least = min(slack, _LEAST) if reserve_bytes else _LEAST
        self.reserve = max(reserve_bytes, self._least)
        self._half = max(reserve_bytes // 2 + min(slack, _MOST_SLACK), self._least)
        self._directory = directory
        self._free_bytes = free_bytes
        self._now = now
        self._lock = Lock()
        self._looked_at = float("-inf")
        self._free = 0
        self._owed: dict[str, int] = {}
        self._taken = 0
        self._refused = 0
        self._promised = 0

    def may_receive(self) -> bool:
        """Whether the disk is at or above its reserve, and what comes may be appended, as may what waits for that."""
        with self._lock:
            return self._free_now() >= self.reserve and self._left() - self._refused >= self._half

    def may_perform(self, need: int = 0) -> bool:
        """Whether so many bytes can be written without coming near half of the reserve."""
        with self._lock:
            return self._left() - need >= self._half

    @contextmanager
    def taking(self, need: int) -> Iterator[bool]:
        """Have so many bytes for what is written within, so that nobody else gets the same ones; whether there are."""
        with self._lock:
            taken = self._left() - need >= self._half
            self._taken += need * taken
            if not taken:
                self._refused = max(self._refused, need)
            elif need >= self._refused:
                self._refused = 0
        try:
            yield taken
        finally:
            with self._lock:
                self._taken -= need * taken

    def fits(self, need: int) -> bool:
        """Whether so many bytes are free at all, whatever for; looks again where they seem not to be."""
        with self._lock:
            if self._free - need < self._least:
                self._look()
            return self._free - need >= self._least

    @property
    def free(self) -> int:
        """The free bytes as they were seen last, less what we wrote since."""
        with self._lock:
            return self._free_now()

    def wrote(self, size: int, *, owed: int, by: str) -> None:
        """Note that a transaction of that content was written; `owed` is what is not yet in that database's file."""
        with self._lock:
            self._free -= _PAGES_BYTES + _COPIES * size
            self._owed[by] = owed

    def owe(self, size: int, *, by: str) -> None:
        """Note how much is not yet in that database's file."""
        with self._lock:
            self._owed[by] = size

    def promise(self, size: int) -> Promise | None:
        """Keep so many bytes for one file; None where they are not to be had."""
        with self._lock:
            if self._left() - self._promised - size < self._half:
                return None
            self._promised += size
        return Promise(self, size)

    def _spend(self, size: int, promised: int) -> bool:
        with self._lock:
            others = self._promised - promised if size > promised else 0
            if self._left() - others - size < self._half:
                return False
            self._promised -= promised
            self._free -= size
            return True

    def _give_back(self, size: int) -> None:
        with self._lock:
            self._promised -= size

    def _left(self) -> int:
        return self._free_now() - sum(self._owed.values()) - self._taken

    def _free_now(self) -> int:
        if self._now() - self._looked_at >= LOOK_SECONDS:
            self._look()
        return self._free

    def _look(self) -> None:
        self._looked_at = self._now()
        try:
            self._free = self._free_bytes(self._directory)
        except OSError:
            self._free = -1


class Promise:
    """What is left of the bytes that are kept free for one file."""

    def __init__(self, room: Room, left: int) -> None:
        self._room = room
        self._left = left

    def spend(self, size: int) -> bool:
        """Have so many bytes for the file, of what is promised first; False where the disk has no room for them."""
        promised = min(size, self._left)
        if not self._room._spend(size, promised):
            return False
        self._left -= promised
        return True

    def end(self) -> None:
        """Give back what was not needed."""
        self._room._give_back(self._left)
        self._left = 0


def estimate_bytes(content: int) -> int:
    """What so much content asks for, so that all of it can get into the database's file."""
    return _COPIES * content if content > _SMALL_BYTES else 0
