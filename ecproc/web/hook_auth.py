"""Who may post to a hook: for each kind of source a pure function of the request as it came. Never a hint of what was
wrong."""

from __future__ import annotations

import binascii
import hashlib
import hmac
from base64 import b64decode
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from ecproc.config import Secret
from ecproc.webhooks import ID_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER, read_key, verify

Authenticate: TypeAlias = Callable[[Mapping[str, str], bytes, float], bool]
"""From a request's headers (names in lower case), its raw body and the time in seconds to whether its sender is
known."""


def by_signature(secrets: Callable[[], Sequence[Secret]]) -> Authenticate:
    """Standard Webhooks, by any of the secrets as they are at that moment."""

    def authenticate(headers: Mapping[str, str], body: bytes, now: float) -> bool:
        return verify(
            [read_key(secret.reveal()) for secret in secrets()],
            message_id=headers.get(ID_HEADER, ""),
            timestamp=headers.get(TIMESTAMP_HEADER, ""),
            signature=headers.get(SIGNATURE_HEADER, ""),
            body=body,
            now=now,
        )

    return authenticate


def by_password(username: str, passwords: Callable[[], Sequence[Secret]]) -> Authenticate:
    """HTTP basic, by that name and any of the passwords."""

    def authenticate(headers: Mapping[str, str], body: bytes, now: float) -> bool:
        given = _read_basic(headers.get("authorization", ""))
        return _is_any(given, [f"{username}:{password.reveal()}".encode() for password in passwords() if password])

    return authenticate


def by_token(tokens: Callable[[], Sequence[Secret]]) -> Authenticate:
    """A bearer token, any of these."""

    def authenticate(headers: Mapping[str, str], body: bytes, now: float) -> bool:
        kind, _, given = headers.get("authorization", "").partition(" ")
        known = _is_any(
            given.strip().encode("utf-8", "surrogatepass"), [one.reveal().encode() for one in tokens() if one]
        )
        return known and kind.lower() == "bearer"

    return authenticate


def _read_basic(authorization: str) -> bytes:
    kind, _, encoded = authorization.partition(" ")
    if kind.lower() != "basic":
        return b""
    try:
        return b64decode(encoded.strip(), validate=True)
    except (binascii.Error, ValueError):
        return b""


def _is_any(given: bytes, wanted: Sequence[bytes]) -> bool:
    """Compared as digests, which are of one length, each with each."""
    found = False
    for one in wanted:
        found |= hmac.compare_digest(hashlib.sha256(given).digest(), hashlib.sha256(one).digest())
    return found and bool(given)
