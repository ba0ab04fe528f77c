"""What the process tells of itself: log lines at its start and after a drain, gauges, and how it is."""

from __future__ import annotations

import logging
import platform
import sqlite3
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from enum import IntEnum
from pathlib import Path
from typing import Final

import structlog
from anyio import to_thread
from prometheus_client import CollectorRegistry

from ecproc import __version__
from ecproc.clock import Clock
from ecproc.config import Config
from ecproc.domain.entry import Entry
from ecproc.fold.recorded import decode_entry
from ecproc.outbox.retry import SECOND
from ecproc.pipeline import Pipeline
from ecproc.privacy import find_exposures
from ecproc.room import Room
from ecproc.runtime.ingest import Ingest
from ecproc.runtime.receipts import Receipts
from ecproc.store.base import Store
from ecproc.store.checks import Checks, read_checks
from ecproc.store.opening import read_anchor_time
from ecproc.store.receipts import ReceiptWindow, note_receipts
from ecproc.telemetry.complaints import Complaints
from ecproc.telemetry.hooks import Reading, Telemetry
from ecproc.telemetry.metrics import PrometheusTelemetry
from ecproc.web.state import Check

log = structlog.get_logger()

ROOM_SECONDS: Final = 1.0
"""How late it may be said that the disk crossed a mark."""

GAUGE_SECONDS: Final = 2.0
"""How old the gauges of the log's length and size may be."""
RECEIPTS_SECONDS: Final = 60.0
"""How old what is kept of the queue's other readers may be."""
_WINDOW: Final = 24 * 3_600 * SECOND
_HOUR: Final = 3_600.0
_EXPIRY_SECONDS: Final = 10.0
"""How late it may be said that an address is about to end."""
_EXPIRING_SECONDS: Final = 900.0
"""How long before its end an address counts as about to end (Appendix E)."""
_STALE_INTERVALS: Final = 3
"""Reads of the queue that may fail in a row before that is worth a word (Appendix E)."""


def read_versions() -> Mapping[str, str]:
    """Names and versions of what is running."""
    return {"version": __version__, "python": platform.python_version(), "sqlite": sqlite3.sqlite_version}


def tell_exposures(directory: Path) -> None:
    """Warn of what others may read or change in the data directory."""
    for found in find_exposures(directory):
        log.warning("exposed", place=str(found.path), reason=found.reason, hint=found.hint)


def watch_room(room: Room, telemetry: Telemetry) -> None:
    """Let the disk be seen from the first moment: it may be what holds the start up."""
    telemetry.watch(Reading.DISK_FREE, lambda: room.free)
    telemetry.watch(Reading.DISK_RESERVE, lambda: room.reserve)


