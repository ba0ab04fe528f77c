"""Known records: their fields and states set, and what has no field told in a note of the same call."""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from ecproc.desk.base import DeskAnswer, DeskCall, DeskRefused
from ecproc.desk.servicenow.answers import misses_comment
from ecproc.desk.servicenow.approvals import Approvals
from ecproc.desk.servicenow.changes import TABLE as CHANGES
from ecproc.desk.servicenow.fields import RecordNews, list_overruled
from ecproc.desk.servicenow.instance import InstanceLink
from ecproc.desk.servicenow.places import TicketPlace
from ecproc.desk.servicenow.staging import put
from ecproc.desk.servicenow.texts import write_marker
from ecproc.desk.servicenow.wire import InstanceCall, RecordValues, patch, read
from ecproc.domain.effects import EffectKind

_ENDING: Final = frozenset({EffectKind.RESOLVE, EffectKind.CLOSE, EffectKind.CANCEL})
_OVER: Final = frozenset({"closed", "cancelled"})
_AT_WORK: Final = "workinprogress"


class TicketSetter:
    """Works client tickets. All raise DeskUnavailable and DeskRefused."""

    def __init__(self, instance: InstanceLink, approvals: Approvals) -> None:
        self._at = instance
        self._approvals = approvals

    async def set(self, call: DeskCall, place: TicketPlace) -> DeskAnswer:
        """Bring the record to what the call says."""
        told = await self._at.translator.translate(call)
        asked = await self._approvals.ask(call, place.sys_id, is_change=place.table == CHANGES)
        told = replace(told, notes=(*told.notes, *asked.notes), remarks=(*told.remarks, *asked.remarks))
        if place.staging:
            return await self.stage(call, place, told)
        marker = write_marker(call)
        extra: dict[str, str] = {}
        if told.notes and await self._at.journal.must_write(place.table, place.sys_id, marker):
            extra = self._at.write_note(call, *told.notes)
        row = await self._write_with_reason(call, place, told, extra)
        remarks = (*told.remarks, *list_overruled(told.fields, row))
        return self._at.answer(call, place.table, row, remarks, written=told.fields)

    async def _write_with_reason(
        self, call: DeskCall, place: TicketPlace, told: RecordNews, extra: RecordValues
    ) -> RecordValues:
        """Write; once more with a note where a policy asks for one because the ticket waits for somebody."""
        try:
            return await self._write(call, place, told, extra)
        except DeskRefused as refused:
            if extra or not told.fields.get("hold_reason") or not misses_comment(refused):
                raise
        return await self._write(call, place, told, self._at.explain_hold(call))

    async def _write(self, call: DeskCall, place: TicketPlace, told: RecordNews, extra: RecordValues) -> RecordValues:
        table, _, sys_id = place
        if table == CHANGES and told.fields.get("state"):
            row = await self._at.changes.write(call, sys_id, told.fields, extra=extra)
        elif told.fields or extra:
            body = {**told.fields, **extra}
            heard = self._at.translator.with_names(call.ticket_type, told.fields)
            request = patch(table, sys_id, body, key_field=self._at.marks.key_field, heard=heard, repeatable=not extra)
            row = await self._set(call, place, request, told)
        else:
            row = await self._at.calls.known(read(table, sys_id, key_field=self._at.marks.key_field))
        if extra:
            self._at.journal.note_written(sys_id)
        return row

    async def _set(self, call: DeskCall, place: TicketPlace, request: InstanceCall, told: RecordNews) -> RecordValues:
        """The record as it was set. One that is re-opened goes by way of work in progress where it goes no other: from
        its end a state model may lead to no new or waiting one."""
        try:
            return await self._patch(call, place, request, told)
        except DeskRefused:
            if call.kind != EffectKind.REOPEN:
                raise
            between = await self._at.translator.translate(replace(call, fields={"status": _AT_WORK}))
            state = between.fields.get("state")
            if not state or state == told.fields.get("state"):
                raise
        step = RecordNews({"state": state})
        body = patch(place.table, place.sys_id, step.fields, key_field=self._at.marks.key_field)
        await self._patch(call, place, body, step)
        return await self._patch(call, place, request, told)

    async def _patch(self, call: DeskCall, place: TicketPlace, request: InstanceCall, told: RecordNews) -> RecordValues:
        """The record as it was set. One that came to another end before stays there: nothing leads out of it."""
        try:
            row = await self._at.calls.record(request)
        except DeskRefused as refused:
            if call.kind not in _ENDING or not refused.final or refused.remarks:
                raise
            row = await self._at.calls.known(read(place.table, place.sys_id, key_field=self._at.marks.key_field))
            if self._at.translator.name_state(call.ticket_type, row.get("state", "")) not in _OVER:
                raise
            return row
        _require_state(told, row)
        return row

    async def stage(self, call: DeskCall, place: TicketPlace, told: RecordNews) -> DeskAnswer:
        """The same by a row of the staging table; a note that is there already is not put in again."""
        marker = write_marker(call)
        body = {**told.fields, **self._at.marks.mark(self._at.places.key_of_record(call))}
        if told.notes and await self._at.journal.must_write(place.table, place.sys_id, marker):
            body |= self._at.write_note(call, *told.notes)
        row = await put(self._at.session, place.staging, body, call)
        stored = {**told.fields, **row, "state": told.fields.get("state", "")}
        return self._at.answer(call, place.table, stored, told.remarks)


def _require_state(told: RecordNews, row: RecordValues) -> None:
    """Raise DeskRefused where the record did not go to the state that it was sent to."""
    wanted = told.fields.get("state")
    if wanted and "state" in row and row["state"] != wanted:
        reason = f"state stayed {row['state']}: the record does not go to state {wanted}"
        raise DeskRefused(reason, hint="see which rule of the instance keeps it, or mend the mapping's states")
