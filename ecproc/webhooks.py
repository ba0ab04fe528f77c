"""Standard Webhooks 1.0.0: signatures over raw bytes, made and verified, and signed tokens for one file each. Pure.

Keys and bodies are bytes, time and randomness are arguments. Nothing raised here holds any part of a secret.
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
import re
from base64 import b64decode, b64encode, urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterable, Sequence
from typing import Final

TOLERANCE_SECONDS: Final = 300
"""How far a signed time may be from ours, in either direction."""
FILE_SECONDS: Final = 3_600
"""How long the address of a file is good."""
ID_HEADER: Final = "webhook-id"
TIMESTAMP_HEADER: Final = "webhook-timestamp"
SIGNATURE_HEADER: Final = "webhook-signature"
KEY_FORM: Final = "whsec_ and the base64 of 24 to 64 bytes"

_PREFIX: Final = "whsec_"
_VERSION: Final = "v1"
_KEY_BYTES: Final = range(24, 65)
_FRESH_BYTES: Final = 32
_MOST_SIGNATURES: Final = 32
"""Signatures of one request that are looked at: more are no rotation, and each costs time."""
_ID: Final = re.compile(r"[!-\-/-~]{1,256}")
"""Printable and without the dot, which parts the id from the time in what is signed."""
_TIMESTAMP: Final = re.compile(r"[0-9]{1,12}")
_FILE_PURPOSE: Final = b"ecproc file address 1"
_DIGEST_BYTES: Final = 32
_UNTIL_BYTES: Final = 8
_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{96}")


class BadSecret(ValueError):
    """A text is no webhook secret; it says what one is, and nothing of the text."""

    def __init__(self) -> None:
        super().__init__(f"it is not {KEY_FORM}")


def read_key(secret: str) -> bytes:
    """The key in a `whsec_…` secret, with or without the padding of its base64. Raises BadSecret."""
    encoded = secret.removeprefix(_PREFIX).rstrip("=")
    key = b""
    if secret.startswith(_PREFIX) and encoded.isascii():
        try:
            key = b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
        except binascii.Error:
            key = b""
    if len(key) not in _KEY_BYTES:
        raise BadSecret  # outside the handler, whose exception would hang on
    return key


def make_secret(random_bytes: Callable[[int], bytes]) -> str:
    """A fresh secret; `random_bytes` has to be one nobody can guess, as `secrets.token_bytes`."""
    return _PREFIX + b64encode(random_bytes(_FRESH_BYTES)).decode("ascii")


def sign(keys: Sequence[bytes], message_id: str, timestamp: int, body: bytes) -> str:
    """The signature header of a message: one signature per key, the first key's first; `timestamp` is in seconds."""
    return " ".join(f"{_VERSION},{_sign(key, message_id, str(timestamp), body)}" for key in keys)


def make_headers(keys: Sequence[bytes], message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The three headers that make a message a signed one."""
    return {
        ID_HEADER: message_id,
        TIMESTAMP_HEADER: str(timestamp),
        SIGNATURE_HEADER: sign(keys, message_id, timestamp, body),
    }


def verify(keys: Iterable[bytes], *, message_id: str, timestamp: str, signature: str, body: bytes, now: float) -> bool:
    """Whether one of the signatures was made by one of the keys over exactly this, at most 300 seconds from `now`.

    The headers are taken as they came, an absent one as empty. Signatures of unknown versions count for nothing. It
    does not tell what was wrong, not even by the time it takes: every key is tried against every signature.
    """
    formed = _ID.fullmatch(message_id) is not None and _TIMESTAMP.fullmatch(timestamp) is not None
    timely = formed and abs(now - int(timestamp)) <= TOLERANCE_SECONDS
    given = [found for version, found in map(_split, signature.split(" ")[:_MOST_SIGNATURES]) if version == _VERSION]
    matches = False
    for key in keys:
        made = _sign(key, message_id, timestamp, body).encode("ascii")
        for found in given:
            matches |= hmac.compare_digest(made, found)
    return timely and matches


def _split(signature: str) -> tuple[str, bytes]:
    version, _, found = signature.partition(",")
    return version, found.encode("utf-8", "surrogatepass")


def _sign(key: bytes, message_id: str, timestamp: str, body: bytes) -> str:
    head = f"{message_id}.{timestamp}.".encode("utf-8", "surrogatepass")
    return b64encode(hmac.digest(key, head + body, hashlib.sha256)).decode("ascii")


def sign_file(key: bytes, sha256: str, *, now: float) -> str:
    """The token of a file's address: it opens that file only, to whoever has it, for an hour from `now`."""
    told = bytes.fromhex(sha256) + int(now + FILE_SECONDS).to_bytes(_UNTIL_BYTES, "big")
    return urlsafe_b64encode(told + _seal(key, told)).decode("ascii")


def open_file(keys: Iterable[bytes], token: str, *, now: float) -> str | None:
    """The digest of the file that a token opens, None where none of the keys made it or its hour is over."""
    if not _TOKEN.fullmatch(token):
        return None
    raw = urlsafe_b64decode(token)
    told, seal = raw[: _DIGEST_BYTES + _UNTIL_BYTES], raw[_DIGEST_BYTES + _UNTIL_BYTES :]
    matches = False
    for key in keys:
        matches |= hmac.compare_digest(_seal(key, told), seal)
    until = int.from_bytes(told[_DIGEST_BYTES:], "big")
    return told[:_DIGEST_BYTES].hex() if matches and now < until else None


def _seal(key: bytes, told: bytes) -> bytes:
    """Signed by a key of its own, so that no signature of a message is one of an address."""
    return hmac.digest(hmac.digest(key, _FILE_PURPOSE, hashlib.sha256), told, hashlib.sha256)
