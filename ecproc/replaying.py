"""Rebuilding live state from the log: what `ecproc replay` and the start do, on one process or on several."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final

import anyio
import anyio.to_process
import msgspec
import structlog

from ecproc.clock import SystemClock
from ecproc.config import Config
from ecproc.errors import LogDamaged
from ecproc.fold.tickets import MACHINES
from ecproc.runtime.replay import CompactUnusable, Progress, Rebuilt, divide_streams, rebuild
from ecproc.store.base import ALL, Difference, Reader, Span
from ecproc.store.rebuild import SqliteRebuild, name_scratch, open_part
from ecproc.store.sqlite import SqliteStore, open_reader, open_store
from ecproc.telemetry.hooks import Telemetry

log = structlog.get_logger()

_SHOWN_DIFFERENCES: Final = 20


class ReplayReport(msgspec.Struct, frozen=True):
    """What a replay did; the last three are None unless it compared with the live rows."""

    events: int
    tickets: int
    seconds: float
    events_per_second: float
    digest: str
    live_digest: str | None = None
    equal: bool | None = None
    differences: int | None = None
    first: tuple[Difference, ...] = ()


class _Order(msgspec.Struct, frozen=True, kw_only=True):
    """What to rebuild from, and by how many processes at once."""

    directory: Path
    until: int | None = None
    compact: bool = False
    renew: bool = False
    processes: int = 1


async def replay_log(
    config: Config,
    *,
    verify: bool,
    until: int | None,
    processes: int = 1,
    on_progress: Callable[[Progress], None],
) -> ReplayReport:
    """Rebuild all state from the log. Without `verify` and `until` the rebuilt rows replace the live ones, which takes
    the data directory's lock; otherwise live state is only read, and nothing but the messages as received is trusted.
    """
    if verify or until is not None:
        order = _Order(directory=config.data.directory, until=until, processes=processes)
        async with (
            open_reader(config.data.directory) as opened,
            opened.reading() as reader,
            opened.rebuilding(reader) as aside,
        ):
            rebuilt = await _rebuild(reader, aside, order, on_progress)
            return await _report(aside, rebuilt, verify=verify)
    store = await open_store(config.data.directory, now=SystemClock().now, identity=None, reserve_bytes=0)
    try:
        async with _rebuilt(store, processes, on_progress) as (aside, rebuilt):
            report = await _report(aside, rebuilt, verify=False)
            await aside.swap(fold_version=MACHINES.fold_version)
            return report
    finally:
        await store.aclose()


async def renew_live_state(store: SqliteStore, telemetry: Telemetry) -> None:
    """Rebuild live rows that another version of the fold wrote, and say how much that changed (decision 12)."""
    if await store.fold_version() == MACHINES.fold_version:
        return
    async with _rebuilt(store, 1, lambda progress: None) as (aside, rebuilt):
        differing, _ = await aside.differences(0)
        await aside.swap(fold_version=MACHINES.fold_version)
    telemetry.replay_events(rebuilt.events)
    if rebuilt.tickets:
        log.info("live_state_rebuilt", tickets=rebuilt.tickets, events=rebuilt.events, rows_changed=differing)


@asynccontextmanager
async def _rebuilt(
    store: SqliteStore, processes: int, on_progress: Callable[[Progress], None]
) -> AsyncIterator[tuple[SqliteRebuild, Rebuilt]]:
    """Rows aside that are to replace the live ones: from the compact form if that is whole, else from the bodies."""
    async with store.reading() as reader:
        order = _Order(directory=store.directory, compact=True, renew=True, processes=processes)
        try:
            async with store.rebuilding(reader) as aside:
                yield aside, await _rebuild(reader, aside, order, on_progress)
                return
        except CompactUnusable as reason:
            log.warning("compact_form_unusable", reason=str(reason))
        order = msgspec.structs.replace(order, compact=False)
        async with store.rebuilding(reader) as aside:
            yield aside, await _rebuild(reader, aside, order, on_progress)


async def _report(aside: SqliteRebuild, rebuilt: Rebuilt, *, verify: bool) -> ReplayReport:
    report = ReplayReport(
        events=rebuilt.events,
        tickets=rebuilt.tickets,
        seconds=round(rebuilt.seconds, 6),
        events_per_second=round(rebuilt.events / max(rebuilt.seconds, 1e-9), 1),
        digest=await aside.digest(),
    )
    if not verify:
        return report
    count, first = await aside.differences(_SHOWN_DIFFERENCES)
    return msgspec.structs.replace(
        report, live_digest=await aside.live_digest(), equal=count == 0, differences=count, first=tuple(first)
    )


async def _rebuild(
    reader: Reader, aside: SqliteRebuild, order: _Order, on_progress: Callable[[Progress], None]
) -> Rebuilt:
    if order.processes == 1:
        return await _fold(reader, aside, order, on_progress=on_progress)
    return await _rebuild_in_parts(reader, aside, order, on_progress)


async def _fold(
    reader: Reader,
    aside: SqliteRebuild,
    order: _Order,
    *,
    span: Span = ALL,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> Rebuilt:
    return await rebuild(
        reader,
        aside,
        machines=MACHINES,
        clock=SystemClock(),
        until=order.until,
        compact=order.compact,
        renew=order.renew,
        span=span,
        on_progress=on_progress,
    )


async def _rebuild_in_parts(
    reader: Reader, aside: SqliteRebuild, order: _Order, on_progress: Callable[[Progress], None]
) -> Rebuilt:
    """Each process folds the streams of one span into a file of its own; their rows are put together here."""
    clock = SystemClock()
    started = clock.monotonic()
    head = (await reader.head()).position
    until = head if order.until is None else min(order.until, head)
    order = msgspec.structs.replace(order, until=None if order.compact else until)
    merging = anyio.Lock()
    limiter = anyio.CapacityLimiter(order.processes)
    done: list[Rebuilt] = []
    failures: list[Exception] = []

    async def fold(span: Span, path: Path) -> None:
        outcome = await anyio.to_process.run_sync(_fold_span, order, span, path, limiter=limiter)
        if isinstance(outcome, Exception):
            failures.append(outcome)
            return
        async with merging:
            await aside.absorb(path)
        done.append(outcome)
        on_progress(Progress(sum(part.events for part in done), until, clock.monotonic() - started))

    with tempfile.TemporaryDirectory(prefix="ecproc-replay-") as folder:
        async with anyio.create_task_group() as tasks:
            for span in await divide_streams(reader, order.processes):
                tasks.start_soon(fold, span, name_scratch(Path(folder)))
    if failures:
        raise failures[0]
    events = sum(part.events for part in done)
    if events != until:
        if order.compact:
            raise CompactUnusable(f"{events} of {until} events")
        async for _ in reader.read_streams(until=until):  # tells where the first one is missing
            pass
        raise LogDamaged(0, f"{events} of {until} events can be read")
    return Rebuilt(events, sum(part.tickets for part in done), clock.monotonic() - started)


def _fold_span(order: _Order, span: Span, path: Path) -> Rebuilt | CompactUnusable | LogDamaged:
    """What one process does."""
    try:
        return anyio.run(partial(_fold_part, order, span, path))
    except (CompactUnusable, LogDamaged) as found:
        return found


async def _fold_part(order: _Order, span: Span, path: Path) -> Rebuilt:
    async with open_reader(order.directory) as opened, opened.reading() as reader, open_part(path) as part:
        return await _fold(reader, part, order, span=span)
