"""Whether records can be found again by our key: without that, the next lost answer would make a second ticket.

Where they cannot, the desk is down, for every call, until the instance stores and finds keys again.
"""

from __future__ import annotations

from collections.abc import Sequence

from ecproc.desk.base import DeskRefused, DeskUnavailable
from ecproc.desk.servicenow.calls import Calls, before_writing
from ecproc.desk.servicenow.wire import Display, InstanceCall, RecordValues, find_by_key, patch, read_any
from ecproc.domain.anomalies import Anomaly
from ecproc.domain.events import Remark

_NO_KEY = "ecproc.no-such-key"


class Soundness:
    """What is known of keys at this instance. `check` is made before every call."""

    def __init__(self, calls: Calls, marks: Display) -> None:
        self._calls = calls
        self._marks = marks
        self._lost: tuple[str, str, str] | None = None
        self._deaf: str | None = None
        self._proven: set[str] = set()

    async def check(self) -> None:
        """Raise DeskUnavailable where keys are not stored or not found; first see whether that was mended."""
        try:
            if self._lost is not None and await self._store_again(*self._lost):
                self._lost = None
            if self._deaf is not None and await self._hears(self._deaf):
                self._deaf = None
        except DeskUnavailable as error:
            raise before_writing(error) from None
        except DeskRefused:
            pass
        if self._lost is not None:
            raise self._describe_lost(self._lost[0])
        if self._deaf is not None:
            raise self._describe_deaf(self._deaf)

    def note_created(self, table: str, row: RecordValues, key: str) -> tuple[Remark, ...]:
        """Hold a record that was made against its key; what is odd about it."""
        if row.get(self._marks.key_field) == key:
            self._proven.add(table)
            return ()
        self._lost = (table, row["sys_id"], key)
        detail = f"{row.get('number', '')}: {self._marks.key_field} of {table} does not keep the key {key}"
        return (Remark(Anomaly.KEY_NOT_STORED, detail),)

    async def choose(self, table: str, key: str, rows: Sequence[RecordValues]) -> list[RecordValues]:
        """Those of the rows found that have the key, compared here. Raises DeskUnavailable where the query was not
        understood: rows came that have another one, or the field is not there to be asked for."""
        wanted = self._marks.mark(key)
        ours = [row for row in rows if all(row.get(name) == value for name, value in wanted.items())]
        if len(ours) < len(rows) or not (ours or await self._shows_key(table)):
            self._deaf = table
            raise self._describe_deaf(table)
        return ours

    async def _shows_key(self, table: str) -> bool:
        """Whether an empty answer means something: an instance may answer a query that it does not understand with no
        rows, and leaves out fields that it does not have or does not show."""
        if table not in self._proven:
            rows = await self._calls.rows(read_any(table, ("sys_id", self._marks.key_field)))
            if rows and self._marks.key_field not in rows[0]:
                return False
            if rows:
                self._proven.add(table)
        return True

    async def _store_again(self, table: str, sys_id: str, key: str) -> bool:
        request = patch(table, sys_id, self._marks.mark(key), key_field=self._marks.key_field)
        try:
            row = await self._calls.record(request)
        except DeskRefused as refused:
            if not refused.remarks:  # a rule's no; a record that is gone proves nothing any more
                raise
            return True
        return row.get(self._marks.key_field) == key

    async def _hears(self, table: str) -> bool:
        self._proven.discard(table)
        rows = await self._calls.rows(self._ask_for_none(table))
        return not rows and await self._shows_key(table)

    def _ask_for_none(self, table: str) -> InstanceCall:
        return find_by_key(table, _NO_KEY, self._marks)

    def _describe_lost(self, table: str) -> DeskUnavailable:
        field = self._marks.key_field
        return DeskUnavailable(
            f"key_not_stored: {table} does not keep {field}, so no record could be found again",
            sent=False,
            down=True,
            hint=f"let our user write {field} of {table}, which ecproc desk check --write proves; it goes on by itself",
        )

    def _describe_deaf(self, table: str) -> DeskUnavailable:
        field = self._marks.key_field
        return DeskUnavailable(
            f"query_ignored: {table} is not searched by {field}, so no record could be found again",
            sent=False,
            down=True,
            hint=f"see whether {table} has the field {field} and our user may read it; then it goes on by itself",
            remarks=(Remark(Anomaly.QUERY_IGNORED, f"{table} is not searched by {field}"),),
        )
