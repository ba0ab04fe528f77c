"""Messages in quarantine: the reason, the body as received, and whether this version would take it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Final

import msgspec
from msgspec import UNSET, UnsetType

from ecproc.domain.deltas import Refused
from ecproc.domain.events import Decided, Undecodable
from ecproc.domain.log import RecordedEvent
from ecproc.domain.times import format_time
from ecproc.fold.history import place_of, read_fact
from ecproc.fold.machine import Machines, evolve_fact
from ecproc.fold.stream import StreamFold
from ecproc.reading.events import show_body
from ecproc.reading.masking import mask_text
from ecproc.store.base import Reader
from ecproc.wire.payload import body_of

_PLACE: Final = re.compile(r"\(byte (\d+)\)")
_raw: Final = msgspec.json.Decoder(msgspec.Raw)


class QuarantineRow(msgspec.Struct, frozen=True):
    """As much as the live rows have of a message in quarantine."""

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


class BadByte(msgspec.Struct, frozen=True):
    """The first byte of a body that no reader of JSON takes: its place from 0, line and column from 1, its value."""

    offset: int
    line: int
    column: int
    hex: str


class Retrial(msgspec.Struct, frozen=True):
    """Whether this version of ecproc would take the message now, and if not why."""

    taken: bool
    reason: str = ""
    detail: str = ""


class QuarantineDetail(QuarantinedMessage, frozen=True, omit_defaults=False):
    """A message in quarantine with all that is known of it. `raw` is the body as received, as text; `same_id` are the
    positions of others in quarantine under the same MessageId."""

    raw: str = ""
    bad_byte: BadByte | None = None
    now: Retrial = Retrial(taken=False)
    same_id: tuple[int, ...] = ()


async def list_quarantined(
    reader: Reader, *, reveal: bool, after: int = 0, reason: str | None = None
) -> AsyncIterator[QuarantinedMessage]:
    """Messages in quarantine by position, behind that one and for that reason where they are given; the exact bytes of
    those that are no JSON are masked unless `reveal`."""
    for row in await _read_rows(reader):
        if row.position > after and reason in (None, row.reason):
            event = await reader.read_event(row.position)
            yield _describe(row, event, reveal=reveal)


async def read_quarantined(reader: Reader, name: str, *, machines: Machines, reveal: bool) -> QuarantineDetail | None:
    """The message in quarantine at that position or with that MessageId, the first of several."""
    rows = [row for row in await _read_rows(reader) if name in (str(row.position), row.message_id)]
    rows.sort(key=lambda row: name != str(row.position))
    if not rows:
        return None
    event = await reader.read_event(rows[0].position)
    raw = body_of(event.payload) if event else b""
    text = raw.decode("utf-8", "replace")
    return QuarantineDetail(
        **msgspec.structs.asdict(_describe(rows[0], event, reveal=reveal)),
        raw=text if reveal else mask_text(text),
        bad_byte=find_bad_byte(raw),
        now=Retrial(taken=False) if event is None else await try_again(reader, event, machines),
        same_id=tuple(row.position for row in rows[1:]),
    )


def find_bad_byte(raw: bytes) -> BadByte | None:
    """The first byte at which these stop being JSON in UTF-8; None where they are that, or nothing names a place."""
    offset = _find_offset(raw)
    if offset is None:
        return None
    before = raw[:offset]
    line_start = before.rfind(b"\n") + 1
    column = len(before[line_start:].decode("utf-8", "replace")) + 1
    return BadByte(offset, before.count(b"\n") + 1, column, raw[offset : offset + 1].hex())


def _find_offset(raw: bytes) -> int | None:
    found: list[int] = []
    try:
        raw.decode()
    except UnicodeDecodeError as error:
        found.append(error.start)
    try:
        _raw.decode(raw)
    except msgspec.DecodeError as error:
        place = _PLACE.search(str(error))
        found.append(int(place[1]) if place else len(raw))
    except RecursionError:
        pass
    return min(found, default=None)


async def try_again(reader: Reader, event: RecordedEvent, machines: Machines) -> Retrial:
    """What reading and folding a message, behind all that its stream holds, comes to today."""
    fact = read_fact(event)
    if isinstance(fact, Undecodable):
        return Retrial(False, fact.reason, fact.detail)
    if fact is None or isinstance(fact, Decided):
        return Retrial(False)
    machine = machines.of(event.stream)
    fold = StreamFold(event.stream, machine)
    fold.extend(await reader.read_stream(event.stream))
    fold.evolve_rest()
    for delta in evolve_fact(machine, fold.state, fact, place_of(event)):
        if isinstance(delta, Refused):
            return Retrial(False, delta.reason, delta.detail)
    return Retrial(True)


async def _read_rows(reader: Reader) -> list[QuarantineRow]:
    rows = [
        msgspec.json.decode(row.data or b"", type=QuarantineRow)
        async for page in reader.scan_rows("quarantine")
        for row in page
    ]
    return sorted(rows, key=_position)


async def find_quarantined(reader: Reader, name: str) -> QuarantineRow | None:
    """The message in quarantine at that position, or the first of that MessageId."""
    rows = [row for row in await _read_rows(reader) if name in (str(row.position), row.message_id)]
    rows.sort(key=lambda row: name != str(row.position))
    return rows[0] if rows else None


def _describe(row: QuarantineRow, event: RecordedEvent | None, *, reveal: bool) -> QuarantinedMessage:
    shown = show_body(event.payload if event else b"", reveal=reveal)
    return QuarantinedMessage(
        **msgspec.structs.asdict(row),
        at=format_time(event.at) if event else None,
        body=shown.body,
        body_base64=shown.body_base64,
    )


def _position(row: QuarantineRow) -> int:
    return row.position
