"""A logged message to a typed fact. Total: what cannot be understood becomes a recorded fact, never an exception."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Final, TypeAlias
from urllib.parse import parse_qs, urlsplit

import msgspec

from ecproc.domain.events import (
    ApprovalRequest,
    AttachmentInfo,
    Message,
    Note,
    Place,
    TicketType,
    Undecodable,
)
from ecproc.wire.queue import (
    fold_name,
    object_members,
    parse_int,
    parse_sequence,
    parse_transaction,
    scalar_text,
    text_of,
)
from ecproc.wire.split import nests_deeper, split_object

_DECODE_ERRORS: Final = (msgspec.MsgspecError, UnicodeError, ValueError, RecursionError)
_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode

_NOT_FIELDS: Final = frozenset(
    {
        "clientName",
        "clientTicketNumber",
        "ticketType",
        "ticketNumber",
        "status",
        "state",
        "changed",
        "notes",
        "attachment",
        "attachmentName",
        "attachmentInfo",
        "attachmentSize",
        "attachmentType",
        "approvalState",
        "approverName",
        "approverEmail",
    }
)
_FIELD_ALIASES: Final = {"updateOn": "updatedOn", "Impact": "impact"}
_TIMES: Final = frozenset({"updatedOn", "openedTime", "openedAt", "startDate", "endDate", "offHoldDate"})
_APPROVAL_ID: Final = "approvalid"
_TYPES: Final[Mapping[str, TicketType]] = {
    name: item for item in TicketType for name in (item.value, item.value.lower())
}
_DEEPEST: Final = 100
_TIME_LENGTH: Final = 32
"""Of a time that is remembered: a hostile one is not."""
_LATEST_MS: Final = 253_402_300_799_999
"""The end of the year 9999: no calendar shows what is later."""
_APPROVAL_STATES: Final = {"requested": "requested", "approved": "approved", "rejected": "rejected"}


def body_of(payload: bytes) -> bytes:
    """The message's Body as received, out of what the log keeps."""
    try:
        return bytes(_payload.decode(payload).body)
    except _DECODE_ERRORS:
        # The body stands last: without the bracket behind it, it is cut out exactly, whatever is wrong in it.
        return split_object(payload.removesuffix(b"}")).get("body", b"null")


def attributes_of(payload: bytes) -> dict[str, bytes]:
    """The message's own attributes as raw JSON values."""
    try:
        return {name: bytes(value) for name, value in _payload.decode(payload).attributes.items()}
    except _DECODE_ERRORS:
        return object_members((object_members(payload) or {}).get("attributes", b"")) or {}


class _Payload(msgspec.Struct):
    attributes: dict[str, msgspec.Raw] = {}
    body: msgspec.Raw = msgspec.Raw(b"null")


_payload = msgspec.json.Decoder(_Payload)


