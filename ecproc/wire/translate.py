"""A logged message to a typed fact. Total: what cannot be understood becomes a recorded fact, never an exception."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final
from zlib import crc32

import msgspec

from ecproc.domain.anomalies import Anomaly
from ecproc.domain.events import (
    ApprovalRequest,
    Message,
    Place,
    QuarantineReason,
    Remark,
    TicketType,
    Transaction,
    Undecodable,
)
from ecproc.domain.ids import NO_SEQUENCE, identity, is_reserved
from ecproc.domain.times import format_time
from ecproc.wire.files import read_attachment
from ecproc.wire.lenient import SHOWN, parse_int, parse_sequence, parse_transaction
from ecproc.wire.members import (
    FIELDS,
    LATEST,
    TICKET_TYPES,
    TIMES,
    is_plain_change,
    known_time,
    read_changed,
    read_fields,
    read_members,
    read_text,
)
from ecproc.wire.notes import read_notes
from ecproc.wire.payload import Attributes, Content, NoBody, body_of, read_body, read_payload
from ecproc.wire.queue import is_derived

_EARLIEST: Final = 946_684_800_000_000
"""The year 2000, in microseconds: seconds, taken for milliseconds, are long before it."""
_DAY: Final = 86_400 * 1_000_000
_KEPT: Final = 4 * _DAY
_HELD: Final = 14 * _DAY
_APPROVAL_STATES: Final = frozenset({"requested", "approved", "rejected"})
_NO: Final = frozenset({"false", "no", "0", "n", "f", "off"})
_YES: Final = frozenset({"true", "yes", "1", "y", "t", "on", ""})
_DATE_LENGTH: Final = 10
_MOST_REMARKS: Final = 100
_TEXT: Final = frozenset({str})
_NOTE: Final = frozenset({"type", "id", "body", "commenter", "commenterEmail"})
_TYPES: Final = {item.value: item for item in TicketType}
_ORDINARY: Final[Mapping[str, Transaction]] = {
    item.value: item
    for item in Transaction
    if item not in (Transaction.ATTACHMENT, Transaction.APPROVAL_REQUEST, Transaction.UNKNOWN)
}
"""What needs no part that is read apart, as the guide spells it."""
_set: Final = msgspec.structs.force_setattr


def translate(payload: bytes, place: Place, message_id: str) -> Message | Undecodable:
    """The fact in a logged message (R46–R75, R150–R170)."""
    content = read_payload(payload)
    return _read_ordinary(content, place, message_id) or _read_any(content, place, message_id)


def _read_ordinary(content: Content, place: Place, message_id: str) -> Message | None:
    """A message of texts under the guide's own names, of which nothing is to be remarked, exactly as `_read_any` reads
    it; None for any other."""
    body = content.body
    group = content.attributes.MessageGroupId
    if isinstance(body, NoBody) or content.mended or is_derived(message_id) or is_reserved(group):
        return None
    remarks: list[Remark] = []
    # What is left of the body, in its own order, when all that is no field is taken out are the fields.
    fields = {**body}
    take = fields.pop
    changed, notes = take("changed", None), take("notes", None)
    if not _TEXT.issuperset(map(type, fields.values())) or not (changed is None or is_plain_change(changed)):
        return None
    if notes is not None and not (isinstance(notes, dict) and notes.keys() <= _NOTE):
        return None
    ticket_type = _TYPES.get(take("ticketType", ""))
    ticket_number, client_number = identity(take("ticketNumber", "")), identity(take("clientTicketNumber", ""))
    client_name, status = identity(take("clientName", "")), take("status", None) or take("state", None)
    transaction = _ORDINARY.get(content.attributes.TransactionType)
    if not FIELDS.issuperset(fields) or ticket_type is None or not ticket_number or transaction is None:
        return None
    for name in TIMES:
        if (text := fields.get(name)) is None:
            continue
        if not text:
            del fields[name]
        elif known_time(text) is None:
            return None
    attributes = content.attributes
    message = Message(
        position=place.position,
        version=place.version,
        at=_read_sent(attributes.SentTimestamp, place, remarks),
        message_id=message_id,
        ticket_number=ticket_number,
        transaction=transaction,
        transaction_name=attributes.TransactionType,
        sequence=_read_sequence(attributes.SequenceNumber, remarks),
        client_number=client_number,
        number_missing=not client_number or not _is_available(attributes.ClientReferenceAvailable, remarks),
        status=status,
        fields=fields,
        changed=changed,
        client_name=client_name,
        dedup=crc32(attributes.MessageDeduplicationId.encode()),
    )
    _set(message, "ticket_type", ticket_type)
    if opened_at := _opened_at(fields):
        _set(message, "opened_at", opened_at)
    if notes is not None:
        _set(message, "notes", read_notes(notes, message_id, remarks))
    return None if remarks or (transaction is Transaction.NOTES and not message.notes) else message


def _read_any(content: Content, place: Place, message_id: str) -> Message | Undecodable:
    """Any message, whatever its shape."""
    attributes, remarks = content.attributes, list[Remark]()
    at = _read_sent(attributes.SentTimestamp, place, remarks)
    if isinstance(content.body, NoBody):
        return _undecodable(place, at, content.body.reason, content.body.detail)
    body = read_members(content.body, remarks)
    type_text = identity((read_text("ticketType", body.get("ticketType"), remarks) or "").replace("\ufffd", ""))
    ticket_type = TICKET_TYPES.get(type_text.lower())
    if type_text and ticket_type is None:
        return _undecodable(place, at, QuarantineReason.UNKNOWN_TICKET_TYPE, f"ticketType {type_text[:SHOWN]!r}")
    ticket_number = _name(body, "ticketNumber", remarks)
    group = identity(attributes.MessageGroupId)
    if not ticket_number and (not group or group.startswith('"')):  # a damaged one is kept in its quotes
        return _undecodable(place, at, QuarantineReason.UNROUTABLE, "neither MessageGroupId nor ticketNumber")
    if is_reserved(group or ticket_number):
        named = (group or ticket_number)[:SHOWN]
        return _undecodable(place, at, QuarantineReason.RESERVED_GROUP, f"{named!r} is a name of our own")
    if content.mended:
        remarks.append(Remark(Anomaly.UNREADABLE_PART, "the body has characters that could not be read as they were"))
    message = _message(place, (message_id, at, ticket_number), attributes, body, remarks)
    parts = _parts(message, body, remarks)
    if is_derived(message_id):
        remarks.append(Remark(Anomaly.DERIVED_ID, "the message came without a MessageId"))
    if remarks:
        parts["remarks"] = _remarks_of(remarks)
    if ticket_type is not None:
        parts["ticket_type"] = ticket_type
    for name, value in parts.items():  # nobody else has seen this message yet, and a copy of it would cost
        _set(message, name, value)
    return message


def _remarks_of(remarks: Sequence[Remark]) -> tuple[Remark, ...]:
    """The first remarks, and how many more there are: each of them becomes an anomaly of its own."""
    more = len(remarks) - _MOST_REMARKS
    rest = (Remark(Anomaly.UNREADABLE_PART, f"{more} more of its parts are odd"),) if more > 0 else ()
    return (*remarks[:_MOST_REMARKS], *rest)


def _message(
    place: Place,
    identified: tuple[str, int, str],
    attributes: Attributes,
    body: Mapping[str, Any],
    remarks: list[Remark],
) -> Message:
    """What every message has: a call with more than 15 keywords makes a dictionary of them first, which costs."""
    message_id, at, ticket_number = identified
    name = attributes.TransactionType.strip()
    client_number = _name(body, "clientTicketNumber", remarks)
    return Message(
        position=place.position,
        version=place.version,
        at=at,
        message_id=message_id,
        ticket_number=ticket_number,
        transaction=parse_transaction(name),
        transaction_name=name,
        sequence=_read_sequence(attributes.SequenceNumber, remarks),
        client_number=client_number,
        number_missing=not client_number or not _is_available(attributes.ClientReferenceAvailable, remarks),
        status=read_text("status", body.get("status"), remarks) or read_text("state", body.get("state"), remarks),
        fields=read_fields(body, remarks),
        changed=read_changed(body.get("changed"), body, remarks),
        client_name=_name(body, "clientName", remarks),
        dedup=crc32(attributes.MessageDeduplicationId.encode()),
    )


def _parts(message: Message, body: Mapping[str, Any], remarks: list[Remark]) -> dict[str, Any]:
    """What only some messages have; what their transaction names and they lack is remarked."""
    parts: dict[str, Any] = {}
    if opened_at := _opened_at(message.fields):
        parts["opened_at"] = opened_at
    if "notes" in body:
        parts["notes"] = read_notes(body["notes"], message.message_id, remarks)
    if "attachment" in body or "attachmentName" in body:
        parts["attachment"] = read_attachment(body, message.message_id, remarks)
    if "approvalId" in body or message.transaction is Transaction.APPROVAL_REQUEST:
        parts["approval"] = _read_approval(message, body, remarks)
    name = _PART_OF.get(message.transaction)
    if name is not None and not parts.get(name):
        remarks.append(Remark(Anomaly.UNREADABLE_PART, f"{message.transaction} without {_WANTED[name]}"))
    return parts


_PART_OF: Final = {
    Transaction.NOTES: "notes",
    Transaction.ATTACHMENT: "attachment",
    Transaction.APPROVAL_REQUEST: "approval",
}
_WANTED: Final = {"notes": "notes", "attachment": "a file", "approval": "approvalId"}


def _read_sent(text: str, place: Place, remarks: list[Remark]) -> int:
    """When the message was sent; when it was recorded where nothing readable says it. One that waited longer than the
    queue's four days tells that others may have been dropped; one older than any queue holds (14 days) is a copy."""
    at = (parse_int(text) or 0) * 1000
    if not _EARLIEST <= at <= LATEST:
        remarks.append(
            Remark(Anomaly.UNREADABLE_PART, f"SentTimestamp {text[:SHOWN]!r}: the time of receipt stands for it")
        )
        return place.at
    if _KEPT < place.at - at <= _HELD:
        day = format_time(at)[:_DATE_LENGTH]
        remarks.append(
            Remark(Anomaly.GAP, f"sent on {day}, more than four days before it came: others may have expired")
        )
    return at


