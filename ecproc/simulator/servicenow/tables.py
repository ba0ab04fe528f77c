"""The Table API: `/api/now/table/{table}[/{sys_id}]`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import parse_qs

import msgspec

from ecproc.simulator.exchange import HttpRequest, Reply
from ecproc.simulator.servicenow.answers import (
    NO_RECORD,
    NO_SUCH_METHOD,
    Denial,
    deny,
    forbid_by_rule,
    give,
    refuse_request,
)
from ecproc.simulator.servicenow.display import Params, Renderer, read_options, read_param
from ecproc.simulator.servicenow.faults import InstanceFault, Suffered
from ecproc.simulator.servicenow.instance import Author, Instance
from ecproc.simulator.servicenow.query import SCRIPT, FieldValues, ParsedQuery

DEFAULT_LIMIT: Final = 10_000
NO_CONTENT: Final = Reply(status=204)


class Page(msgspec.Struct, frozen=True):
    """Which part of what a query found is shown."""

    limit: int
    offset: int
    total: int


def read_params(request: HttpRequest) -> Params:
    """Give the parameters of a request's query."""
    return parse_qs(request.query, keep_blank_values=True)


def read_record(request: HttpRequest) -> Mapping[str, object] | Denial:
    """Read a write's body; of several records the first one counts, and the others are ignored without a word."""
    content_type = request.headers.get("content-type", "")
    if not request.body:
        return {}  # the vendor's own client makes an empty record like that, without naming a format
    if not content_type:
        return refuse_request("Content-Type is missing", "The request names no format of its body")
    if "json" not in content_type:
        return Denial(415, "Unsupported media type", f"The body is not taken as {content_type[:80]}")
    try:
        body = msgspec.json.decode(request.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return refuse_request("Exception while reading request", "The payload is not valid JSON")
    if isinstance(body, dict) and isinstance(body.get("records"), list):
        body = body["records"]
    if isinstance(body, list):
        body = body[0] if body else {}
    return body if isinstance(body, dict) else refuse_request("Exception while reading request", "No object")


class TableApi:
    """Reads and writes records as the documentation says, and no more than that."""

    def __init__(self, instance: Instance, renderer: Renderer) -> None:
        self._instance = instance
        self._renderer = renderer

    def answer(self, request: HttpRequest, parts: Sequence[str], author: Author, *, version: str = "") -> Reply:
        """Answer one call; `parts` are what follows `table/` in the path."""
        table = parts[0] if parts else ""
        if table not in self._instance.database.schemas:
            return deny(refuse_request(f"Invalid table {table[:80]}"))
        params = read_params(request)
        match request.method, parts[1:]:
            case "GET", []:
                return self._list(request, table, params, author.suffered, version)
            case "GET", [sys_id]:
                row = self.see(table, sys_id, author.suffered)
                return deny(NO_RECORD) if row is None else self._give(table, row, params)
            case "POST", []:
                return self._create(request, table, params, author)
            case (("PUT" | "PATCH"), [sys_id]):
                return self._change(request, table, sys_id, params, author)
            case "DELETE", [sys_id]:
                return self._remove(table, sys_id, author.suffered)
            case _:
                return deny(NO_SUCH_METHOD)

    def select(
        self, table: str, params: Params, suffered: Suffered, limit: int
    ) -> tuple[list[FieldValues], Page] | Denial:
        """Give the visible rows of the page that is asked for. The limit counts hidden rows too."""
        try:
            asked = int(read_param(params, "sysparm_limit") or limit)
            offset = int(read_param(params, "sysparm_offset") or 0)
        except ValueError:
            return refuse_request("Pagination not supported", "sysparm_limit and sysparm_offset are numbers")
        if asked < 0 or offset < 0:
            return refuse_request("Pagination not supported", "sysparm_limit and sysparm_offset are not negative")
        found = self._find(table, read_param(params, "sysparm_query"))
        page = found[offset : offset + asked]
        return [row for row in page if self._is_seen(table, row, suffered)], Page(asked, offset, len(found))

    def see(self, table: str, sys_id: str, suffered: Suffered) -> FieldValues | None:
        """Give a row, None where there is none or the caller may not see it."""
        row = self._instance.database.get(table, sys_id)
        return row if row is not None and self._is_seen(table, row, suffered) else None

    def page_headers(self, request: HttpRequest, params: Params, page: Page) -> tuple[tuple[str, str], ...]:
        """Give X-Total-Count and Link, unless they are not wanted."""
        headers: tuple[tuple[str, str], ...] = ()
        if read_param(params, "sysparm_no_count") != "true":
            headers += (("x-total-count", str(page.total)),)
        if read_param(params, "sysparm_suppress_pagination_header") != "true" and page.limit:
            links = self._list_links(request, page)
            headers += (("link", ",".join(f'<{url}>;rel="{name}"' for name, url in links)),)
        return headers

    def _list(self, request: HttpRequest, table: str, params: Params, suffered: Suffered, version: str) -> Reply:
        selected = self.select(table, params, suffered, DEFAULT_LIMIT)
        if isinstance(selected, Denial):
            return deny(selected)
        rows, page = selected
        if version == "v1" and not rows:
            return deny(NO_RECORD)
        options = read_options(params)
        shown = [self._renderer.show(table, row, options) for row in rows]
        return give(shown, headers=self.page_headers(request, params, page))

    def _find(self, table: str, text: str) -> list[FieldValues]:
        database = self._instance.database
        if SCRIPT in text.lower():
            self._instance.ledger.scripts += 1
        query = database.parse(table, text) if text else ParsedQuery()
        if query.ignored and self._instance.config.invalid_query_returns_no_rows:
            return []
        return database.find(table, query)

    def _list_links(self, request: HttpRequest, page: Page) -> list[tuple[str, str]]:
        kept = [part for part in request.query.split("&") if not part.startswith(("sysparm_offset=", "sysparm_limit="))]
        base = f"{self._renderer.url_base}{request.path}?" + "&".join(
            [*filter(None, kept), f"sysparm_limit={page.limit}"]
        )
        offsets = {"first": 0}
        if page.offset + page.limit < page.total:
            offsets["next"] = page.offset + page.limit
        if page.offset:
            offsets["prev"] = max(0, page.offset - page.limit)
        offsets["last"] = max(0, (page.total - 1) // page.limit * page.limit)
        return [(name, f"{base}&sysparm_offset={offset}") for name, offset in offsets.items()]

    def _create(self, request: HttpRequest, table: str, params: Params, author: Author) -> Reply:
        body = read_record(request)
        row = body if isinstance(body, Denial) else self._instance.create(table, body, author)
        if isinstance(row, Denial):
            return deny(row)
        location = (("location", self._renderer.link(table, row["sys_id"])),)
        return give(self._renderer.show(table, row, read_options(params)), 201, location)

    def _change(self, request: HttpRequest, table: str, sys_id: str, params: Params, author: Author) -> Reply:
        body = read_record(request)
        if isinstance(body, Denial):
            return deny(body)
        if self.see(table, sys_id, author.suffered) is None:
            return deny(NO_RECORD)
        row = self._instance.change(table, sys_id, body, author)
        return deny(row) if isinstance(row, Denial) else self._give(table, row, params)

    def _remove(self, table: str, sys_id: str, suffered: Suffered) -> Reply:
        if suffered.has(InstanceFault.ABORT_RULE):
            return deny(forbid_by_rule(table))
        is_seen = self.see(table, sys_id, suffered) is not None
        return NO_CONTENT if is_seen and self._instance.remove(table, sys_id) else deny(NO_RECORD)

    def _give(self, table: str, row: FieldValues, params: Params) -> Reply:
        return give(self._renderer.show(table, row, read_options(params)))

    def _is_seen(self, table: str, row: FieldValues, suffered: Suffered) -> bool:
        rule = suffered.get(InstanceFault.ACL_HIDE) if suffered.rules else None
        return rule is None or self._instance.database.stores[table].ordinals[row["sys_id"]] % rule.every != 0
