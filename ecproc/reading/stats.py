"""How much a log holds, how fast it grows, and how long its disk lasts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from shutil import disk_usage
from typing import Final

import anyio.to_thread
import msgspec

from ecproc.attachments.listing import list_contents
from ecproc.config import DataConfig
from ecproc.domain.times import format_time
from ecproc.reading.events import find_end
from ecproc.store.base import Reader
from ecproc.store.opening import measure_wal

_SECOND: Final = 1_000_000
_DAY: Final = 86_400 * _SECOND
WINDOW: Final = 7 * _DAY
"""Microseconds that the rate is of, up to now."""
LEAST: Final = 3600 * _SECOND
"""Microseconds of which a rate says nothing of a day yet."""


class LogStats(msgspec.Struct, frozen=True):
    """See `ecproc log stats`: sizes in bytes, times RFC 3339 UTC; None where nothing is known."""

    events: int
    bytes: int
    bytes_per_day: int | None
    days_left: float | None
    wal_bytes: int
    attachments_bytes: int
    oldest: str | None
    newest: str | None


class _Contents(msgspec.Struct):
    """What stored files take, and those of them that came in the window."""

    bytes: int = 0
    recent: int = 0


async def measure_log(
    reader: Reader,
    data: DataConfig,
    *,
    now: int,
    free_bytes: Callable[[Path], int] = lambda path: disk_usage(path).free,
) -> LogStats:
    """The figures of one log; `now` is microseconds UTC. Raises StoreError or OSError."""
    events = (await reader.head()).position
    first, last = await reader.read_event(1), await reader.read_event(events)
    size = await reader.size_bytes()
    contents = await anyio.to_thread.run_sync(_measure_contents, data.directory, now - WINDOW)
    before = await find_end(reader, now - WINDOW)
    rate = None
    if first is not None:
        grown = size * (events - before) // events + contents.recent
        rate = estimate_rate(grown, span=min(now - first.at, WINDOW))
    return LogStats(
        events=events,
        bytes=size,
        bytes_per_day=rate,
        days_left=estimate_days(free_bytes(data.directory) - data.reserve_bytes, rate),
        wal_bytes=measure_wal(data),
        attachments_bytes=contents.bytes,
        oldest=None if first is None else format_time(first.at),
        newest=None if last is None else format_time(last.at),
    )


def estimate_rate(grown: int, *, span: int) -> int | None:
    """Bytes a day, from what was added in so many microseconds; None where these are too few."""
    return None if span < LEAST else grown * _DAY // span


def estimate_days(left: int, rate: int | None) -> float | None:
    """How many days so many bytes last at that rate; None where it is not known, or nothing grows."""
    return None if not rate else round(max(left, 0) / rate, 1)


def _measure_contents(directory: Path, since: int) -> _Contents:
    found = _Contents()
    for content in list_contents(directory):
        found.bytes += content.size
        found.recent += content.size if content.kept_at * _SECOND >= since else 0
    return found
