"""What leaves as JSON is harmless to whoever shows it as it is: every value stays, and nothing in it acts or hides."""

from __future__ import annotations

import re
from typing import Final

_BREAKS: Final = re.compile("[\r\n]")
_UNSAFE: Final = re.compile(
    "[\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff0-\ufffb\ufffe\uffff\U000e0000-\U000e007f]"
)
"""What acts on a terminal or a line reader, turns the order of letters round, or is there without being seen."""


def one_line(document: bytes) -> bytes:
    """The same JSON document without line breaks and without characters that a terminal or a line reader acts on."""
    text = document.decode()
    if text.isprintable():
        return document
    return _UNSAFE.sub(_escape, _BREAKS.sub(" ", text)).encode()


def _escape(match: re.Match[str]) -> str:
    """As JSON writes it: one outside the basic plane is a pair."""
    units = match[0].encode("utf-16-be").hex()
    return "".join(f"\\u{units[place : place + 4]}" for place in range(0, len(units), 4))
