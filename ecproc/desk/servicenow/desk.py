"""The client's ServiceNow instance as the desk: what is asked of it is done once, also where an answer gets lost.

A create, a note and a file are looked up before they are repeated, everything else sets values. What an answer says is
held against what was sent: an instance may drop a field or leave a state as it was, and answer 200 all the same.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, NamedTuple

from msgspec.structs import replace

from ecproc.clock import Clock
from ecproc.config.servicenow import ServiceNowConfig, ServiceNowTables
from ecproc.desk.base import DeskAnswer, DeskCall, DeskRefused
from ecproc.desk.servicenow.answers import gone, misses_comment
from ecproc.desk.servicenow.calls import Calls
from ecproc.desk.servicenow.changes import TABLE as CHANGES
from ecproc.desk.servicenow.changes import Changes
from ecproc.desk.servicenow.doubles import Doubles, describe_doubles
from ecproc.desk.servicenow.fields import Told, Translator, list_overruled
from ecproc.desk.servicenow.files import Files, require_file
from ecproc.desk.servicenow.journal import Journal
from ecproc.desk.servicenow.approvals import Approvals
from ecproc.desk.servicenow.query import is_key, is_number, is_sys_id
from ecproc.desk.servicenow.references import References
from ecproc.desk.servicenow.session import Session
from ecproc.desk.servicenow.soundness import Soundness
from ecproc.desk.servicenow.staging import name_staging, put
from ecproc.desk.servicenow.texts import join_texts, write_comment, write_empty_file, write_hold, write_marker, write_note
from ecproc.desk.servicenow.tokens import ReadSecret
from ecproc.desk.servicenow.wire import (
    Display,
    Row,
    create,
    find_by_key,
    find_by_number,
    page_of,
    patch,
    read,
)
from ecproc.domain.effects import EffectKind, Repeat
from ecproc.domain.events import Remark
from ecproc.mapping.tables import Mapping as FieldMapping

_SETTING: Final = frozenset(
    {EffectKind.UPDATE, EffectKind.RESOLVE, EffectKind.CLOSE, EffectKind.CANCEL, EffectKind.REOPEN}
)
_ADDING: Final = frozenset({EffectKind.CREATE, EffectKind.COMMENT, EffectKind.ATTACH})
_TARGETS: Final = ServiceNowTables()
_MOST_LOCATED: Final = 10_000
_KEY_HINT: Final = "its number has characters that cannot be asked for; make the client ticket by hand and link it"


class _Place(NamedTuple):
    """Where a client ticket is kept: the table of records, the staging table in front of it, and its record."""

    table: str
    staging: str
    sys_id: str


class ServiceNowDesk:
    """The desk. `config` has passed its checks, and `tables` too; secrets are read anew for every token."""

    def __init__(
        self,
        config: ServiceNowConfig,
        tables: ServiceNowTables,
        *,
        mapping: FieldMapping,
        secret: ReadSecret,
        clock: Clock,
    ) -> None:
        self._config = config
        self._tables = tables
        self._session = Session(config, secret=secret, clock=clock)
        self._calls = calls = Calls(self._session)
        self._marks = Display(key_field=config.key_field, display_field=config.display_field, display=config.display)
        self._soundness = Soundness(calls, self._marks)
        self._translator = Translator(mapping, References(calls.rows, clock.monotonic))
        self._journal = Journal(calls, config.note_field)
        self._files = Files(calls)
        self._approvals = Approvals(calls, self._translator, as_records=config.approvals == "approver_record")
        self._changes = Changes(
            calls,
            key_field=config.key_field,
            walk=config.walk_states,
            managed=config.change_api == "change_management",
            template=config.change_template,
        )
        self._doubles = Doubles(calls, self._marks, seconds=config.settles_after, monotonic=clock.monotonic)
        self._located: dict[str, str] = {}

    def repeat_of(self, kind: EffectKind) -> Repeat:
        """Looked up where it adds something, idempotent where it sets something; keyed where every type of ticket goes
        through a transform map that finds its record by our key."""
        if kind is EffectKind.CREATE and self._all_staged():
            return Repeat.KEYED
        return Repeat.LOOK_UP if kind in _ADDING else Repeat.IDEMPOTENT

    def ends_after(self, kind: EffectKind) -> float:
        """The instance's own quota, and a margin: until then it may still be working at what was cut off."""
        return self._config.settles_after

    async def perform(self, call: DeskCall) -> DeskAnswer:
        """Do it. A kind that is looked up is done again each time it is asked for."""
        await self._soundness.check()
        if call.kind == EffectKind.CREATE:
            return await self._create(call)
        handle: Callable[[DeskCall, _Place], Awaitable[DeskAnswer]]
        match call.kind:
            case EffectKind.COMMENT:
                handle = self._comment
            case EffectKind.ATTACH:
                handle = self._attach
            case kind if kind in _SETTING:
                handle = self._set
            case _:
                raise DeskRefused(f"a ServiceNow desk has no {call.kind}", final=True)
        place = await self._locate(call)
        answer = await handle(call, place)
        doubles = await self._doubles.look(place.table, place.sys_id)
        return replace(answer, remarks=(*answer.remarks, *doubles)) if doubles else answer

    async def look_up(self, call: DeskCall) -> DeskAnswer | None:
        """What a former call led to: a record by its key, a note by its marker, a file by its content."""
        if call.kind == EffectKind.CREATE:
            return await self._find_created(call)
        if call.kind not in _ADDING:
            return None
        place = await self._locate(call)
        is_file = call.kind == EffectKind.ATTACH and require_file(call.file).size > 0
        if is_file:
            found = await self._files.has(place.sys_id, require_file(call.file))
        else:
            found = await self._journal.holds(place.table, place.sys_id, write_marker(call))
        return await self._read(call, place) if found else None

    async def aclose(self) -> None:
        """Close every connection."""
        await self._session.aclose()

    # --- new records --------------------------------------------------------------------------------------------------

    async def _create(self, call: DeskCall) -> DeskAnswer:
        table, staging = self._table_of(call)
        key = self._key_of(call)
        told = await self._translate(call)
        body = {**told.fields, **self._marks.mark(key)}
        if told.notes:
            body[self._journal.field] = write_note(join_texts(told.notes), write_marker(call))
        if staging:
            row = await put(self._session, staging, body, call)
            return self._answer(call, table, row, told.remarks)
        request = self._changes.write_create(call, body) if table == CHANGES else None
        row = await self._calls.record(request or create(table, body, key_field=self._marks.key_field))
        if told.notes:
            self._journal.note_written(row["sys_id"])
        remarks = (*told.remarks, *self._soundness.note_created(table, row, key), *list_overruled(told.fields, row))
        self._doubles.note_created(table, row["sys_id"], key)
        return self._answer(call, table, row, remarks)

    async def _find_created(self, call: DeskCall) -> DeskAnswer | None:
        table, staging = self._table_of(call)
        if staging:
            return None  # the row is put in again: the transform map finds the record
        key = self._key_of(call)
        rows = await self._soundness.choose(table, key, await self._calls.rows(find_by_key(table, key, self._marks)))
        if not rows:
            self._doubles.note_absent(key)
            return None
        return self._answer(call, table, rows[0], describe_doubles(rows))

    # --- known records ------------------------------------------------------------------------------------------------

    async def _set(self, call: DeskCall, place: _Place) -> DeskAnswer:
        told = await self._translate(call)
        asked = await self._approvals.ask(call, place.sys_id, is_change=place.table == CHANGES)
        told = replace(told, notes=(*told.notes, *asked.notes), remarks=(*told.remarks, *asked.remarks))
        if place.staging:
            return await self._stage(call, place, told)
        marker = write_marker(call)
        extra: dict[str, str] = {}
        if told.notes and await self._journal.must_write(place.table, place.sys_id, marker):
            extra = {self._journal.field: write_note(join_texts(told.notes), marker)}
        row = await self._write_with_reason(call, place, told, extra)
        return self._answer(call, place.table, row, (*told.remarks, *list_overruled(told.fields, row)))

    async def _write_with_reason(self, call: DeskCall, place: _Place, told: Told, extra: Row) -> Row:
        """Write; once more with a note where a policy asks for one because the ticket waits for somebody."""
        try:
            return await self._write(call, place, told, extra)
        except DeskRefused as refused:
            if extra or not told.fields.get("hold_reason") or not misses_comment(refused):
                raise
        note = write_note(write_hold({**call.record, **call.fields}), write_marker(call))
        return await self._write(call, place, told, {self._journal.field: note})

    async def _write(self, call: DeskCall, place: _Place, told: Told, extra: Row) -> Row:
        table, _, sys_id = place
        if table == CHANGES and told.fields.get("state"):
            row = await self._changes.write(call, sys_id, told.fields, extra=extra)
        elif told.fields or extra:
            body = {**told.fields, **extra}
            request = patch(table, sys_id, body, key_field=self._marks.key_field, repeatable=not extra)
            row = await self._calls.record(request)
            _require_state(told, row)
        else:
            row = await self._calls.known(read(table, sys_id, key_field=self._marks.key_field))
        if extra:
            self._journal.note_written(sys_id)
        return row

    async def _comment(self, call: DeskCall, place: _Place) -> DeskAnswer:
        return await self._note(call, place, write_comment(call.fields))

    async def _attach(self, call: DeskCall, place: _Place) -> DeskAnswer:
        file = require_file(call.file)
        if not file.size:
            return await self._note(call, place, write_empty_file(file.name))
        await self._files.attach(place.table, place.sys_id, file)
        return await self._read_after(call, place)

    async def _note(self, call: DeskCall, place: _Place, text: str) -> DeskAnswer:
        if place.staging:
            return await self._stage(call, place, Told({}, (text,)))
        row = await self._journal.write(place.table, place.sys_id, text, write_marker(call))
        return self._answer(call, place.table, row)

    async def _stage(self, call: DeskCall, place: _Place, told: Told) -> DeskAnswer:
        """The same by a row of the staging table; a note that is there already is not put in again."""
        marker = write_marker(call)
        body = {**told.fields, **self._marks.mark(self._key_of_record(call))}
        if told.notes and await self._journal.must_write(place.table, place.sys_id, marker):
            body[self._journal.field] = write_note(join_texts(told.notes), marker)
        row = await put(self._session, place.staging, body, call)
        return self._answer(call, place.table, {**row, "state": told.fields.get("state", "")}, told.remarks)

    # --- where it is --------------------------------------------------------------------------------------------------

    async def _locate(self, call: DeskCall) -> _Place:
        """The client ticket's record, by the desk's own name for it or, where Ensono told us the number, by that."""
        table, staging = self._table_of(call)
        number = call.number or ""
        sys_id = call.reference or self._located.get(number, "")
        if is_sys_id(sys_id):
            return _Place(table, staging, sys_id)
        if not is_number(number):
            raise DeskRefused(f"{call.kind} names no ticket of this instance", final=True)
        request = find_by_number(table, number, key_field=self._marks.key_field)
        rows = [row for row in await self._calls.rows(request) if row.get("number") == number]
        if not rows:
            raise gone(request, None, f"{table} has no {number}")
        while len(self._located) >= _MOST_LOCATED:
            del self._located[next(iter(self._located))]
        self._located[number] = rows[0]["sys_id"]
        return _Place(table, staging, rows[0]["sys_id"])

    async def _read(self, call: DeskCall, place: _Place) -> DeskAnswer:
        row = await self._calls.known(read(place.table, place.sys_id, key_field=self._marks.key_field))
        return self._answer(call, place.table, row)

    def _table_of(self, call: DeskCall) -> tuple[str, str]:
        """The table of records, and the staging table in front of it, which is empty without one."""
        table = self._tables.table_of(call.ticket_type)
        staging = name_staging(table)
        return (_TARGETS.table_of(call.ticket_type) if staging else table), staging

    def _all_staged(self) -> bool:
        tables = self._tables
        return all(map(name_staging, (tables.incident, tables.request, tables.change)))

    def _key_of(self, call: DeskCall) -> str:
        key = call.key.removeprefix("create:")
        if not is_key(key):
            raise DeskRefused(f"the key of {call.kind} cannot be asked for", final=True, hint=_KEY_HINT)
        return key

    def _key_of_record(self, call: DeskCall) -> str:
        """The key under which the client ticket's record was made."""
        return self._key_of(replace(call, key=f"create:{call.ticket}:g{call.generation}"))

    def _answer(self, call: DeskCall, table: str, row: Row, remarks: tuple[Remark, ...] = ()) -> DeskAnswer:
        sys_id = row["sys_id"]
        return DeskAnswer(
            number=row.get("number") or call.number or "",
            state=row.get("state", ""),
            reference=sys_id,
            url=page_of(self._session.base_url, table, sys_id),
            remarks=remarks,
        )


def _require_state(told: Told, row: Row) -> None:
    """Raise DeskRefused where the record did not go to the state that it was sent to."""
    wanted = told.fields.get("state")
    if wanted and "state" in row and row["state"] != wanted:
        reason = f"state stayed {row['state']}: the record does not go to state {wanted}"
        raise DeskRefused(reason, hint="see which rule of the instance keeps it, or mend the mapping's states")
