"""What a rebuild is for: to compare with the live rows, to take their place, to bring them up to this code."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext
from typing import Final

import msgspec
import structlog

from ecproc.rebuild.parts import Team, rebuild_in_parts
from ecproc.rebuild.streams import CompactUnusable, Progress, RebuildOrder, Rebuilt, rebuild
from ecproc.store.base import Difference, Rebuild, ScanReader, Store, SwappableRebuild
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


async def replay_aside(
    team: Team, *, verify: bool, until: int | None, on_progress: Callable[[Progress], None]
) -> ReplayReport:
    """Rebuild all state from the messages as received, and nothing else is trusted; live state is only read.

    With `verify` it is compared. Raises LogDamaged.
    """
    async with team.open_reader() as opened:
        team.machines.require_known(await opened.fold_version())
        async with opened.copying() if verify else nullcontext(opened) as reader, opened.rebuilding(reader) as aside:
            head = (await reader.head()).position
            order = RebuildOrder(until=head if until is None else min(until, head))
            rebuilt = await _rebuild(reader, aside, order, team=team, on_progress=on_progress)
            return await _report(aside, rebuilt, verify=verify)


async def replay_live(store: Store, team: Team, *, on_progress: Callable[[Progress], None]) -> ReplayReport:
    """Rebuild all state from the log and put it in the place of the live rows. Raises LogDamaged or NewerFormat."""
    team.machines.require_known(await store.fold_version())
    async with _rebuilt(store, team, on_progress) as (aside, rebuilt):
        report = await _report(aside, rebuilt, verify=False)
        await aside.swap(fold_version=team.machines.fold_version)
        return report


async def renew_live_state(store: Store, team: Team, telemetry: Telemetry) -> None:
    """Rebuild live rows that a former version of the fold wrote, and say how much that changed (decision 12).

    Raises NewerFormat for those of a later one.
    """
    version = team.machines.fold_version
    found = await store.fold_version()
    team.machines.require_known(found)
    if found == version:
        return
    async with _rebuilt(store, team, lambda progress: None) as (aside, rebuilt):
        differing, _ = await aside.differences(0)
        await aside.swap(fold_version=version)
    telemetry.replay_events(rebuilt.events)
    if rebuilt.tickets:
        log.info("live_state_rebuilt", tickets=rebuilt.tickets, events=rebuilt.events, rows_changed=differing)


@asynccontextmanager
async def _rebuilt(
    store: Store, team: Team, on_progress: Callable[[Progress], None]
) -> AsyncIterator[tuple[SwappableRebuild, Rebuilt]]:
    """Rows aside that are to replace the live ones: from the compact form if that is whole, else from the bodies."""
    async with store.reading() as reader:
        order = RebuildOrder(compact=True, renew=True)
        try:
            async with store.rebuilding(reader) as aside:
                yield aside, await _rebuild(reader, aside, order, team=team, on_progress=on_progress)
                return
        except CompactUnusable as reason:
            log.warning("compact_form_unusable", reason=str(reason))
        order = RebuildOrder(renew=True)
        async with store.rebuilding(reader) as aside:
            yield aside, await _rebuild(reader, aside, order, team=team, on_progress=on_progress)


async def _report(aside: Rebuild, rebuilt: Rebuilt, *, verify: bool) -> ReplayReport:
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
    reader: ScanReader, aside: Rebuild, order: RebuildOrder, *, team: Team, on_progress: Callable[[Progress], None]
) -> Rebuilt:
    if team.processes == 1:
        return await rebuild(reader, aside, order, machines=team.machines, clock=team.clock, on_progress=on_progress)
    return await rebuild_in_parts(reader, aside, order, team=team, on_progress=on_progress)
