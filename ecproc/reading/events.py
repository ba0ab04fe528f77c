"""Events of the log as lines of JSON."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from typing import Any, Final

import msgspec
from msgspec import UNSET, UnsetType

from ecproc.domain.log import RecordedEvent
from ecproc.domain.times import format_time
from ecproc.fold.history import message_id_of
from ecproc.fold.recorded import Kind
from ecproc.reading.masking import is_utf8_json, mask_json, mask_text
from ecproc.store.base import Reader
from ecproc.wire.payload import attributes_of, body_of

_TIMES: Final = frozenset({"at", "deadline", "next_attempt_at"})
_SEQUENCE: Final = "sequencenumber"
_PAGE: Final = 500
"""Events of one stream that are read at once."""
_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder().decode


class ShownBody(msgspec.Struct, frozen=True, omit_defaults=True):
    """A message's Body: as received where it is JSON, else as text with its exact bytes beside it."""

    body: msgspec.Raw
    body_base64: str | UnsetType = UNSET


class _ShownMessage(msgspec.Struct, frozen=True, omit_defaults=True):
    attributes: dict[str, msgspec.Raw]
    body: msgspec.Raw
    body_base64: str | UnsetType


class EventLine(msgspec.Struct, frozen=True, omit_defaults=True):
    """An event of the log as it is listed; `message_id` only on messages, `data` is the fact."""

    position: int
    stream: str
    stream_version: int
    at: str
    kind: str
    message_id: str | UnsetType
    data: msgspec.Raw
    hash: str


class EventLines:
    """The log, or one stream of it, behind a position; every line is given once, however often one looks."""

    def __init__(
        self, reader: Reader, *, stream: str | None, after: int, reveal: bool, page: int | None = None
    ) -> None:
        self._reader = reader
        self._page = page
        self._stream = stream
        self._after = after
        self._version = 0
        self._reveal = reveal

    async def read(self) -> AsyncIterator[list[bytes]]:
        """The lines of all that was appended since the last look, in pages, oldest first."""
        pages = self._read_log() if self._stream is None else self._read_stream(self._stream)
        async for page in pages:
            yield [describe_event(event, reveal=self._reveal) for event in page]

    async def _read_log(self) -> AsyncIterator[list[RecordedEvent]]:
        last = (await self._reader.head()).position
        before = -1
        while before < self._after < last:
            before = self._after
            until = last if self._page is None else min(last, self._after + self._page)
            async for page in self._reader.read_log(after=self._after, until=until):
                yield page
                self._after = page[-1].position

    async def _read_stream(self, stream: str) -> AsyncIterator[list[RecordedEvent]]:
        while page := await self._reader.read_stream(stream, after=self._version, limit=self._page or _PAGE):
            yield [event for event in page if event.position > self._after]
            self._version = page[-1].version


async def find_end(reader: Reader, time: int) -> int:
    """Where the log ended at that time, in microseconds UTC; 0 if it had not begun.

    Where the machine's clock jumped it is one of the positions that the time fits.
    """
    before, after = 0, (await reader.head()).position + 1
    while after - before > 1:
        middle = (before + after) // 2
        event = await reader.read_event(middle)
        if event is not None and event.at <= time:
            before = middle
        else:
            after = middle
    return before


def describe_event(event: RecordedEvent, *, reveal: bool) -> bytes:
    """The event as JSON; URL queries are masked unless `reveal`."""
    message = event.kind == Kind.MESSAGE_RECEIVED
    line = _encode(
        EventLine(
            position=event.position,
            stream=event.stream,
            stream_version=event.version,
            at=format_time(event.at),
            kind=event.kind,
            message_id=message_id_of(event) if message else UNSET,
            data=msgspec.Raw(_message(event.payload, reveal=reveal) if message else _fact(event.payload)),
            hash=event.hash.hex(),
        )
    )
    return line if reveal else mask_json(line)


def show_body(payload: bytes, *, reveal: bool) -> ShownBody:
    """The Body in a logged message; the bytes of one that is no JSON are masked here, unless `reveal`."""
    raw = body_of(payload)
    if is_utf8_json(raw):
        return ShownBody(msgspec.Raw(raw))
    exact = raw if reveal else mask_text(raw.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")
    text = _encode(raw.decode("utf-8", "replace"))
    return ShownBody(msgspec.Raw(text), base64.b64encode(exact).decode("ascii"))


def _message(payload: bytes, *, reveal: bool) -> bytes:
    shown = show_body(payload, reveal=reveal)
    attributes = {name: msgspec.Raw(_attribute(name, value)) for name, value in attributes_of(payload).items()}
    return _encode(_ShownMessage(attributes, shown.body, shown.body_base64))


def _attribute(name: str, value: bytes) -> bytes:
    if not is_utf8_json(value):
        return _encode(value.decode("utf-8", "replace"))
    # Readers that take numbers as floats would round it.
    number = value.isdigit() and name.replace(" ", "").lower() == _SEQUENCE
    return b'"' + value + b'"' if number else value


def _fact(payload: bytes) -> bytes:
    if not is_utf8_json(payload):
        return _encode(payload.decode("utf-8", "replace"))
    return _encode(_write_times(_decode(payload)))


def _write_times(value: Any) -> Any:
    """The fact with its times as text: in the log they are microseconds."""
    match value:
        case dict():
            return {
                name: format_time(item) if name in _TIMES and isinstance(item, int) else _write_times(item)
                for name, item in value.items()
            }
        case list():
            return [_write_times(item) for item in value]
        case _:
            return value
