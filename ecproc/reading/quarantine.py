"""Messages in quarantine as they are listed: the reason, and the body as received."""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec
from msgspec import UNSET, UnsetType

from ecproc.domain.times import format_time
from ecproc.reading.events import show_body
from ecproc.store.base import Reader


class _QuarantineRow(msgspec.Struct, frozen=True):
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


async def list_quarantined(reader: Reader, *, reveal: bool) -> AsyncIterator[QuarantinedMessage]:
    """All messages in quarantine by position; the exact bytes of those that are no JSON are masked unless `reveal`."""
    rows = [
        msgspec.json.decode(row.data or b"", type=_QuarantineRow)
        async for page in reader.scan_rows("quarantine")
        for row in page
    ]
    for row in sorted(rows, key=_position):
        yield await _read_message(reader, row, reveal=reveal)


async def _read_message(reader: Reader, row: _QuarantineRow, *, reveal: bool) -> QuarantinedMessage:
    event = await reader.read_event(row.position)
    shown = show_body(event.payload if event else b"", reveal=reveal)
    return QuarantinedMessage(
        **msgspec.structs.asdict(row),
        at=format_time(event.at) if event else None,
        body=shown.body,
        body_base64=shown.body_base64,
    )


def _position(row: _QuarantineRow) -> int:
    return row.position
