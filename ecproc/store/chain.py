"""The hash chain over the event log, as bytes; this format is frozen."""

from __future__ import annotations

from hashlib import sha256
from struct import Struct
from typing import Final

NO_HASH: Final = bytes(32)
"""What the first event links to."""

_ABSENT: Final = b"\xff\xff\xff\xff"
_INTEGER: Final = Struct(">Iq")
_LENGTH: Final = Struct(">I")


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


def payload_hash(payload: bytes) -> bytes:
    """What stands for the payload in the chain, so that a payload can go and the chain still verifies."""
    return sha256(payload).digest()


def link(
    prev: bytes,
    position: int,
    *,
    at: int,
    kind: str,
    stream: str,
    version: int,
    message_key: bytes | None,
    payload_hash: bytes,
) -> bytes:
    """The 32-byte hash of one event, bound to everything before it through `prev`."""
    fields = (prev, position, at, kind, stream, version, message_key, payload_hash)
    return sha256(b"".join(map(encode_field, fields))).digest()
