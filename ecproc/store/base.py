"""What the rest of ecproc asks of durable storage: bytes, kinds and rows; nothing of Envision Connect is known here."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import TYPE_CHECKING, Final, Protocol

import msgspec

from ecproc.domain.log import Batch, Compact, RecordedEvent, Row, Snapshot, StreamCounters

if TYPE_CHECKING:
    from pathlib import Path

    import anyio

    from ecproc.errors import RowDamaged


class Tables(Protocol):
    """The live tables, all of one shape (see Row), and what is asked of their rows."""

    @property
    def names(self) -> frozenset[str]:
        """What they are called: lower-case words, and none of the store's own."""

    @property
    def later(self) -> frozenset[str]:
        """Those that a log may lack until newer code opens it for writing; until then they are empty."""

    @property
    def newest_stays(self) -> frozenset[str]:
        """Those in which a row never takes the place of one with a higher ordinal: what came of a plan that was
        replaced may be written after the plan that replaced it."""

    @property
    def searched_by_id(self) -> frozenset[str]:
        """Those whose rows are looked for by id alone."""

    @property
    def searched_by_tag(self) -> frozenset[str]:
        """Those whose tagged rows are scanned."""

    @property
    def grouped_by_tag(self) -> frozenset[str]:
        """Those whose rows are counted by tag, and scanned by those of some tags."""


class Committed(msgspec.Struct, frozen=True):
    """What became of a batch: one entry per event, None where its message_key was in the log already, or its stream is
    not there (see `NewEvent.if_held`).

    `fenced` means that another owner decided first: nothing of the batch was written.
    """

    events: tuple[RecordedEvent | None, ...] = ()
    fenced: bool = False


class Head(msgspec.Struct, frozen=True, gc=False):
    """The end of the log: position 0 and 32 zero bytes when it is empty."""

    position: int
    hash: bytes


class Span(msgspec.Struct, frozen=True):
    """The streams with `first` <= name < `end`, by the bytes of their names; all behind `first` without an `end`."""

    first: str = ""
    end: str | None = None

    def holds(self, stream: str) -> bool:
        """Whether that stream is one of them."""
        return self.first <= stream and (self.end is None or stream < self.end)


ALL: Final = Span()


class Difference(msgspec.Struct, frozen=True):
    """One row that differs: `live` or `rebuilt` is None where the row stands on one side only."""

    table: str
    stream: str
    id: str
    live: bytes | None
    rebuilt: bytes | None


class Damage(msgspec.Struct, frozen=True):
    """The first place where the log does not hold: the position (0: no one event's) and what is wrong there."""

    position: int
    reason: str


class VerifiedLog(msgspec.Struct, frozen=True):
    """A log that holds from its first event to its head."""

    events: int
    head: Head


class LogHealth(msgspec.Struct, frozen=True):
    """A log as it stands on disk, for whoever looks after it: the bytes of its file and of what is not moved into that
    yet, the position that its anchor names (None if there is none), when the first event behind that was recorded (None
    if there is none) and when the newest was. `odd` says what is not as we make it, empty where all is; `is_backup`
    that it is a backup that nobody started yet. Times are microseconds UTC."""

    size_bytes: int
    wal_bytes: int
    anchor: int | None
    behind_at: int | None
    newest_at: int
    odd: str = ""
    is_backup: bool = False


class HeldLog(Protocol):
    """A log and its live rows as of one moment, to be copied."""

    @property
    def size(self) -> int:
        """The bytes that a copy takes."""

    def copy(self, into: Path, on_copied: Callable[[int], None]) -> VerifiedLog:
        """Copy it into a directory, which can be opened as its own data directory then, and read all of the copy; all
        of it is durable on return. `on_copied` hears how many bytes are copied so far. The moment is let go of when it
        is copied, before the copy is read.

        Raises LogDamaged if what was copied does not hold, or lacks what the anchor says, and StoreUnavailable.
        """


