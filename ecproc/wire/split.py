"""Cuts a JSON array or object into its members where a decoder gives up on the whole (hostile text in one of them)."""

from __future__ import annotations

import re
from typing import Final

_OPEN: Final = frozenset(b"[{")
_CLOSE: Final = frozenset(b"]}")
_QUOTE: Final = ord('"')
_BACKSLASH: Final = ord("\\")
_COMMA: Final = ord(",")
_COLON: Final = ord(":")
_STRING_OR_BRACKET: Final = re.compile(rb'"(?:[^"\\]|\\.)*+"?|[][{}]', re.DOTALL)


def split_array(text: bytes) -> list[bytes]:
    """The members of a JSON array as their own bytes; whatever is in the brackets if it is damaged. Never raises."""
    return [part.strip() for part in _split(text, _COMMA) if part.strip()]


def split_object(text: bytes) -> dict[str, bytes]:
    """The members of a JSON object as name and raw value; a name that stands twice counts once. Never raises."""
    members: dict[str, bytes] = {}
    for part in split_array(text):
        name, *rest = _split(b"{" + part + b"}", _COLON)
        if rest:
            members[name.strip().strip(b'"').decode("utf-8", "replace")] = part[len(name) + 1 :].strip()
    return members


def nests_deeper(text: bytes, limit: int) -> bool:
    """Whether arrays and objects stand in each other more than that many levels deep."""
    if text.count(b"[") + text.count(b"{") <= limit:
        return False
    depth = 0
    for match in _STRING_OR_BRACKET.finditer(text):
        token = match[0][0]
        depth += (token in _OPEN) - (token in _CLOSE)
        if depth > limit:
            return True
    return False


def _split(text: bytes, separator: int) -> list[bytes]:
    """Cut between the first bracket and its partner at separators that stand outside of strings and inner brackets."""
    parts: list[bytes] = []
    depth, start, quoted, escaped = 0, 0, False, False
    for index, byte in enumerate(text):
        if quoted:
            if escaped:
                escaped = False
            elif byte == _BACKSLASH:
                escaped = True
            elif byte == _QUOTE:
                quoted = False
        elif byte == _QUOTE:
            quoted = True
        elif byte in _OPEN:
            depth += 1
            if depth == 1:
                start = index + 1
        elif byte in _CLOSE:
            depth -= 1
            if depth == 0:
                return [*parts, text[start:index]]
        elif byte == separator and depth == 1:
            parts.append(text[start:index])
            start = index + 1
    return [*parts, text[start:]] if depth else parts
