"""`ecproc outbox`: what is to be done outside, and how far it got."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Final, Literal

import anyio
from cyclopts import Parameter

from ecproc.cli.listing import write_list, write_nothing, write_table
from ecproc.cli.output import say, wants_json
from ecproc.cli.session import Json, Own, Reveal, has_log, mention_missing_log
from ecproc.config import Config

_State = Literal["available", "executing", "unknown", "retryable", "completed", "cancelled", "discarded", "parked"]
_Lane = Literal["desk", "bridge", "attachments"]
_ENDED: Final = ("completed", "cancelled")
_COLUMNS: Final = ("state", "attempts", "tries", "next_attempt_at", "key", "reason")


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
    from ecproc.reading.opening import open_queries

    async with open_queries(config, reveal=reveal) as queries:
        unfinished = not as_json and state not in _ENDED
        entries = queries.entries(state=state, lane=lane, unfinished=unfinished)
        if as_json:
            await write_list(entries)
            return
        rows = [[str(getattr(entry, name) or "") for name in _COLUMNS] async for entry in entries]
    write_table(_COLUMNS, rows, whole=_COLUMNS[:-1])
    say(f"{len(rows)} entries" + ("; --state completed lists those that are done" if state is None else ""))
