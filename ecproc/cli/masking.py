"""What stands between stored text and a screen or a file: URL queries are masked, lines stay lines, JSON stays JSON."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from ecproc.telemetry.redaction import MASK, mask_url_queries

_DEPTH: Final = 4
"""How many times JSON may stand as a string inside of JSON before it is masked as plain text."""

_STRING: Final = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_SUSPECT: Final = re.compile(r"(?i)http|\\u00")
_ESCAPED_URL: Final = re.compile(r"""(?i)(https?:\\+/\\*/[^\s?#"'<>]*[?#])[^\s"'<>]+""")
_WHOLE_URL: Final = re.compile(r"(?i)(\s*https?:[^\s?#]*[?#])\S+\s*")
_BREAKS: Final = re.compile("[\r\n]")
_UNSAFE: Final = re.compile("[\x7f-\x9f\u2028\u2029]")
_raw: Final = msgspec.json.Decoder(msgspec.Raw)
_decode_text: Final = msgspec.json.Decoder(str)
_encode: Final = msgspec.json.Encoder().encode


def is_json(raw: bytes) -> bool:
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


def one_line(document: bytes) -> bytes:
    """The same JSON document without line breaks and without characters that a terminal or a line reader acts on."""
    text = document.decode()
    return _UNSAFE.sub(_escape, _BREAKS.sub(" ", text)).encode()


def printable(text: str) -> str:
    """The text as a terminal may show it: control characters are written out, line breaks and tabs stay."""
    return text if text.isprintable() else "".join(map(_show, text.replace("\r\n", "\n")))


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
    if depth and text.lstrip()[:1] in ("{", "[", '"') and is_json(text.encode("utf-8", "surrogatepass")):
        return _mask_json(text, depth)
    whole = _WHOLE_URL.fullmatch(text)
    # A text that is nothing but a URL has no quotes around it: those in its query belong to it.
    return mask_url_queries(f"{whole[1]}{MASK}" if whole else _ESCAPED_URL.sub(rf"\1{MASK}", text))


def _escape(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"


def _show(character: str) -> str:
    if character.isprintable() or character in "\n\t":
        return character
    return character.encode("unicode_escape").decode("ascii")
