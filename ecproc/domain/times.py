"""Times as text."""

from __future__ import annotations

from datetime import date
from functools import lru_cache
from typing import Final

_DAY: Final = 86_400
_EPOCH_DAY: Final = date(1970, 1, 1).toordinal()
_LATEST: Final = 253_402_300_799_999_999


@lru_cache(maxsize=4096)
def format_time(microseconds: int) -> str:
    """RFC 3339 in UTC with microseconds; what no calendar reaches is clipped to its ends."""
    seconds, fraction = divmod(min(max(microseconds, 0), _LATEST), 1_000_000)
    day, second = divmod(seconds, _DAY)
    minute, second = divmod(second, 60)
    hour, minute = divmod(minute, 60)
    return f"{_format_day(day)}T{hour:02}:{minute:02}:{second:02}.{fraction:06}Z"


@lru_cache(maxsize=1024)
def _format_day(day: int) -> str:
    # Most messages are of a few days, and a calendar costs ten times what the rest does.
    return date.fromordinal(_EPOCH_DAY + day).isoformat()
