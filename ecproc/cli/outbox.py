"""`ecproc outbox`: what is to be done outside, and how far it got."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from functools import partial
from typing import Annotated, Final, Literal

import anyio
import msgspec
from cyclopts import Parameter

from ecproc.cli.listing import write_list, write_nothing, write_table
from ecproc.cli.output import say, wants_json
from ecproc.cli.session import Json, Own, Reveal, has_log, mention_missing_log
from ecproc.config import Config
from ecproc.domain.entry import Entry
from ecproc.domain.log import Row
from ecproc.domain.times import format_time
from ecproc.fold.recorded import decode_entry
from ecproc.store.base import Reader

_State = Literal["available", "executing", "unknown", "retryable", "completed", "cancelled", "discarded", "parked"]
_Lane = Literal["desk", "bridge", "attachments"]
_ENDED: Final = ("completed", "cancelled")
_COLUMNS: Final = ("state", "attempts", "tries", "next_attempt_at", "key", "reason")


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


def list_entries(
    *,
    state: Annotated[_State | None, Parameter(help="Only entries in this state.")] = None,
    lane: Annotated[_Lane | None, Parameter(help="Only entries of this lane.")] = None,
    json: Json = False,
    reveal: Reveal = False,
    session: Own,
) -> None:
    """List outbox entries by ticket, in planned order.

    The table leaves out completed and cancelled entries unless --state asks for them; the JSON array has all.
    """
    config = session.load_config()
    as_json = wants_json(json)
    if has_log(config):
        anyio.run(partial(_list, config, state=state, lane=lane, as_json=as_json, reveal=reveal))
    else:
        mention_missing_log(config)
        write_nothing(as_json=as_json)


async def _list(config: Config, *, state: str | None, lane: str | None, as_json: bool, reveal: bool) -> None:
    from ecproc.app import open_reading

    async with open_reading(config) as reader:
        unfinished = not as_json and state not in _ENDED
        entries = _read_entries(reader, state=state, lane=lane, unfinished=unfinished)
        if as_json:
            await write_list((msgspec.json.encode(entry) async for entry in entries), reveal=reveal)
            return
        rows = [[str(getattr(entry, name) or "") for name in _COLUMNS] async for entry in entries]
    write_table(_COLUMNS, rows, whole=_COLUMNS[:-1], reveal=reveal)
    say(f"{len(rows)} entries" + ("; --state completed lists those that are done" if state is None else ""))


async def _read_entries(
    reader: Reader, *, state: str | None, lane: str | None, unfinished: bool
) -> AsyncIterator[ShownEntry]:
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
