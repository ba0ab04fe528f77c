"""What a rebuild is for: to compare with the live rows, to take their place, to bring them up to this code."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, nullcontext
from typing import Final

import msgspec
import structlog

from ecproc.clock import Clock
from ecproc.errors import RowDamaged
from ecproc.rebuild.parts import Team, rebuild_in_parts
from ecproc.rebuild.streams import CompactUnusable, Progress, RebuildOrder, Rebuilt, rebuild
from ecproc.store.base import Difference, Rebuild, ScanReader, Store, SwappableRebuild

log = structlog.get_logger()

_SHOWN_DIFFERENCES: Final = 20

CHECK_SECONDS: Final = 5.0
"""How long a start looks at live rows before it goes on, and looks at the rest beside its work."""

_MENDED_HINT: Final = "nothing to do: live rows are written anew from the log; see what altered the file outside"
_FOUND_LATE_HINT: Final = "stop the processor and run ecproc replay; until then what reads these rows says so, or waits"


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
    """Rebuild all state from the log and put it in the place of the live rows. Raises LogDamaged."""
    async with _rebuilt(store, team, on_progress) as (aside, rebuilt):
        report = await _report(aside, rebuilt, verify=False)
        await aside.swap(fold_version=team.machines.fold_version)
        return report


class LiveCheck:
    """Looks at all live rows once, for as long as a start may take and then beside the running processor."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self.ended = False
        self._store = store
        self._pages = store.check_rows()
        self._clock = clock

    async def begin(self) -> list[RowDamaged]:
        """What is not as it was written, as far as the time goes; nothing is looked at if nobody could alter it."""
        if self._store.is_as_left:
            return []
        end = self._clock.monotonic() + CHECK_SECONDS
        found: list[RowDamaged] = []
        async for page in self._pages:
            found += page
            if self._clock.monotonic() >= end:
                return found
        self.ended = True
        return found

    async def finish(self) -> None:
        """Look at the rest and tell what is found."""
        async for page in self._pages:
            _tell_damaged(page, hint=_FOUND_LATE_HINT)


async def renew_live_state(store: Store, team: Team) -> LiveCheck | None:
    """Rebuild live rows that another version of the fold wrote, or that are not as they were written, and say how much
    that changed (decision 12). What is left to look at; None if all is well."""
    if await store.fold_version() == team.machines.fold_version:
        check = LiveCheck(store, team.clock)
        damaged = await check.begin()
        if not damaged:
            return None if check.ended else check
        _tell_damaged(damaged, hint=_MENDED_HINT)
    await _renew(store, team)
    return None


async def mend_live_state(store: Store, team: Team, damaged: RowDamaged) -> None:
    """Rebuild live rows of which that one was met before all were looked at."""
    _tell_damaged([damaged], hint=_MENDED_HINT)
    await _renew(store, team)


def _tell_damaged(damaged: Sequence[RowDamaged], *, hint: str) -> None:
    """One line for each table, which names the first row."""
    rows = Counter(one.table for one in damaged)
    for one in {one.table: one for one in reversed(damaged)}.values():
        named = {"stream": one.stream, "key": one.id} if one.stream else {}
        log.error("rows_damaged", rows=rows[one.table], table=one.table, **named, reason=str(one), hint=hint)


async def _renew(store: Store, team: Team) -> None:
    version = team.machines.fold_version
    async with _rebuilt(store, team, lambda progress: None) as (aside, rebuilt):
        differing = await _count_differences(aside)
        await aside.swap(fold_version=version)
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
    try:
        count, first = await aside.differences(_SHOWN_DIFFERENCES)
        digest = await aside.live_digest()
    except RowDamaged as damaged:  # the rows of a whole table cannot be read
        unreadable = Difference(damaged.table, damaged.stream, damaged.id, str(damaged).encode(), None)
        return msgspec.structs.replace(report, equal=False, differences=1, first=(unreadable,))
    return msgspec.structs.replace(report, live_digest=digest, equal=count == 0, differences=count, first=tuple(first))


async def _count_differences(aside: Rebuild) -> int | None:
    """How many live rows the rebuild will change; None if they cannot be read."""
    try:
        return (await aside.differences(0))[0]
    except RowDamaged:
        return None


async def _rebuild(
    reader: ScanReader, aside: Rebuild, order: RebuildOrder, *, team: Team, on_progress: Callable[[Progress], None]
) -> Rebuilt:
    if team.processes == 1:
        return await rebuild(reader, aside, order, machines=team.machines, clock=team.clock, on_progress=on_progress)
    return await rebuild_in_parts(reader, aside, order, team=team, on_progress=on_progress)
