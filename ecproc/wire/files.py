"""An announced file: what identifies it, where it can be had, and until when (R137-R140)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from ecproc.domain.events import AttachmentInfo, Remark
from ecproc.domain.ids import identity
from ecproc.domain.times import EPOCH, MICROSECOND
from ecproc.wire.lenient import fold_name, scalar_text
from ecproc.wire.members import read_text
from ecproc.wire.queue import parse_int
from ecproc.wire.urls import normalise_url

_SYS_ID: Final = re.compile(r"(?<![0-9a-f])[0-9a-f]{32}(?![0-9a-f])", re.IGNORECASE)
_BEHIND_ATTACHMENT: Final = re.compile(r"/attachment/+([^/?#]+)", re.IGNORECASE)
_IN_QUERY: Final = re.compile(r"[?&](?:sysparm_)?sys_id=([^&#]+)", re.IGNORECASE)
_SIGNED: Final = re.compile(
    r"[?&]X-Amz-Date=(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z(?![^&#])", re.IGNORECASE | re.ASCII
)
_LIFETIME: Final = re.compile(r"[?&]X-Amz-Expires=(\d{1,18})(?![^&#])", re.IGNORECASE | re.ASCII)
_SESSION: Final = re.compile(r"[?&]X-Amz-Security-Token=[^&]", re.IGNORECASE)
_BYTES: Final = re.compile(r"\s*([0-9][0-9,. ]*?)(?:\.0+)?\s*(?:bytes?|b)?\s*", re.IGNORECASE)


def read_attachment(body: Mapping[str, Any], message_id: str, remarks: list[Remark]) -> AttachmentInfo | None:
    """The file a message announces; None where it names neither an address nor a name."""
    url, name = normalise_url(_member(body, "attachment", remarks)), _member(body, "attachmentName", remarks)
    if not url and not name:
        return None
    size = _read_size(_member(body, "attachmentSize", remarks), remarks)
    return AttachmentInfo(
        id=_identify(_read_info(body.get("attachmentInfo")), name, size, message_id),
        name=name,
        type=_member(body, "attachmentType", remarks),
        size=size,
        expires_at=presigned_expiry(url) if url else None,
        session=_SESSION.search(url) is not None,
    )


def _member(body: Mapping[str, Any], name: str, remarks: list[Remark]) -> str:
    return read_text(name, body.get(name), remarks) or ""


def _read_size(text: str, remarks: list[Remark]) -> int | None:
    """Bytes; ServiceNow groups their digits for people (R125)."""
    match = _BYTES.fullmatch(text)
    size = parse_int(re.sub(r"[,. ]", "", match[1])) if match else None
    if size is None and identity(text):
        remarks.append(Remark("unreadable_part", f"attachmentSize {text[:80]!r}"))
    return size


def _read_info(value: Any) -> str:
    """attachmentInfo as text: an address, a bare sys_id, or a reference's value and link."""
    if isinstance(value, dict):
        parts = {fold_name(name): scalar_text(item) or "" for name, item in value.items()}
        return next((parts[name] for name in ("sysid", "value", "link", "displayvalue") if parts.get(name)), "")
    return identity(scalar_text(value))


def _identify(info: str, name: str, size: int | None, message_id: str) -> str:
    """The file's sys_id wherever attachmentInfo has it, else a hash of what tells it from others (R139)."""
    for pattern in (_BEHIND_ATTACHMENT, _IN_QUERY):
        found = pattern.search(info)
        if found and _SYS_ID.fullmatch(found[1]):
            return found[1].lower()
    if sys_ids := _SYS_ID.findall(info.partition("?")[0]) or _SYS_ID.findall(info):
        last: str = sys_ids[-1]
        return last.lower()
    own = _BEHIND_ATTACHMENT.search(info)
    if own and identity(own[1]) and own[1].lower() != "file":
        return own[1]
    if info and "/" not in info:
        return info
    known_by = (name, str(size), info.partition("?")[0] if info else message_id)
    return hashlib.sha256("\0".join(known_by).encode()).hexdigest()[:32]


def presigned_expiry(url: str) -> int | None:
    """When a pre-signed URL stops to work, in microseconds UTC (R138, C34)."""
    signed_at, lifetime = _SIGNED.search(url), _LIFETIME.search(url)
    if signed_at is None or lifetime is None:
        return None
    try:
        year, month, day, hour, minute, second = map(int, signed_at.groups())
        signed = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
        return (signed + timedelta(seconds=int(lifetime[1])) - EPOCH) // MICROSECOND
    except (ValueError, OverflowError):
        return None
