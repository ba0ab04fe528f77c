"""What all decoders share: JSON as others really write it, names under any spelling, values as ServiceNow means them.

A strict decoder is always asked first. What it refuses for a character's sake is mended: half a surrogate pair, bytes
that are no UTF-8, raw control characters and unknown escapes become U+FFFD or the text that stands there; a byte order
mark and what pads a text are no part of it. What is wrong in its structure stays refused.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import Any, Final, NamedTuple, TypeVar

import msgspec

from ecproc.domain.events import Transaction
from ecproc.domain.ids import NO_SEQUENCE, SEQUENCE_BYTES
from ecproc.wire.split import blank_strings, nests_deeper, split_array, split_object

DECODE_ERRORS: Final = (msgspec.MsgspecError, UnicodeError, ValueError, RecursionError)
DEEPEST: Final = 100
"""Levels that a body may be nested: the decoder's own limit depends on its caller, and a fold must not (I5)."""
LONGEST_NAME: Final = 64
"""Characters of a name that is remembered: a hostile one is not."""
SHOWN: Final = 80
"""Characters of a stranger's text that a remark repeats."""

_Value = TypeVar("_Value")
_decode = msgspec.json.Decoder().decode
_PADDING: Final = "\ufeff\x00 \t\r\n"
_WHOLE_NUMBERS: Final = 1e15
_SEPARATORS: Final = str.maketrans("", "", " _-\ufeff\u200b\ufffd")
_MOJIBAKE: Final = "ï»¿"
"""A byte order mark that somebody read as Latin-1."""
_OBJECT_BEGINS: Final = b" \t\r\n\xef\xbb\xbf"
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_items = msgspec.json.Decoder(list[msgspec.Raw])
_raw = msgspec.json.Decoder(msgspec.Raw)
_LONG: Final = 4 * 1024 * 1024
"""Bytes from which on an array or object may have more members than there is room for: it is cut into the first few."""
_LONGEST_SEQUENCE: Final = 3 * SEQUENCE_BYTES
_MAX_SEQUENCE: Final = 1 << (8 * SEQUENCE_BYTES)
_LONGEST_INT: Final = 18
"""Digits that fit into 64 bits, whatever they are."""
_HUGE: Final = re.compile(rb"[eE][+-]?[0-9]{3}")
_MOST_HUGE: Final = 100
"""Numbers near the end of what a float holds: the strict decoder takes a hundred times as long for each of them."""
_UPPER: Final = "[89abAB][0-9a-fA-F]{2}"
_LOWER: Final = "[c-fC-F][0-9a-fA-F]{2}"
_HALF_ESCAPED: Final = re.compile(
    rf"\\u[dD](?:{_UPPER}(?!\\u[dD]{_LOWER})|(?<!\\u[dD]{_UPPER}\\u[dD]){_LOWER})",
)
_UNKNOWN_ESCAPE: Final = re.compile(r"\\(?![\"/bfnrt]|u[0-9a-fA-F]{4})")
_ESCAPED: Final = "\ud800"
"""What stands for an escaped backslash while other escapes are looked for: no text decoded from UTF-8 has it."""


class TooDeep(ValueError):
    """Arrays and objects stand in each other more levels deep than any message does."""


class Decoded(NamedTuple):
    """A value, and whether a character of it could not be read as it was."""

    value: Any
    mended: bool = False


def decode_json(raw: bytes) -> Decoded:
    """The value in `raw`, its text mended where a strict decoder gives up on it. Raises one of DECODE_ERRORS."""
    if not raw.startswith(b'"'):  # neither depth nor numbers are in a text
        _check_depth(raw)
        if raw.count(b"e") + raw.count(b"E") > _MOST_HUGE and _has_huge(raw):
            return _decode_mended(raw)
    try:
        return Decoded(_decode(raw))
    except DECODE_ERRORS:
        return _decode_mended(raw)


def _check_depth(raw: bytes) -> None:
    """Look at a text before it is decoded, in a moment. Raises TooDeep."""
    if nests_deeper(raw, DEEPEST):
        raise TooDeep(f"nested deeper than {DEEPEST} levels")


def _has_huge(raw: bytes) -> bool:
    """Whether there are so many numbers near the end of what a float holds that the strict decoder is too slow."""
    return len(_HUGE.findall(raw)) > _MOST_HUGE and len(_HUGE.findall(blank_strings(raw))) > _MOST_HUGE


def _decode_mended(raw: bytes) -> Decoded:
    text = raw.decode("utf-8", "replace")
    bare = text.strip(_PADDING).removeprefix(_MOJIBAKE)
    mended = _mend_halves(bare)
    try:
        value, lost = _loads(mended)
    except ValueError:
        value, lost = _loads(mended := _mend_escapes(mended))
    return Decoded(value, mended=lost or mended != bare or "\ufffd" in text or not is_json(bare.encode()))


