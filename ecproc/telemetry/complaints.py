"""Complaints that repeat: told at once, then counted, and told again once a minute with their number."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Hashable
from typing import Final

import msgspec
import structlog

log = structlog.get_logger()

_EVERY: Final = 60.0
"""Seconds during which a repeat is only counted."""
_REMEMBERED: Final = 256
"""Different complaints that are told apart."""
_VARYING: Final = re.compile(r"(?<!HTTP )(?<![\w.])[0-9a-fA-F:.TZ+-]*\d[0-9a-fA-F:.TZ+-]*(?![\w])")
"""Times, counts and request ids: what differs between two complaints about the same thing."""


def _shape(complaint: Hashable) -> Hashable:
    if isinstance(complaint, tuple):
        return tuple(map(_shape, complaint))
    return _VARYING.sub("#", complaint) if isinstance(complaint, str) else complaint


class _Told(msgspec.Struct):
    at: float
    since: int = 0


class Complaints:
    """Says which repeats of a complaint are worth a log line; time comes in as monotonic seconds."""

    def __init__(self) -> None:
        self._told: OrderedDict[Hashable, _Told] = OrderedDict()

    def count(self, complaint: Hashable, now: float) -> int | None:
        """How often it has come since it was last told, this time included; None while it is only to be counted."""
        complaint = _shape(complaint)
        told = self._told.get(complaint)
        if told is None or now - told.at >= _EVERY:
            repeats = 1 if told is None else told.since + 1
            self._told[complaint] = _Told(now)
            self._told.move_to_end(complaint)
            if len(self._told) > _REMEMBERED:
                self._told.popitem(last=False)
            return repeats
        told.since += 1
        return None

    def tell(
        self, level: int, event: str, reason: str, *, now: float, same_as: Hashable = None, **fields: object
    ) -> bool:
        """Log it, unless the same event was logged with this reason a moment ago; fields that say nothing are left
        out, and so it says. Complaints that are `same_as` one another are one, whatever their reasons say."""
        repeats = self.count((level, event, reason if same_as is None else same_as), now)
        if repeats is not None:
            told = {"reason": reason, **fields, "repeats": repeats if repeats > 1 else None}
            log.log(level, event, **{name: value for name, value in told.items() if value not in (None, "")})
        return repeats is not None