class Reporting:
    """What the store holds and the pipeline does, told in log lines, gauges and checks."""

    def __init__(
        self,
        config: Config,
        store: Store,
        pipeline: Pipeline,
        room: Room,
        *,
        telemetry: PrometheusTelemetry,
        clock: Clock,
    ) -> None:
        self._config = config
        self._store = store
        self._pipeline = pipeline
        self._room = room
        self._telemetry = telemetry
        self._clock = clock
        self._complaints = Complaints()
        self._quarantined = 0
        self._anchored: float | None = None
        self._checks = Checks()
        telemetry.watch(Reading.ANCHORED, lambda: self._anchored)
        telemetry.watch(Reading.VERIFIED, self._read_verified)
        telemetry.watch(Reading.REPLAY_EQUAL, lambda: self._checks.replay_equal)

    async def tell_start(self) -> None:
        """Say who starts, on which log, and what a former process left undone."""
        identity = self._config.bridge.identity
        log.info(
            "started",
            version=__version__,
            host=identity.host,
            client=identity.client_name,
            environment=identity.environment,
            data_dir=str(self._config.data.directory),
            position=(await self._store.head()).position,
            unfinished=await self._count_entries(),
        )

    async def tell_drained(self, seconds: float, *, done: Mapping[str, int], waiting: Sequence[str]) -> None:
        """Say what was `done` since the start, and what a drain was still `waiting` for when its time was up."""
        known = {
            "duration": round(seconds, 1),
            "position": (await self._store.head()).position,
            **done,
            "entries": await self._count_entries(),
        }
        if not waiting:
            log.info("drained", **known)
            return
        advice = "run --drain with a longer --timeout; ecproc outbox list shows what waits"
        log.warning("drained", **known, reason="; ".join(waiting), hint=advice)

    async def count_tickets(self) -> None:
        """Begin the count of tickets by type and state, which the projector goes on with."""
        for tag, count in (await self._store.count_tags("ticket")).items():
            ticket_type, _, state = tag.partition(":")
            if ticket_type:  # a link without a message is no ticket yet
                self._telemetry.tickets_counted(ticket_type, state, count)

    async def refresh_gauges(self) -> None:
        """Measure the log once in a while until cancelled."""
        while True:
            head = await self._store.head()
            self._telemetry.log_position(head.position, await self._store.size_bytes())
            self._quarantined = sum((await self._store.count_tags("quarantine")).values())
            self._telemetry.quarantine_counted(self._quarantined)
            self._anchored, self._checks = await to_thread.run_sync(self._read_files)
            await self._clock.sleep(GAUGE_SECONDS)

    async def watch_expiries(self) -> None:
        """Warn of attachments whose address is about to end, until cancelled."""
        while True:
            self._warn_of_expiry(self._pipeline.dispatcher.schedule.expiries.first())
            await self._clock.sleep(_EXPIRY_SECONDS)

    async def tell_hourly(self) -> None:
        """Say once an hour what was done since the start and what waits, until cancelled: silence means dead."""
        began = self._clock.monotonic()
        while True:
            await self._clock.sleep(_HOUR)
            log.info(
                "hourly",
                uptime=round(self._clock.monotonic() - began),
                position=(await self._store.head()).position,
                **self._telemetry.totals(),
                parked=len(self._pipeline.projector.parked),
                waiting=self._quarantined,
                unfinished=await self._count_entries(),
            )

    def list_checks(self) -> Sequence[Check]:
        """What an operator asks first, none of it a reason not to be ready."""
        now, last = self._clock.now(), self._telemetry.last_success
        read = "not read successfully yet" if last is None else f"read {max(0.0, now / SECOND - last):.0f} s ago"
        stale = last is None or now / SECOND - last > _STALE_INTERVALS * self._config.bridge.poll_interval
        parked, waiting = len(self._pipeline.projector.parked), self._quarantined
        breakers = sorted(self._pipeline.dispatcher.schedule.breakers.items())
        return (
            Check("queue", not stale, read, counts=False),
            *(
                Check(f"breaker {name}", not breaker.is_open, "open" if breaker.is_open else "closed", counts=False)
                for name, breaker in breakers
            ),
            Check("parked", not parked, f"{parked} tickets", counts=False),
            Check("quarantine", not waiting, f"{waiting} messages", counts=False),
        )

    def _read_verified(self) -> float | None:
        at = self._checks.verified_at
        return None if at is None else at / SECOND

    def _read_files(self) -> tuple[float | None, Checks]:
        data = self._config.data
        return read_anchor_time(data), read_checks(data.directory)

    def _warn_of_expiry(self, first: tuple[int, str, Entry] | None) -> None:
        if first is None:
            return
        deadline, stream, entry = first
        left = (deadline - self._clock.now()) / SECOND
        if left < _EXPIRING_SECONDS:
            self._complaints.tell(
                logging.WARNING,
                "attachment_expiring",
                f"its address ends in {max(0, round(left))} s, and it is not fetched yet",
                now=self._clock.monotonic(),
                ticket=entry.effect.ticket or stream,
                key=entry.effect.key,
                hint=f"see what holds it: ecproc outbox show {entry.effect.key}",
            )

    async def watch_room(self) -> None:
        """Say when the disk crosses a mark, either way, and when the store waits and goes on; until cancelled."""
        room, store = self._room, self._store
        told, waited = _Level.RECEIVING, ""
        while True:
            level = _Level.of(room)
            if level is not told:
                _tell_level(level, room, fell=level < told)
                told = level
            if bool(store.waits) is not bool(waited):
                waited = store.waits
                _tell_waits(waited)
            await self._clock.sleep(ROOM_SECONDS)

    async def _count_entries(self) -> Mapping[str, int]:
        """The outbox entries that came to no good end yet, by state."""
        counts: Counter[str] = Counter()
        async for rows in self._store.scan_rows("outbox", tagged=True):
            counts.update(str(decode_entry(row.data or b"").state) for row in rows)
        return counts


