"""Times as text."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST: Final = 253_402_300_799_999_999


def format_time(microseconds: int) -> str:
    """RFC 3339 in UTC with microseconds; what no calendar reaches is clipped to its ends."""
    moment = _EPOCH + timedelta(microseconds=min(max(microseconds, 0), _LATEST))
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
