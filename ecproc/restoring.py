"""Whether the built-in desk's file and the log are of one moment, so that no number is ever given twice (I4).

The desk counts in its own file, and the log holds what it answered. Whichever is older than the other was put back
alone, and is refused. A copy of both together looks like the real ones: whoever puts it back says so (`accept_loss`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from ecproc.clock import Clock
from ecproc.desk.base import DeskHasNoRoom
from ecproc.desk.local import LocalDesk
from ecproc.desk.numbers import PREFIX, DeskStand, format_number, read_serial
from ecproc.domain.effects import EffectKind
from ecproc.domain.ids import is_create_key
from ecproc.errors import NoRoom, OutOfStep
from ecproc.fold.recorded import decode_entry
from ecproc.store.base import Reader, Store

log = structlog.get_logger()

SKIPPED_NUMBERS: Final = 1_000_000
"""How many numbers may have been given by what was lost. One more is skipped for each millisecond since the log's last
event: the same copy put back again comes later, so it goes on above whatever was given since the first time."""


async def align_desk(desk: LocalDesk, store: Store, *, clock: Clock) -> None:
    """See that the desk gives no number that was given before. Raises NoRoom, or OutOfStep where nobody can tell.

    Where a loss was accepted it skips a million numbers instead, at every start with that word, since a copy cannot be
    told from what it was copied from. So does a desk that begins anew while creates are under way, which the lost one
    may have answered. A start that dies before numbers were skipped leaves that to the next one.
    """
    try:
        await _align(desk, store, clock=clock)
    except DeskHasNoRoom as error:
        raise NoRoom(str(error)) from error


async def _align(desk: LocalDesk, store: Store, *, clock: Clock) -> None:
    stand = await desk.read_stand()
    if await store.owes_for_loss():
        hint = "start without --accept-loss from now on: each start with it skips as many again"
        given = await _find_given(store, above=stand.last)
        await _skip(desk, store, max(stand.last, given), clock=clock, hint=hint)
        await store.settle_loss()
    elif why := await compare_stand(stand, store):
        raise OutOfStep(why)
    elif await desk.is_new():
        await _begin(desk, store, clock=clock)


async def compare_stand(
    stand: DeskStand, store: Reader, *, look_again: Callable[[], Awaitable[DeskStand]] | None = None
) -> str:
    """Why the desk that has counted so far and the log are not of one moment; empty where nothing says so.

    `look_again` gives the stand of a desk that goes on meanwhile. It knows a number before the log does, and the log
    a plan before the desk: so a number of the log is looked for in the later stand, the newest key in the first one.
    """
    last = stand.last
    given = await _find_given(store, above=last)
    if given and look_again is not None:
        last = (await look_again()).last
    if given > last:
        return f"the log says that the built-in desk gave out {format_number(given)}, but its file desk.db " + (
            f"ends at {format_number(last)}" if last else "is gone or empty"
        )
    if not await _knows(store, stand):
        return (
            f"the newest ticket in desk.db, {stand.number}, was made for {stand.key!r}, which the log never asked for: "
            "the log is older than desk.db, or another one"
        )
    return ""


async def _begin(desk: LocalDesk, store: Store, *, clock: Clock) -> None:
    """Let a desk count from 1 on, unless it seems to take the place of one that is gone; either is seen in its file."""
    if await _has_creates_under_way(store):
        await _skip(desk, store, 0, clock=clock, hint="desk.db was gone: put it back, if there still is one")
    else:
        await desk.skip_to(0)


async def _skip(desk: LocalDesk, store: Reader, last: int, *, clock: Clock, hint: str) -> None:
    position = (await store.head()).position
    newest = await store.read_event(position)
    waited = max(clock.now() - newest.at, 0) // 1000 if newest is not None else 0
    until = last + SKIPPED_NUMBERS + waited
    await desk.skip_to(until)
    log.warning(
        "numbers_skipped",
        position=position,
        reason=f"the built-in desk goes on at {format_number(until + 1)} instead of {format_number(last + 1)}: "
        "the numbers between may have been given out by what was lost",
        hint=hint,
    )


async def _find_given(store: Reader, *, above: int) -> int:
    """The highest number that the log says the desk gave, where that is above what the desk knows; else 0."""
    later = await store.list_later("client_ticket", PREFIX, format_number(above))
    suspects = [(serial, stream, number) for stream, number in later if (serial := read_serial(number)) > above]
    for serial, stream, number in sorted(suspects, reverse=True):
        if await _is_created(store, stream, number):
            return serial
    return 0


async def _is_created(store: Reader, stream: str, number: str) -> bool:
    """Whether our own create gave that number; else it came from outside, and says nothing of our desk."""
    entries = [decode_entry(row.data or b"") for row in await store.read_rows("outbox", stream=stream)]
    return any(entry.effect.kind is EffectKind.CREATE and entry.result.get("number") == number for entry in entries)


async def _knows(store: Reader, stand: DeskStand) -> bool:
    """Whether the log planned what the desk did last: a plan is durable before the desk hears of it."""
    return not is_create_key(stand.key) or bool(await store.read_rows("outbox", id=stand.key))


async def _has_creates_under_way(store: Reader) -> bool:
    async for rows in store.scan_rows("outbox", tagged=True):
        if any(decode_entry(row.data or b"").effect.kind is EffectKind.CREATE for row in rows):
            return True
    return False
