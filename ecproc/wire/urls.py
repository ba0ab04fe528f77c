"""Download addresses as senders write them, brought into the one form in which they may be checked and asked. Pure."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote

_BROKEN: Final = str.maketrans("", "", "\r\n\t")
_BLANK: Final = " \xa0\u200b\ufeff"
_OPEN: Final = "\"'<\u2039\xab\u201c"
_CLOSE: Final = "\"'>\u203a\xbb\u201d"
_AMPERSAND: Final = re.compile(r"&(?:amp;)+", re.IGNORECASE)
_CLEAN: Final = re.compile(r"(?:[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=-]++|%[0-9A-Fa-f]{2})*+")
_RAW: Final = re.compile(r"%(?![0-9A-Fa-f]{2})|[^A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]+")


def normalise_url(text: str) -> str:
    """The address without white space and quotes around it and line breaks within it, `&amp;` as `&`, `\\/` as `/`, raw
    characters percent-encoded.

    What is encoded already stays byte for byte, and what cannot be an address is still none: this decides nothing.
    """
    if _CLEAN.fullmatch(text) and "#" not in text and "&amp;" not in text.lower():
        return text
    text = _AMPERSAND.sub("&", _unwrap(text.translate(_BROKEN))).replace("\\/", "/")
    path, mark, rest = text.partition("#")
    if mark and "?" in rest:  # the name of a file, and behind it the query that every signed address has
        text = f"{path}%23{rest}"
    return _RAW.sub(_encode, text)


def _unwrap(text: str) -> str:
    """The text without blanks, and without a pair of quotes around it."""
    bare = text.strip(_BLANK)
    while len(bare) > 1 and bare[0] in _OPEN and bare[-1] in _CLOSE:
        bare = bare[1:-1].strip(_BLANK)
    return bare


def _encode(match: re.Match[str]) -> str:
    return quote(match[0], safe="", errors="surrogatepass")
