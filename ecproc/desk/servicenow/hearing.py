"""What the rows of watched tables tell: records, and the notes, files and answers that hang on them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from typing import Final, TypeAlias, assert_never

from ecproc.desk.base import News, StoredFile
from ecproc.desk.servicenow.changes import TABLE as CHANGES
from ecproc.desk.servicenow.feed import Heard, WatchedTable
from ecproc.desk.servicenow.fields import Translator
from ecproc.desk.servicenow.heard import (
    DECIDED,
    is_own_file,
    is_own_note,
    tell_decision,
    tell_file,
    tell_note,
    tell_record,
)
from ecproc.desk.servicenow.query import EncodedQuery, is_sys_id
from ecproc.desk.servicenow.references import ReadRows
from ecproc.desk.servicenow.texts import shorten
from ecproc.desk.servicenow.wire import Display, RecordValues, list_rows, read_journal
from ecproc.domain.anomalies import Anomaly
from ecproc.domain.external import ExternalDecision
from ecproc.domain.remarks import Remark

Handed: TypeAlias = Callable[[str], Awaitable[Collection[StoredFile]]]
"""The files of Ensono's ticket that has this client ticket: we attach them there ourselves."""

IDS_AT_ONCE: Final = 100
"""Records that one query names."""
_MOST_NUMBERS: Final = 100_000
_MOST_HUNG: Final = 10_000
_NORMAL: Final = "normal"
"""The kind of change that is approved."""


