"""A step in few bytes: the facts it read, translated, and what it decided. A cache of the log, which a rebuild reads
instead of the bodies as long as it was written by this code's translator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final
from zlib import crc32

import msgspec

from ecproc.domain.events import Fact, Message, Quarantined
from ecproc.domain.log import RecordedEvent
from ecproc.fold.history import message_id_of

CODEC: Final = 3
"""Grows with every change to what `translate` makes of a message, or to the form below: rows of another one are not
read, and written anew by the next rebuild."""

_LONGEST: Final = 8 * 1024
"""Bytes of a fact: a longer form is mostly texts, which the log holds already and gives nearly as soon."""
_CRC_BYTES: Final = 4
_HEAD_BYTES: Final = 1 + _CRC_BYTES


class CompactMessage(msgspec.Struct, frozen=True, array_like=True, tag="m"):
    """A message. Unless `whole`, its fields are those that differ from the stream's last message, without `gone`."""

    message: Message
    gone: tuple[str, ...] = ()
    whole: bool = True


class CompactOutcome(msgspec.Struct, frozen=True, array_like=True, tag="o"):
    """An event of our own, as it stands in the log."""

    position: int
    version: int
    at: int
    kind: str
    payload: bytes


class CompactQuarantined(msgspec.Struct, frozen=True, array_like=True, tag="q"):
    """A message that went into quarantine."""

    position: int
    message_id: str
    reason: str
    detail: str


CompactFact = CompactMessage | CompactOutcome | CompactQuarantined


class CompactStep(msgspec.Struct, frozen=True, array_like=True):
    """A whole step: it went on behind `expected`, decided through `through`, and covers `events` of its stream, its own
    included. `decided` is the decision's payload where that names effects or a scope."""

    expected: int
    through: int
    events: int
    facts: tuple[CompactFact, ...]
    decided: bytes = b""


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(CompactStep).decode


def encode_step(step: CompactStep) -> bytes:
    """The step with the codec's version and a checksum before it."""
    data = _encode(step)
    return bytes((CODEC,)) + crc32(data).to_bytes(_CRC_BYTES) + data


def cache_step(step: CompactStep) -> bytes | None:
    """The step encoded; None where its facts are so long that the stream is as well folded from the log."""
    data = encode_step(step)
    return data if len(data) <= _LONGEST * max(1, len(step.facts)) else None


def decode_step(data: bytes) -> CompactStep | None:
    """The step; None if another codec wrote it or it is damaged."""
    body = data[_HEAD_BYTES:]
    if data[:1] != _CODEC_BYTE or crc32(body) != int.from_bytes(data[1:_HEAD_BYTES]):
        return None
    return _decode(body)


_CODEC_BYTE: Final = bytes((CODEC,))


def compact_fact(
    event: RecordedEvent, fact: Fact, reasons: Mapping[int, Quarantined], before: Mapping[str, str] | None
) -> tuple[CompactFact, Mapping[str, str] | None]:
    """A fact's compact form, and the fields that the stream's next message is compared with; `reasons` say, by
    position, which messages were refused and why."""
    reason = reasons.get(event.position)
    if reason is not None:
        return CompactQuarantined(event.position, message_id_of(event), reason.reason, reason.detail), before
    if isinstance(fact, Message):
        return _shorten(fact, before), fact.fields
    return CompactOutcome(event.position, event.version, event.at, event.kind, event.payload), before


def _shorten(message: Message, before: Mapping[str, str] | None) -> CompactMessage:
    """The message without the fields that it repeats, the order of all of them kept (see `restore`)."""
    fields = message.fields
    if before is None:
        return CompactMessage(message)
    news = {name: value for name, value in fields.items() if before.get(name) != value}
    if [*fields] == [*before]:
        return CompactMessage(msgspec.structs.replace(message, fields=news), whole=False)
    gone = tuple([name for name in before if name not in fields])
    if [*_apply(before, news, gone)] != [*fields]:
        return CompactMessage(message)
    return CompactMessage(msgspec.structs.replace(message, fields=news), gone, whole=False)


def restore(told: CompactMessage, before: Mapping[str, str]) -> Message:
    """The message with all of its fields."""
    message = told.message
    if not told.whole:
        msgspec.structs.force_setattr(message, "fields", _apply(before, message.fields, told.gone))
    return message


def _apply(before: Mapping[str, str], news: Mapping[str, str], gone: Sequence[str]) -> Mapping[str, str]:
    if not (news or gone):
        return before
    fields = {**before, **news}
    for name in gone:
        del fields[name]
    return fields
