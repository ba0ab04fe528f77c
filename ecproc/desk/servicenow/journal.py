"""Notes in a record's journal: each written once, and known again by the marker that is its last line."""

from __future__ import annotations

from typing import Final

from ecproc.desk.base import DeskUnavailable
from ecproc.desk.servicenow.answers import gone
from ecproc.desk.servicenow.calls import Calls, before_writing
from ecproc.desk.servicenow.texts import has_marker, names_marker, write_note
from ecproc.desk.servicenow.wire import RecordValues, comment, read_journal, read_journal_text

_FORBIDDEN: Final = "403"
_MOST_NOTED: Final = 10_000
_HINT: Final = (
    "let our user read sys_journal_field; until then look whether the note stands at the client ticket:"
    " if not, retry the entry, else discard it"
)


class RecordJournal:
    """The journals of the instance's records, one field of each."""

    def __init__(self, calls: Calls, field: str) -> None:
        self.field = field
        self._calls = calls
        self._noted: dict[str, None] = {}

    async def write(self, table: str, sys_id: str, text: str, marker: str) -> RecordValues:
        """Add a note. A repeat would add it again: look first."""
        row = await self._calls.record(comment(table, sys_id, self.field, write_note(text, marker)))
        self.note_written(sys_id)
        return row

    def note_written(self, sys_id: str) -> None:
        """Remember that this record's journal has an entry: an empty one is hidden from us then."""
        self._noted[sys_id] = None
        while len(self._noted) > _MOST_NOTED:
            del self._noted[next(iter(self._noted))]

    async def holds(self, table: str, sys_id: str, marker: str) -> bool:
        """Whether the note is there. Raises DeskUnavailable where nobody can tell, DeskRefused for a missing record."""
        entries: list[RecordValues] = []
        try:
            entries = await self._calls.rows(read_journal(sys_id, self.field))
        except DeskUnavailable as error:
            if error.call.get("status") != _FORBIDDEN:
                raise
        entries = [entry for entry in entries if entry.get("value")]
        if entries:
            return any(has_marker(entry["value"], marker) for entry in entries)
        return await self._holds_in_text(table, sys_id, marker)

    async def must_write(self, table: str, sys_id: str, marker: str) -> bool:
        """Whether a note that goes along with a change is still to be written; asked before anything is sent."""
        try:
            return not await self.holds(table, sys_id, marker)
        except DeskUnavailable as error:
            raise before_writing(error) from None

    async def _holds_in_text(self, table: str, sys_id: str, marker: str) -> bool:
        """The same, of the journal as the record shows it. No entries may mean that they are hidden from us."""
        request = read_journal_text(table, sys_id, self.field)
        shown = await self._calls.result(request)
        if not isinstance(shown, dict):
            raise gone(request, None, "the client ticket's record is not there")
        value = shown.get(self.field)
        text = value.get("display_value", "") if isinstance(value, dict) else value
        if not isinstance(text, str) or (not text and (sys_id in self._noted or value is None)):
            raise DeskUnavailable(
                f"nobody can tell whether the note was written: {self.field} and sys_journal_field are hidden from us",
                sent=False,
                hint=_HINT,
                call=request.told,
            )
        return names_marker(text, marker)