class _Attributes(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """What the guide's attributes say, as texts; empty where one is absent."""

    SenderId: str = ""
    SentTimestamp: str = ""
    SequenceNumber: str = ""
    MessageDeduplicationId: str = ""
    MessageGroupId: str = ""
    ClientReferenceAvailable: bool = True
    TransactionType: str = ""


_Scalar: TypeAlias = str | bool | None
_Flat: TypeAlias = dict[str, _Scalar]


class _Documented(msgspec.Struct, gc=False):
    """A logged message with attributes as the guide spells them and a body of texts, `changed` and notes.

    No number is among them, because a union would decide how it is read; and nothing in it can be nested too deep.
    """

    attributes: _Attributes
    body: dict[str, _Scalar | _Flat | list[_Flat]]


_documented = msgspec.json.Decoder(_Documented)


def translate(payload: bytes, place: Place, message_id: str) -> Message | Undecodable:
    """The fact in a logged message (R46–R75, R150–R170)."""
    attributes, body = _read_documented(payload) or _read_tolerant(payload)
    sent = parse_int(attributes.SentTimestamp)
    at = sent * 1000 if sent is not None and sent <= _LATEST_MS else place.at
    if isinstance(body, _Refused):
        return _undecodable(place, at, body.reason, body.detail)
    type_text = _stripped(body, "ticketType")
    ticket_type = _TYPES.get(type_text) or _TYPES.get(type_text.lower())
    if type_text and ticket_type is None:
        return _undecodable(place, at, "unknown_ticket_type", f"ticketType {type_text[:80]!r}")
    ticket_number = _stripped(body, "ticketNumber")
    if not ticket_number and not attributes.MessageGroupId.strip():
        return _undecodable(place, at, "no_group", "neither MessageGroupId nor ticketNumber")
    fields = _fields(body)
    approval = _approval(body) if fields.pop(_APPROVAL_ID, None) is not None else None
    notes = _notes(body["notes"], message_id) if "notes" in body else ()
    attachment = _attachment(body, message_id) if "attachment" in body or "attachmentName" in body else None
    identity = (message_id, at, ticket_number, ticket_type)
    message = _message(place, identity, attributes, body, fields)
    if notes or attachment or approval:
        return msgspec.structs.replace(message, notes=notes, attachment=attachment, approval=approval)
    return message


def _message(
    place: Place,
    identity: tuple[str, int, str, TicketType | None],
    attributes: _Attributes,
    body: Mapping[str, Any],
    fields: dict[str, str],
) -> Message:
    """What every message has: a call with more than 15 keywords makes a dictionary of them first, which costs."""
    message_id, at, ticket_number, ticket_type = identity
    name = attributes.TransactionType.strip()
    client_number = _stripped(body, "clientTicketNumber")
    changed = body.get("changed")
    return Message(
        position=place.position,
        version=place.version,
        at=at,
        message_id=message_id,
        ticket_number=ticket_number,
        transaction=parse_transaction(name),
        transaction_name=name,
        sequence=parse_sequence(attributes.SequenceNumber),
        ticket_type=ticket_type,
        client_number=client_number,
        number_missing=not client_number or not attributes.ClientReferenceAvailable,
        status=_text(body.get("status")) or _text(body.get("state")),
        fields=fields,
        changed=_changed(changed) if isinstance(changed, dict) else None,
        opened_at=_opened_at(body),
    )


def _read_documented(payload: bytes) -> tuple[_Attributes, Mapping[str, Any]] | None:
    """A message that is as the guide has it, in one decode; None for any other."""
    try:
        read = _documented.decode(payload)
    except _DECODE_ERRORS:
        return None
    return read.attributes, read.body


def _read_tolerant(payload: bytes) -> tuple[_Attributes, Mapping[str, Any] | _Refused]:
    """Any message, its attributes under every spelling (C2, C44)."""
    known = {fold_name(name): value for name, value in attributes_of(payload).items()}
    attributes = _Attributes(
        SentTimestamp=text_of(known.get("senttimestamp")) or "",
        SequenceNumber=text_of(known.get("sequencenumber")) or "",
        MessageGroupId=text_of(known.get("messagegroupid")) or "",
        ClientReferenceAvailable=(text_of(known.get("clientreferenceavailable")) or "").strip().lower() != "false",
        TransactionType=text_of(known.get("transactiontype")) or "",
    )
    raw = body_of(payload)
    body = _decode_body(raw)
    if isinstance(body, str):
        return attributes, _Refused("no_body" if raw == b"null" else "undecodable", body)
    return attributes, body


class _Refused(msgspec.Struct, frozen=True):
    """Why there is no body."""

    reason: str
    detail: str


def _undecodable(place: Place, at: int, reason: str, detail: str) -> Undecodable:
    return Undecodable(position=place.position, version=place.version, at=at, reason=reason, detail=detail)


def _decode_body(raw: bytes) -> dict[str, Any] | str:
    """The body as an object, decoded twice where it is a string of JSON (R16); a text says why there is none."""
    try:
        value = _decode_shallow(raw)
        if isinstance(value, str):
            value = _decode_shallow(value.encode())
    except _DECODE_ERRORS as error:
        return f"body: {type(error).__name__}: {error}"[:300]
    return value if isinstance(value, dict) else f"body is {type(value).__name__}, not an object"


def _decode_shallow(raw: bytes) -> Any:
    """Decode what is not nested too deep: the decoder's own limit depends on its caller, and a fold must not (I5)."""
    if nests_deeper(raw, _DEEPEST):
        raise ValueError(f"nested deeper than {_DEEPEST} levels")
    return _decode(raw)


def _text(value: Any) -> str | None:
    """A scalar as text, a structure as JSON; None for null."""
    if value is None or isinstance(value, str):
        return value
    return scalar_text(value) or _encode(value).decode()


def _stripped(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name)
    return (value if type(value) is str else _text(value) or "").strip()


@lru_cache(maxsize=256)
def _field_of(name: str) -> str | None:
    """The field that a member of the body says; None for what is no field."""
    if name in _NOT_FIELDS:
        return None
    return _APPROVAL_ID if name.lower() == _APPROVAL_ID else _FIELD_ALIASES.get(name, name)


_GUIDE_FIELDS: Final = {
    name: _field_of(name)
    for name in (
        *_NOT_FIELDS,
        *_FIELD_ALIASES,
        *_TIMES,
        *("approvalId", "description", "shortDescription", "group", "ensonoGroup", "priority", "impact", "urgency"),
        *("category", "origin", "cis", "statusNextAction", "closeNotes", "closeCode", "requestedByName", "type"),
        *("approval", "risk", "justification", "preChangeChecks", "implementationPlan", "testPlan", "backoutPlan"),
    )
}


def _fields(body: Mapping[str, Any]) -> dict[str, str]:
    """The body's own fields, and an approval's id; null says nothing, and an empty time is null (C13)."""
    fields: dict[str, str] = {}
    for name, value in body.items():
        try:
            field = _GUIDE_FIELDS[name]
        except KeyError:
            field = _field_of(name)
        if field is None:
            continue
        text = value if type(value) is str else _text(value)
        if text or (text is not None and field not in _TIMES):
            fields[field] = text
    return fields


def _changed(changed: Mapping[str, Any]) -> dict[str, str]:
    """What an update changed; a null there clears the field."""
    return {
        _FIELD_ALIASES.get(name, name): value if type(value) is str else _text(value) or ""
        for name, value in changed.items()
    }


def _notes(value: Any, message_id: str) -> tuple[Note, ...]:
    """One note or several (R65); one without an id is known by its message."""
    items = value if isinstance(value, list) else [value]
    notes: list[Note] = []
    for index, item in enumerate(items):
        if not isinstance(item, dict):
            continue
        notes.append(
            Note(
                id=_text(item.get("id")) or f"{message_id}:{index}",
                body=_text(item.get("body")) or "",
                author=_text(item.get("commenter")) or "",
                email=_text(item.get("commenterEmail")) or "",
            )
        )
    return tuple(notes)


def _attachment(body: Mapping[str, Any], message_id: str) -> AttachmentInfo | None:
    """The announced file; attachmentInfo ends with its sys_id (R139)."""
    url, name = _text(body.get("attachment")), _text(body.get("attachmentName"))
    if not url and not name:
        return None
    size = parse_int(_text(body.get("attachmentSize")))
    sys_id = (_text(body.get("attachmentInfo")) or "").partition("?")[0].rstrip("/").rpartition("/")[2]
    return AttachmentInfo(
        id=sys_id or hashlib.sha256(f"{name}\0{size}\0{message_id}".encode()).hexdigest()[:32],
        name=name or "",
        type=_text(body.get("attachmentType")) or "",
        size=size,
        expires_at=presigned_expiry(url) if url else None,
    )


def _approval(body: Mapping[str, Any]) -> ApprovalRequest | None:
    """The approval in an Approval Request (R165); its id's case varies in the guide (C14)."""
    spellings = (_text(value) for name, value in body.items() if name.lower() == _APPROVAL_ID)
    approval_id = next((text for text in spellings if text), None)
    if not approval_id:
        return None
    word = (_text(body.get("approvalState")) or "requested").strip().lower()
    return ApprovalRequest(
        id=approval_id,
        name=_text(body.get("approverName")) or "",
        email=_text(body.get("approverEmail")) or "",
        state=_APPROVAL_STATES.get(word, "requested"),
    )


def attachment_url(payload: bytes) -> str:
    """The download URL in a logged message: a bearer secret, empty if it has none."""
    body = _decode_body(body_of(payload))
    return "" if isinstance(body, str) else _text(body.get("attachment")) or ""


def parse_time(text: str) -> int | None:
    """An ISO 8601 time in microseconds UTC; None for anything else (R55)."""
    try:
        moment = datetime.fromisoformat(text)
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return (moment - _EPOCH) // _MICROSECOND
    except (ValueError, OverflowError):
        return None


def _opened_at(body: Mapping[str, Any]) -> int | None:
    text = _text(body.get("openedTime")) or _text(body.get("openedAt")) or ""
    return _known_time(text) if len(text) <= _TIME_LENGTH else parse_time(text)


@lru_cache(maxsize=1024)
def _known_time(text: str) -> int | None:
    """The time a ticket was opened: each of its messages repeats it."""
    return parse_time(text)


_MICROSECOND: Final = timedelta(microseconds=1)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def presigned_expiry(url: str) -> int | None:
    """When a pre-signed URL stops to work, in microseconds UTC (R138, C34)."""
    try:
        query = parse_qs(urlsplit(url).query)
        signed = datetime.strptime(query["X-Amz-Date"][0], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        return (signed + timedelta(seconds=int(query["X-Amz-Expires"][0])) - _EPOCH) // _MICROSECOND
    except (KeyError, ValueError, OverflowError):
        return None