class LogReader(Protocol):
    """Reads of the log. From `ReadableStore.reading` they all see one moment."""

    async def head(self) -> Head:
        """The last event's position and hash."""

    async def read_event(self, position: int) -> RecordedEvent | None:
        """The event at that position."""

    async def read_message(self, message_key: bytes) -> RecordedEvent | None:
        """The event with that message_key."""

    async def read_stream(self, stream: str, *, after: int = 0, limit: int | None = None) -> list[RecordedEvent]:
        """Events of a stream with version > `after`, in order."""

    def read_log(self, *, after: int = 0, until: int | None = None) -> AsyncIterator[list[RecordedEvent]]:
        """All events with after < position <= until, in order, in pages of bounded size."""

    async def stream_state(self, stream: str) -> StreamCounters:
        """The stream's counters; zeros for an unknown stream."""

    async def undecided_streams(self) -> list[str]:
        """Streams that hold a wanted event above their `through`."""


class Reader(LogReader, Protocol):
    """Reads of the log and of the live rows. Reading a row that is not as it was written raises RowDamaged."""

    async def read_rows(
        self, table: str, *, stream: str | None = None, id: str | None = None, last: int | None = None
    ) -> list[Row]:
        """Rows by stream and/or id, by (stream, ordinal); `last` keeps only the newest that many of a stream."""

    async def list_later(self, table: str, prefix: str, id: str) -> list[tuple[str, str]]:
        """Stream and id of a table's rows whose ids begin with `prefix` and are longer than that id, or as long and
        behind it, as later numbers are. The rows themselves are not looked at."""

    async def count_rows(self, table: str, stream: str) -> int:
        """How many rows a stream has in a table."""

    async def count_tags(self, table: str) -> dict[str, int]:
        """How many rows of a table have each tag, where it is not None."""

    def scan_rows(
        self, table: str, *, tagged: bool = False, tags: Collection[str] | None = None, after: str = ""
    ) -> AsyncIterator[list[Row]]:
        """All rows of a table behind a stream by (stream, ordinal) in pages; with `tagged` only those whose tag is not
        None, with `tags` only those that have one of these."""

    async def read_snapshot(self, stream: str, *, snapshot_version: int) -> Snapshot | None:
        """The stream's snapshot if that fold wrote it."""

    async def read_tail(self, stream: str, *, snapshot_version: int) -> tuple[Snapshot | None, list[RecordedEvent]]:
        """The stream's snapshot if that fold wrote it, and the events behind it or else all, in order, as of one
        moment."""

    async def fold_version(self) -> int:
        """The version of the fold that wrote the live rows; 0 on an empty store."""

    async def size_bytes(self) -> int:
        """What the store takes on disk."""


class ScanReader(Reader, Protocol):
    """Reads of everything, stream by stream: what a rebuild is made from."""

    def read_streams(self, *, until: int | None = None, span: Span = ALL) -> AsyncIterator[list[RecordedEvent]]:
        """All events of those streams with position <= until, by (stream, version), in pages of bounded size."""

    def read_compact(self, *, span: Span = ALL) -> AsyncIterator[list[Compact]]:
        """All compact forms of those streams, by (stream, position), in pages."""

    def list_streams(self, *, span: Span = ALL) -> AsyncIterator[list[tuple[str, StreamCounters]]]:
        """Those streams with their counters, by name, in pages."""


class RebuildWriter(Protocol):
    """Live rows and stream counters built aside, while the live ones stay as they are."""

    async def write(
        self,
        rows: Sequence[Row],
        streams: Sequence[tuple[str, StreamCounters]] = (),
        compact: Sequence[Compact] = (),
    ) -> None:
        """Put rows, counters and compact forms; a row replaces one of the same (table, stream, id) as in a commit."""


class RebuildPart(Protocol):
    """A place for some of a rebuild's streams. It can be sent to another process, if the store has a file or a server.

    No row and no stream may stand in two parts of a rebuild, or in a part and beside it.
    """

    def writing(self) -> AbstractAsyncContextManager[RebuildWriter]:
        """What fills the part, once; it is whole when that ends without an error."""


class Rebuild(RebuildWriter, Protocol):
    """A rebuild that is compared with the live rows."""

    def open_part(self) -> AbstractAsyncContextManager[RebuildPart]:
        """A new part, which is gone at the end."""

    async def absorb(self, part: RebuildPart) -> None:
        """Take everything that was written into a part of this rebuild."""

    async def digest(self) -> str:
        """SHA-256 over all rows built aside, in canonical order."""

    async def live_digest(self) -> str:
        """The same over the live rows."""

    async def differences(self, limit: int) -> tuple[int, list[Difference]]:
        """How many rows differ from the live ones, and the first `limit` of them."""


