"""The proxy that calls go through: from the option's text to an address, and what the proxy is told."""

from __future__ import annotations

import base64
import re
from ipaddress import ip_address
from typing import Final, NamedTuple
from urllib.parse import unquote_to_bytes

from msgspec import Struct

from ecproc.config.secret import Secret

_PROXY: Final = re.compile(r"http://(?:([^@/]*)@)?(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):([0-9]{1,5})/?")
_MAX_PORT: Final = 65_535
_CONTROL: Final = re.compile(rb"[\x00-\x1f\x7f]")


class BadProxy(NamedTuple):
    """Why a text names no proxy; nothing of the text."""

    reason: str


class Proxy(Struct, frozen=True):
    """Where calls are handed to, and with which Proxy-Authorization (empty: without)."""

    host: str
    port: int
    authorization: Secret = Secret()

    @property
    def place(self) -> str:
        """Host and port as messages name them."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def request_tunnel(self, place: str) -> bytes:
        """The request that opens a tunnel to `place`, a host and port."""
        lines = [f"CONNECT {place} HTTP/1.1", f"host: {place}"]
        if self.authorization:
            lines.append(f"proxy-authorization: {self.authorization.reveal()}")
        return "\r\n".join([*lines, "", ""]).encode("ascii")


def parse_proxy(text: str) -> Proxy | BadProxy:
    """The proxy that `http://[user:password@]host:port` names; user and password may be percent-encoded."""
    match = _PROXY.fullmatch(text)
    if match is None:
        return BadProxy("is not of the form http://[user:password@]host:port")
    if not 0 < int(match[3]) <= _MAX_PORT:
        return BadProxy("has a port that does not exist")
    host, port = _normalize(match[2]), int(match[3])
    if not host:
        return BadProxy("has an address that does not exist")
    if match[1] is None:
        return Proxy(host, port)
    user, colon, password = match[1].partition(":")
    decoded = unquote_to_bytes(user), unquote_to_bytes(password)
    if not (colon and user) or b":" in decoded[0] or any(map(_CONTROL.search, decoded)):
        return BadProxy("has something other than user:password before its @")
    basic = base64.b64encode(b":".join(decoded)).decode("ascii")
    return Proxy(host, port, Secret(f"Basic {basic}"))


def _normalize(host: str) -> str:
    """The host as a client will name it when it connects; empty if that is no address."""
    if not host.startswith("["):
        return host.lower()
    try:
        return ip_address(host.strip("[]")).compressed
    except ValueError:
        return ""


def list_proxy_secrets(text: str) -> list[str]:
    """Every form in which a proxy's password could be printed: as written, decoded, alone and as it is sent."""
    proxy, match = parse_proxy(text), _PROXY.fullmatch(text)
    if isinstance(proxy, BadProxy) or match is None or not match[1]:
        return []
    password = match[1].partition(":")[2]
    decoded = unquote_to_bytes(password).decode("utf-8", "replace")
    return [text, match[1], password, decoded, proxy.authorization.reveal().removeprefix("Basic ")]
