"""The write-ahead log of the built-in desk's file, and the room that is kept for what stands in it."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final

from ecproc.room import Room, is_no_room
from ecproc.wal import checkpoint, measure_wal

_CHECKPOINT_COMMITS: Final = 256
_CHECKPOINT_BYTES: Final = 4 * 1024 * 1024
"""Content after which what was committed is moved into the file, whose room is owed to it until then."""
_LONGEST_WAL: Final = 16 * 1024 * 1024
"""Bytes above which the write-ahead log is cut down, as soon as whoever reads from it is done."""


class DeskWal:
    """The file's write-ahead log: what was committed is moved out of it in time, and has its room until then."""

    def __init__(self, path: Path, connection: sqlite3.Connection, room: Room) -> None:
        self._path = path
        self._connection = connection
        self._room = room
        self._commits = 0
        self._bytes = 0

    def is_long(self) -> bool:
        """Whether it is to be cut down."""
        return measure_wal(self._path) > _LONGEST_WAL

    def committed(self, size: int) -> None:
        """Note a transaction of that much content, and move what there is where it is time to.

        Raises sqlite3.Error.
        """
        self._commits += 1
        self._bytes += size
        self._room.wrote(size, owed=self._bytes, by=self._path.name)
        if self._commits >= _CHECKPOINT_COMMITS or self._bytes >= _CHECKPOINT_BYTES or self.is_long():
            self.move()

    def move(self) -> None:
        """Move what no reader holds back; without room for it the next commit tries it again.

        Raises sqlite3.Error.
        """
        try:
            is_all = checkpoint(self._connection, "TRUNCATE" if self.is_long() else "PASSIVE")
        except sqlite3.Error as error:
            if not is_no_room(error):
                raise
            return
        self._commits = 0
        if is_all:
            self._bytes = 0
            self._room.owe(0, by=self._path.name)
