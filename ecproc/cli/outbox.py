"""`ecproc outbox`: what is to be done outside, and how far it got."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Final

import anyio
from cyclopts import Parameter

from ecproc.cli.listing import take, write_list, write_nothing, write_table
from ecproc.cli.output import say, wants_json
from ecproc.cli.session import Json, Limit, Own, Reveal, has_log, mention_missing_log
from ecproc.cli.words import choice
from ecproc.config import Config
from ecproc.domain.effects import Lane
from ecproc.domain.entry import EntryState

_STATES: Final = tuple(map(str, EntryState))
_LANES: Final = tuple(map(str, Lane))
_ENDED: Final = (EntryState.COMPLETED, EntryState.CANCELLED)
_COLUMNS: Final = ("state", "attempts", "tries", "next_attempt_at", "key", "reason")


def list_entries(
    *,
    state: Annotated[str | None, choice(_STATES, help="Only entries in this state.")] = None,
    lane: Annotated[str | None, choice(_LANES, help="Only entries of this lane.")] = None,
    every: Annotated[
        bool, Parameter(name="--all", help="Completed and cancelled entries too.", show_default=False)
    ] = False,
    limit: Limit = None,
    json: Json = False,
    reveal: Reveal = False,
    session: Own,
) -> None:
    """List outbox entries by ticket, in planned order.

    Completed and cancelled entries are left out unless --all or --state asks for them.
    """
    config = session.load_config()
    as_json = wants_json(json)
    if has_log(config):
        unfinished = not every and state not in _ENDED
        ask = partial(_list, config, state=state, lane=lane, unfinished=unfinished, limit=limit)
        anyio.run(partial(ask, as_json=as_json, reveal=reveal))
    else:
        mention_missing_log(config)
        write_nothing(as_json=as_json)


async def _list(
    config: Config,
    *,
    state: str | None,
    lane: str | None,
    unfinished: bool,
    limit: int | None,
    as_json: bool,
    reveal: bool,
) -> None:
    from ecproc.reading.opening import open_queries

    async with open_queries(config, reveal=reveal) as queries:
        entries = take(queries.entries(state=state, lane=lane, unfinished=unfinished), limit)
        if as_json:
            await write_list(entries)
            return
        rows = [[str(getattr(entry, name) or "") for name in _COLUMNS] async for entry in entries]
    write_table(_COLUMNS, rows, whole=_COLUMNS[:-1])
    say(f"{len(rows)} entries" + ("; --all lists those that are done, too" if unfinished and state is None else ""))
