"""Whether the event log is what we wrote: the hash chain, the order, and the anchor beside it (I6)."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Final

from ecproc.errors import LogDamaged, StoreError
from ecproc.store.base import Damage, Head, VerifiedLog
from ecproc.store.chain import NO_HASH
from ecproc.store.sqlite.datadir import ANCHOR, DATABASE, AnchorUnreadable, read_anchor
from ecproc.store.sqlite.extent import describe_shortage
from ecproc.store.sqlite.schema import connect_reader, is_damage, is_read_only, translate_errors
from ecproc.store.sqlite.sql import log, moment, verify
from ecproc.store.verify import check_event, compare_anchor

TAIL_EVENTS: Final = 1000
"""How many of the newest events each start checks."""

NO_ANCHOR: Final = (
    f"it has events, but the file {ANCHOR} beside it is gone, so nothing says whether its end is still there"
)
"""An anchor stands there before the first event does, so a start that was killed leaves no such log."""

_PAGE_EVENTS: Final = 1000
_INDEX_ROW: Final = re.compile(r"row (\d+) missing from index")


def verify_log(directory: Path) -> Damage | VerifiedLog:
    """Read the whole log of a data directory and say where it first does not hold; nothing is written.

    Works beside a running processor, since the anchor is read before the log. Position 0 is damage that belongs to no
    one event. Raises StoreError if there is no log, it is of a newer schema, or the machine cannot read it.
    """
    try:
        with translate_errors("the log cannot be read"):
            anchor = read_anchor(directory)
            with closing(choose_connect(directory)()) as connection:
                return _verify(connection, directory / DATABASE, anchor)
    except AnchorUnreadable as error:
        return Damage(0, str(error))
    except LogDamaged as error:
        return Damage(error.position, error.reason)


def verify_copy(directory: Path, anchor: Head | None) -> Damage | VerifiedLog:
    """The same for a copy that nobody has opened yet and that lacks an anchor of its own: it is held to that of the
    log, and every page of it is read. Raises StoreError.
    """
    path = directory / DATABASE
    try:
        with (
            translate_errors("the copy cannot be read"),
            closing(connect_reader(path, immutable=True)) as connection,
        ):
            found = _verify(connection, path, anchor)
            if isinstance(found, Damage):
                return found
            return _check_pages(connection) or found
    except LogDamaged as error:
        return Damage(error.position, error.reason)


def choose_connect(directory: Path, later: Iterable[str] = ()) -> Callable[[], sqlite3.Connection]:
    """What connects to a log for reading, be it in use, closed, or on a medium that cannot be written.

    Raises StoreError if there is none, LogDamaged if it was emptied or is no database any more.
    """
    path = directory / DATABASE
    if not path.is_file():
        raise StoreError(f"{directory} holds no event log")
    check_emptied(directory)
    with translate_errors(f"{path} cannot be opened", position=1):
        try:
            connect_reader(path).close()
        except sqlite3.OperationalError as error:
            if not is_read_only(error) or path.with_name(f"{DATABASE}-wal").exists():
                raise
            return partial(connect_reader, path, later, immutable=True)
    return partial(connect_reader, path, later)


def check_emptied(directory: Path) -> None:
    """Raise LogDamaged if the database is empty although its anchor says otherwise, before SQLite makes a new one."""
    if (directory / DATABASE).stat().st_size:
        return
    anchor = _read_anchor_if_sound(directory)
    if anchor is not None and anchor.position:
        raise LogDamaged(1, f"the file is empty, but its anchor says that it reached {anchor.position}")


def check_tail(connection: sqlite3.Connection) -> Damage | None:
    """Check the newest events: what each start can afford."""
    first = max(read_head(connection).position - TAIL_EVENTS, 0)
    before = Head(first, NO_HASH)
    if first:
        row = connection.execute(log.READ_HASH, (first,)).fetchone()
        if row is None:
            return Damage(first, "the event is missing")
        if not isinstance(row[0], bytes) or len(row[0]) != len(NO_HASH):
            return Damage(first, "the event's hash is none")
        before = Head(first, row[0])
    walked = _walk(connection, before)
    return walked if isinstance(walked, Damage) else None


def check_anchor(connection: sqlite3.Connection, anchor: Head | None, head: Head) -> Damage | None:
    """Whether the log has its anchor and still holds the event that it names; one without events needs none."""
    if anchor is None:
        return None if head.position == 0 else Damage(0, NO_ANCHOR)
    if anchor.position == 0:
        return None
    row = connection.execute(log.READ_HASH, (anchor.position,)).fetchone()
    return compare_anchor(anchor, head, None if row is None else row[0])


def read_head(connection: sqlite3.Connection) -> Head:
    """The end of the log."""
    row = connection.execute(log.READ_HEAD).fetchone()
    return Head(0, NO_HASH) if row is None else Head(*row)


def _verify(connection: sqlite3.Connection, path: Path, anchor: Head | None) -> Damage | VerifiedLog:
    walked = _walk(connection, Head(0, NO_HASH))
    if isinstance(walked, Damage):
        return walked
    damage = None if anchor is None else check_anchor(connection, anchor, walked)
    damage = damage or _check_versions(connection) or _check_indexes(connection)
    if damage is None and anchor is None:
        damage = _look_for_anchor(connection, path.parent, walked)
    shortage = None if damage is not None else describe_shortage(connection, path)
    if shortage is not None:
        damage = Damage(walked.position + 1, shortage)
    return damage or VerifiedLog(events=walked.position, head=walked)


def _look_for_anchor(connection: sqlite3.Connection, directory: Path, walked: Head) -> Damage | None:
    """A log that has just begun has its anchor by now, and may have gone on since it was walked through."""
    anchor = read_anchor(directory)
    head = walked if anchor is None else read_head(connection)
    return check_anchor(connection, anchor, head)


def _walk(connection: sqlite3.Connection, head: Head) -> Damage | Head:
    """Check every event after `head`, in pages, so that no long read keeps the write-ahead log from being reused."""
    while True:
        walked = _walk_page(connection, head)
        if isinstance(walked, Damage) or walked == head:
            return walked
        head = walked


def _walk_page(connection: sqlite3.Connection, head: Head) -> Damage | Head:
    try:
        for row in connection.execute(verify.VERIFY_LOG, (head.position, _PAGE_EVENTS)):
            damage = check_event(row, head)
            if damage is not None:
                return damage
            head = Head(row[0], row[-1])
    except sqlite3.Error as error:
        if not is_damage(error):
            raise
        return _find_unreadable(connection, head, str(error))
    return head


def _find_unreadable(connection: sqlite3.Connection, head: Head, reason: str) -> Damage:
    """The event that cannot be read, one by one: a cursor reads ahead, so its error may come a row too early."""
    while True:
        position = head.position + 1
        try:
            row = connection.execute(verify.VERIFY_EVENT, (position,)).fetchone()
        except sqlite3.Error as error:
            if not is_damage(error):
                raise
            return Damage(position, f"the event cannot be read: {error}")
        if row is None:
            return Damage(position, f"the event cannot be read: {reason}")
        damage = check_event(row, head)
        if damage is not None:
            return damage
        head = Head(row[0], row[-1])


def _check_versions(connection: sqlite3.Connection) -> Damage | None:
    for statement in (moment.ALLOW_WRITING, moment.keep_result("place", verify.LIST_PLACES), moment.FORBID_WRITING):
        connection.execute(statement)
    position = connection.execute(verify.VERIFY_VERSIONS).fetchone()[0]
    return None if position is None else Damage(position, "the stream's versions are not gapless and in order")


def _check_indexes(connection: sqlite3.Connection) -> Damage | None:
    finding = str(connection.execute("PRAGMA integrity_check(event)").fetchone()[0])
    if finding == "ok":
        return None
    row = _INDEX_ROW.match(finding)
    return Damage(int(row[1]) if row else 0, f"an index of the log does not hold: {finding}")


def _check_pages(connection: sqlite3.Connection) -> Damage | None:
    finding = str(connection.execute("PRAGMA integrity_check(1)").fetchone()[0])
    return None if finding == "ok" else Damage(0, f"the database does not hold: {finding}")


def _read_anchor_if_sound(directory: Path) -> Head | None:
    try:
        return read_anchor(directory)
    except AnchorUnreadable:
        return None
