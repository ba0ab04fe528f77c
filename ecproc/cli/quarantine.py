"""`ecproc quarantine`: messages that could not be taken."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from typing import Final

import anyio
import msgspec
from msgspec import UNSET, UnsetType

from ecproc.cli.eventline import show_body
from ecproc.cli.listing import write_list, write_nothing, write_table
from ecproc.cli.output import say, wants_json
from ecproc.cli.session import Json, Own, Reveal, has_log, mention_missing_log
from ecproc.config import Config
from ecproc.domain.times import format_time
from ecproc.store.base import Reader

_COLUMNS: Final = ("position", "stream", "message_id", "reason", "detail")
_SHOWN: Final = 200


class _Row(msgspec.Struct, frozen=True):
    position: int
    stream: str
    message_id: str
    reason: str
    detail: str


class QuarantinedMessage(msgspec.Struct, frozen=True, omit_defaults=True):
    """A message in quarantine as it is listed; `at` is when it was received."""

    position: int
    stream: str
    message_id: str
    reason: str
    detail: str
    at: str | None
    body: msgspec.Raw
    body_base64: str | UnsetType = UNSET


def list_messages(*, json: Json = False, reveal: Reveal = False, session: Own) -> None:
    """List messages in quarantine by position, with the reason and the body as received."""
    config = session.load_config()
    as_json = wants_json(json)
    if has_log(config):
        anyio.run(partial(_list, config, as_json=as_json, reveal=reveal))
    else:
        mention_missing_log(config)
        write_nothing(as_json=as_json)


async def _list(config: Config, *, as_json: bool, reveal: bool) -> None:
    from ecproc.app import open_reading

    async with open_reading(config) as reader:
        messages = _read_messages(reader, reveal=reveal)
        if as_json:
            await write_list((msgspec.json.encode(message) async for message in messages), reveal=reveal)
            return
        rows = [[*(str(getattr(item, name)) for name in _COLUMNS), _shorten(item.body)] async for item in messages]
    write_table([*_COLUMNS, "body"], rows, whole=("position", "stream", "reason"), reveal=reveal)
    say(f"{len(rows)} messages in quarantine")


async def _read_messages(reader: Reader, *, reveal: bool) -> AsyncIterator[QuarantinedMessage]:
    rows = [
        msgspec.json.decode(row.data or b"", type=_Row) async for page in reader.scan_rows("quarantine") for row in page
    ]
    for row in sorted(rows, key=_position):
        yield await _read_message(reader, row, reveal=reveal)


async def _read_message(reader: Reader, row: _Row, *, reveal: bool) -> QuarantinedMessage:
    event = await reader.read_event(row.position)
    shown = show_body(event.payload if event else b"", reveal=reveal)
    return QuarantinedMessage(
        **msgspec.structs.asdict(row),
        at=format_time(event.at) if event else None,
        body=shown.body,
        body_base64=shown.body_base64,
    )


def _position(row: _Row) -> int:
    return row.position


def _shorten(body: msgspec.Raw) -> str:
    text = bytes(body).decode()
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
