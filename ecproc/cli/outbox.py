"""`ecproc outbox`: what is to be done outside, and how far it got."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated, Final

import anyio
import msgspec
from cyclopts import Parameter

from ecproc.cli.listing import take, write_list, write_nothing, write_table
from ecproc.cli.output import say, wants_json, write_document, write_human
from ecproc.cli.session import Failed, Json, Limit, Own, Reveal, has_log, mention_missing_log, require_log
from ecproc.cli.words import choice
from ecproc.config import Config
from ecproc.domain.effects import EffectKind, Lane
from ecproc.domain.entry import EntryState
from ecproc.reading.entries import EntryDetail, EntryFilter

if TYPE_CHECKING:
    from ecproc.reading.queries import Queries

_STATES: Final = tuple(map(str, EntryState))
_LANES: Final = tuple(map(str, Lane))
_KINDS: Final = tuple(map(str, EffectKind))
_ENDED: Final = (EntryState.COMPLETED, EntryState.CANCELLED)
_COLUMNS: Final = ("state", "attempts", "tries", "next_attempt_at", "key", "reason")


def list_entries(
    *,
    state: Annotated[str | None, choice(_STATES, help="Only entries in this state.")] = None,
    lane: Annotated[str | None, choice(_LANES, help="Only entries of this lane.")] = None,
    kind: Annotated[str | None, choice(_KINDS, help="Only entries of this kind.")] = None,
    ticket: Annotated[str | None, Parameter(help="Only entries of this ticket, by either number.")] = None,
    reason: Annotated[str | None, Parameter(help="Only entries whose reason has this text in it, in any case.")] = None,
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

    Example:
        ecproc outbox list
        ecproc outbox list --state parked --lane desk --json
    """
    config = session.load_config()
    as_json = wants_json(json)
    if not has_log(config):
        mention_missing_log(config)
        write_nothing(as_json=as_json)
        return
    unfinished = not every and state not in _ENDED
    wanted = EntryFilter(state=state, lane=lane, kind=kind, reason=reason, unfinished=unfinished)
    anyio.run(partial(_list, config, wanted, ticket=ticket, limit=limit, as_json=as_json, reveal=reveal))


async def _list(
    config: Config, wanted: EntryFilter, *, ticket: str | None, limit: int | None, as_json: bool, reveal: bool
) -> None:
    from ecproc.reading.opening import open_queries

    async with open_queries(config, reveal=reveal) as queries:
        if ticket is not None:
            wanted = msgspec.structs.replace(wanted, stream=await _find(queries, ticket))
        entries = take(queries.entries(wanted), limit)
        if as_json:
            await write_list(entries)
            return
        rows = [[_show(getattr(entry, name)) for name in _COLUMNS] async for entry in entries]
    write_table(_COLUMNS, rows, whole=_COLUMNS[:-1])
    more = "; --all lists those that are done, too" if wanted.unfinished and wanted.state is None else ""
    say(f"{len(rows)} entries{more}")


def _show(value: object) -> str:
    return "" if value is None else str(value)


async def _find(queries: Queries, ticket: str) -> str:
    stream = await queries.find_stream(ticket)
    if stream is None:
        raise Failed(f"there is no ticket {ticket}")
    return stream


def show(
    key: Annotated[str, Parameter(help="The entry's key, as `outbox list` prints it.")],
    /,
    *,
    json: Json = False,
    reveal: Reveal = False,
    session: Own,
) -> None:
    """Show one outbox entry: what led to it, every attempt and answer, what it waits for and what waits for it.

    Example:
        ecproc outbox show create:e-CS0879727:g1
    """
    config = session.load_config()
    require_log(config)
    entry = anyio.run(partial(_read, config, key, reveal=reveal))
    if wants_json(json):
        write_document(entry)
    else:
        from ecproc.cli.details import draw_entry

        write_human(*draw_entry(entry))


async def _read(config: Config, key: str, *, reveal: bool) -> EntryDetail:
    from ecproc.reading.opening import open_queries

    async with open_queries(config, reveal=reveal) as queries:
        entry = await queries.entry(key)
    if entry is None:
        raise Failed(f"there is no outbox entry {key}", hint="see its key in ecproc outbox list --all")
    return entry
