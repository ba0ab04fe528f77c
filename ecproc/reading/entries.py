"""Outbox entries as they are listed: what is to be done outside, and how far it got."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

import msgspec

from ecproc.domain.entry import Entry
from ecproc.domain.log import Row
from ecproc.domain.times import format_time
from ecproc.fold.recorded import decode_entry
from ecproc.store.base import Reader


class ShownEntry(msgspec.Struct, frozen=True):
    """An outbox entry as it is listed."""

    key: str
    kind: str
    lane: str
    ticket: str
    client_ticket: str | None
    generation: int
    state: str
    attempts: int
    tries: int
    next_attempt_at: str | None
    deadline: str | None
    reason: str
    result: Mapping[str, str]
    position: int
    planned_at: str


async def list_entries(
    reader: Reader, *, state: str | None, lane: str | None, unfinished: bool
) -> AsyncIterator[ShownEntry]:
    """Entries by stream, in planned order, of that state and lane where they are given.

    With `unfinished` only those that did not come to a good end, which is the quicker question.
    """
    async for rows in reader.scan_rows("outbox", tagged=unfinished):
        for row in rows:
            entry = decode_entry(row.data or b"")
            if state in (None, entry.state) and lane in (None, entry.lane):
                yield _describe(row, entry)


def _describe(row: Row, entry: Entry) -> ShownEntry:
    effect = entry.effect
    return ShownEntry(
        key=effect.key,
        kind=effect.kind,
        lane=entry.lane,
        ticket=effect.ticket or row.stream,
        client_ticket=effect.number,
        generation=effect.generation,
        state=entry.state,
        attempts=entry.attempts,
        tries=entry.tries,
        next_attempt_at=_time(entry.next_attempt_at),
        deadline=_time(effect.deadline),
        reason=entry.reason,
        result=entry.result,
        position=effect.position,
        planned_at=format_time(effect.at),
    )


def _time(microseconds: int | None) -> str | None:
    return None if microseconds is None else format_time(microseconds)
