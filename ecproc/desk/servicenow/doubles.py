"""A create that was repeated because its record was not there may have been applied later all the same.

That is seen when the client ticket is worked on next, and told as an anomaly with all numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from ecproc.desk.base import DeskRefused, DeskUnavailable
from ecproc.desk.servicenow.calls import Calls
from ecproc.desk.servicenow.wire import Display, RecordValues, find_by_key
from ecproc.domain.anomalies import Anomaly
from ecproc.domain.events import Remark

_MOST: Final = 10_000


class _Doubt(NamedTuple):
    key: str
    until: float


def describe_doubles(rows: Sequence[RecordValues]) -> tuple[Remark, ...]:
    """What is to be said of the records of one key, the oldest first: nothing of one."""
    if len(rows) < 2:
        return ()
    return (Remark(Anomaly.DOUBLE_CREATE, ", ".join(row.get("number", "") for row in rows)),)


class Doubles:
    """Records whose creation was repeated; each is looked for once more, until `seconds` have passed and it was."""

    def __init__(self, calls: Calls, marks: Display, *, seconds: float, monotonic: Callable[[], float]) -> None:
        self._calls = calls
        self._marks = marks
        self._seconds = seconds
        self._monotonic = monotonic
        self._absent: dict[str, None] = {}
        self._doubts: dict[str, _Doubt] = {}

    def note_absent(self, key: str) -> None:
        """Remember that a record was not there when it was looked for."""
        self._absent[key] = None
        _trim(self._absent)

    def note_created(self, sys_id: str, key: str) -> None:
        """Remember which record was made then."""
        if key in self._absent:
            del self._absent[key]
            self._doubts[sys_id] = _Doubt(key, self._monotonic() + self._seconds)
            _trim(self._doubts)

    async def look(self, table: str, sys_id: str) -> tuple[Remark, ...]:
        """What is odd about a record that was just worked on. What cannot be asked is asked the next time."""
        doubt = self._doubts.get(sys_id)
        if doubt is None:
            return ()
        try:
            found = await self._calls.rows(find_by_key(table, doubt.key, self._marks))
        except (DeskUnavailable, DeskRefused):
            return ()
        rows = [row for row in found if row.get(self._marks.key_field) == doubt.key]
        if len(rows) > 1 or self._monotonic() >= doubt.until:
            del self._doubts[sys_id]
        return describe_doubles(rows)


def _trim(known: dict[str, None] | dict[str, _Doubt]) -> None:
    while len(known) > _MOST:
        del known[next(iter(known))]
