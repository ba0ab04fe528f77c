"""Download addresses as senders write them, brought into the one form in which they may be checked and asked. Pure."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote

_BROKEN: Final = str.maketrans("", "", "\r\n\t")
_AMPERSAND: Final = re.compile(r"&(?:amp;)+", re.IGNORECASE)
_CLEAN: Final = re.compile(r"(?:[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=-]++|%[0-9A-Fa-f]{2})*+")
_RAW: Final = re.compile(r"%(?![0-9A-Fa-f]{2})|[^A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]+")


def normalise_url(text: str) -> str:
    """The address without white space around and line breaks within it, `&amp;` as `&`, raw characters percent-encoded.

    What is encoded already stays byte for byte, and what cannot be an address is still none: this decides nothing.
    """
    if _CLEAN.fullmatch(text) and "&amp;" not in text.lower():
        return text
    text = _AMPERSAND.sub("&", text.translate(_BROKEN).strip())
    return _RAW.sub(_encode, text)


def _encode(match: re.Match[str]) -> str:
    return quote(match[0], safe="", errors="surrogatepass")
