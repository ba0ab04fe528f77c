"""All tables of an instance: rows, what their references lead to, and when it is."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from functools import lru_cache
from random import Random
from typing import Final

from ecproc.simulator.servicenow.query import FieldValues, ParsedQuery, TypeOf, ValueOf, parse_query
from ecproc.simulator.servicenow.rows import RowStore
from ecproc.simulator.servicenow.schema import TASK_TABLES, FieldType, TableSchema, make_schemas

MOST_DOTS: Final = 5
"""How many references a path may follow."""
STAMP: Final = "%Y-%m-%d %H:%M:%S"


class Database:
    """Tables by name. What it gives out are the rows themselves, to be read only."""

    def __init__(self, rng: Random, missing_fields: frozenset[str] = frozenset()) -> None:
        self._rng = rng
        self.schemas = make_schemas(missing_fields)
        self.stores = {name: RowStore() for name in self.schemas}

    def make_id(self) -> str:
        """Give a fresh sys_id."""
        return f"{self._rng.getrandbits(128):032x}"

    def get(self, table: str, sys_id: str) -> FieldValues | None:
        """Give one row."""
        return self.stores[table].rows.get(sys_id)

    def find(self, table: str, query: str | ParsedQuery = "") -> list[FieldValues]:
        """Give the rows that an encoded query finds."""
        parsed = parse_query(query, self.type_in(table)) if isinstance(query, str) else query
        return self.stores[table].find(parsed, self.value_in(table))

    def parse(self, table: str, query: str) -> ParsedQuery:
        """Take a query apart by this table's columns."""
        return parse_query(query, self.type_in(table))

    def insert(self, table: str, values: FieldValues, *, by: str, now: float) -> FieldValues:
        """Add a row as it stands, with defaults and the platform's own columns."""
        stamp = write_time(now)
        defaults = {name: field.default for name, field in self.schemas[table].fields.items()}
        row = {**defaults, **values, "sys_id": values.get("sys_id") or self.make_id()}
        row |= {"sys_created_on": stamp, "sys_created_by": by, "sys_updated_on": stamp, "sys_updated_by": by}
        self.stores[table].put(row)
        return row

    def update(self, table: str, sys_id: str, changes: FieldValues, *, by: str, now: float) -> None:
        """Change a row, which counts as one modification."""
        count = int(self.stores[table].rows[sys_id]["sys_mod_count"]) + 1
        own = {"sys_updated_on": write_time(now), "sys_updated_by": by, "sys_mod_count": str(count)}
        self.stores[table].change(sys_id, changes | own)

    def find_user(self, user_name: str) -> str:
        """Give the sys_id of an account, empty for none."""
        return next((row["sys_id"] for row in self.stores["sys_user"].find_by("user_name", user_name)), "")

    def display(self, table: str, sys_id: str) -> str:
        """Give what a row is called where it is referred to; empty where there is none."""
        for name in (table, *TASK_TABLES):
            row = self.get(name, sys_id)
            if row is not None:
                return row.get(self.schemas[name].display, "")
        return ""

    def type_in(self, table: str) -> TypeOf:
        """Give what tells the type of a column of this table, also of one behind a reference."""
        return lambda path: self._find_type(self.schemas[table], path) if path.count(".") <= MOST_DOTS else None

    def value_in(self, table: str) -> ValueOf:
        """Give what reads a column of this table's rows, also one behind a reference."""
        return lambda row, path: self.read(table, row, path)

    def read(self, table: str, row: FieldValues, path: str) -> str:
        """Give a value by its path, as in `caller_id.email`; empty where it leads nowhere."""
        field, _, rest = path.partition(".")
        if not rest:
            return row.get(field, "")
        spec = self.schemas[table].fields.get(field)
        target = self.get(spec.refers, row.get(field, "")) if spec is not None and spec.refers else None
        return self.read(spec.refers, target, rest) if spec is not None and target is not None else ""

    def list_journal(self, sys_id: str, *elements: str) -> Iterator[FieldValues]:
        """Yield a record's journal entries, the newest first."""
        rows = self.stores["sys_journal_field"].find_by("element_id", sys_id)
        return (row for row in reversed(rows) if row["element"] in elements)

    def _find_type(self, schema: TableSchema, path: str) -> FieldType | None:
        field, _, rest = path.partition(".")
        spec = schema.fields.get(field)
        if spec is None or not rest:
            return None if spec is None else spec.type
        return self._find_type(self.schemas[spec.refers], rest) if spec.refers else None


@lru_cache(maxsize=256)
def _write_second(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime(STAMP)


def write_time(now: float) -> str:
    """Write a time as rows hold it: UTC, whole seconds."""
    return _write_second(int(now))
