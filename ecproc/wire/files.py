"""An announced file: what identifies it, where it can be had, and until when (R137-R140)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise, takewhile
from typing import Any, Final
from urllib.parse import unquote

from ecproc.domain.anomalies import Anomaly
from ecproc.domain.events import AttachmentInfo, Remark
from ecproc.domain.ids import identity
from ecproc.domain.times import EPOCH, MICROSECOND
from ecproc.wire.lenient import SHOWN, fold_names, open_text, parse_int, scalar_text
from ecproc.wire.members import read_text
from ecproc.wire.urls import LONGEST_ADDRESS, normalise_url

_SYS_ID: Final = re.compile(r"[0-9a-f]{32}", re.IGNORECASE)
_ATTACHMENT: Final = frozenset({"attachment", "attachments", "sys_attachment"})
_WORDS: Final = frozenset({"file", "download", "upload", "content", "view", "raw", "data", *_ATTACHMENT})
"""What may stand behind an id in a path, and is none."""
_IN_QUERY: Final = re.compile(r"[?&](?:sysparm_)?sys_id=([^&#]+)", re.IGNORECASE)
_SIGNED: Final = re.compile(
    r"[?&]X-Amz-Date=(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z(?![^&#])", re.IGNORECASE | re.ASCII
)
_LIFETIME: Final = re.compile(r"[?&]X-Amz-Expires=(\d{1,18})(?![^&#])", re.IGNORECASE | re.ASCII)
_SESSION: Final = re.compile(r"[?&]X-Amz-Security-Token=[^&]", re.IGNORECASE)
_LONGEST_SIZE: Final = 64
"""Characters of a size; of more the search would take the cube."""
_BYTES: Final = re.compile(r"\s*([0-9][0-9,. ]*?)(?:\.0+)?\s*(?:bytes?|b)?\s*", re.IGNORECASE)


def read_attachment(body: Mapping[str, Any], message_id: str, remarks: list[Remark]) -> AttachmentInfo | None:
    """The file a message announces; None where it names neither an address nor a name."""
    url, name = normalise_url(_member(body, "attachment", remarks)), _member(body, "attachmentName", remarks)
    if not url and not name:
        return None
    if len(url) > LONGEST_ADDRESS:
        remarks.append(Remark(Anomaly.UNREADABLE_PART, f"attachment is no address: it has {len(url)} characters"))
        url = ""
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
    match = _BYTES.fullmatch(text) if len(text) <= _LONGEST_SIZE else None
    size = parse_int(re.sub(r"[,. ]", "", match[1])) if match else None
    if size is None and (len(text) > _LONGEST_SIZE or identity(text)):
        remarks.append(Remark(Anomaly.UNREADABLE_PART, f"attachmentSize {text[:SHOWN]!r}"))
    return size


def _read_info(value: Any) -> str:
    """attachmentInfo as text: an address, a bare sys_id, or what a reference has of them."""
    opened = open_text(value) if isinstance(value, str) else value
    if isinstance(opened, dict):
        parts = {name: scalar_text(item) or "" for name, item in fold_names(opened).items()}
        return next((parts[name] for name in ("sysid", "value", "link", "displayvalue") if parts.get(name)), "")
    return identity(scalar_text(value))


def _identify(info: str, name: str, size: int | None, message_id: str) -> str:
    """The file's own id wherever attachmentInfo has it; else what tells it from others: losing a file is worse than
    having it twice (R139)."""
    address = unquote(info) if len(info) <= LONGEST_ADDRESS else ""
    path, _, query = address.partition("?")
    own = _own_segment([segment for segment in path.split("/") if segment])
    if own:
        return own
    named = [found for found in _IN_QUERY.findall(f"?{query}") if _SYS_ID.fullmatch(found)]
    if named:
        last: str = named[-1]
        return last.lower()
    known_by = (name, str(size), message_id)
    return hashlib.sha256("\0".join(known_by).encode()).hexdigest()[:32]


def _own_segment(segments: Sequence[str]) -> str:
    """The segment of a path that names the file: a sys_id at its end or behind `attachment`, or what stands behind that
    word or alone and is no word itself."""
    words = sum(1 for _ in takewhile(lambda segment: segment.lower() in _WORDS, reversed(segments)))
    segments = segments[: len(segments) - words]
    for before, segment in zip(["", *segments], segments, strict=False):
        if _SYS_ID.fullmatch(segment) and (segment == segments[-1] or before.lower() in _ATTACHMENT):
            return segment.lower()
    behind = [own for before, own in pairwise(segments) if before.lower() in _ATTACHMENT]
    if behind and identity(behind[0]) and "." not in behind[0]:
        return behind[0]
    alone = len(segments) == 1 and any(character.isdigit() for character in segments[0])
    return identity(segments[0]) if alone else ""


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