def _read_sequence(text: str, remarks: list[Remark]) -> bytes:
    sequence = parse_sequence(text)
    if sequence == NO_SEQUENCE and text.strip():
        remarks.append(Remark(Anomaly.UNREADABLE_PART, f"SequenceNumber {text[:SHOWN]!r}"))
    return sequence


def _is_available(value: bool | str, remarks: list[Remark]) -> bool:
    """ClientReferenceAvailable, true where it says nothing (R39); an unknown word does not say yes."""
    if isinstance(value, bool):
        return value
    word = value.strip().lower()
    if word not in _NO | _YES:
        remarks.append(Remark(Anomaly.UNKNOWN_VALUE, f"ClientReferenceAvailable {value[:SHOWN]!r}"))
    return word in _YES


def _opened_at(fields: Mapping[str, str]) -> int | None:
    text = fields.get("openedTime") or fields.get("openedAt")
    return known_time(text) if text else None


def _read_approval(message: Message, body: Mapping[str, Any], remarks: list[Remark]) -> ApprovalRequest | None:
    """The approval in an Approval Request (R165). A word that is none of the guide's asks and decides nothing."""
    approval_id = _name(body, "approvalId", remarks)
    if not approval_id:
        return None
    text = (read_text("approvalState", body.get("approvalState"), remarks) or "").strip()
    asks = body.get("approvalState") in (None, "") and message.transaction is Transaction.APPROVAL_REQUEST
    word = "requested" if asks else text.lower()
    if word not in _APPROVAL_STATES:
        remarks.append(Remark(Anomaly.UNKNOWN_VALUE, f"approvalState {text[:SHOWN]!r} of {approval_id[:SHOWN]}"))
    return ApprovalRequest(
        id=approval_id,
        name=read_text("approverName", body.get("approverName"), remarks) or "",
        email=read_text("approverEmail", body.get("approverEmail"), remarks) or "",
        state=word if word in _APPROVAL_STATES else "",
    )


def _name(body: Mapping[str, Any], member: str, remarks: list[Remark]) -> str:
    """What identifies something; a number there is a name too, true and false are none."""
    value = body.get(member)
    if type(value) is str:
        return identity(value) if value else ""
    if value is None or isinstance(value, bool):
        return ""
    return identity(read_text(member, value, remarks))


def attachment_url(payload: bytes) -> str:
    """The download URL in a logged message: a bearer secret, empty if it has none."""
    body, _ = read_body(body_of(payload))
    return (
        "" if isinstance(body, NoBody) else read_text("attachment", read_members(body, []).get("attachment"), []) or ""
    )


def _undecodable(place: Place, at: int, reason: str, detail: str) -> Undecodable:
    return Undecodable(position=place.position, version=place.version, at=at, reason=reason, detail=detail)
