"""Calls to the bridge as requests: every method of the guide for incidents, requests and changes.

A payload holds the client's identity and the keys the guide documents, nothing besides (R98, R103). What people wrote
is escaped here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple
from urllib.parse import quote

import msgspec

from ecproc.domain.effects import Effect, EffectKind
from ecproc.domain.events import TicketType
from ecproc.domain.times import format_time, parse_time

_encode = msgspec.json.Encoder().encode
_decode_comments = msgspec.json.Decoder(list[dict[str, str | None]]).decode

FREE_TEXT: Final = frozenset(
    {
        *("description", "shortDescription", "closeNotes", "contactName", "contactEmail", "contactPhone"),
        *("body", "commenter", "commentTime", "commenterEmail", "commenterPhone"),
    }
)
"""Keys whose text is people's own: it is escaped twice (R99)."""
_ESCAPES: Final = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"})
_OF_CREATE: Final = (
    *("priority", "impact", "urgency", "group", "contactName", "contactPhone", "contactEmail"),
    *("shortDescription", "description", "cis"),
)
_OF_UPDATE: Final = (
    *("status", "closeNotes", "priority", "impact", "urgency", "group", "shortDescription", "description"),
)
_OF_COMMENT: Final = ("body", "commenter", "commentTime", "commenterEmail", "commenterPhone")
_LAST_STATUS: Final[Mapping[EffectKind, str]] = {
    EffectKind.RESOLVE_TICKET: "resolved",
    EffectKind.CLOSE_TICKET: "closed",
    EffectKind.CANCEL_TICKET: "cancelled",
}
_METHODS: Final[Mapping[EffectKind, str]] = {
    EffectKind.RETURN_NUMBER: "returnptn",
    EffectKind.ADD_COMMENTS: "notes",
    EffectKind.APPROVE_CHANGE: "approve",
    EffectKind.REJECT_CHANGE: "reject",
}
"""What stands behind the ticket in the path; nothing where fields or a status are set (R101, R114, R119, R173)."""


class Spelling(msgspec.Struct, frozen=True, kw_only=True):
    """What this client's payloads say where the guide contradicts itself: an approval id's key (C14), and the type that
    a change's comments name (C15)."""

    client_name: str
    approval_id_name: str = "approvalid"
    change_note_type: str = TicketType.CHANGE


class TicketCall(NamedTuple):
    """A call below the environment's URL; those without a body read."""

    method: str
    path: str
    body: bytes | None = None


def quote_segment(text: str) -> str:
    """A path segment with no character left as it is that a path could read otherwise (R27)."""
    quoted = quote(text, safe="")
    return quoted if quoted.strip(".") else quoted.replace(".", "%2E")


def ticket_path(ticket: str, *rest: str) -> str:
    """The path of a ticket's call, case as Ensono wrote it (R7, R49)."""
    return "/".join(("/tickets", quote_segment(ticket), *rest))


def encode_payload(fields: Mapping[str, Any]) -> bytes:
    """A command's body: everything stands under `payload` (R85)."""
    return _encode({"payload": fields})


def escape_text(text: str) -> str:
    """The text with backslashes, double quotes, newlines, carriage returns and tabs as two characters each, before JSON
    escapes it once more (R99, C26)."""
    return text.translate(_ESCAPES)


def write_call(effect: Effect, spelling: Spelling) -> TicketCall:
    """The call that carries out an effect of the bridge's lane (R84-R119, R173)."""
    kind = effect.kind
    body = encode_payload(_identify(effect, spelling) | _write_fields(effect, spelling))
    if kind is EffectKind.CREATE_TICKET:
        return TicketCall("POST", "/tickets", body)
    method = _METHODS.get(kind)
    return TicketCall("PUT", ticket_path(effect.ticket, *([method] if method else [])), body)


def show_ticket(ticket: str) -> TicketCall:
    """Read a ticket, in dev and echo only (R124)."""
    return TicketCall("GET", ticket_path(ticket))


def ask_upload_url(ticket: str, file_name: str) -> TicketCall:
    """Ask for the address that a file of that name can be put to, once and within 120 s (R126, R130)."""
    return TicketCall("GET", ticket_path(ticket, "attachments", quote_segment(file_name)))


def describe_decision(effect: Effect) -> str:
    """Who decided what about which change, why and when: in an approval there is no other place for it (R175, R176).

    The words are those of the guide's own examples.
    """
    fields, when = effect.fields, f"via ecproc at {_show_time(effect.at)} UTC."
    name, phone = fields.get("approverName", ""), fields.get("approverPhone", "")
    parts = [name, f"Email: {fields.get('approver', '')}", f"Phone: {phone}" if phone else ""]
    who, why = ", ".join(filter(None, parts)), fields.get("comment", "").strip()
    if effect.kind is EffectKind.APPROVE_CHANGE:
        return f"{who} approved Change Request {effect.number} {when} {why}".strip()
    return f"{who} rejected this Change Request {effect.number} due to {why.rstrip('.')} {when}"


def _identify(effect: Effect, spelling: Spelling) -> dict[str, Any]:
    """What every payload begins with (R102)."""
    ticket_type = effect.ticket_type
    if effect.kind is EffectKind.ADD_COMMENTS and ticket_type == TicketType.CHANGE:
        ticket_type = spelling.change_note_type
    return {
        "clientName": spelling.client_name,
        "ticketType": ticket_type,
        "clientTicketNumber": effect.number or "",
    }


def _write_fields(effect: Effect, spelling: Spelling) -> dict[str, Any]:
    """What the call is about. A closure's comments would be ignored, and so would fields beside comments (R108,
    R109)."""
    fields = effect.fields
    match effect.kind:
        case EffectKind.CREATE_TICKET:
            return _pick(fields, _OF_CREATE) | _write_comments(fields)
        case EffectKind.UPDATE_TICKET:
            return _pick(fields, _OF_UPDATE)
        case EffectKind.ADD_COMMENTS:
            return _write_comments(fields)
        case EffectKind.RESOLVE_TICKET | EffectKind.CLOSE_TICKET | EffectKind.CANCEL_TICKET as kind:
            return {"status": _LAST_STATUS[kind]} | _pick(fields, ("closeNotes",))
        case EffectKind.APPROVE_CHANGE | EffectKind.REJECT_CHANGE:
            return {
                "approver": fields.get("approver", ""),
                spelling.approval_id_name: fields.get("approvalid", ""),
                "comments": [{"body": escape_text(describe_decision(effect))}],
            }
        case _:
            return {}


def _pick(fields: Mapping[str, str], names: Sequence[str]) -> dict[str, Any]:
    """Those of the fields that are there, as the wire has them."""
    return {name: _spell(name, fields[name]) for name in names if name in fields}


def _spell(name: str, text: str) -> str:
    return escape_text(text) if name in FREE_TEXT else text


def _write_comments(fields: Mapping[str, str]) -> dict[str, Any]:
    """The comments array, without what nobody said (R115)."""
    found = _decode_comments(fields["comments"]) if fields.get("comments") else []
    return {"comments": [_write_comment(comment) for comment in found]} if found else {}


def _write_comment(comment: Mapping[str, str | None]) -> dict[str, str]:
    told = {**comment, "commentTime": _write_time(comment.get("commentTime") or "")}
    return {name: _spell(name, text) for name in _OF_COMMENT if (text := told.get(name))}


def _write_time(text: str) -> str:
    """A comment's time as the guide's examples have it, in UTC; what is no time stays as it is (R116)."""
    at = parse_time(text)
    return text if at is None else _show_time(at)


def _show_time(at: int) -> str:
    return format_time(at)[:19].replace("T", " ")
