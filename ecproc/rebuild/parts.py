"""A rebuild by several processes: each folds the streams of one span into a part, and one puts the parts together."""

from __future__ import annotations

import signal
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from functools import partial
from typing import TypeAlias, TypeVar

import anyio
import msgspec

from ecproc.clock import Clock
from ecproc.collector import spare_the_collector
from ecproc.errors import LogDamaged
from ecproc.fold.machine import Machines
from ecproc.rebuild.streams import CompactUnusable, Progress, RebuildOrder, Rebuilt, rebuild
from ecproc.store.base import ReadableStore, Rebuild, RebuildPart, ScanReader, Span

T = TypeVar("T")

OpenReader: TypeAlias = Callable[[], AbstractAsyncContextManager[ReadableStore]]
"""Opens the log to read."""


class Team(msgspec.Struct, frozen=True):
    """How many processes fold at once, and what is sent to each of them."""

    processes: int
    open_reader: OpenReader
    machines: Machines
    clock: Clock


async def rebuild_in_parts(
    reader: ScanReader, aside: Rebuild, order: RebuildOrder, *, team: Team, on_progress: Callable[[Progress], None]
) -> Rebuilt:
    """What `rebuild` does of all streams.

    Raises CompactUnusable or LogDamaged, with `aside` of no more use.
    """
    started = team.clock.monotonic()
    head = (await reader.head()).position
    total = head if order.until is None else min(order.until, head)
    sent = msgspec.structs.replace(order, until=None if order.compact else total)
    done: list[Rebuilt] = []
    failures: list[Exception] = []
    limiter, merging = anyio.CapacityLimiter(team.processes), anyio.Lock()

    async def fold(span: Span) -> None:
        async with aside.open_part() as part:
            outcome = await _run_aside(partial(_fold_span, team, sent, span, part), limiter)
            if isinstance(outcome, Exception):
                failures.append(outcome)
                return
            async with merging:
                await aside.absorb(part)
        done.append(outcome)
        on_progress(Progress(sum(one.events for one in done), total, team.clock.monotonic() - started))

    async with anyio.create_task_group() as tasks:
        for span in await divide_streams(reader, team.processes):
            tasks.start_soon(fold, span)
    if failures:
        raise failures[0]
    events = sum(one.events for one in done)
    if events != total:
        raise await _find_missing(reader, sent, events=events, total=total)
    return Rebuilt(events, sum(one.tickets for one in done), team.clock.monotonic() - started)


async def divide_streams(reader: ScanReader, parts: int) -> list[Span]:
    """Spans of streams with about as many events each, as the counters tell."""
    total = (await reader.head()).position
    ends: list[str] = []
    events = 0
    async for page in reader.list_streams():
        for stream, state in page:
            if len(ends) < parts - 1 and events >= total * (len(ends) + 1) / parts:
                ends.append(stream)
            events += state.version
    return [Span(first, end) for first, end in zip(["", *ends], [*ends, None], strict=True)]


async def _find_missing(
    reader: ScanReader, order: RebuildOrder, *, events: int, total: int
) -> CompactUnusable | LogDamaged:
    if order.compact:
        return CompactUnusable(f"{events} of {total} events")
    async for _ in reader.read_streams(until=total):  # tells where the first one is missing
        pass
    return LogDamaged(0, f"{events} of {total} events can be read")


async def _run_aside(work: Callable[[], T], limiter: anyio.CapacityLimiter) -> T:
    """What `work` gives in another process, which ends where this is cancelled.

    Ctrl-C at a terminal reaches that process too, and is for this one alone. Raises BrokenWorkerProcess where it came
    before the other one could ignore it.
    """
    from anyio import to_process  # what it loads takes a while, and only several processes need it

    run = partial(to_process.run_sync, cancellable=True, limiter=limiter)
    try:
        await run(signal.signal, signal.SIGINT, signal.SIG_IGN)  # first of all: what `work` needs takes long to load
        return await run(work)
    except KeyboardInterrupt as error:  # the other one's
        raise anyio.BrokenWorkerProcess("it was interrupted") from error


def _fold_span(
    team: Team, order: RebuildOrder, span: Span, part: RebuildPart
) -> Rebuilt | CompactUnusable | LogDamaged:
    """What one process does."""
    spare_the_collector()
    try:
        return anyio.run(partial(_fold_part, team, order, span, part))
    except (CompactUnusable, LogDamaged) as found:
        return found


async def _fold_part(team: Team, order: RebuildOrder, span: Span, part: RebuildPart) -> Rebuilt:
    async with team.open_reader() as opened, _read(opened, order) as reader, part.writing() as aside:
        return await rebuild(reader, aside, order, machines=team.machines, clock=team.clock, span=span)


def _read(opened: ReadableStore, order: RebuildOrder) -> AbstractAsyncContextManager[ScanReader]:
    """What is read up to a position stays as it is; all else is read by who lets nothing be written."""
    return nullcontext(opened) if order.until is not None else opened.reading()
