"""The last line of defence against secrets in output: every text that leaves through a log line passes here."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import quote

MASK: Final = "***"

_SHORTEST_SECRET: Final = 4
_EXAMINED: Final = 64 * 1024
_SHOWN: Final = 4 * 1024

_NAMES: Final = frozenset(
    {
        "apikey",
        "xapikey",
        "authorization",
        "proxyauthorization",
        "cookie",
        "password",
        "receipthandle",
        "secret",
        "token",
        "readtoken",
        "commandtoken",
    }
)
_URL: Final = re.compile(r"""(?i)(https?://[^\s?#"'<>]*)([?#][^\s"'<>]*)?""")
_USER: Final = re.compile(r"//[^/@\s]*@")
_SEPARATOR: Final = r"""(["']?\s{0,4}[:=]\s{0,4}(?:b?["'])?|["'],\s{0,4}b?["']|%(?:25)?3d)"""
_PATTERNS: Final = (
    (re.compile(rf"""(?i)(x-amz-[a-z0-9-]{{1,40}}){_SEPARATOR}[^&\s"',;}}]+"""), rf"\1\2{MASK}"),
    (
        re.compile(
            rf"""(?i)((?:x-)?api[-_]?key|authorization|cookie){_SEPARATOR}(?:(?:bearer|basic)\s{{1,4}})?[^\s"',;)}}]+"""
        ),
        rf"\1\2{MASK}",
    ),
    (re.compile(r"(?i)\b(bearer\s{1,4})[a-z0-9._~+/=-]{8,}"), rf"\1{MASK}"),
    (re.compile(r"AQEB[A-Za-z0-9+/=%_\\-]{8,}"), f"AQEB{MASK}"),
)


def mask_url_queries(text: str) -> str:
    """`text` with the query, fragment and user information of every URL in it replaced by `***`."""
    return _URL.sub(_mask_url, text)


def is_secret_name(name: str) -> bool:
    """Whether a field of this name is never shown, whatever its value."""
    return name.lower().replace("-", "").replace("_", "") in _NAMES


class Redactor:
    """Masks the registered secrets, and what has the shape of one, in any text."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._forms: set[str] = set()
        self._longest = 0
        self._secrets: re.Pattern[str] | None = None
        self.learn(*secrets)

    def learn(self, *secrets: str) -> None:
        """Mask these too from now on; what was learnt before stays."""
        self._forms.update(form for secret in secrets if len(secret) >= _SHORTEST_SECRET for form in _forms_of(secret))
        ordered = sorted(self._forms, key=len, reverse=True)
        self._longest = len(ordered[0]) if ordered else 0
        self._secrets = re.compile("|".join(map(re.escape, ordered))) if ordered else None

    def redact(self, text: str) -> str:
        """`text` on one line, bounded, without secrets, URL queries, receipt handles and control characters."""
        whole = len(text) <= _EXAMINED
        masked = self._mask(text if whole else text[:_EXAMINED])
        if not whole:
            # The cut may have gone through a secret, and half of one matches nothing.
            masked = masked[: max(0, len(masked) - self._longest)]
        if len(masked) > _SHOWN or not whole:
            masked = f"{masked[:_SHOWN]}…"
        return masked if masked.isprintable() else "".join(map(_escape, masked))

    def _mask(self, text: str) -> str:
        if self._secrets is not None:
            text = self._secrets.sub(MASK, text)
        text = mask_url_queries(text)
        for pattern, replacement in _PATTERNS:
            text = pattern.sub(replacement, text)
        return text


def _forms_of(secret: str) -> tuple[str, ...]:
    return secret, quote(secret, safe=""), json.dumps(secret)[1:-1]


def _mask_url(match: re.Match[str]) -> str:
    address = _USER.sub(f"//{MASK}@", match[1])
    return f"{address}{match[2][0]}{MASK}" if match[2] else address


def _escape(character: str) -> str:
    return character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
