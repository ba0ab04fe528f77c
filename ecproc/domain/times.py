"""Times as text."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Final

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND: Final = timedelta(microseconds=1)
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


def parse_time(text: str) -> int | None:
    """An ISO 8601 time, or one as ServiceNow stores it (`2023-02-08 16:25:44`, UTC), in microseconds UTC; None for
    anything else: a day and a month that could be either are not guessed (R55)."""
    try:
        moment = datetime.fromisoformat(text.strip())
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return (moment - EPOCH) // MICROSECOND
    except (ValueError, OverflowError):
        return None
