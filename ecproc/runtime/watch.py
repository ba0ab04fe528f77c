"""Watching the client's desk: what changed there is asked for in turn, and taken in before the cursor moves past it.

The cursor is a shortcut, not truth: it is kept in a file, written after the commit; what is read twice is known by its
id. A record that one of our own calls is changing is left for later, and stands in the file beside the cursor until it
was taken in, for the cursor may be past it then.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final, Protocol

import anyio
import anyio.to_thread
import msgspec

from ecproc.clock import Clock
from ecproc.desk.base import DeskRefused, DeskUnavailable, News, Watch
from ecproc.domain.anomalies import Anomaly
from ecproc.domain.external import DeskPoll, ExternalFile, ExternalReceived, Fate
from ecproc.domain.remarks import Remark
from ecproc.errors import NoRoom
from ecproc.signals import Signal
from ecproc.telemetry.complaints import Complaints
from ecproc.telemetry.hooks import Telemetry

MAX_PAGES: Final = 50
"""Pages of one poll; what is left is read at once after it, the polls of other things and a stop in between."""
_LATER_SECONDS: Final = 2.0
"""How long a record that our own call is changing is left alone, at least."""
_MOST_DEFERRED: Final = 10_000
"""Records left for later; with more of them the cursor stays where it is."""


class Taking(Protocol):
    """Whoever takes news in: see `commands.external.ExternalIntake`."""

    async def wants(self, event: ExternalReceived) -> bool:
        """Whether it is about a ticket of Ensono's, and not known yet."""

    async def type_of(self, event: ExternalReceived) -> str:
        """The type of the ticket that it is about; an incident's where there is none."""

    async def take(self, events: Sequence[ExternalReceived]) -> list[Fate]:
        """What became of each, once all that is appended of them is durable."""


class Standing(msgspec.Struct, forbid_unknown_fields=False):
    """Where the watch has come to; `deferred` are references of records to read again."""

    cursor: str = ""
    deferred: list[str] = []


class CursorFile:
    """The file in which a watch's standing is kept; a damaged one counts as none."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> Standing:
        """What it holds."""
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=Standing)
        except (OSError, msgspec.DecodeError):
            return Standing()

    def write(self, standing: Standing) -> None:
        """Keep that instead. Raises OSError."""
        self._path.parent.mkdir(mode=0o700, exist_ok=True)
        fresh = self._path.with_suffix(".new")
        fresh.write_bytes(msgspec.json.encode(standing))
        fresh.replace(self._path)


class Watching:
    """Polls a desk every `interval` seconds, at once where it is woken or there is more.

    `keep` stores the content of a file that a news is about; `may_take` says whether news may be taken at all.
    """

    def __init__(
        self,
        watch: Watch,
        intake: Taking,
        *,
        keep: Callable[[News], Awaitable[ExternalFile]],
        may_take: Callable[[], bool],
        file: CursorFile,
        interval: float,
        clock: Clock,
        telemetry: Telemetry,
    ) -> None:
        self._watch = watch
        self._intake = intake
        self._keep = keep
        self._may_take = may_take
        self._file = file
        self._interval = interval
        self._clock = clock
        self._telemetry = telemetry
        self._complaints = Complaints()
        self._news, self._ended = Signal(), Signal()
        self._standing = file.read()
        self._woken = self._stopped = False
        self._begun = self._whole = 0
        """How many polls were begun, and the last of them that read all there was."""

    def wake(self) -> None:
        """Poll at once."""
        self._woken = True
        self._news.notify()

    def stop(self) -> None:
        """Begin no more polls."""
        self._stopped = True
        self._news.notify()
        self._ended.notify()

    async def run(self) -> None:
        """Poll until stopped. Raises StoreError."""
        while not self._stopped:
            self._woken = False
            began = self._clock.now()
            self._begun += 1
            outcome, again = await self._poll_once()
            whole_at = began if self._whole == self._begun else None
            self._telemetry.desk_polled(self._watch.source, outcome, whole_at=whole_at)
            self._ended.notify()
            with anyio.move_on_after(self._find_wait(outcome, again=again)):
                await self._news.wait_until(lambda: self._woken or self._stopped)

    async def wait_whole_poll(self) -> None:
        """Return when a poll that began after now has read all there was, with nothing left for later; or when we
        stop."""
        wanted = self._begun + 1
        self.wake()
        await self._ended.wait_until(lambda: self._whole >= wanted or self._stopped)

    def _find_wait(self, outcome: DeskPoll, *, again: bool) -> float:
        if outcome is not DeskPoll.OK:
            return self._interval
        if again:
            return 0.0
        return min(self._interval, _LATER_SECONDS) if self._standing.deferred else self._interval

    async def _poll_once(self) -> tuple[DeskPoll, bool]:
        """How it ended, and whether there is more at once."""
        if not self._may_take():
            return DeskPoll.BUSY, False
        try:
            again = await self._poll()
        except DeskUnavailable as error:
            now = self._clock.monotonic()
            source, hint = self._watch.source, error.hint
            self._complaints.tell(logging.WARNING, "watch_failed", str(error), now=now, source=source, hint=hint)
            return DeskPoll.FAILED, False
        except (NoRoom, OSError) as error:
            now, source = self._clock.monotonic(), self._watch.source
            self._complaints.tell(logging.WARNING, "watch_waits", str(error), now=now, source=source)
            return DeskPoll.BUSY, False
        return (DeskPoll.OK, again) if again is not None else (DeskPoll.BUSY, False)

    async def _poll(self) -> bool | None:
        """Read all there is, at most `MAX_PAGES`: whether there is more; None where there was no room for it."""
        if self._standing.deferred and not await self._read_deferred():
            return None
        for _ in range(MAX_PAGES):
            page = await self._watch.changes(self._standing.cursor)
            later = await self._take(page.news)
            if later is None or len(self._standing.deferred) + len(later) > _MOST_DEFERRED:
                return None
            deferred = [*dict.fromkeys([*self._standing.deferred, *later])]
            await self._move(Standing(page.cursor, deferred))
            if not page.more:
                self._whole = self._whole if deferred else self._begun
                return False
        return True

    async def _read_deferred(self) -> bool:
        """Look at those again that were left for later; False where there was no room for them."""
        news = await self._watch.read_again(self._standing.deferred)
        later = await self._take(news)
        if later is None:
            return False
        await self._move(Standing(self._standing.cursor, later))
        return True

    async def _take(self, news: Sequence[News]) -> list[str] | None:
        """Take these in: the references of those that are left for later; None where there is no room."""
        events = [await self._complete(each) for each in news]
        fates = await self._intake.take(events) if events else []
        for fate in fates:
            self._telemetry.external_received(self._watch.source, fate)
        if Fate.BUSY in fates:
            return None
        return [event.reference for event, fate in zip(events, fates, strict=True) if fate is Fate.DEFERRED]

    async def _complete(self, news: News) -> ExternalReceived:
        """The event, with its file if it has one and anybody wants it; why a file cannot be had is remarked."""
        event = news.event
        if not news.file or not await self._intake.wants(event):
            return event
        try:
            return msgspec.structs.replace(event, file=await self._keep(news))
        except DeskRefused as error:
            remark = Remark(Anomaly.INCOMPLETE, f"attachment {news.name[:80]}: {error}")
            return msgspec.structs.replace(event, remarks=(*event.remarks, remark))

    async def _move(self, standing: Standing) -> None:
        if standing != self._standing:
            await anyio.to_thread.run_sync(self._file.write, standing)
        self._standing = standing
