"""New records: made once per key, or found again by it."""

from __future__ import annotations

from contextlib import suppress
from typing import Final

import msgspec

from ecproc.desk.base import DeskAnswer, DeskCall, DeskRefused, DeskUnavailable
from ecproc.desk.servicenow.answers import misses_comment
from ecproc.desk.servicenow.changes import TABLE as CHANGES
from ecproc.desk.servicenow.doubles import Doubles, describe_doubles
from ecproc.desk.servicenow.fields import RecordNews, list_overruled
from ecproc.desk.servicenow.instance import InstanceLink
from ecproc.desk.servicenow.soundness import Soundness
from ecproc.desk.servicenow.staging import put
from ecproc.desk.servicenow.wire import RecordValues, create, find_by_key

_AUTHOR: Final = "sys_created_by"


class TicketMaker:
    """Makes client tickets. All raise DeskUnavailable and DeskRefused."""

    def __init__(self, instance: InstanceLink, soundness: Soundness, doubles: Doubles) -> None:
        self._at = instance
        self._soundness = soundness
        self._doubles = doubles

    async def create(self, call: DeskCall) -> DeskAnswer:
        """Make the record, whatever was made before."""
        table, staging = self._at.places.table_of(call)
        key = self._at.places.key_of_create(call)
        told = await self._at.translator.translate(call)
        body = {**told.fields, **self._at.marks.mark(key)}
        note = self._at.write_note(call, *told.notes) if told.notes else {}
        if staging:
            row = await put(self._at.session, staging, {**body, **note}, call)
            return self._at.answer(call, table, row, told.remarks)
        try:
            row = await self._make(call, table, {**body, **note})
        except DeskRefused as refused:
            if note or not told.fields.get("hold_reason") or not misses_comment(refused):
                raise
            row = await self._make(call, table, {**body, **self._at.explain_hold(call)})
        self._doubles.note_created(row["sys_id"], key)
        remarks = self._soundness.note_created(table, row, key)
        row = await self._move_on(call, table, row, told)
        remarks = (*told.remarks, *remarks, *list_overruled(told.fields, row))
        written = (*told.fields, *self._at.translator.list_heard(call.ticket_type))
        return self._at.answer(call, table, row, remarks, written=written)

    async def _make(self, call: DeskCall, table: str, body: RecordValues) -> RecordValues:
        heard = self._at.translator.list_heard(call.ticket_type)
        request = self._at.changes.write_create(call, body) if table == CHANGES else None
        row = await self._at.calls.record(
            request or create(table, body, key_field=self._at.marks.key_field, heard=heard)
        )
        if self._at.journal.field in body:
            self._at.journal.note_written(row["sys_id"])
        return row

    async def _move_on(self, call: DeskCall, table: str, row: RecordValues, told: RecordNews) -> RecordValues:
        """The record in its state: every change begins as a new one. It is made: that it stays there is no failure."""
        state = told.fields.get("state", "")
        if table != CHANGES or not state or row.get("state") == state:
            return row
        with suppress(DeskUnavailable, DeskRefused):
            moved = await self._at.changes.write(call, row["sys_id"], {"state": state}, extra={})
            return {**row, **moved}
        return row

    async def find(self, call: DeskCall) -> DeskAnswer | None:
        """The record that a former call made, the oldest of several; None where there is none."""
        table, staging = self._at.places.table_of(call)
        if staging:
            return None  # the row is put in again: the transform map finds the record
        key = self._at.places.key_of_create(call)
        told = await self._recall(call)
        written = (*told, *self._at.translator.list_heard(call.ticket_type))
        request = find_by_key(table, key, self._at.marks, fields=(*written, _AUTHOR))
        rows = await self._soundness.choose(table, key, await self._at.calls.rows(request))
        if not rows:
            self._doubles.note_absent(key)
            return None
        row, remarks = rows[0], describe_doubles(rows)
        if _is_as_made(row):
            return self._at.answer(call, table, row, remarks, written=written)
        view = self._at.translator.view(call.ticket_type, self._at.translator.restore(call.ticket_type, told, row))
        return msgspec.structs.replace(self._at.answer(call, table, row, remarks), view=view, stamp=0)

    async def _recall(self, call: DeskCall) -> RecordValues:
        """What the record was made with, as far as that can still be told."""
        with suppress(DeskUnavailable, DeskRefused):
            return (await self._at.translator.translate(call)).fields
        return {}


def _is_as_made(row: RecordValues) -> bool:
    """Whether nobody but its maker has changed a record: what others changed meanwhile is news, and no measure."""
    by = row.get("sys_updated_by", "")
    return row.get("sys_mod_count") == "0" or (bool(by) and by == row.get(_AUTHOR))
