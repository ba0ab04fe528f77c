"""What both decoders share: JSON as others really write it, names under any spelling, values as ServiceNow means them.

A strict decoder is always asked first. What it refuses for a character's sake is mended: half a surrogate pair, bytes
that are no UTF-8, raw control characters and unknown escapes become U+FFFD or the text that stands there; a byte order
mark and what pads a text are no part of it. What is wrong in its structure stays refused.
"""

from __future__ import annotations

import json
import math
import re
from functools import lru_cache
from typing import Any, Final, NamedTuple

import msgspec

from ecproc.wire.split import nests_deeper, split_object

DECODE_ERRORS: Final = (msgspec.MsgspecError, UnicodeError, ValueError, RecursionError)
DEEPEST: Final = 100
"""Levels that a body may be nested: the decoder's own limit depends on its caller, and a fold must not (I5)."""

_decode = msgspec.json.Decoder().decode
_PADDING: Final = "\ufeff\x00 \t\r\n"
_WHOLE_NUMBERS: Final = 1e15
_SEPARATORS: Final = str.maketrans("", "", " _-\ufeff\u200b\ufffd")
_MOJIBAKE: Final = "ï»¿"
"""A byte order mark that somebody read as Latin-1."""
_OBJECT_BEGINS: Final = b" \t\r\n\xef\xbb\xbf"
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_HIGH: Final = r"[dD][89abAB][0-9a-fA-F]{2}"
_LOW: Final = r"[dD][c-fC-F][0-9a-fA-F]{2}"
_ESCAPE: Final = re.compile(
    rf"\\(?:(?P<good>u{_HIGH}\\u{_LOW}|u(?!{_HIGH}|{_LOW})[0-9a-fA-F]{{4}}|[\"\\/bfnrt])|(?P<half>u(?:{_HIGH}|{_LOW})))?"
)
_REPLACEMENT: Final = "\\ufffd"


class TooDeep(ValueError):
    """Arrays and objects stand in each other more levels deep than any message does."""


class Decoded(NamedTuple):
    """A value, and whether a character of it could not be read as it was."""

    value: Any
    mended: bool = False


def decode_json(raw: bytes) -> Decoded:
    """The value in `raw`, its text mended where a strict decoder gives up on it. Raises one of DECODE_ERRORS."""
    if nests_deeper(raw, DEEPEST):
        raise TooDeep(f"nested deeper than {DEEPEST} levels")
    try:
        return Decoded(_decode(raw))
    except DECODE_ERRORS:
        return _decode_mended(raw)


def _decode_mended(raw: bytes) -> Decoded:
    text = raw.decode("utf-8", "replace")
    bare = text.strip(_PADDING).removeprefix(_MOJIBAKE)
    mended = _ESCAPE.sub(_mend_escape, bare)
    value = json.loads(mended, strict=False, parse_float=_finite, parse_constant=lambda _: None)
    return Decoded(value, mended=mended != bare or "\ufffd" in text or not _is_strict(bare))


def _is_strict(text: str) -> bool:
    try:
        _decode(text)
    except DECODE_ERRORS:
        return False
    return True


def _mend_escape(match: re.Match[str]) -> str:
    if match["good"]:
        return match[0]
    return _REPLACEMENT if match["half"] else "\\\\"


def _finite(text: str) -> float | None:
    number = float(text)
    return number if math.isfinite(number) else None


def scalar_text(value: Any) -> str | None:
    """A decoded scalar as text: a whole number has no fraction, whatever the sender's language made of it."""
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case float() if value.is_integer() and abs(value) < _WHOLE_NUMBERS:
            return str(int(value))
        case int() | float():
            return str(value)
        case _:
            return None


def text_of(raw: bytes | None) -> str | None:
    """A JSON scalar as text; None for null, absent, structured or undecodable values, and for a text that would have to
    be mended: two names that differ in what cannot be read must not become one."""
    if raw is None:
        return None
    try:
        value, mended = decode_json(raw)
    except DECODE_ERRORS:
        return None
    return None if mended else scalar_text(value)


def object_members(raw: bytes) -> dict[str, bytes] | None:
    """The members of a JSON object as raw bytes, also of one that a decoder refuses; None if it is no object."""
    try:
        return {name: bytes(value) for name, value in _members.decode(raw).items()}
    except DECODE_ERRORS:
        return split_object(raw) if raw.lstrip(_OBJECT_BEGINS).startswith(b"{") else None


def loose_text(raw: bytes | None) -> str | None:
    """A JSON scalar as text, mended; for words of a closed list, which a character more or less does not change."""
    try:
        return None if raw is None else scalar_text(decode_json(raw).value)
    except DECODE_ERRORS:
        return None


def inner_text(raw: bytes) -> bytes:
    """The text in a JSON string, mended, as bytes; empty where it is none."""
    try:
        value = decode_json(raw).value
    except DECODE_ERRORS:
        return b""
    return value.strip().encode() if isinstance(value, str) else b""


@lru_cache(maxsize=512)
def fold_name(name: str) -> str:
    """A member's name whatever its spelling; seen are `Receipt Handle`, `MessageGroupID`, `short Description` (C2, C32,
    C44)."""
    return name.translate(_SEPARATORS).lower()
