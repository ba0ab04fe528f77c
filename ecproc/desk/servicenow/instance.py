"""What the parts of the desk share: the ways to the instance, and how its records are answered."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress

from ecproc.clock import Clock
from ecproc.config.servicenow import ServiceNowConfig, ServiceNowTables
from ecproc.desk.base import DeskAnswer, DeskCall, DeskRefused, DeskUnavailable
from ecproc.desk.servicenow.calls import Calls
from ecproc.desk.servicenow.changes import Changes
from ecproc.desk.servicenow.fields import Translator
from ecproc.desk.servicenow.journal import RecordJournal
from ecproc.desk.servicenow.places import TicketPlace, TicketPlaces
from ecproc.desk.servicenow.references import References
from ecproc.desk.servicenow.session import InstanceSession
from ecproc.desk.servicenow.texts import join_texts, write_hold, write_marker, write_note
from ecproc.desk.servicenow.tokens import ReadSecret
from ecproc.desk.servicenow.wire import Display, RecordValues, page_of, read
from ecproc.domain.events import Remark
from ecproc.mapping.tables import Mapping as FieldMapping


class InstanceLink:
    """One instance, as the configuration, which has passed its checks, names it."""

    def __init__(
        self,
        config: ServiceNowConfig,
        tables: ServiceNowTables,
        *,
        mapping: FieldMapping,
        secret: ReadSecret,
        clock: Clock,
    ) -> None:
        self.session = InstanceSession(config, secret=secret, clock=clock)
        self.calls = calls = Calls(self.session)
        self.marks = Display(key_field=config.key_field, display_field=config.display_field, display=config.display)
        self.translator = Translator(mapping, References(calls.rows, clock.monotonic))
        self.places = TicketPlaces(calls, tables, key_field=config.key_field)
        self.journal = RecordJournal(calls, config.note_field)
        self.changes = Changes(
            calls,
            key_field=config.key_field,
            walk=config.walk_states,
            managed=config.change_api == "change_management",
            template=config.change_template,
        )

    def write_note(self, call: DeskCall, *texts: str) -> dict[str, str]:
        """The field that adds the call's note to a record's journal."""
        return {self.journal.field: write_note(join_texts(texts), write_marker(call))}

    def explain_hold(self, call: DeskCall) -> dict[str, str]:
        """The same, for an instance that asks why a ticket waits."""
        return self.write_note(call, write_hold({**call.record, **call.fields}))

    async def read(self, call: DeskCall, place: TicketPlace) -> DeskAnswer:
        """The record as it stands. Raises DeskUnavailable and DeskRefused."""
        row = await self.calls.known(read(place.table, place.sys_id, key_field=self.marks.key_field))
        return self.answer(call, place.table, row)

    async def read_after(self, call: DeskCall, place: TicketPlace) -> DeskAnswer:
        """The record behind what was done already: that it cannot be read now takes nothing back."""
        with suppress(DeskUnavailable, DeskRefused):
            return await self.read(call, place)
        return self.answer(call, place.table, {"sys_id": place.sys_id})

    def answer(
        self,
        call: DeskCall,
        table: str,
        row: RecordValues,
        remarks: tuple[Remark, ...] = (),
        *,
        written: Collection[str] = (),
    ) -> DeskAnswer:
        """The client ticket of a record, with what the record now has in the fields that were `written`."""
        sys_id = row["sys_id"]
        told = self.translator.with_names(call.ticket_type, written)
        return DeskAnswer(
            number=row.get("number") or call.number or "",
            state=self.translator.name_state(call.ticket_type, row.get("state", "")),
            reference=sys_id,
            url=page_of(self.session.base_url, table, sys_id),
            remarks=remarks,
            view=self.translator.view(call.ticket_type, {name: row[name] for name in told if name in row}),
            stamp=read_count(row),
        )


def read_count(row: RecordValues) -> int:
    """How often a record was changed; 0 where it does not say."""
    count = row.get("sys_mod_count", "")
    return int(count) if count.isascii() and count.isdecimal() and len(count) < 19 else 0
