"""What the instance itself does to a record that is written: reading the body, derived values, defaults."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import msgspec

from ecproc.simulator.servicenow import states
from ecproc.simulator.servicenow.query import FieldValues
from ecproc.simulator.servicenow.schema import BOTH_JOURNALS, SYSTEM_FIELDS, TASK_TABLES, FieldType, TableSchema

_LEVELS: Final = ("1", "2", "3")
_NUMBER: Final = re.compile(r"(-?[0-9]{1,15})?")


class ReadBody(msgspec.Struct, frozen=True):
    """What a request's body sets: columns that exist, cut to their length, and journal entries."""

    values: FieldValues
    entries: dict[str, str]


def read_body(schema: TableSchema, body: Mapping[str, object]) -> ReadBody:
    """Take what the table has; unknown names, the platform's own columns and no numbers are left out without a word."""
    journals = tuple(schema.journals)
    values: FieldValues = {}
    entries: dict[str, str] = {}
    for name, given in body.items():
        field = schema.fields.get(name)
        if field is None or name in SYSTEM_FIELDS or name == BOTH_JOURNALS:
            continue
        text = write_value(given)
        if field.type is FieldType.NUMBER and not _NUMBER.fullmatch(text):
            continue
        if name not in journals:
            values[name] = text[: field.max_length] if field.max_length else text
        elif text:
            entries[name] = text
    return ReadBody(values, entries)


def write_value(given: object) -> str:
    """Write a JSON value as the platform stores it; of an object its `value` counts."""
    if isinstance(given, Mapping):
        given = given.get("value", "")
    if given is None:
        return ""
    return str(given).lower() if isinstance(given, bool) else str(given)


def derive_new(table: str, row: FieldValues, *, user: str, stamp: str) -> FieldValues:
    """Give what a new record gets besides what was sent."""
    if table not in TASK_TABLES:
        return {}
    derived = {
        "sys_class_name": table,
        "task_effective_number": row.get("number", ""),
        "opened_by": row.get("opened_by") or user,
        "opened_at": row.get("opened_at") or stamp,
    }
    if table == "change_request":
        derived["state"] = states.CHANGE_FIRST  # whatever was sent: a change begins at its beginning
    return derived | derive(table, {**row, **derived}, {}, user=user, stamp=stamp)


def derive(table: str, row: FieldValues, previous: Mapping[str, str], *, user: str, stamp: str) -> FieldValues:
    """Give what follows from a task's values; `row` is as it was sent, `previous` as it stood before."""
    if table not in TASK_TABLES:
        return {}
    state, before = row.get("state", ""), previous.get("state", "")
    ended = state in states.ENDED[table]
    derived = {"active": "false" if ended else "true"}
    if ended and state != before:
        derived |= {"closed_at": stamp, "closed_by": user}
    if table == "incident":
        derived |= {"incident_state": state, "priority": _find_priority(row)}
        if state != states.ON_HOLD:
            derived["hold_reason"] = ""
        if state == states.RESOLVED and before != state:
            derived |= {"resolved_at": stamp, "resolved_by": user}
        if before == states.RESOLVED and state == states.IN_PROGRESS:
            derived |= {"reopen_count": str(int(previous.get("reopen_count") or 0) + 1), "reopened_by": user}
    return derived


def _find_priority(row: Mapping[str, str]) -> str:
    """Give the priority that impact and urgency make."""
    impact, urgency = row.get("impact", ""), row.get("urgency", "")
    if impact in _LEVELS and urgency in _LEVELS:
        return str(int(impact) + int(urgency) - 1)
    return row.get("priority", "")
