"""Pre-signed object URLs as the guide shows them: made, checked, and refused with the documented XML."""

from __future__ import annotations

import hashlib
import hmac
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from urllib.parse import parse_qs, quote, unquote, urlencode

STAMP = "%Y%m%dT%H%M%SZ"
INCIDENT_LIFETIME = 86400
CHANGE_LIFETIME = 7200
UPLOAD_LIFETIME = 120
SIGNING_KEY = b"the simulator signs for itself only"


class UrlVerdict(StrEnum):
    """Whether a pre-signed URL opens its object."""

    VALID = "valid"
    EXPIRED = "expired"
    FORGED = "forged"


def sign_url(url_base: str, path: str, *, signed_at: float, lifetime: int, method: str = "GET") -> str:
    """Give the URL that opens this object path for `lifetime` seconds from `signed_at` (seconds since the epoch)."""
    stamp = datetime.fromtimestamp(signed_at, UTC).strftime(STAMP)
    query = urlencode(
        {
            "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
            "X-Amz-Credential": f"ASIASIMULATOR0000000/{stamp[:8]}/us-west-1/s3/aws4_request",
            "X-Amz-Date": stamp,
            "X-Amz-Expires": str(lifetime),
            "X-Amz-Security-Token": "IQoJb3JpZ2luX2VjENb//////////wEaCXVzLXdlc3QtMSJHMEUCIQ==",
            "X-Amz-Signature": _sign(method, path, stamp, str(lifetime)),
            "X-Amz-SignedHeaders": "host",
        },
        quote_via=quote,
        safe="",
    )
    return f"{url_base}{path}?{query}"


def check_url(method: str, path: str, query: str, now: float) -> UrlVerdict:
    """Say whether method, path and query belong together and the URL still lives."""
    fields = {name: values[0] for name, values in parse_qs(query).items()}
    stamp, lifetime = fields.get("X-Amz-Date", ""), fields.get("X-Amz-Expires", "")
    signature = _sign(method, path, stamp, lifetime)
    if not hmac.compare_digest(fields.get("X-Amz-Signature", "").encode(), signature.encode()):
        return UrlVerdict.FORGED
    return UrlVerdict.EXPIRED if now >= _find_end(stamp, lifetime).timestamp() else UrlVerdict.VALID


def describe_expiry(query: str, now: float) -> bytes:
    """Give the XML that answers a URL whose time is over (R130, R224)."""
    fields = {name: values[0] for name, values in parse_qs(query).items()}
    lifetime = fields["X-Amz-Expires"]
    end = _find_end(fields["X-Amz-Date"], lifetime)
    server_time = datetime.fromtimestamp(now, UTC)
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        "<Error><Code>AccessDenied</Code><Message>Request has expired</Message>"
        f"<X-Amz-Expires>{lifetime}</X-Amz-Expires><Expires>{end:%Y-%m-%dT%H:%M:%SZ}</Expires>"
        f"<ServerTime>{server_time:%Y-%m-%dT%H:%M:%SZ}</ServerTime><RequestId>FC887DC0042A67FF</RequestId>"
        "<HostId>6tHHwHVXP5UivsbuSxVCiOnWmaLTiV1tta2di3aw1SpE7eH3vLgXj/JScFqbmcXj4Duu64ogSN0=</HostId></Error>"
    ).encode()


def describe_refusal(code: str, message: str) -> bytes:
    """Give the XML of any other refusal by the object store."""
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>'
    ).encode()


def _sign(method: str, path: str, stamp: str, lifetime: str) -> str:
    """Sign the decoded path: clients may write the same path with other escapes."""
    return hmac.new(SIGNING_KEY, f"{method}\n{unquote(path)}\n{stamp}\n{lifetime}".encode(), hashlib.sha256).hexdigest()


def _find_end(stamp: str, lifetime: str) -> datetime:
    return datetime.strptime(stamp, STAMP).replace(tzinfo=UTC) + timedelta(seconds=int(lifetime))
