"""The embedded desk: a client ITSM in one SQLite file, for those who have none yet.

The file may be read by anyone beside the running desk. Its schema (all times microseconds since the epoch):

    ticket  one row per client ticket
        number      TEXT     primary key: LOCAL-0000001 and so on, or as another system named it
        serial      INTEGER  1, 2, 3 … without gaps but for those skipped; NULL for numbers of others and lost ones
        key         TEXT     idempotency key of the create, NULL for others' numbers
        ensono      TEXT     Ensono's number
        type        TEXT     Incident, Request or Change
        state       TEXT     open, workinprogress, pending, resolved, closed, cancelled, or what an update said
        fields      TEXT     JSON object of the newest value of each field, comments and files apart
        opened_at   INTEGER
    action  one row per call that was applied, so a second row for one effect cannot exist
        key         TEXT     primary key: the effect's idempotency key
        number      TEXT     the ticket's
        kind        TEXT     as create_client_ticket
        state_after TEXT     the ticket's state in the answer
        fields      TEXT     JSON object of what the call brought
        at          INTEGER
    skipped  one row per restore, and one with 0 of the first start: no number up to this one is given any more
        serial      INTEGER  primary key
        at          INTEGER
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, TypeAlias, TypeVar

import anyio
import anyio.to_thread
import msgspec

from ecproc.clock import Clock
from ecproc.desk.base import DeskAnswer, DeskCall, DeskHasNoRoom, DeskRefused
from ecproc.desk.numbers import CREATE_SKIPPED, DeskStand, format_number, is_new, read_stand, skip, was_never_given
from ecproc.desk.thread import DeskThread
from ecproc.desk.walfile import DeskWal
from ecproc.domain.effects import EffectKind, Repeat
from ecproc.errors import NewerFormat, StoreFailed, StoreUnavailable
from ecproc.failpoints import failpoint
from ecproc.room import Room, is_no_room

T = TypeVar("T")
_Outcome: TypeAlias = DeskAnswer | DeskRefused | DeskHasNoRoom | StoreUnavailable

_SCHEMA_VERSION: Final = 1
_SCHEMA: Final = (
    """
    CREATE TABLE ticket (
        number TEXT PRIMARY KEY,
        serial INTEGER UNIQUE,
        key TEXT UNIQUE,
        ensono TEXT NOT NULL,
        type TEXT NOT NULL,
        state TEXT NOT NULL,
        fields TEXT NOT NULL,
        opened_at INTEGER NOT NULL
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE action (
        key TEXT PRIMARY KEY,
        number TEXT NOT NULL,
        kind TEXT NOT NULL,
        state_after TEXT NOT NULL,
        fields TEXT NOT NULL,
        at INTEGER NOT NULL
    ) WITHOUT ROWID
    """,
    f"PRAGMA user_version = {_SCHEMA_VERSION}",
)
_SETTINGS: Final = (
    "PRAGMA busy_timeout = 5000",
    "PRAGMA trusted_schema = OFF",
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA fullfsync = ON",
    "PRAGMA wal_autocheckpoint = 0",  # SQLite swallows the errors of automatic checkpoints; ours are explicit
    "PRAGMA temp_store = MEMORY",  # a file that is opened in the middle of a statement may find no descriptor
)
_TEND_SECONDS: Final = 2.0
_OPEN: Final = "open"
_ACTIVE: Final = frozenset({_OPEN, "workinprogress", "pending"})
"""States that a ticket may be opened or re-opened in; an end has a call of its own."""
_CREATE: Final = "create_client_ticket"
_UPDATE: Final = "update_client_ticket"
_COMMENT: Final = "comment_client_ticket"
_ATTACH: Final = "attach_client_ticket"
_REOPEN: Final = "reopen_client_ticket"
_STATES: Final[Mapping[str, str | None]] = {
    _UPDATE: None,
    _COMMENT: None,
    "resolve_client_ticket": "resolved",
    "close_client_ticket": "closed",
    "cancel_client_ticket": "cancelled",
    _ATTACH: None,
    _REOPEN: None,
}
"""What a kind makes of the ticket's state; None leaves it, or leaves it to the fields."""


class LocalDesk:
    """A desk whose every answer is durable. Calls that wait at the same time share one commit.

    Besides DeskRefused (an unknown number of our own, an unknown kind) and DeskHasNoRoom (locked by another program,
    disk full; not applied) calls raise StoreUnavailable once the storage failed, as in a COMMIT: then nothing more is
    acknowledged.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection, clock: Clock, room: Room) -> None:
        self._path = path
        self._connection = connection
        self._wal = DeskWal(path, connection, room)
        self._clock = clock
        self._thread = DeskThread(self._apply_all)
        self._written = 0
        self._failure: str | None = None

    @classmethod
    async def open(cls, path: Path, *, clock: Clock, room: Room) -> LocalDesk:
        """The desk in that file, made if there is none; its directory must exist. Raises StoreError.

        `room` is the account of its disk, which hears what is written.
        """
        return cls(path, await anyio.to_thread.run_sync(_connect, path), clock, room)

    def repeat_of(self, kind: EffectKind) -> Repeat:
        """Keyed, whatever it is: each call that was applied is kept under its key."""
        return Repeat.KEYED

    def ends_after(self, kind: EffectKind) -> float:
        return 0.0

    async def perform(self, call: DeskCall) -> DeskAnswer:
        """Apply it once per key; a repeated key is answered as the first time, whatever else the call holds."""
        self._check_open()
        return await self._thread.perform(call)

    async def look_up(self, call: DeskCall) -> DeskAnswer | None:
        """What this key led to, None if it was never applied."""
        return await self._ask(lambda: self._find(call.key))

    async def read_stand(self) -> DeskStand:
        """How far it has counted."""
        return await self._ask(lambda: read_stand(self._connection))

    async def is_new(self) -> bool:
        """Whether nothing was done at it yet, and nothing skipped: `skip_to`, even of 0, ends that."""
        return await self._ask(lambda: is_new(self._connection))

    async def skip_to(self, serial: int) -> None:
        """Give no number up to this one any more; durable on return. Tickets below it may be changed though the file
        does not know them: they were lost."""
        await self._ask(lambda: skip(self._connection, serial, at=self._clock.now()))

    async def keep_short(self) -> None:
        """Cut the write-ahead log down after another program read for long, until cancelled."""
        while True:
            await self._clock.sleep(_TEND_SECONDS)
            if self._wal.is_long():
                with suppress(DeskHasNoRoom, StoreUnavailable):  # the next call tells it
                    await self._ask(self._wal.move)

    async def _ask(self, work: Callable[[], T]) -> T:
        self._check_open()
        return await self._thread.ask(lambda: self._guard(work))

    def _check_open(self) -> None:
        if self._thread.is_over:
            raise _name_failure("it is closed")

    async def aclose(self) -> None:
        """Finish what waits, move everything into the one file, and close it."""
        if self._thread.is_over:
            return
        with anyio.CancelScope(shield=True):
            await self._thread.stop(self._connection.close)  # the last one moves the write-ahead log into the file

    # What follows runs on the thread, one at a time.

    def _apply_all(self, calls: Sequence[DeskCall]) -> Sequence[_Outcome]:
        try:
            outcomes = self._guard(lambda: self._commit(calls))
        except (DeskHasNoRoom, StoreUnavailable) as error:
            return [_copy(error) for _ in calls]
        failpoint("desk.committed")
        return outcomes

    def _commit(self, calls: Sequence[DeskCall]) -> Sequence[_Outcome]:
        self._written = 0
        with _transaction(self._connection):
            outcomes = [self._apply(call) for call in calls]
        self._wal.committed(self._written)
        return outcomes

    def _apply(self, call: DeskCall) -> _Outcome:
        answer = self._find(call.key)
        if answer is not None:
            return answer
        outcome = self._create(call) if call.kind == _CREATE else self._change(call)
        if isinstance(outcome, DeskAnswer):
            self._connection.execute(
                "INSERT INTO action (key, number, kind, state_after, fields, at) VALUES (?, ?, ?, ?, ?, ?)",
                (call.key, outcome.number, call.kind, outcome.state, self._to_json(call.fields), self._clock.now()),
            )
        return outcome

    def _find(self, key: str) -> DeskAnswer | None:
        row = self._connection.execute("SELECT number, state_after FROM action WHERE key = ?", (key,)).fetchone()
        return DeskAnswer(*row) if row else None

    def _create(self, call: DeskCall) -> DeskAnswer:
        serial = read_stand(self._connection).last + 1
        number, state = format_number(serial), _open_state(call)
        self._insert(call, number, serial, state=state)
        return DeskAnswer(number, state)

    def _insert(self, call: DeskCall, number: str, serial: int | None, *, state: str = _OPEN) -> None:
        self._connection.execute(
            "INSERT INTO ticket (number, serial, key, ensono, type, state, fields, opened_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                number,
                serial,
                None if serial is None else call.key,
                call.ticket,
                call.ticket_type,
                state,
                self._to_json(call.fields) if serial else "{}",
                self._clock.now(),
            ),
        )

    def _change(self, call: DeskCall) -> DeskAnswer | DeskRefused:
        number = call.number
        if call.kind not in _STATES:
            return DeskRefused(f"the local desk has no {call.kind}")
        if not number:
            return DeskRefused(f"{call.kind} names no ticket")
        query = "SELECT state, fields FROM ticket WHERE number = ?"
        row = self._connection.execute(query, (number,)).fetchone()
        if row is None and was_never_given(self._connection, number):
            return DeskRefused(f"there is no ticket {number}")
        if row is None:
            # An adopted ticket lives in another system, or a file that was lost; it is kept from its first change on.
            self._insert(call, number, None)
        state, fields = row or (_OPEN, "{}")
        return self._update(call, number, state, fields)

    def _update(self, call: DeskCall, number: str, state: str, fields: str) -> DeskAnswer:
        after = _open_state(call) if call.kind == _REOPEN else _STATES[call.kind] or state
        merged = msgspec.json.decode(fields, type=dict[str, str])
        if call.kind == _UPDATE:
            after = call.fields.get("state") or call.fields.get("status") or state
        if call.kind not in (_COMMENT, _ATTACH):
            merged.update(call.fields)
        self._connection.execute(
            "UPDATE ticket SET state = ?, fields = ? WHERE number = ?", (after, self._to_json(merged), number)
        )
        return DeskAnswer(number, after)

    def _to_json(self, fields: Mapping[str, str]) -> str:
        """The fields as they are kept."""
        text = msgspec.json.encode(dict(fields), order="sorted")
        self._written += len(text)
        return text.decode()

    def _guard(self, work: Callable[[], T]) -> T:
        """What it gives. Raises DeskHasNoRoom, or StoreUnavailable from the first fault on that is more than that."""
        if self._failure is None:
            try:
                return work()
            except sqlite3.Error as error:
                reason = f"{self._path.name}: {error}"
                if is_no_room(error):
                    raise DeskHasNoRoom(reason) from None
                self._failure = reason
            except _CommitFailed as failed:
                self._failure = f"{self._path.name}: {failed}"
        raise _name_failure(self._failure)


def _name_failure(failure: str) -> StoreUnavailable:
    return StoreUnavailable(f"the local desk has failed: {failure}")


def _open_state(call: DeskCall) -> str:
    """The state a ticket is opened or re-opened in: what Ensono's is in, where that is one of work."""
    named = call.fields.get("state", "")
    return named if named in _ACTIVE else _OPEN


class _CommitFailed(Exception):
    """Whether the transaction took effect, nobody knows: not even a full disk may be waited for here."""


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    try:
        connection.execute("COMMIT")
    except sqlite3.Error as error:
        raise _CommitFailed(str(error)) from error


def _connect(path: Path) -> sqlite3.Connection:
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            _prepare(connection, path)
        except BaseException:
            connection.close()
            raise
    except _CommitFailed as failed:
        raise StoreFailed(f"the local desk cannot be opened: {path}: {failed}") from failed.__cause__
    except (sqlite3.Error, OSError) as error:
        raise StoreUnavailable(f"the local desk cannot be opened: {path}: {error}") from error
    return connection


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    for statement in _SETTINGS:
        connection.execute(statement)
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > _SCHEMA_VERSION:
        raise NewerFormat(
            f"{path} was written by a newer ecproc (schema {version}; this one knows up to {_SCHEMA_VERSION})"
        )
    if version == 0:
        with _transaction(connection):
            for statement in _SCHEMA:
                connection.execute(statement)
        _sync_folder(path.parent)
    connection.execute(CREATE_SKIPPED)


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _copy(error: DeskHasNoRoom | StoreUnavailable) -> DeskHasNoRoom | StoreUnavailable:
    """An error of its own for each caller: one that is raised twice collects both tracebacks."""
    return type(error)(*error.args)
