"""The rows of one table, kept so that look-ups by key and by time don't walk through all of them."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from ecproc.simulator.servicenow.query import (
    Condition,
    FieldValues,
    Ordering,
    ParsedQuery,
    ValueOf,
    compile_query,
    sort_key,
)

KEYED: Final = ("number", "correlation_id", "element_id", "table_sys_id", "sysapproval", "name", "user_name")
TIMED: Final = ("sys_updated_on", "sys_created_on")
_AFTER_ALL: Final = "\uffff"


class RowStore:
    """Rows by sys_id, in the order they were made; what is given out is the row itself, to be read only."""

    def __init__(self) -> None:
        self.rows: dict[str, FieldValues] = {}
        self.ordinals: dict[str, int] = {}
        self._made = 0
        self._keyed: dict[str, dict[str, dict[str, None]]] = {field: {} for field in KEYED}
        self._timed: dict[str, list[tuple[str, str]]] = {field: [] for field in TIMED}

    def put(self, row: FieldValues) -> None:
        """Add a row under its sys_id."""
        sys_id = row["sys_id"]
        self._made += 1
        self.rows[sys_id] = row
        self.ordinals[sys_id] = self._made
        for field in (*KEYED, *TIMED):
            self._link(field, row.get(field, ""), sys_id)

    def change(self, sys_id: str, changes: Mapping[str, str]) -> None:
        """Overwrite some of a row's values."""
        row = self.rows[sys_id]
        for field in (*KEYED, *TIMED):
            if field in changes:
                self._unlink(field, row.get(field, ""), sys_id)
                self._link(field, changes[field], sys_id)
        row.update(changes)

    def drop(self, sys_id: str) -> None:
        """Remove a row."""
        row = self.rows.pop(sys_id)
        for field in (*KEYED, *TIMED):
            self._unlink(field, row.get(field, ""), sys_id)

    def find(self, query: ParsedQuery, value_of: ValueOf) -> list[FieldValues]:
        """Give the rows that match, in the query's order; without one in the order they were made."""
        matches = compile_query(query, value_of)
        found = [row for row in self._narrow(query) if matches(row)]
        for order in reversed(query.orders):
            found.sort(key=_order_by(order, value_of), reverse=order.descending)
        return found

    def find_by(self, field: str, value: str) -> list[FieldValues]:
        """Give the rows with exactly this value, whatever it contains, in the order they were made."""
        if value and field in self._keyed:
            return [self.rows[sys_id] for sys_id in self._keyed[field].get(value, {})]
        return [row for row in self.rows.values() if row.get(field, "") == value]

    def _narrow(self, query: ParsedQuery) -> Iterable[FieldValues]:
        """Give the rows that could match, by the clause that leaves the fewest for nothing."""
        if len(query.groups) == 1:
            for clause in query.groups[0]:
                if len(clause) == 1 and (ids := self._look_up(clause[0])) is not None:
                    return [self.rows[sys_id] for sys_id in sorted(ids, key=self.ordinals.__getitem__)]
        return self.rows.values()

    def _look_up(self, condition: Condition) -> Iterable[str] | None:
        field, value = condition.field, condition.value
        if not value:
            return None
        if field == "sys_id" and condition.operator == "=":
            return [value] if value in self.rows else []
        if field in self._keyed and condition.operator == "=":
            return self._keyed[field].get(value, {})
        if field in self._timed and condition.operator in ("=", ">", ">="):
            times = self._timed[field]
            behind = bisect_right(times, (value, _AFTER_ALL))
            first = behind if condition.operator == ">" else bisect_left(times, (value, ""))
            last = behind if condition.operator == "=" else len(times)
            return [sys_id for _, sys_id in times[first:last]]
        return None

    def _link(self, field: str, value: str, sys_id: str) -> None:
        if field in self._timed:
            insort(self._timed[field], (value, sys_id))
        elif value:
            self._keyed[field].setdefault(value, {})[sys_id] = None

    def _unlink(self, field: str, value: str, sys_id: str) -> None:
        if field in self._timed:
            times = self._timed[field]
            del times[bisect_left(times, (value, sys_id))]
        elif value:
            holders = self._keyed[field][value]
            del holders[sys_id]
            if not holders:
                del self._keyed[field][value]


def _order_by(order: Ordering, value_of: ValueOf) -> Callable[[FieldValues], tuple[float, str]]:
    field, key = order.field, sort_key(order.type)
    if "." in field:
        return lambda row: key(value_of(row, field))
    return lambda row: key(row.get(field, ""))
