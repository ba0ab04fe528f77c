"""Where a client ticket is kept: its table, a staging table in front of that, its record, and the key it has."""

from __future__ import annotations

from typing import Final, NamedTuple

from msgspec.structs import replace

from ecproc.config.servicenow import IMPORT, ServiceNowTables
from ecproc.desk.base import DeskCall, DeskRefused
from ecproc.desk.servicenow.answers import gone
from ecproc.desk.servicenow.calls import Calls
from ecproc.desk.servicenow.query import is_key, is_number, is_sys_id
from ecproc.desk.servicenow.wire import find_by_number

_TARGETS: Final = ServiceNowTables()
"""Where the rows of staging tables go."""
_MOST_LOCATED: Final = 10_000
_KEY_HINT: Final = "its number has characters that cannot be asked for; make the client ticket by hand and link it"


class TicketPlace(NamedTuple):
    """A client ticket's table, the staging table in front of it (empty without one), and its record's sys_id."""

    table: str
    staging: str
    sys_id: str


class TicketPlaces:
    """Finds client tickets; where one is by its number is remembered."""

    def __init__(self, calls: Calls, tables: ServiceNowTables, *, key_field: str) -> None:
        self._calls = calls
        self._tables = tables
        self._key_field = key_field
        self._located: dict[str, str] = {}

    @property
    def all_staged(self) -> bool:
        """Whether tickets of every type go through an import set."""
        tables = self._tables
        return all(table.startswith(IMPORT) for table in (tables.incident, tables.request, tables.change))

    def table_of(self, call: DeskCall) -> tuple[str, str]:
        """The table of records, and the staging table in front of it."""
        return self.table_for(call.ticket_type)

    def table_for(self, ticket_type: str) -> tuple[str, str]:
        """The same, of tickets of a type."""
        table = self._tables.table_of(ticket_type)
        if not table.startswith(IMPORT):
            return table, ""
        return _TARGETS.table_of(ticket_type), table.removeprefix(IMPORT)

    async def locate(self, call: DeskCall) -> TicketPlace:
        """The client ticket's record, by the desk's own name for it or, where Ensono told us the number, by that.

        Raises DeskUnavailable and DeskRefused.
        """
        table, staging = self.table_of(call)
        number = call.number or ""
        sys_id = call.reference or self._located.get(number, "")
        if is_sys_id(sys_id):
            return TicketPlace(table, staging, sys_id)
        if not is_number(number):
            raise DeskRefused(f"{call.kind} names no ticket of this instance", final=True)
        request = find_by_number(table, number, key_field=self._key_field)
        rows = [row for row in await self._calls.rows(request) if row.get("number") == number and row.get("sys_id")]
        if not rows:
            raise gone(request, None, f"{table} has no {number}")
        while len(self._located) >= _MOST_LOCATED:
            del self._located[next(iter(self._located))]
        self._located[number] = rows[0]["sys_id"]
        return TicketPlace(table, staging, rows[0]["sys_id"])

    def key_of_create(self, call: DeskCall) -> str:
        """The key that a create's record is looked up by. Raises DeskRefused for one that cannot be asked for."""
        key = call.key.removeprefix("create:")
        if not is_key(key):
            raise DeskRefused(f"the key of {call.kind} cannot be asked for", final=True, hint=_KEY_HINT)
        return key

    def key_of_record(self, call: DeskCall) -> str:
        """The key under which the client ticket's record was made, as its create had it."""
        return self.key_of_create(replace(call, key=f"create:{call.ticket}:g{call.generation}"))