def _loads(text: str) -> Decoded:
    lost: list[str] = []

    def read_float(digits: str) -> float | None:
        number = float(digits)
        if math.isfinite(number):
            return number
        lost.append(digits)
        return None

    value = json.loads(text, strict=False, parse_float=read_float, parse_constant=lost.append)
    return Decoded(value, bool(lost))


def _mend_halves(text: str) -> str:
    """The text with U+FFFD for each escape that is half of a surrogate pair."""
    if "\\ud" not in text and "\\uD" not in text:
        return text
    if r"\\" not in text:
        return _HALF_ESCAPED.sub("\ufffd", text)
    return _HALF_ESCAPED.sub("\ufffd", text.replace(r"\\", _ESCAPED)).replace(_ESCAPED, r"\\")


def _mend_escapes(text: str) -> str:
    """The text with a second backslash for one that begins no escape."""
    return _UNKNOWN_ESCAPE.sub(r"\\\\", text.replace(r"\\", _ESCAPED)).replace(_ESCAPED, r"\\")


def open_text(text: str) -> Any:
    """The array or object that a text holds as JSON, mended; None where it holds none."""
    if text.lstrip()[:1] not in ("{", "["):
        return None
    try:
        return decode_json(text.encode()).value
    except DECODE_ERRORS:
        return None


def is_json(raw: bytes) -> bool:
    """Whether a strict decoder finds one whole value in it."""
    try:
        _raw.decode(raw)
    except DECODE_ERRORS:
        return False
    return True


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
        if len(raw) > _LONG:
            return split_object(raw) if raw.lstrip(_OBJECT_BEGINS).startswith(b"{") else None
        return {name: bytes(value) for name, value in _members.decode(raw).items()}
    except DECODE_ERRORS:
        return split_object(raw) if raw.lstrip(_OBJECT_BEGINS).startswith(b"{") else None


def array_items(raw: bytes) -> list[bytes]:
    """The items of a JSON array as raw bytes, also of one that a decoder refuses."""
    try:
        return [bytes(item) for item in _items.decode(raw)] if len(raw) <= _LONG else split_array(raw)
    except DECODE_ERRORS:
        return split_array(raw)


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


def fold_name(name: str) -> str:
    """A member's name whatever its spelling; seen are `Receipt Handle`, `MessageGroupID`, `short Description` (C2, C32,
    C44)."""
    return _fold_short(name) if len(name) <= LONGEST_NAME else _fold(name)


def _fold(name: str) -> str:
    return name.translate(_SEPARATORS).lower()


_fold_short = lru_cache(maxsize=512)(_fold)


def fold_all(names: Collection[str]) -> list[str]:
    """Many names as `fold_name` reads each, in little time; one with a line break in it is nobody's."""
    plain = (name if "\n" not in name else "" for name in names)
    return _fold("\n".join(plain)).split("\n") if names else []


def fold_names(members: Mapping[str, _Value]) -> dict[str, _Value]:
    """An object's members by their names under any spelling."""
    return {fold_name(name): value for name, value in members.items()}


def folded_members(raw: bytes) -> dict[str, bytes]:
    """The members of a JSON object as raw bytes by their names under any spelling; none where it is no object."""
    return fold_names(object_members(raw) or {})


def parse_int(text: str | None) -> int | None:
    """A decimal of at most 18 digits."""
    if text is None or len(text) > _LONGEST_INT or not text.isascii():
        return None
    return int(text) if text.isdecimal() or text.strip().isdecimal() else None


def parse_sequence(text: str | None) -> bytes:
    """A SequenceNumber as 16 big-endian bytes; zeros where there is none. Up to 128 bits (R40)."""
    if text is None or len(text) > _LONGEST_SEQUENCE:
        return NO_SEQUENCE
    digits = text.strip()
    if not digits.isascii() or not digits.isdecimal():
        return NO_SEQUENCE
    number = int(digits)
    return number.to_bytes(SEQUENCE_BYTES) if number < _MAX_SEQUENCE else NO_SEQUENCE


_TRANSACTIONS: Final[Mapping[str, Transaction]] = {
    **{name: item for item in Transaction if item != Transaction.UNKNOWN for name in (item.value, fold_name(item))},
    "changeapprovalrequest": Transaction.APPROVAL_REQUEST,
    "statusupdate": Transaction.UPDATE,
}


def parse_transaction(text: str) -> Transaction:
    """The transaction type a text names, case and spaces aside (R37, C4)."""
    return _TRANSACTIONS.get(text) or _TRANSACTIONS.get(fold_name(text.strip()), Transaction.UNKNOWN)
