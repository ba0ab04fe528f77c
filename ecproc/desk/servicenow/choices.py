"""The instance's closed lists, as it has them now."""

from __future__ import annotations

from collections.abc import Mapping

from ecproc.desk.servicenow.calls import Calls
from ecproc.desk.servicenow.instance import InstanceLink
from ecproc.desk.servicenow.wire import RecordValues, read_choices
from ecproc.mapping.choices import Choices

_PARENT = "task"
"""What a table does not list itself it has from the one that it extends."""


async def read_lists(instance: InstanceLink, wanted: Choices) -> dict[str, dict[str, dict[str, str]]]:
    """The lists of these fields, by ticket type; one that the instance does not have stays as it is wanted.

    Raises DeskUnavailable and DeskRefused.
    """
    found: dict[str, dict[str, dict[str, str]]] = {}
    for ticket_type, lists in wanted.items():
        table = instance.places.table_for(ticket_type)[0]
        found[ticket_type] = {
            field: dict(await read_list_of(instance.calls, table, field) or words) for field, words in lists.items()
        }
    return found


async def read_list_of(calls: Calls, table: str, field: str) -> Mapping[str, str]:
    """What a field may be: labels by code, in the order of the codes; empty where the instance lists nothing."""
    for owner in (table, _PARENT):
        if known := read_codes(await calls.rows(read_choices(owner, field))):
            return {code: known[code] for code in sorted(known, key=_order)}
    return {}


def read_codes(rows: list[RecordValues]) -> dict[str, str]:
    """The codes of a choice list that are in use, with a label: the English one where it has that."""
    known: dict[str, str] = {}
    for row in sorted(rows, key=lambda row: row.get("language") != "en"):
        if row.get("inactive", "false") != "true" and row.get("value"):
            known.setdefault(row["value"], row.get("label", ""))
    return known


def _order(code: str) -> tuple[bool, int, str]:
    bare = code.removeprefix("-")
    is_number = bare.isascii() and bare.isdecimal() and len(bare) < 10
    return not is_number, int(code) if is_number else 0, code