class SwappableRebuild(Rebuild, Protocol):
    """A rebuild that can take the place of the live rows."""

    async def swap(self, *, fold_version: int) -> None:
        """Replace the live rows, counters and fold version, and the compact form of the streams that have one here, in
        one transaction.

        Raises StoreError, with nothing replaced, unless the counters written cover every event of the log.
        """


class ReadableStore(ScanReader, Protocol):
    """A store as far as it can be read, beside the process that writes it."""

    def reading(self) -> AbstractAsyncContextManager[ScanReader]:
        """A reader that sees one moment of the store for as long as it is open, which holds up the writer's
        housekeeping: only for a short while, or where nothing is written."""

    def copying(self) -> AbstractAsyncContextManager[ScanReader]:
        """A reader that sees one moment of the log, the live rows and the counters, copied aside where they change, so
        that it can be open for long. Compact forms and snapshots are the newest."""

    def rebuilding(self, reader: Reader | None = None) -> AbstractAsyncContextManager[Rebuild]:
        """A place aside to rebuild live rows in, of which nothing stays. `reader` is what to compare to."""


class Store(ReadableStore, Protocol):
    """The log and its live rows with one writer. Closing is `aclose`; every fault is a `StoreError`."""

    @property
    def failed(self) -> anyio.Event:
        """Set at the first storage fault, when nothing more is written: the process should end then, with StoreError's
        exit code."""

    def rebuilding(self, reader: Reader | None = None) -> AbstractAsyncContextManager[SwappableRebuild]:
        """A place aside to rebuild live rows in; without a swap nothing of it stays."""

    async def commit(self, batch: Batch) -> Committed:
        """Write the batch durably (synced) and return what became of it, or raise with nothing acknowledged.

        Events get consecutive positions and versions in the order given. An event whose message_key is in the log
        is left out, as is one with `if_held` for a stream that holds nothing. Calls that wait at the same time share
        one transaction; each batch is still all or nothing.
        In a table of `newest_stays` a row of a lower ordinal than the one that stands there is left out.
        A caller's cancellation never undoes or tears a batch. After a storage fault every call raises StoreUnavailable.
        Where there is no room (another program's lock, no space), the call waits until there is: nothing is written of
        it meanwhile. Above half of the reserve messages and steps of tickets do too; outcomes have what is below.
        A batch that cannot be stored as it is (unknown table, no Unicode, beyond 64 bits) is a ValueError, no fault.
        """

    def foresee(self) -> tuple[int, int] | None:
        """The position and time that the first event of the next batch to be committed probably gets; None where that
        cannot be told, and nothing `Foreseen` should be committed. What is foreseen wrongly waits for nothing and is
        fenced."""

    async def commit_all(self, batches: Sequence[Batch]) -> list[Committed]:
        """Write several batches as `commit` does each, in one transaction where they fit into one.

        If one of them cannot be stored as it is, that is a ValueError and none is written.
        """

    async def owes_for_loss(self) -> bool:
        """Whether it was opened with its loss accepted, by this process or a former one, and `settle_loss` did not
        follow: what is to be done then survives a death in between."""

    async def settle_loss(self) -> None:
        """Note durably that what followed from the accepted loss is done; without room for that it is to be done once
        more."""

    @property
    def is_as_left(self) -> bool:
        """Whether it was opened as this code had closed it in order, with nothing written to it by others since."""

    def check_rows(self) -> AsyncIterator[list[RowDamaged]]:
        """Look at all live rows and counters, page by page, and say of each page what is not as it was written, or is
        missing: in one page first the counters, what is tagged and what is searched by id, which a start goes by."""

    def has_room(self) -> bool:
        """Whether an append is possible now: not failed, not waiting, and free space is above the reserve (I0)."""

    def may_perform(self) -> bool:
        """Whether there is room to begin effects: nothing waits, and free space is above half of the reserve."""

    def taking(self, content: int) -> AbstractContextManager[bool]:
        """Have room for so many bytes of content that are written within, which nobody else gets; whether there is."""

    @property
    def waits(self) -> str:
        """Why nothing can be written just now, though what waits is tried again; empty while nothing is in the way."""

    async def aclose(self) -> None:
        """Finish what waits, checkpoint, write the anchor, release the lock."""
