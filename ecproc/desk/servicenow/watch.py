"""Watching a ServiceNow instance: its tables are read in rounds, and what changed is told.

Journals and files are asked for before records, and again for a record that changed since: Ensono takes nothing for a
ticket that has ended, so what was said of it must not come behind its end.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Sequence
from typing import Final

from ecproc.clock import Clock
from ecproc.config.servicenow import IMPORT, ServiceNowConfig, ServiceNowTables
from ecproc.config.watch import WatchConfig
from ecproc.desk.base import DeskRefused, DeskUnavailable, News, WatchPage
from ecproc.desk.servicenow.answers import read_answer, read_list
from ecproc.desk.servicenow.changes import TABLE as CHANGES
from ecproc.desk.servicenow.feed import (
    WIDE_PAGE,
    Heard,
    QueryIgnored,
    RoundCursor,
    RoundPage,
    TableMark,
    WatchedTable,
    ask,
    end_round,
    go_on,
    go_round,
    is_hidden,
    read_cursor,
    sort_rows,
    step_back,
    write_cursor,
    write_time,
)
from ecproc.desk.servicenow.heard import DECIDED
from ecproc.desk.servicenow.hearing import IDS_AT_ONCE, Handed, Hearing
from ecproc.desk.servicenow.instance import InstanceLink
from ecproc.desk.servicenow.query import EncodedQuery, is_sys_id
from ecproc.desk.servicenow.wire import (
    APPROVERS,
    JOURNALS,
    OWN_FIELDS,
    InstanceCall,
    RecordValues,
    list_rows,
    read_content,
)

ATTACHMENTS: Final = "sys_attachment"
_SECOND: Final = 1_000_000
_TARGETS: Final = ServiceNowTables()
_IGNORED_HINT: Final = "see whether our user may read the table and its sys_updated_on and sys_created_on"


class ServiceNowWatch:
    """The watch of an open desk's instance. `handed` tells which files we attach ourselves, `complain` hears of rows
    that our user may not see."""

    def __init__(
        self,
        instance: InstanceLink,
        config: ServiceNowConfig,
        tables: ServiceNowTables,
        options: WatchConfig,
        *,
        source: str,
        handed: Handed,
        complain: Callable[[str], None],
        clock: Clock,
    ) -> None:
        self._at = instance
        self._options = options
        self._source = source
        self._complain = complain
        self._clock = clock
        self._sources = list_sources(config, tables, instance, condition=options.query)
        self._hearing = Hearing(
            self._rows,
            instance.translator,
            instance.marks,
            source=source,
            user=config.username,
            notes_out=config.notes_out,
            handed=handed,
        )
        self._anew = False
        self._failed = ""
        self._horizon = ""
        """The instance's clock when the round began: what hangs on a record that changed before was read already."""

    @property
    def source(self) -> str:
        """The desk's configured name."""
        return self._source

    async def changes(self, cursor: str) -> WatchPage:
        """The next page that has any news; the end of a round has none. Raises DeskUnavailable.

        After a failure a new round is begun, which asks what failed last: one table that we may not read keeps no
        other from being heard of.
        """
        before = read_cursor(cursor)
        start = write_time(self._clock.now() - int(self._options.backfill_hours * 3600 * _SECOND))
        overlap = self._options.overlap
        state = go_round(before, self._sources, start=start, overlap=overlap, anew=self._anew)
        if self._anew or all(not mark.at for mark in before.tables.values()):
            self._horizon = ""
        self._anew = False
        news: list[News] = []
        for source in sorted(self._sources, key=lambda source: source.table == self._failed):
            while not (mark := state.tables[source.table]).done:
                try:
                    mark, news = await self._read_page(source, mark)
                except DeskUnavailable:
                    self._anew, self._failed = True, source.table
                    raise
                state = RoundCursor({**state.tables, source.table: mark})
                if news and not all(mark.done for mark in state.tables.values()):
                    return WatchPage(tuple(news), write_cursor(state), more=True)
        self._failed = ""
        return WatchPage(tuple(news), write_cursor(end_round(state)), more=False)

    async def read_again(self, records: Collection[str]) -> tuple[News, ...]:
        """The records of these sys_ids as they stand now, and before them what hangs on them: that was no news of
        anybody's while the record was nobody's yet. One that is gone has none. Raises DeskUnavailable."""
        left = [record for record in dict.fromkeys(records) if is_sys_id(record)]
        found: list[News] = []
        known: set[str] = set()
        for source in self._list(Heard.RECORD):
            for begin in range(0, len(left), IDS_AT_ONCE):
                group = left[begin : begin + IDS_AT_ONCE]
                query = EncodedQuery().one_of("sys_id", group)
                rows = await self._rows(list_rows(source.table, query, fields=source.fields, limit=len(group)))
                known.update(row["sys_id"] for row in rows)
                for each in self._list_hung() if rows else ():
                    found += await self._hearing.tell_hung(each, rows)
                found += await self._hearing.tell(source, rows)
            left = [record for record in left if record not in known]
        return tuple(found)

    async def fetch(self, file: str, write: Callable[[bytes], Awaitable[None]], most: int) -> None:
        """Give the content of an attachment. Raises DeskUnavailable, and DeskRefused where there is none, or more."""
        if not is_sys_id(file):
            raise DeskRefused("it has no content")
        request = read_content(file)
        seen = await self._at.session.copy(request, write, most)
        if seen.status == 404:
            raise DeskRefused("it is gone, or hidden from us")
        if seen.status != 200:
            read_answer(request, seen)
            raise DeskUnavailable(f"HTTP {seen.status} without content", sent=False, call=request.told)

    async def _read_page(self, source: WatchedTable, mark: TableMark) -> tuple[TableMark, list[News]]:
        """The mark behind the next page of a table, and its news."""
        limit = WIDE_PAGE if mark.wide else self._options.page
        request = list_rows(source.table, ask(source, mark), fields=(*source.fields, source.time), limit=limit)
        seen = await self._at.session.send(request)
        newest = write_time(seen.at if seen.date is None else seen.date)
        self._horizon = self._horizon or newest
        stepped = step_back(mark, newest, self._options.overlap)
        if stepped != mark:
            return stepped, []
        try:
            rows = sort_rows(source, mark, _judge(lambda: read_list(request, seen)))
        except QueryIgnored as ignored:
            raise DeskUnavailable(str(ignored), sent=False, hint=_IGNORED_HINT, call=request.told) from None
        total = _read_count(seen.total)
        has_next, is_whole = 'rel="next"' in (seen.links or ""), total is not None and total <= limit
        page = RoundPage(rows, has_next, newest, is_whole=is_whole and not has_next)
        if is_hidden(mark, page) or (not rows and not mark.behind and total and not has_next):
            self._complain(f"{source.table} has rows since {mark.at} that our user may not see")
        return go_on(source, mark, page), await self._tell(source, rows)

    async def _tell(self, source: WatchedTable, rows: Sequence[RecordValues]) -> list[News]:
        if source.heard is not Heard.RECORD:
            return await self._hearing.tell(source, rows)
        fresh = [row for row in rows if row[source.time] >= self._horizon]
        since = min((row[source.time] for row in fresh), default="")
        hung = [
            news
            for each in (self._list_hung() if fresh else ())
            for news in await self._hearing.tell_hung(each, fresh, since=since)
        ]
        return [*hung, *await self._hearing.tell(source, rows)]

    async def _rows(self, request: InstanceCall) -> list[RecordValues]:
        seen = await self._at.session.send(request)
        return _judge(lambda: read_list(request, seen))

    def _list(self, heard: Heard) -> list[WatchedTable]:
        return [source for source in self._sources if source.heard is heard]

    def _list_hung(self) -> list[WatchedTable]:
        return [source for source in self._sources if source.heard is not Heard.RECORD]