class Hearing:
    """Makes news of rows. `user` is our own at the instance, empty where nobody told."""

    def __init__(
        self,
        read: ReadRows,
        translator: Translator,
        marks: Display,
        *,
        source: str,
        user: str,
        notes_out: Sequence[str],
        handed: Handed,
    ) -> None:
        self._read = read
        self._translator = translator
        self._marks = marks
        self._source = source
        self._user = user
        self._notes_out = notes_out
        self._handed = handed
        self._numbers: dict[str, str] = {}

    async def tell(self, source: WatchedTable, rows: Sequence[RecordValues]) -> list[News]:
        """The news of a table's rows, in their order. Raises DeskUnavailable."""
        match source.heard:
            case Heard.RECORD:
                return [news for row in rows for news in await self._tell_record(source, row)]
            case Heard.NOTE:
                return await self._tell_notes(rows)
            case Heard.FILE:
                return await self._tell_files(rows)
            case Heard.APPROVAL:
                return await self._tell_approvals(rows)
            case heard:
                assert_never(heard)

    async def tell_hung(self, source: WatchedTable, records: Iterable[RecordValues], *, since: str = "") -> list[News]:
        """The news of a table that hang on these records, or those from some time on. Raises DeskUnavailable."""
        field = {Heard.NOTE: "element_id", Heard.FILE: "table_sys_id"}.get(source.heard, "sysapproval")
        found: list[News] = []
        for ids in _in_groups(row["sys_id"] for row in records):
            query = source.conditions.one_of(field, ids)
            query = query.since(source.time, since) if since else query
            query = query.ordered_by(source.time).ordered_by("sys_id")
            rows = await self._read(list_rows(source.table, query, fields=source.fields, limit=_MOST_HUNG))
            found += await self.tell(source, rows)
        return found

    async def _tell_record(self, source: WatchedTable, row: RecordValues) -> list[News]:
        number = row.get("number", "")
        if not number:
            return []
        self._know({row["sys_id"]: number})
        is_ours = row.get(self._marks.display_field) == self._marks.display
        key = row.get(self._marks.key_field, "") if is_ours else ""
        ticket = key.rpartition(":")[0]
        inbound = self._translator.hear(source.ticket_type, row, ticket=ticket)
        remarks = tuple(
            Remark(Anomaly.UNMAPPED, f"{one.type}.{one.field}: {shorten(one.value)!r}")
            for one in inbound.unmapped
            if one.reported
        )
        record = tell_record(
            row, inbound, key=key, source=self._source, mapping=self._translator.mapping_hash, remarks=remarks
        )
        return [record, *await self._tell_own_decision(source, row)]

    async def _tell_own_decision(self, source: WatchedTable, row: RecordValues) -> list[News]:
        """What a change itself says of its approval, where its approvers are not asked one by one."""
        approved = DECIDED.get(row.get("approval", ""))
        if "approval" not in source.fields or approved is None or row.get("type") != _NORMAL:
            return []
        reason = "" if approved else await self._find_reason(row["sys_id"], self._notes_out)
        decision = ExternalDecision(approved, row.get("sys_updated_by", ""), reason)
        return [tell_decision(row, row["number"], row["sys_id"], decision, source=self._source)]

    async def _find_reason(self, sys_id: str, journals: Sequence[str]) -> str:
        """The newest words of a person's at a change, or at the record of an approver."""
        for field in journals:
            for entry in await self._read(read_journal(sys_id, field)):
                if not is_own_note(entry, self._user) and entry.get("value", "").strip():
                    return entry["value"]
        return ""

    async def _tell_notes(self, rows: Sequence[RecordValues]) -> list[News]:
        told = [row for row in rows if row.get("element") in self._notes_out and not is_own_note(row, self._user)]
        numbers = await self._find_numbers((row.get("name", ""), row.get("element_id", "")) for row in told)
        return [
            tell_note(row, numbers[row["element_id"]], source=self._source)
            for row in told
            if row.get("element_id") in numbers
        ]

    async def _tell_files(self, rows: Sequence[RecordValues]) -> list[News]:
        numbers = await self._find_numbers((row.get("table_name", ""), row.get("table_sys_id", "")) for row in rows)
        handed = {number: await self._handed(number) for number in dict.fromkeys(numbers.values())}
        return [
            tell_file(row, number, source=self._source)
            for row in rows
            if (number := numbers.get(row.get("table_sys_id", ""))) and not is_own_file(row, handed[number])
        ]

    async def _tell_approvals(self, rows: Sequence[RecordValues]) -> list[News]:
        decided = [row for row in rows if row.get("state") in DECIDED and row.get("sysapproval.number")]
        found = []
        for row in decided:
            if row.get("source_table", "") not in ("", CHANGES):
                continue
            approved, number = DECIDED[row["state"]], row["sysapproval.number"]
            reason = "" if approved else await self._find_reason(row["sys_id"], ("comments",))
            decision = ExternalDecision(approved, row.get("approver.email", ""), reason)
            found.append(tell_decision(row, number, row.get("sysapproval", ""), decision, source=self._source))
        return found

    async def _find_numbers(self, records: Iterable[tuple[str, str]]) -> dict[str, str]:
        """The numbers of these records, given by table and sys_id, as far as we may see them."""
        wanted = {sys_id: table for table, sys_id in records if is_sys_id(sys_id)}
        unknown: defaultdict[str, list[str]] = defaultdict(list)
        for sys_id, table in wanted.items():
            if sys_id not in self._numbers:
                unknown[table].append(sys_id)
        found = {sys_id: self._numbers[sys_id] for sys_id in wanted if sys_id in self._numbers}
        for table, ids in unknown.items():
            for group in _in_groups(ids):
                query = EncodedQuery().one_of("sys_id", group)
                rows = await self._read(list_rows(table, query, fields=("number",), limit=len(group)))
                read = {row["sys_id"]: row["number"] for row in rows if row.get("number") and row["sys_id"] in wanted}
                self._know(read)
                found |= read
        return found

    def _know(self, numbers: dict[str, str]) -> None:
        self._numbers |= numbers
        while len(self._numbers) > _MOST_NUMBERS:
            del self._numbers[next(iter(self._numbers))]


def _in_groups(ids: Iterable[str]) -> list[list[str]]:
    known = list(dict.fromkeys(ids))
    return [known[begin : begin + IDS_AT_ONCE] for begin in range(0, len(known), IDS_AT_ONCE)]
