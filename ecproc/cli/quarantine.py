"""`ecproc quarantine`: messages that could not be taken."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Final

import anyio
import msgspec
from cyclopts import Parameter

from ecproc.cli.listing import take, write_list, write_nothing, write_table
from ecproc.cli.output import say, wants_json, write_document, write_human
from ecproc.cli.session import Failed, Json, Limit, Own, Reveal, has_log, mention_missing_log, require_log
from ecproc.config import Config
from ecproc.reading.quarantine import QuarantineDetail

_COLUMNS: Final = ("position", "stream", "message_id", "reason", "detail")
_SHOWN: Final = 200


def list_messages(*, limit: Limit = None, json: Json = False, reveal: Reveal = False, session: Own) -> None:
    """List messages in quarantine by position, with the reason and the body as received.

    Example:
        ecproc quarantine list
        ecproc quarantine list --json | jq '.[].reason'
    """
    config = session.load_config()
    as_json = wants_json(json)
    if has_log(config):
        anyio.run(partial(_list, config, limit=limit, as_json=as_json, reveal=reveal))
    else:
        mention_missing_log(config)
        write_nothing(as_json=as_json)


async def _list(config: Config, *, limit: int | None, as_json: bool, reveal: bool) -> None:
    from ecproc.reading.opening import open_queries

    async with open_queries(config, reveal=reveal) as queries:
        messages = take(queries.quarantine(), limit)
        if as_json:
            await write_list(messages)
            return
        rows = [[*(str(getattr(item, name)) for name in _COLUMNS), _shorten(item.body)] async for item in messages]
    write_table([*_COLUMNS, "body"], rows, whole=("position", "stream", "reason"))
    say(f"{len(rows)} messages in quarantine")


def _shorten(body: msgspec.Raw) -> str:
    text = bytes(body).decode()
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def show(
    message: Annotated[str, Parameter(help="Its position or its MessageId, as `quarantine list` prints them.")],
    /,
    *,
    json: Json = False,
    reveal: Reveal = False,
    session: Own,
) -> None:
    """Show one message in quarantine: why, its body as received, and whether this version would take it.

    Example:
        ecproc quarantine show 4242
    """
    config = session.load_config()
    require_log(config)
    found = anyio.run(partial(_read, config, message, reveal=reveal))
    if wants_json(json):
        write_document(found)
    else:
        from ecproc.cli.details import draw_message

        write_human(*draw_message(found))


async def _read(config: Config, name: str, *, reveal: bool) -> QuarantineDetail:
    from ecproc.reading.opening import open_queries

    async with open_queries(config, reveal=reveal) as queries:
        found = await queries.quarantined(name)
    if found is None:
        raise Failed(f"there is no message {name} in quarantine", hint="see ecproc quarantine list")
    return found
