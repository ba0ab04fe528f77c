"""What every call needs whichever adapter makes it: where it goes, its API key, the receipt handle in its path."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final
from urllib.parse import quote, urlsplit

from ecproc.config import Secret
from ecproc.errors import BridgeRefused
from ecproc.http import Origin

_is_base64: Final = re.compile(r"[A-Za-z0-9+/=]+").fullmatch


def split_url(url: str) -> tuple[Origin, str]:
    """An environment's URL as its origin and the path that every call's own follows."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return Origin(parts.scheme, parts.hostname or "", port), parts.path


def read_key(api_key: Callable[[], Secret]) -> str:
    """The API key as it is now (R5). Raises BridgeRefused when it cannot be sent."""
    key = api_key().reveal()
    if not (key and key.isascii() and key.isprintable()):
        raise BridgeRefused("the API key is empty or no header can carry it", help="check bridge.api_key")
    return key


def encode_handle(handle: str) -> str:
    """A receipt handle percent-encoded once with no safe characters (R27); the usual base64 takes the short way."""
    if _is_base64(handle):
        return handle.replace("/", "%2F").replace("+", "%2B").replace("=", "%3D")
    return quote(handle, safe="")
