"""The Change Management API: a change's next states, its conflicts, and changes themselves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ecproc.simulator.exchange import HttpRequest, Reply
from ecproc.simulator.servicenow.answers import NO_RECORD, NO_SUCH_METHOD, Denial, deny, give
from ecproc.simulator.servicenow.database import write_time
from ecproc.simulator.servicenow.display import BOTH, Renderer
from ecproc.simulator.servicenow.instance import Author, Instance
from ecproc.simulator.servicenow.query import FieldValues
from ecproc.simulator.servicenow.states import describe_next_states
from ecproc.simulator.servicenow.tables import read_record

TABLE: Final = "change_request"
TYPES: Final = ("normal", "emergency", "standard")
RUNNING, DONE = "1", "2"


class ChangeApi:
    """Answers `/api/sn_chg_rest/change…`; a record's values are shown as they are and as people read them."""

    def __init__(self, instance: Instance, renderer: Renderer) -> None:
        self._instance = instance
        self._renderer = renderer
        self._checks: dict[str, float] = {}

    def answer(self, request: HttpRequest, parts: Sequence[str], author: Author) -> Reply:
        """Answer one call; `parts` are what follows `change/` in the path."""
        match request.method, parts:
            case "POST", []:
                return self._create(request, {}, author)
            case "POST", [("normal" | "emergency") as kind]:
                return self._create(request, {"type": kind}, author)
            case "POST", ["standard", template]:
                return self._create(request, {"type": "standard", "std_change_producer_version": template}, author)
            case _, [sys_id, *rest] if sys_id not in TYPES:
                row = self._instance.database.get(TABLE, sys_id)
                return deny(NO_RECORD) if row is None else self._answer_one(request, row, rest, author)
            case _:
                return deny(NO_SUCH_METHOD)

    def _answer_one(self, request: HttpRequest, row: FieldValues, rest: Sequence[str], author: Author) -> Reply:
        match request.method, rest:
            case "GET", []:
                return give(self._renderer.show(TABLE, row, BOTH))
            case "PATCH", []:
                return self._change(request, row, author)
            case "GET", ["nextstates"]:
                return give(describe_next_states(row))
            case "POST", ["conflict"]:
                self._checks[row["sys_id"]] = author.now
                return give(self._describe_check(row, author.now))
            case "GET", ["conflict"]:
                return give(self._describe_check(row, author.now))
            case _:
                return deny(NO_SUCH_METHOD)

    def _create(self, request: HttpRequest, fixed: dict[str, object], author: Author) -> Reply:
        body = read_record(request)
        row = body if isinstance(body, Denial) else self._instance.create(TABLE, {**body, **fixed}, author)
        return deny(row) if isinstance(row, Denial) else give(self._renderer.show(TABLE, row, BOTH))

    def _change(self, request: HttpRequest, row: FieldValues, author: Author) -> Reply:
        body = read_record(request)
        changed = body if isinstance(body, Denial) else self._instance.change(TABLE, row["sys_id"], body, author)
        return deny(changed) if isinstance(changed, Denial) else give(self._renderer.show(TABLE, changed, BOTH))

    def _describe_check(self, row: FieldValues, now: float) -> dict[str, object]:
        """Give the documented answer; its status says Conflict once it has run, whether there are any or not."""
        started = self._checks.get(row["sys_id"])
        if started is None:
            return {"status": "Not Run", "last_run": "", "record_count": "0", "job_status": "0", "conflicts": []}
        is_done = now >= started + self._instance.config.conflict_seconds
        conflicts = self._find_conflicts(row) if is_done else []
        return {
            "status": "Conflict",
            "last_run": write_time(started),
            "record_count": "1",
            "job_status": DONE if is_done else RUNNING,
            "conflicts": conflicts,
        }

    def _find_conflicts(self, row: FieldValues) -> list[dict[str, object]]:
        """Give the other changes at the same item whose planned times overlap."""
        start, end, item = (row.get(name, "") for name in ("start_date", "end_date", "cmdb_ci"))
        if not (start and end and item):
            return []
        others = self._instance.database.stores[TABLE].rows.values()
        return [
            {
                "change": {"display_value": row["number"], "value": row["sys_id"]},
                "conflicting_change": {"display_value": other["number"], "value": other["sys_id"]},
                "type": {"display_value": "CI Already Scheduled", "value": "ci_already_scheduled"},
            }
            for other in others
            if other["sys_id"] != row["sys_id"]
            and (other.get("active"), other.get("cmdb_ci")) == ("true", item)
            and other.get("start_date", "") < end
            and other.get("end_date", "") > start
        ]
