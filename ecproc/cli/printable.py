"""What stands between a text and a screen: lines stay lines, and nothing in it acts on a terminal."""

from __future__ import annotations

import re
from typing import Final

_BREAKS: Final = re.compile("[\r\n]")
_UNSAFE: Final = re.compile("[\x7f-\x9f\u2028\u2029]")


def one_line(document: bytes) -> bytes:
    """The same JSON document without line breaks and without characters that a terminal or a line reader acts on."""
    text = document.decode()
    return _UNSAFE.sub(_escape, _BREAKS.sub(" ", text)).encode()


def printable(text: str) -> str:
    """The text as a terminal may show it: control characters are written out, line breaks and tabs stay."""
    return text if text.isprintable() else "".join(map(_show, text.replace("\r\n", "\n")))


def _escape(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"


def _show(character: str) -> str:
    if character.isprintable() or character in "\n\t":
        return character
    return character.encode("unicode_escape").decode("ascii")
