"""What only writing proves: that a record keeps its key, is found by it, takes notes, and comes to its end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from ecproc.desk.base import DeskCall, DeskRefused, DeskUnavailable
from ecproc.desk.finding import DeskFinding
from ecproc.desk.servicenow.changes import TABLE as CHANGES
from ecproc.desk.servicenow.instance import InstanceLink
from ecproc.desk.servicenow.texts import write_marker
from ecproc.desk.servicenow.wire import Display, RecordValues, create, find_by_key, patch
from ecproc.domain.effects import EffectKind

NO_FIELD: Final = "u_ecproc_no_such_field"
_TITLE: Final = "ecproc desk check: a test record, to be ignored"
_KEY_FIX: Final = "let our user write and read the field; it must take 100 characters and no rule may change it"
_ENDS: Final = {
    "incident": (EffectKind.RESOLVE, EffectKind.CLOSE),
    "request": (EffectKind.CLOSE,),
    "change": (EffectKind.CANCEL,),
}
_END_FIX: Final = "map the fields that the text names; close the test record by hand"


async def prove_writing(instance: InstanceLink, ticket_type: str, table: str, *, nonce: str) -> list[DeskFinding]:
    """What is wrong with writing to a table, by a test record that is brought to its end again. Nothing is raised.

    Tickets behind a staging table are not tried: what its transform map does is not ours to undo.
    """
    if instance.places.table_for(ticket_type)[1]:
        return []
    proof = _Proof(instance, ticket_type, table, nonce)
    async with proof.finding("write"):
        await proof.make()
    if not proof.sys_id:
        return proof.findings
    async with proof.finding("key"):
        await proof.find_again()
    async with proof.finding("note"):
        await proof.note()
    async with proof.finding("end", fix=_END_FIX):
        await proof.end()
    return proof.findings


class _Proof:
    def __init__(self, instance: InstanceLink, ticket_type: str, table: str, nonce: str) -> None:
        self._at = instance
        self._type = ticket_type
        self._table = table
        self._key = f"ecproc-check:{nonce}:{ticket_type}"
        self.findings: list[DeskFinding] = []
        self.sys_id = ""

    @asynccontextmanager
    async def finding(self, name: str, *, fix: str = "see the text, and ask again") -> AsyncIterator[None]:
        try:
            yield
        except (DeskUnavailable, DeskRefused) as error:
            self._find(name, f"{self._table}: {error}", error.hint or fix)

    async def make(self) -> None:
        body = {"short_description": _TITLE, **self._at.marks.mark(self._key)}
        row = await self._at.calls.record(create(self._table, body, key_field=self._at.marks.key_field))
        self.sys_id = row["sys_id"]
        if row.get(self._at.marks.key_field) != self._key:
            field = self._at.marks.key_field
            self._find("key", f"{self._table} does not keep {field}: the next lost answer would double", _KEY_FIX)

    async def find_again(self) -> None:
        rows = await self._at.calls.rows(find_by_key(self._table, self._key, self._at.marks))
        if [row["sys_id"] for row in rows if row.get(self._at.marks.key_field) == self._key] != [self.sys_id]:
            text = f"{self._table} is not searched by {self._at.marks.key_field}: the test record was not found"
            self._find("key", text, _KEY_FIX)
        # A field that no table has: either nothing comes, or rows that are told from ours by comparing them.
        odd = Display(key_field=NO_FIELD, display_field=NO_FIELD, display=self._at.marks.display)
        rows = await self._at.calls.rows(find_by_key(self._table, self._key, odd))
        if any(row.get(NO_FIELD) == self._key for row in rows):
            self._find("key", "the instance makes up fields that it does not have", "ask ServiceNow about it")

    async def note(self) -> None:
        call = self._call(EffectKind.COMMENT)
        marker = write_marker(call)
        await self._at.journal.write(self._table, self.sys_id, _TITLE, marker)
        if not await self._at.journal.holds(self._table, self.sys_id, marker):
            text = f"a note that was written to {self._table}.{self._at.journal.field} is not shown to us"
            self._find("note", text, "let our user read the field and sys_journal_field")

    async def end(self) -> None:
        for kind in _ENDS[self._type]:
            told = await self._at.translator.translate(self._call(kind))
            state = told.fields.get("state", "")
            row: RecordValues
            if self._table == CHANGES:
                row = await self._at.changes.write(self._call(kind), self.sys_id, told.fields, extra={})
            else:
                body = told.fields
                request = patch(self._table, self.sys_id, body, key_field=self._at.marks.key_field)
                row = await self._at.calls.record(request)
            if row.get("state") != state:
                self._find("end", f"{self._table}: state stayed {row.get('state')}, not {state}", _END_FIX)

    def _call(self, kind: EffectKind) -> DeskCall:
        return DeskCall(
            key=self._key,
            kind=kind,
            ticket=self._key,
            ticket_type=self._type.capitalize(),
            number=None,
            fields={"closeNotes": _TITLE} if kind is not EffectKind.COMMENT else {},
        )

    def _find(self, name: str, text: str, fix: str) -> None:
        self.findings.append(DeskFinding(name, "error", text, fix))
