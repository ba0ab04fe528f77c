"""The Attachment API: `/api/now/attachment[/file | /{sys_id}[/file]]`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Final

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
from ecproc.simulator.servicenow.display import Renderer, ShowOptions, read_param
from ecproc.simulator.servicenow.faults import InstanceFault
from ecproc.simulator.servicenow.instance import Author, Instance
from ecproc.simulator.servicenow.query import FieldValues
from ecproc.simulator.servicenow.tables import NO_CONTENT, TableApi, read_params

TABLE: Final = "sys_attachment"
DEFAULT_LIMIT: Final = 1000
SHOWN: Final = ShowOptions(
    fields=(
        "table_sys_id",
        "size_bytes",
        "sys_updated_on",
        "sys_id",
        "image_height",
        "sys_created_on",
        "file_name",
        "sys_created_by",
        "compressed",
        "average_image_color",
        "sys_updated_by",
        "sys_tags",
        "table_name",
        "image_width",
        "sys_mod_count",
        "content_type",
        "size_compressed",
    )
)
"""What the documentation lists; the hash is on the table alone."""


class AttachmentApi:
    """Takes files, lists them, and gives them back."""

    def __init__(self, instance: Instance, renderer: Renderer, tables: TableApi) -> None:
        self._instance = instance
        self._renderer = renderer
        self._tables = tables

    def answer(self, request: HttpRequest, parts: Sequence[str], author: Author) -> Reply:
        """Answer one call; `parts` are what follows `attachment/` in the path."""
        match request.method, parts:
            case "GET", []:
                return self._list(request, author)
            case "POST", ["file"]:
                return self._take(request, author)
            case (("GET" | "DELETE"), [sys_id, *rest]) if rest in ([], ["file"]):
                row = self._tables.see(TABLE, sys_id, author.suffered)
                return deny(NO_RECORD) if row is None else self._answer_one(request.method, row, has_rest=bool(rest))
            case _:
                return deny(NO_SUCH_METHOD)

    def _answer_one(self, method: str, row: FieldValues, *, has_rest: bool) -> Reply:
        sys_id = row["sys_id"]
        if method == "DELETE":
            return NO_CONTENT if not has_rest and self._instance.remove(TABLE, sys_id) else deny(NO_SUCH_METHOD)
        if not has_rest:
            return give(self._show(row))
        content_type = row["content_type"].encode("ascii", "ignore").decode() or "application/octet-stream"
        return Reply(status=200, body=self._instance.contents.get(sys_id, b""), content_type=content_type)

    def _list(self, request: HttpRequest, author: Author) -> Reply:
        params = read_params(request)
        selected = self._tables.select(TABLE, params, author.suffered, DEFAULT_LIMIT)
        if isinstance(selected, Denial):
            return deny(selected)
        rows, page = selected
        headers = self._tables.page_headers(request, params, page)
        return give([self._show(row) for row in rows], headers=headers)

    def _take(self, request: HttpRequest, author: Author) -> Reply:
        params = read_params(request)
        table, sys_id, name = (read_param(params, key) for key in ("table_name", "table_sys_id", "file_name"))
        denied = self._check(request, table, sys_id, name, author)
        if denied is not None:
            return deny(denied)
        content_type = request.headers["content-type"]
        row = self._instance.attach((table, sys_id), name, request.body, content_type, author)
        location = f"{self._renderer.url_base}/api/now/v1/attachment/{row['sys_id']}"
        return give(self._show(row), 201, (("location", location),))

    def _check(self, request: HttpRequest, table: str, sys_id: str, name: str, author: Author) -> Denial | None:
        config = self._instance.config
        if not (table and sys_id and name):
            return refuse_request("Missing parameter", "table_name, table_sys_id and file_name are mandatory")
        if "content-type" not in request.headers:
            return refuse_request("Content-Type is missing", "The request names no type of the file")
        if table not in self._instance.database.schemas or self._instance.database.get(table, sys_id) is None:
            return NO_RECORD
        if author.suffered.has(InstanceFault.ABORT_RULE):
            return forbid_by_rule(TABLE)
        if not request.body:
            return refuse_request("Failed to create the attachment", "File part might be missing in the request")
        if len(request.body) > config.max_attachment_bytes:
            limit = config.max_attachment_bytes
            return Denial(413, "Failed to create the attachment", f"File size exceeds the limit of {limit} bytes")
        extension = PurePosixPath(name).suffix.lower().removeprefix(".")
        if config.allowed_extensions and extension not in config.allowed_extensions:
            return refuse_request("Failed to create the attachment", f"File type is not allowed: {extension[:20]}")
        return None

    def _show(self, row: FieldValues) -> dict[str, object]:
        shown = self._renderer.show(TABLE, row, SHOWN)
        link = f"{self._renderer.url_base}/api/now/attachment/{row['sys_id']}/file"
        return {**shown, "download_link": link}
