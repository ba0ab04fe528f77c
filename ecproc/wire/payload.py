"""What the log keeps of a message, taken apart again: its Body as received, its own attributes, and both as values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

import msgspec

from ecproc.domain.events import QuarantineReason
from ecproc.wire.lenient import (
    DECODE_ERRORS,
    TooDeep,
    decode_json,
    fold_names,
    loose_text,
    object_members,
    text_of,
)
from ecproc.wire.split import split_object

_STRINGS_IN_STRINGS: Final = 3
_SHOWN: Final = 300
_TEXTS: Final = ("senttimestamp", "sequencenumber", "messagededuplicationid", "messagegroupid")


class _Payload(msgspec.Struct):
    attributes: dict[str, msgspec.Raw] = {}
    body: msgspec.Raw = msgspec.Raw(b"null")


_payload = msgspec.json.Decoder(_Payload)


def take_apart(payload: bytes) -> tuple[dict[str, bytes], bytes]:
    """The message's own attributes as raw JSON values, and its Body as received, out of what the log keeps."""
    try:
        read = _payload.decode(payload)
    except DECODE_ERRORS:
        # The body stands last: without the bracket behind it, it is cut out exactly, whatever is wrong in it.
        members = split_object(payload.removesuffix(b"}"))
        return object_members(members.get("attributes", b"")) or {}, members.get("body", b"null")
    return {name: bytes(value) for name, value in read.attributes.items()}, bytes(read.body)


def body_of(payload: bytes) -> bytes:
    """The message's Body as received, out of what the log keeps."""
    return take_apart(payload)[1]


def attributes_of(payload: bytes) -> dict[str, bytes]:
    """The message's own attributes as raw JSON values."""
    return take_apart(payload)[0]


class Attributes(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """What the guide's attributes say, as texts; empty where one is absent."""

    SenderId: str = ""
    SentTimestamp: str = ""
    SequenceNumber: str = ""
    MessageDeduplicationId: str = ""
    MessageGroupId: str = ""
    ClientReferenceAvailable: bool | str = True
    TransactionType: str = ""


class NoBody(msgspec.Struct, frozen=True):
    """Why there is no body: reason from the closed set of quarantine reasons."""

    reason: str
    detail: str


class Content(msgspec.Struct, frozen=True):
    """A message's attributes and body; `mended`: characters of the body could not be read as they were."""

    attributes: Attributes
    body: Mapping[str, Any] | NoBody
    mended: bool = False


_Scalar: TypeAlias = str | bool | None
_Flat: TypeAlias = dict[str, _Scalar]


class _Documented(msgspec.Struct, gc=False):
    """A logged message with attributes as the guide spells them and a body of texts, `changed` and notes.

    No number is among them, because a union would decide how it is read; and nothing in it can be nested too deep.
    """

    attributes: Attributes
    body: dict[str, _Scalar | _Flat | list[_Flat]]


_documented = msgspec.json.Decoder(_Documented)


def read_payload(payload: bytes) -> Content:
    """A logged message as values."""
    return _read_documented(payload) or _read_tolerant(payload)


def _read_documented(payload: bytes) -> Content | None:
    """A message that is as the guide has it, in one decode; None for any other."""
    try:
        read = _documented.decode(payload)
    except DECODE_ERRORS:
        return None
    return Content(read.attributes, read.body)


def _read_tolerant(payload: bytes) -> Content:
    """Any message, its attributes under every spelling (C2, C44)."""
    own, received = take_apart(payload)
    raw = fold_names(own)
    known = {name: text_of(raw[name]) or "" for name in _TEXTS if name in raw}
    available = raw.get("clientreferenceavailable", b"null")
    attributes = Attributes(
        SentTimestamp=known.get("senttimestamp", ""),
        SequenceNumber=known.get("sequencenumber", ""),
        MessageDeduplicationId=known.get("messagededuplicationid", ""),
        MessageGroupId=known.get("messagegroupid", ""),
        # What stands there and is no word is none that says yes.
        ClientReferenceAvailable=True if available == b"null" else loose_text(available) or "?",
        TransactionType=loose_text(raw.get("transactiontype")) or "",
    )
    body, mended = read_body(received)
    return Content(attributes, body, mended)


def read_body(raw: bytes) -> tuple[Mapping[str, Any] | NoBody, bool]:
    """The body as an object, decoded again where it is a string of JSON (R16), and whether it had to be mended."""
    if raw == b"null":
        return NoBody(QuarantineReason.UNDECODABLE, "there is no body"), False
    mended = False
    try:
        value, mended = decode_json(raw)
        for _ in range(_STRINGS_IN_STRINGS):
            if isinstance(value, str):
                value, again = decode_json(value.encode())
                mended |= again
    except TooDeep as error:
        return NoBody(QuarantineReason.TOO_DEEP, f"body: {error}"), mended
    except DECODE_ERRORS as error:
        return NoBody(QuarantineReason.UNDECODABLE, f"body: {type(error).__name__}: {error}"[:_SHOWN]), mended
    if not isinstance(value, dict):
        return NoBody(QuarantineReason.UNDECODABLE, f"body is {type(value).__name__}, not an object"), mended
    return value, mended