class ReceiptKeeper:
    """Leaves in the data directory what tells of somebody else who reads the queue, as soon as anything does."""

    def __init__(self, config: Config, ingest: Ingest, *, clock: Clock) -> None:
        self._directory = config.data.directory
        self._readers = config.bridge.max_readers
        self._ingest = ingest
        self._clock = clock

    async def run(self) -> None:
        """Do it once a minute, and at the end, which is being cancelled."""
        try:
            while True:
                await self._clock.sleep(RECEIPTS_SECONDS)
                self._keep()  # a file of a few kilobytes that is not synced: no thread is worth it
                now = self._clock.now()
                if now - self._ingest.receipts.since >= _WINDOW:
                    self._ingest.receipts = Receipts(now)
        finally:
            self._keep()

    def _keep(self) -> None:
        counted = self._ingest.receipts
        if counted.again:
            window = ReceiptWindow(
                since=counted.since,
                until=max(counted.since, self._clock.now()),
                again=counted.again,
                known=counted.known,
                lost=counted.lost,
                readers=self._readers,
                last=counted.last,
            )
            note_receipts(self._directory, window)


class _Level(IntEnum):
    """What the disk lets us do, by its marks."""

    PAUSED = 0
    PERFORMING = 1
    RECEIVING = 2

    @classmethod
    def of(cls, room: Room) -> _Level:
        """The level of that disk."""
        return cls.RECEIVING if room.may_receive() else cls.PERFORMING if room.may_perform() else cls.PAUSED


_MEANINGS: Final[Mapping[_Level, str]] = {
    _Level.PAUSED: "the disk is near half of its reserve: nothing is received, effects and downloads pause",
    _Level.PERFORMING: "the disk is below its reserve: nothing is received, effects and downloads go on",
    _Level.RECEIVING: "the disk is above its reserve: messages are received",
}


def _tell_level(level: _Level, room: Room, *, fell: bool) -> None:
    known = {"reason": _MEANINGS[level], "free_bytes": room.free, "reserve_bytes": room.reserve}
    if level is _Level.RECEIVING:
        log.info("disk_reserve", **known)
    else:
        hint = "free some space on the data directory's disk; it goes on by itself"
        (log.warning if fell else log.info)("disk_reserve", **known, hint=hint)


def _tell_waits(waits: str) -> None:
    if waits:
        hint = "end what locks the data directory's files, or free space there; what waits is tried again by itself"
        log.warning("store_waits", reason=waits, hint=hint)
    else:
        log.info("store_goes_on")


class ProcessHealth:
    """How the process is, for the health pages; it is `draining` from the moment it is on its way out."""

    def __init__(
        self,
        registry: CollectorRegistry,
        *,
        works: Callable[[], bool],
        has_room: Callable[[], bool],
        waits: Callable[[], str] = str,
        tell_more: Callable[[], Sequence[Check]] = tuple,
    ) -> None:
        self.registry = registry
        self.draining = False
        self._works = works
        self._has_room = has_room
        self._waits = waits
        self._tell_more = tell_more

    def live(self) -> bool:
        """Whether the store still works; a bridge or a desk that is down is no reason to restart."""
        return self._works()

    def checks(self) -> Sequence[Check]:
        """Ready means: an append is possible and we are not on our way out; the rest is for people."""
        has_room = self._has_room()
        room = (
            "an append is possible and the disk is above its reserve" if has_room else "the disk is below its reserve"
        )
        return (
            Check("store", has_room, self._waits() or room),
            Check("draining", not self.draining, "on the way out" if self.draining else "not on the way out"),
            *self._tell_more(),
        )

    def version(self) -> Mapping[str, str]:
        """What is running."""
        return read_versions()