def list_sources(
    config: ServiceNowConfig, tables: ServiceNowTables, instance: InstanceLink, *, condition: str
) -> tuple[WatchedTable, ...]:
    """The tables to watch, in the order of a round."""
    records = tuple(_list_records(config, tables, instance, condition=condition))
    names = [source.table for source in records]
    return (*_list_notes(config.notes_out, names), _watch_files(names), *_list_approvals(config.approvals), *records)


def _list_records(
    config: ServiceNowConfig, tables: ServiceNowTables, instance: InstanceLink, *, condition: str
) -> Iterator[WatchedTable]:
    conditions = EncodedQuery().where_configured(condition) if condition else EncodedQuery()
    known: set[str] = set()
    for ticket_type in ("Incident", "Request", "Change"):
        table = tables.table_of(ticket_type)
        table = _TARGETS.table_of(ticket_type) if table.startswith(IMPORT) else table
        if table in known:
            continue
        known.add(table)
        asked = ("approval", "type") if table == CHANGES and config.approvals == "note" else ()
        marks = (config.key_field, config.display_field)
        fields = (*OWN_FIELDS, *marks, *instance.translator.list_heard(ticket_type), *asked)
        yield WatchedTable(
            table=table,
            heard=Heard.RECORD,
            time="sys_updated_on",
            fields=tuple(dict.fromkeys(fields)),
            conditions=conditions,
            ticket_type=ticket_type,
        )


def _list_notes(notes_out: Collection[str], tables: Iterable[str]) -> Iterator[WatchedTable]:
    if notes_out:
        yield WatchedTable(
            table=JOURNALS,
            heard=Heard.NOTE,
            time="sys_created_on",
            fields=("name", "element", "element_id", "value", "sys_created_by", "sys_created_on"),
            conditions=EncodedQuery().one_of("element", notes_out).one_of("name", [*tables]),
        )


def _watch_files(tables: Iterable[str]) -> WatchedTable:
    fields = ("table_name", "table_sys_id", "file_name", "content_type", "size_bytes", "hash")
    return WatchedTable(
        table=ATTACHMENTS,
        heard=Heard.FILE,
        time="sys_created_on",
        fields=(*fields, "sys_created_by", "sys_created_on"),
        conditions=EncodedQuery().one_of("table_name", [*tables]),
    )


def _list_approvals(approvals: str) -> Iterator[WatchedTable]:
    if approvals == "approver_record":
        fields = ("sysapproval", "sysapproval.number", "approver.email", "state", "source_table")
        yield WatchedTable(
            table=APPROVERS,
            heard=Heard.APPROVAL,
            time="sys_updated_on",
            fields=(*fields, "sys_mod_count", "sys_updated_on", "sys_updated_by"),
            conditions=EncodedQuery().one_of("state", [*DECIDED]),
        )


def _judge(read: Callable[[], list[RecordValues]]) -> list[RecordValues]:
    """What an answer lists; a poll that is refused is one that failed."""
    try:
        return read()
    except DeskRefused as refused:
        raise DeskUnavailable(str(refused), sent=False, hint=refused.hint, call=refused.call) from None


def _read_count(total: str | None) -> int | None:
    return int(total) if total and total.isascii() and total.isdecimal() and len(total) < 19 else None
