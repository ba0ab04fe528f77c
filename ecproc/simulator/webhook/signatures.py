"""Signatures verified as a receiver has to: read from the standard, and by no code of the sender's."""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from typing import Final

_SECONDS: Final = 5 * 60


def is_signed(headers: Mapping[str, str], body: bytes, *, secrets: Sequence[str], now: float) -> bool:
    """Whether the headers hold a v1 signature over these bytes by one of the secrets, of the last or next 5 minutes."""
    message_id, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not message_id or not timestamp.isdecimal() or abs(now - int(timestamp)) > _SECONDS:
        return False
    content = b".".join([message_id.encode("latin-1"), timestamp.encode("ascii"), body])
    for secret in secrets:
        encoded = secret.removeprefix("whsec_")
        key = b64decode(encoded + "=" * (-len(encoded) % 4))
        made = "v1," + b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode("ascii")
        given = headers.get("webhook-signature", "").split(" ")
        if any(hmac.compare_digest(made.encode(), one.encode("utf-8", "replace")) for one in given):
            return True
    return False
