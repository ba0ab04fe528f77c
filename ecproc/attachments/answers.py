"""What a storage host's answer means: its words, its redirects, whether what came is the whole file. Pure."""

from __future__ import annotations

import re
from html import unescape
from typing import Final
from urllib.parse import urljoin

from ecproc.attachments.base import Failure, FetchFailed

GIVES: Final = frozenset({200, 203, 206})
"""Statuses whose body is the file, or a part of it."""
REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})

_BUSY: Final = frozenset({408, 425, 429})
_SKEW_WAIT: Final = 60.0
_MOST_TEXT: Final = 300
_CODE: Final = re.compile(rb"<Code>([^<]{1,200})</Code>")
_MESSAGE: Final = re.compile(rb"<Message>([^<]{1,2000})</Message>")
_QUERY: Final = re.compile(r"\?\S+")
_EXPIRED: Final = re.compile(r"request has expired", re.IGNORECASE)
_EARLY: Final = re.compile(r"not (?:yet valid|valid yet)", re.IGNORECASE)
_RANGE: Final = re.compile(r"bytes\s+0-(\d{1,18})/(\d{1,18})", re.IGNORECASE)
_ABSOLUTE: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_CODED: Final = frozenset({"gzip", "x-gzip", "deflate"})


def judge_refusal(status: int, body: bytes, *, retry_after: float | None, request_id: str) -> FetchFailed:
    """Why an answer of that status, whose body says more in the way of S3, is no file."""
    code, message = _find(_CODE, body), _find(_MESSAGE, body)
    reason = f"HTTP {status} {': '.join(filter(None, (code, message)))}".strip()
    failure, hint = Failure.COUNTED, ""
    if _EXPIRED.search(message):
        failure = Failure.EXPIRED
    elif code == "RequestTimeTooSkewed" or _EARLY.search(message):
        failure, reason, retry_after = Failure.HELD, f"clock skew: {reason}", _SKEW_WAIT
        hint = "compare this machine's clock with the time"
    elif code == "ExpiredToken":
        failure = Failure.REFUSED
        reason = f"{reason}; the session that signed the address is over, a new announcement brings another"
    elif status in _BUSY or status >= 500:
        failure = Failure.HELD
    return FetchFailed(reason, failure, retry_after=retry_after, hint=hint, request_id=request_id)


def resolve_redirect(base: str, location: str) -> str:
    """The address that a Location header means, seen from the one that was asked."""
    if _ABSOLUTE.match(location):
        return location
    try:
        return urljoin(base, location)
    except ValueError:
        return location  # what is no address is refused like any other


def find_gap(
    status: int, *, size: int, announced: int | None, content_range: str | None, framed: bool
) -> FetchFailed | None:
    """Why `size` bytes are not the whole file; None if they are, as far as anybody can tell.

    What its framing says to be complete is, whatever was announced. Only where nothing else says where the file ends
    (not `framed`), or where a part was sent, the announced size does.
    """
    if status == 206:
        whole = _RANGE.fullmatch((content_range or "").strip())
        if size != announced and not (whole and int(whole[1]) + 1 == int(whole[2]) == size):
            return FetchFailed("HTTP 206 a part of the file only", Failure.COUNTED)
    elif not framed and announced is not None and size < announced:
        return FetchFailed(f"incomplete: {size} of {announced} bytes", Failure.COUNTED)
    return None


def is_coded(content_encoding: str | None) -> bool:
    """Whether the body may have to be decoded: `base64`, `utf-8`, `aws-chunked` and the like are labels that someone
    stored beside plain bytes."""
    labels = {label.strip().lower() for label in (content_encoding or "").split(",")}
    return not labels.isdisjoint(_CODED)


def _find(pattern: re.Pattern[bytes], body: bytes) -> str:
    """The host's words on one line, bounded, and without what may have been signed."""
    found = pattern.search(body)
    if found is None:
        return ""
    text = " ".join(unescape(found[1].decode("utf-8", "replace")).split())
    return _QUERY.sub("?***", text)[:_MOST_TEXT]
