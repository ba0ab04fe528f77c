"""A copy of the log's file as of one moment, with an anchor of its own, that is read as a whole before it counts."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from ecproc.copying import copy_moment, holding_moment, measure_moment, sync_path
from ecproc.errors import LogDamaged
from ecproc.store.base import Damage, Head, VerifiedLog
from ecproc.store.chain import NO_HASH
from ecproc.store.sqlite.datadir import DATABASE, AnchorUnreadable, read_anchor, write_anchor
from ecproc.store.sqlite.schema import translate_errors
from ecproc.store.sqlite.sql import log
from ecproc.store.sqlite.verify import choose_connect, verify_copy


class HeldFile:
    """See HeldLog."""

    def __init__(self, connection: sqlite3.Connection, anchor: Head | None) -> None:
        self._connection = connection
        self._anchor = anchor
        self.size = measure_moment(connection)

    def copy(self, into: Path, on_copied: Callable[[int], None]) -> VerifiedLog:
        """See HeldLog."""
        with translate_errors("the log cannot be copied"):
            copy_moment(self._connection, into / DATABASE, on_copied)
            _mark(into / DATABASE)
            found = verify_copy(into, self._anchor)
            if isinstance(found, Damage):
                raise LogDamaged(found.position, found.reason)
            write_anchor(into, found.head)
        return found


@contextmanager
def holding_log(directory: Path) -> Iterator[HeldFile]:
    """The log of a data directory as it is now; see `holding_log` of `ecproc/store/opening.py`."""
    anchor = _read_anchor(directory)  # first: the moment that is held reaches it
    with ExitStack() as stack:
        with translate_errors("the log cannot be read"):
            connection = stack.enter_context(closing(choose_connect(directory)()))
            stack.enter_context(holding_moment(connection))
            if anchor is None and _read_anchor(directory) is not None:
                anchor = Head(0, NO_HASH)  # the log was begun just now
            held = HeldFile(connection, anchor)
        yield held


def _mark(path: Path) -> None:
    """Let the copy say that it is one, so that nobody goes on with it unknowingly."""
    with closing(sqlite3.connect(path, isolation_level=None)) as copy:
        copy.execute(log.PUT_COPIED)
    sync_path(path)


def _read_anchor(directory: Path) -> Head | None:
    try:
        with translate_errors("the anchor cannot be read"):
            return read_anchor(directory)
    except AnchorUnreadable as error:
        raise LogDamaged(0, str(error)) from error
