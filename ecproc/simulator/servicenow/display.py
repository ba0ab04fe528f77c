"""Rows as the API shows them: raw, as people read them, or both."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TypeAlias
from zoneinfo import ZoneInfo

import msgspec

from ecproc.simulator.servicenow.database import MOST_DOTS, STAMP, Database
from ecproc.simulator.servicenow.query import FieldValues
from ecproc.simulator.servicenow.schema import (
    BOTH_JOURNALS,
    ENTRY_JOURNALS,
    JOURNAL_LABELS,
    FieldSpec,
    FieldType,
)

Params: TypeAlias = Mapping[str, list[str]]


class ShowOptions(msgspec.Struct, frozen=True):
    """How a row is shown; no `fields` shows all. `display` is `false`, `true` or `all`, as in sysparm_display_value."""

    fields: tuple[str, ...] | None = None
    display: str = "false"
    links: bool = True


BOTH = ShowOptions(display="all", links=False)


def read_param(params: Params, name: str, default: str = "") -> str:
    """Give a parameter's first value."""
    return params.get(name, [default])[0]


def read_options(params: Params) -> ShowOptions:
    """Read how rows are to be shown; what cannot be read is as if it were not given."""
    fields = read_param(params, "sysparm_fields")
    display = read_param(params, "sysparm_display_value", "false").lower()
    return ShowOptions(
        tuple(name.strip() for name in fields.split(",") if name.strip()) if fields else None,
        display if display in ("true", "all") else "false",
        read_param(params, "sysparm_exclude_reference_link").lower() != "true",
    )


class Renderer:
    """Shows rows of one instance to a user who lives in `zone`."""

    def __init__(self, database: Database, *, zone: str, url_base: str) -> None:
        self._database = database
        self._zone = ZoneInfo(zone)
        self.url_base = url_base

    def show(self, table: str, row: FieldValues, options: ShowOptions) -> dict[str, object]:
        """Give a row as JSON has it; unknown fields are left out."""
        specs = self._database.schemas[table].fields
        if options.fields is None:
            return {name: self._show_value(table, row, name, spec, options) for name, spec in specs.items()}
        shown: dict[str, object] = {}
        for path in options.fields:
            found = self._find(table, row, path) if path.count(".") <= MOST_DOTS else None
            if found is not None:
                shown[path] = self._show_value(*found, options)
        return shown

    def link(self, table: str, sys_id: str) -> str:
        """Give the address of a row."""
        return f"{self.url_base}/api/now/table/{table}/{sys_id}"

    def _find(self, table: str, row: FieldValues, path: str) -> tuple[str, FieldValues, str, FieldSpec] | None:
        """Follow a path to the row it ends in; behind an empty reference that is an empty one."""
        field, _, rest = path.partition(".")
        spec = self._database.schemas[table].fields.get(field)
        if spec is None or not rest:
            return None if spec is None else (table, row, field, spec)
        if not spec.refers:
            return None
        return self._find(spec.refers, self._database.get(spec.refers, row.get(field, "")) or {}, rest)

    def _show_value(self, table: str, row: FieldValues, name: str, spec: FieldSpec, options: ShowOptions) -> object:
        value = "" if spec.type is FieldType.JOURNAL else row.get(name, "")
        has_link = bool(spec.refers and value and options.links)
        if options.display == "false":
            return {"link": self.link(spec.refers, value), "value": value} if has_link else value
        shown = self._display(row, name, value, spec)
        if options.display == "true":
            return {"display_value": shown, "link": self.link(spec.refers, value)} if has_link else shown
        both = {"display_value": shown, "value": value}
        return {**both, "link": self.link(spec.refers, value)} if has_link else both

    def _display(self, row: FieldValues, name: str, value: str, spec: FieldSpec) -> str:
        if spec.type is FieldType.JOURNAL:
            return self._show_journal(row, name)
        if spec.choices:
            return spec.choices.get(value, value)
        if spec.refers and value:
            return self._database.display(spec.refers, value)
        return self._show_time(value) if spec.type is FieldType.TIME and value else value

    def _show_time(self, value: str) -> str:
        try:
            return datetime.strptime(value, STAMP).replace(tzinfo=UTC).astimezone(self._zone).strftime(STAMP)
        except (ValueError, OverflowError):
            return value  # what was sent is no time, or none over there; it is shown as it stands

    def _show_journal(self, row: FieldValues, name: str) -> str:
        """Give a record's entries as one text, the newest first."""
        elements = ENTRY_JOURNALS if name == BOTH_JOURNALS else (name,)
        return "".join(
            f"{self._show_time(entry['sys_created_on'])} - {self._name(entry['sys_created_by'])}"
            f" ({JOURNAL_LABELS[entry['element']]})\n{entry['value']}\n\n"
            for entry in self._database.list_journal(row.get("sys_id", ""), *elements)
        )

    def _name(self, user_name: str) -> str:
        return self._database.display("sys_user", self._database.find_user(user_name)) or user_name
