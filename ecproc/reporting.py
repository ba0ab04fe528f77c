"""What the process tells of itself: log lines at its start and after a drain, gauges, and how it is."""

from __future__ import annotations

import platform
import sqlite3
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from enum import IntEnum
from typing import Final

import structlog
from prometheus_client import CollectorRegistry

from ecproc import __version__
from ecproc.clock import Clock
from ecproc.config import Config
from ecproc.fold.recorded import decode_entry
from ecproc.room import Room
from ecproc.store.base import Reader, Store
from ecproc.telemetry.hooks import Telemetry
from ecproc.web.state import Check

log = structlog.get_logger()

ROOM_SECONDS: Final = 1.0
"""How late it may be said that the disk crossed a mark."""

GAUGE_SECONDS: Final = 2.0
"""How old the gauges of the log's length and size may be."""


def read_versions() -> Mapping[str, str]:
    """Names and versions of what is running."""
    return {"version": __version__, "python": platform.python_version(), "sqlite": sqlite3.sqlite_version}


class Reporting:
    """What the store holds, told in log lines and gauges."""

    def __init__(self, config: Config, store: Reader, *, telemetry: Telemetry, clock: Clock) -> None:
        self._config = config
        self._store = store
        self._telemetry = telemetry
        self._clock = clock

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
            self._telemetry.tickets_counted(ticket_type, state, count)

    async def refresh_gauges(self) -> None:
        """Measure the log once in a while until cancelled."""
        while True:
            head = await self._store.head()
            self._telemetry.log_position(head.position, await self._store.size_bytes())
            await self._clock.sleep(GAUGE_SECONDS)

    async def watch_room(self, room: Room, store: Store) -> None:
        """Say when the disk crosses a mark, either way, and when the store waits and goes on; until cancelled."""
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
    ) -> None:
        self.registry = registry
        self.draining = False
        self._works = works
        self._has_room = has_room
        self._waits = waits

    def live(self) -> bool:
        """Whether the store still works; a bridge or a desk that is down is no reason to restart."""
        return self._works()

    def checks(self) -> Sequence[Check]:
        """Ready means: an append is possible and we are not on our way out."""
        has_room = self._has_room()
        room = (
            "an append is possible and the disk is above its reserve" if has_room else "the disk is below its reserve"
        )
        return (
            Check("store", has_room, self._waits() or room),
            Check("draining", not self.draining, "on the way out" if self.draining else "not on the way out"),
        )

    def version(self) -> Mapping[str, str]:
        """What is running."""
        return read_versions()
