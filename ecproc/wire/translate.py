"""A logged message to a typed fact. Total: what cannot be understood becomes a recorded fact, never an exception."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final
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
_TYPES: Final[Mapping[str, TicketType]] = {item.value.lower(): item for item in TicketType}
_DEEPEST: Final = 100
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


def translate(payload: bytes, place: Place, message_id: str) -> Message | Undecodable:
    """The fact in a logged message (R46–R75, R150–R170)."""
    attributes = {fold_name(name): value for name, value in attributes_of(payload).items()}
    sent = parse_int(text_of(attributes.get("senttimestamp")))
    at = sent * 1000 if sent is not None and sent <= _LATEST_MS else place.at
    undecodable = partial(Undecodable, position=place.position, version=place.version, at=at)
    raw = body_of(payload)
    body = _decode_body(raw)
    if isinstance(body, str):
        return undecodable(reason="no_body" if raw == b"null" else "undecodable", detail=body)
    name = (text_of(attributes.get("transactiontype")) or "").strip()
    type_text = (_text(body.get("ticketType")) or "").strip()
    ticket_type = _TYPES.get(type_text.lower())
    if type_text and ticket_type is None:
        return undecodable(reason="unknown_ticket_type", detail=f"ticketType {type_text[:80]!r}")
    ticket_number = (_text(body.get("ticketNumber")) or "").strip()
    if not ticket_number and not (text_of(attributes.get("messagegroupid")) or "").strip():
        return undecodable(reason="no_group", detail="neither MessageGroupId nor ticketNumber")
    client_number = (_text(body.get("clientTicketNumber")) or "").strip()
    changed = body.get("changed")
    return Message(
        position=place.position,
        version=place.version,
        at=at,
        message_id=message_id,
        ticket_number=ticket_number,
        transaction=parse_transaction(name),
        transaction_name=name,
        sequence=parse_sequence(text_of(attributes.get("sequencenumber"))),
        ticket_type=ticket_type,
        client_number=client_number,
        number_missing=not client_number or _is_false(text_of(attributes.get("clientreferenceavailable"))),
        status=_text(body.get("status")) or _text(body.get("state")),
        fields=_fields(body),
        changed=_changed(changed) if isinstance(changed, dict) else None,
        notes=_notes(body.get("notes"), message_id),
        attachment=_attachment(body, message_id),
        approval=_approval(body),
        opened_at=parse_time(_text(body.get("openedTime")) or _text(body.get("openedAt")) or ""),
    )


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


def _is_false(text: str | None) -> bool:
    return text is not None and text.strip().lower() == "false"


def _fields(body: Mapping[str, Any]) -> dict[str, str]:
    """The body's own fields; null says nothing, and an empty time is null (C13)."""
    fields: dict[str, str] = {}
    for name, value in body.items():
        if name in _NOT_FIELDS or name.lower() == "approvalid":
            continue
        text = value if type(value) is str else _text(value)
        field = _FIELD_ALIASES.get(name, name)
        if text is not None and not (field in _TIMES and not text):
            fields[field] = text
    return fields


def _changed(changed: Mapping[str, Any]) -> dict[str, str]:
    """What an update changed; a null there clears the field."""
    return {_FIELD_ALIASES.get(name, name): _text(value) or "" for name, value in changed.items()}


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
        expires_at=presigned_expiry(url or ""),
    )


def _approval(body: Mapping[str, Any]) -> ApprovalRequest | None:
    """The approval in an Approval Request (R165); its id's case varies in the guide (C14)."""
    spellings = (_text(value) for name, value in body.items() if name.lower() == "approvalid")
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
        return (moment - _EPOCH) // timedelta(microseconds=1)
    except (ValueError, OverflowError):
        return None


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def presigned_expiry(url: str) -> int | None:
    """When a pre-signed URL stops to work, in microseconds UTC (R138, C34)."""
    try:
        query = parse_qs(urlsplit(url).query)
        signed = datetime.strptime(query["X-Amz-Date"][0], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        return (signed + timedelta(seconds=int(query["X-Amz-Expires"][0])) - _EPOCH) // timedelta(microseconds=1)
    except (KeyError, ValueError, OverflowError):
        return None
