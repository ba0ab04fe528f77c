"""Which attachment URLs may be asked, decided on their text alone: anything unusual is refused, nothing repaired."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

import msgspec

from ecproc.config import is_loopback

REFUSALS: Final = {
    "length": "it is longer than any bucket's address",
    "characters": "it has characters that no address may have",
    "fragment": "it has a fragment",
    "scheme": "only https is asked",
    "userinfo": "it names a user",
    "host": "it names no host",
    "port": "only port 443 is asked",
    "address": "an IP address stands where the host's name should",
    "loopback": "it leads to this machine",
    "punycode": "its host's name is not ASCII",
}
"""What is wrong with an address, by the word of its refusal."""

_MAX_LENGTH: Final = 8192
_MAX_HOST: Final = 253
_MAX_PORT: Final = 65_535
_URL: Final = re.compile(r"(https?)://([^/?#]*)([/?][^#]*)?", re.IGNORECASE)
_CHARACTERS: Final = re.compile(r"(?:[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*")
_AUTHORITY: Final = re.compile(r"(\[[0-9A-Fa-f:.]*\]|[^:\[\]]*)(?::([0-9]{1,5}))?")
_LABEL: Final = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9])?")
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")


class CheckedUrl(msgspec.Struct, frozen=True):
    """An address that may be asked. `target` is the path and query as they came; its query is a bearer secret.

    `loopback` is set only for a loopback host that the operator named.
    """

    scheme: str
    host: str
    port: int
    target: str
    loopback: bool = False

    def __repr__(self) -> str:
        return f"CheckedUrl({self.scheme}://{self.host}:{self.port}, target masked)"


class UrlRefused(msgspec.Struct, frozen=True):
    """Why an address is not asked: one word; `host` where that is all that is against it (`not_allowed`)."""

    reason: str
    host: str = ""

    @property
    def explanation(self) -> str:
        """What is wrong with the address, in words that name no more of it than its host."""
        if self.host:
            return f"host {self.host} is not in attachments.allowed_hosts"
        return f"url_{self.reason}: {REFUSALS[self.reason]}"

    @property
    def hint(self) -> str:
        """What a person can do about it, empty for nothing."""
        if not self.host:
            return ""
        return f"if it is Ensono's, add {self.host} to attachments.allowed_hosts and start again"


def check_url(url: str, allowed_hosts: Collection[str]) -> CheckedUrl | UrlRefused:
    """Take `url` apart if it is https on 443 at an allowed host.

    In `allowed_hosts` a `*` stands for (part of) one label. A loopback host is allowed only under its own name, and
    then with http and any port; every other IP address is refused.
    """
    parts = _split(url)
    if isinstance(parts, UrlRefused):
        return parts
    named = {host.lower().strip("[]") for host in allowed_hosts if is_loopback(host.strip("[]"))}
    if parts.host in named:
        return msgspec.structs.replace(parts, loopback=True)
    return _refuse(parts, allowed_hosts) or parts


def _split(url: str) -> CheckedUrl | UrlRefused:
    if len(url) > _MAX_LENGTH:
        return UrlRefused("length")
    if not _CHARACTERS.fullmatch(url):
        return UrlRefused("characters")
    match = _URL.fullmatch(url)
    if match is None:
        return UrlRefused("fragment" if "#" in url else "scheme")
    scheme, authority, target = match[1].lower(), match[2], match[3] or ""
    if "@" in authority:
        return UrlRefused("userinfo")
    place = _AUTHORITY.fullmatch(authority)
    if place is None:
        return UrlRefused("host")
    port = int(place[2] or (443 if scheme == "https" else 80))
    if not 0 < port <= _MAX_PORT:
        return UrlRefused("port")
    host = place[1].lower().strip("[]").removesuffix(".")
    return CheckedUrl(scheme, host, port, target if target.startswith("/") else f"/{target}")


def _refuse(parts: CheckedUrl, allowed_hosts: Collection[str]) -> UrlRefused | None:
    labels = parts.host.split(".")
    if ":" in parts.host or _NUMBER.fullmatch(labels[-1]):
        return UrlRefused("address")
    if is_loopback(parts.host) or labels[-1] == "localhost":
        return UrlRefused("loopback")
    if len(parts.host) > _MAX_HOST or not all(map(_LABEL.fullmatch, labels)):
        return UrlRefused("host")
    if any(label.startswith("xn--") for label in labels):
        return UrlRefused("punycode")
    if not any(_matches(labels, pattern) for pattern in allowed_hosts):
        return UrlRefused("not_allowed", parts.host)
    if parts.scheme != "https":
        return UrlRefused("scheme")
    return None if parts.port == 443 else UrlRefused("port")


def _matches(labels: list[str], pattern: str) -> bool:
    globs = pattern.lower().removesuffix(".").split(".")
    return len(globs) == len(labels) and all(
        re.fullmatch(".*".join(map(re.escape, glob.split("*"))), label)
        for glob, label in zip(globs, labels, strict=True)
    )
