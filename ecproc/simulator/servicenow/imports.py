"""The Import Set API: `/api/now/import/{staging table}`, transformed at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from ecproc.simulator.exchange import HttpRequest, Reply
from ecproc.simulator.servicenow.answers import NO_RECORD, NO_SUCH_METHOD, Denial, deny, refuse_request
from ecproc.simulator.servicenow.display import Renderer
from ecproc.simulator.servicenow.instance import Author, Instance
from ecproc.simulator.servicenow.query import FieldValues
from ecproc.simulator.servicenow.rules import write_value
from ecproc.simulator.servicenow.settings import StagingTable
from ecproc.simulator.servicenow.tables import read_record

_FIRST_SET: Final = 10_001


class ImportApi:
    """Takes rows into staging tables; the `status` of each says what became of it, and the HTTP status does not."""

    def __init__(self, instance: Instance, renderer: Renderer) -> None:
        self._instance = instance
        self._renderer = renderer
        self._done: dict[str, dict[str, object]] = {}

    def answer(self, request: HttpRequest, parts: Sequence[str], author: Author) -> Reply:
        """Answer one call; `parts` are what follows `import/` in the path."""
        staging = self._instance.config.staging.get(parts[0]) if parts else None
        if staging is None:
            return deny(refuse_request(f"Invalid staging table {parts[0][:80] if parts else ''}"))
        match request.method, parts[1:]:
            case "POST", []:
                body = read_record(request)
                return deny(body) if isinstance(body, Denial) else self._import(parts[0], staging, body, author)
            case "GET", [sys_id]:
                document = self._done.get(sys_id)
                return deny(NO_RECORD) if document is None else Reply(status=200, body=msgspec.json.encode(document))
            case _:
                return deny(NO_SUCH_METHOD)

    def _import(self, name: str, staging: StagingTable, body: Mapping[str, object], author: Author) -> Reply:
        values = {column.removeprefix("u_"): write_value(value) for column, value in body.items()}
        result = self._transform(staging, values, author)
        document: dict[str, object] = {
            "import_set": f"ISET{_FIRST_SET + len(self._done):07d}",
            "staging_table": name,
            "result": [result],
        }
        sys_id = self._instance.database.make_id()
        self._done[sys_id] = document
        location = f"{self._renderer.url_base}/api/now/import/{name}/{sys_id}"
        return Reply(status=201, body=msgspec.json.encode(document), headers=(("location", location),))

    def _transform(self, staging: StagingTable, values: Mapping[str, object], author: Author) -> dict[str, object]:
        found = self._find(staging, str(values.get(staging.coalesce, "")))
        count = found.get("sys_mod_count") if found else None
        if found is None:
            row = self._instance.create(staging.target, values, author)
        else:
            row = self._instance.change(staging.target, found["sys_id"], values, author)
        common: dict[str, object] = {"transform_map": staging.transform_map, "table": staging.target}
        if isinstance(row, Denial):
            return {**common, "status": "error", "error_message": row.detail or row.message}
        is_same = found is not None and row["sys_mod_count"] == count
        display = self._instance.database.schemas[staging.target].display
        return {
            **common,
            "display_name": display,
            "display_value": row.get(display, ""),
            "record_link": self._renderer.link(staging.target, row["sys_id"]),
            "status": "inserted" if found is None else "ignored" if is_same else "updated",
            "sys_id": row["sys_id"],
        }

    def _find(self, staging: StagingTable, key: str) -> FieldValues | None:
        """Give the row that the key stands for; an empty one stands for none."""
        found = self._instance.database.stores[staging.target].find_by(staging.coalesce, key) if key else []
        return found[0] if found else None
