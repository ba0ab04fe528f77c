"""The hash chain over the event log, as bytes; this format is frozen."""

from __future__ import annotations

from functools import lru_cache
from hashlib import sha256
from struct import Struct
from typing import Final

NO_HASH: Final = bytes(32)
"""What the first event links to."""

_ABSENT: Final = b"\xff\xff\xff\xff"
_INTEGER: Final = Struct(">Iq")
_LENGTH: Final = Struct(">I")
_DIGEST_LENGTH: Final = _LENGTH.pack(32)
_PLACE: Final = Struct(">I32sIqIq")
"""The fields of a link up to its kind: the hash before it, position and time."""


def encode_field(value: bytes | str | int | None) -> bytes:
    """One field as 4 bytes of big-endian length and its bytes: text as UTF-8, integers as 8 signed big-endian bytes.

    None is the length 0xFFFFFFFF alone, so it differs from an empty value.
    """
    if value is None:
        return _ABSENT
    if isinstance(value, int):
        return _INTEGER.pack(8, value)
    if isinstance(value, str):
        value = value.encode()
    return _LENGTH.pack(len(value)) + value


@lru_cache(maxsize=4096)
def _encode_name(name: str) -> bytes:
    return encode_field(name)


def payload_hash(payload: bytes) -> bytes:
    """What stands for the payload in the chain, so that a payload can go and the chain still verifies."""
    return sha256(payload).digest()


def link(  # noqa: PLR0917 - the fields in the order they are hashed in; names would cost a tenth of an append
    prev: bytes,
    position: int,
    at: int,
    kind: str,
    stream: str,
    version: int,
    message_key: bytes | None,
    payload_hash: bytes,
) -> bytes:
    """The 32-byte hash of one event, bound to everything before it through `prev`: `encode_field` of each in turn."""
    place = _PLACE.pack(32, prev, 8, position, 8, at)
    number = _INTEGER.pack(8, version)
    key = _ABSENT if message_key is None else _LENGTH.pack(len(message_key)) + message_key
    return sha256(
        b"".join((place, _encode_name(kind), _encode_name(stream), number, key, _DIGEST_LENGTH, payload_hash))
    ).digest()
