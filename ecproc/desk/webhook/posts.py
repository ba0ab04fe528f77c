"""What a client's system tells by a hook: from a post's raw body to news. Pure."""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from ecproc.desk.webhook.wire import PROBE
from ecproc.domain.anomalies import Anomaly
from ecproc.domain.external import ExternalDecision, ExternalKind, ExternalNote, ExternalReceived
from ecproc.domain.ids import identity
from ecproc.domain.remarks import Remark

_STATUS: Final = "status"
_APPROVED: Final = frozenset({"approved", "approve"})
_REJECTED: Final = frozenset({"rejected", "reject"})
_SHOWN: Final = 80


class Told(msgspec.Struct, frozen=True):
    """One post: its news, whose view is that of a desk which speaks the guide's words, the `fields` of its record, and
    for an attachment its content, or from where that can be fetched."""

    event: ExternalReceived
    fields: Mapping[str, str] = {}
    content: bytes | None = None
    url: str = ""
    name: str = ""
    type: str = ""
    size: int | None = None


class _Data(msgspec.Struct, frozen=True):
    """The members of all types together; numbers may be numbers."""

    key: str = ""
    number: str | int = ""
    reference: str | int | None = None
    url: str | None = None
    state: str | None = None
    fields: dict[str, str | int | float | bool | None] = {}
    by: str | None = None
    id: str | int | None = None
    body: str = ""
    author: str | None = None
    email: str | None = None
    at: str | None = None
    name: str = ""
    type: str = "application/octet-stream"
    size: int | None = None
    content_base64: str | None = None
    approver: str = ""
    decision: str = ""
    comment: str | None = None


class _Message(msgspec.Struct, frozen=True):
    type: str
    data: _Data
    timestamp: str = ""


_decode: Final = msgspec.json.Decoder(_Message).decode


def read_post(source: str, message_id: str, body: bytes) -> Told | None:
    """The news in a post that was authenticated: whatever it holds, it is ours now. None for a probe, which holds none.

    What cannot be read, or is of a type that nobody knows, is `undecodable`, with its body.
    """
    try:
        text = body.decode()
    except UnicodeDecodeError:
        raw = b64encode(body).decode("ascii")
        return Told(ExternalReceived(source, ExternalKind.UNDECODABLE, message_id, body_base64=raw))
    try:
        message = _decode(body)
    except (msgspec.MsgspecError, RecursionError):
        return Told(ExternalReceived(source, ExternalKind.UNDECODABLE, message_id, body=text))
    if message.type == PROBE:
        return None
    data = message.data
    known = {
        "source": source,
        "id": message_id,
        "number": identity(str(data.number)),
        "reference": identity(str(data.reference or "")),
        "at": message.timestamp,
        "by": data.by or data.author or "",
        "body": text,
    }
    return _read(message.type, data, known)


def _read(kind: str, data: _Data, known: Mapping[str, Any]) -> Told:
    match kind:
        case "ticket.created":
            told = _name_state(data.state)
            return Told(ExternalReceived(kind=ExternalKind.CREATED, key=data.key, view=_keep(told), **known), told)
        case "ticket.changed":
            told = _list_fields(data)
            return Told(ExternalReceived(kind=ExternalKind.RECORD, view=_keep(told), **known), told)
        case "ticket.note":
            note = ExternalNote(data.body, data.author or "", data.email or "", data.at or "")
            return Told(ExternalReceived(kind=ExternalKind.NOTE, note=note, **known))
        case "ticket.attached":
            return _read_file(data, known)
        case "approval.decided":
            return _read_decision(data, known)
        case _:
            return Told(ExternalReceived(kind=ExternalKind.UNDECODABLE, **known))


def _list_fields(data: _Data) -> dict[str, str]:
    """The record's fields as texts; what is absent is unchanged, null is empty."""
    fields = {name: _write(value) for name, value in data.fields.items() if name not in (_STATUS, "state")}
    state = data.state or _write(data.fields.get("state") or data.fields.get(_STATUS))
    return {**fields, **_name_state(state)}


def _name_state(state: str | None) -> dict[str, str]:
    """The record's state, which a mapping may look for under either of its names."""
    return {_STATUS: state, "state": state} if state else {}


def _keep(fields: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """What a record says whose desk speaks the guide's words."""
    return {name: (value, value) for name, value in fields.items() if name != "state"}


def _write(value: str | float | bool | None) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _read_file(data: _Data, known: Mapping[str, Any]) -> Told:
    event = ExternalReceived(kind=ExternalKind.ATTACHMENT, **known)
    content = None
    if data.content_base64 is not None:
        # The content is kept as a file, and no second time in the log.
        event = msgspec.structs.replace(event, body="")
        try:
            content = b64decode(data.content_base64, validate=True)
        except (binascii.Error, ValueError):
            remark = Remark(Anomaly.INCOMPLETE, f"attachment {data.name[:_SHOWN]}: its base64 cannot be read")
            event = msgspec.structs.replace(event, remarks=(remark,))
    url = "" if data.content_base64 is not None else data.url or ""
    return Told(event, {}, content, url, data.name, data.type, data.size)


def _read_decision(data: _Data, known: Mapping[str, Any]) -> Told:
    word = data.decision.strip().lower()
    if word not in _APPROVED | _REJECTED:
        remark = Remark(Anomaly.UNKNOWN_VALUE, f"decision: {data.decision[:_SHOWN]}")
        return Told(ExternalReceived(kind=ExternalKind.APPROVAL, remarks=(remark,), **known))
    decision = ExternalDecision(word in _APPROVED, data.approver, data.comment or "")
    return Told(ExternalReceived(kind=ExternalKind.APPROVAL, decision=decision, **known))
