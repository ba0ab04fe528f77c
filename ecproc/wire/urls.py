"""Download addresses as senders write them, brought into the one form in which they may be checked and asked. Pure."""

from __future__ import annotations

import re
from typing import Final

LONGEST_ADDRESS: Final = 16 * 1024
"""Characters of an address; no server takes one that is longer."""

_BROKEN: Final = str.maketrans("", "", "\r\n\t")
_BLANK: Final = " \xa0\u200b\ufeff"
_OPEN: Final = "\"'<\u2039\xab\u201c"
_CLOSE: Final = "\"'>\u203a\xbb\u201d"
_AMPERSAND: Final = re.compile(r"&(?:amp;)+", re.IGNORECASE)
_CLEAN: Final = re.compile(r"(?:[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=-]++|%[0-9A-Fa-f]{2})*+")
_RAW: Final = re.compile(rb"%(?![0-9A-Fa-f]{2})|[^A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]")
_ENCODED: Final = {bytes((code,)): b"%%%02X" % code for code in range(256)}
_MOST_QUOTES: Final = 8
"""Pairs of quotes that may stand around an address."""


def normalise_url(text: str) -> str:
    """The address without white space and quotes around it and line breaks within it, `&amp;` as `&`, `\\/` as `/`, raw
    characters percent-encoded.

    What is encoded already stays byte for byte, and what cannot be an address is still none: this decides nothing.
    What is longer than LONGEST_ADDRESS is given back as it is.
    """
    if len(text) > LONGEST_ADDRESS:
        return text
    if _CLEAN.fullmatch(text) and "#" not in text and "&amp;" not in text.lower():
        return text
    text = _AMPERSAND.sub("&", _unwrap(text.translate(_BROKEN))).replace("\\/", "/")
    path, mark, rest = text.partition("#")
    if mark and "?" in rest:  # the name of a file, and behind it the query that every signed address has
        text = f"{path}%23{rest}"
    return _RAW.sub(lambda match: _ENCODED[match[0]], text.encode("utf-8", "surrogatepass")).decode("ascii")


def _unwrap(text: str) -> str:
    """The text without blanks, and without a pair of quotes around it."""
    bare = text.strip(_BLANK)
    for _ in range(_MOST_QUOTES):
        if len(bare) < 2 or bare[0] not in _OPEN or bare[-1] not in _CLOSE:
            break
        bare = bare[1:-1].strip(_BLANK)
    return bare
