"""Answers without secrets: the query of every URL, which may hold a key, is masked; JSON stays JSON."""

from __future__ import annotations

import re
from typing import Final, TypeVar

import msgspec

from ecproc.telemetry.redaction import MASK, mask_url_queries

_DEPTH: Final = 4
"""How many times JSON may stand as a string inside of JSON before it is masked as plain text."""

_STRING: Final = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_SUSPECT: Final = re.compile(r"(?i)http|\\u00")
_ESCAPED_URL: Final = re.compile(r"""(?i)(https?:\\+/\\*/[^\s?#"'<>]*[?#])[^\s"'<>]+""")
_WHOLE_URL: Final = re.compile(r"(?i)(\s*https?:[^\s?#]*[?#])\S+\s*")
_raw: Final = msgspec.json.Decoder(msgspec.Raw)
_decode_text: Final = msgspec.json.Decoder(str)
_encode: Final = msgspec.json.Encoder().encode

T = TypeVar("T", bound=msgspec.Struct)


def is_utf8_json(raw: bytes) -> bool:
    """Whether these bytes are one JSON value in UTF-8, as any reader of our output takes it."""
    try:
        raw.decode()
        _raw.decode(raw)
    except (UnicodeDecodeError, msgspec.DecodeError, RecursionError):
        return False
    return True


def mask_json(document: bytes) -> bytes:
    """The JSON document with the query of every URL in it masked; all else stays byte for byte."""
    return _mask_json(document.decode(), _DEPTH).encode()


def mask_text(text: str) -> str:
    """The text with the query of every URL in it masked, also if the text is JSON."""
    return _mask_text(text, _DEPTH)


def mask_struct(value: T) -> T:
    """The value with the query of every URL in its texts masked, also in those of its Raw members."""
    document = _encode(value)
    masked = mask_json(document)
    return value if masked == document else msgspec.json.decode(masked, type=type(value))


def _mask_json(document: str, depth: int) -> str:
    def mask_literal(match: re.Match[str]) -> str:
        literal = match[0]
        if not _SUSPECT.search(literal):
            return literal
        text = _decode_text.decode(literal)
        masked = _mask_text(text, depth - 1)
        return literal if masked == text else _encode(masked).decode()

    return _STRING.sub(mask_literal, document) if _SUSPECT.search(document) else document


def _mask_text(text: str, depth: int) -> str:
    if not _SUSPECT.search(text):
        return text
    if depth and text.lstrip()[:1] in ("{", "[", '"') and is_utf8_json(text.encode("utf-8", "surrogatepass")):
        return _mask_json(text, depth)
    whole = _WHOLE_URL.fullmatch(text)
    # A text that is nothing but a URL has no quotes around it: those in its query belong to it.
    return mask_url_queries(f"{whole[1]}{MASK}" if whole else _ESCAPED_URL.sub(rf"\1{MASK}", text))
