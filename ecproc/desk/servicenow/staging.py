"""Import sets: rows put into a staging table, whose transform map makes a record of them or finds it by our key."""

from __future__ import annotations

from typing import Final

from ecproc.desk.base import DeskCall, DeskRefused, DeskUnavailable
from ecproc.desk.servicenow.answers import read_answer
from ecproc.desk.servicenow.session import InstanceSession
from ecproc.desk.servicenow.wire import RecordValues, import_row, read_rows

_STORED: Final = frozenset({"inserted", "updated", "ignored"})
_HINT: Final = "see the transform map and the import set's log at the instance, then ecproc outbox retry"


async def put(session: InstanceSession, staging: str, body: RecordValues, call: DeskCall) -> RecordValues:
    """Put a row in; `sys_id` and `number` of what the map made of it. Doing it again finds the same record.

    Its own `status` says what became of it, and not the HTTP status. Raises DeskUnavailable and DeskRefused.
    """
    request = import_row(staging, body)
    found = read_rows(read_answer(request, await session.send(request)))
    told = {**request.told}
    if not found:
        raise DeskUnavailable("the import set's answer tells of no row", sent=True, call=told)
    failed = next((row for row in found if row.get("status") not in _STORED), None)
    if failed is not None:
        words = " ".join(failed.get("error_message", "").split())[:300]
        raise DeskRefused(
            f"the transform map failed: {words or failed.get('status')}", final=True, hint=_HINT, call=told
        )
    row = next((row for row in found if row.get("sys_id")), None)
    if row is None:
        raise DeskRefused("the transform map ignored the row", final=True, hint=_HINT, call=told)
    return {"sys_id": row["sys_id"], "number": row.get("display_value") or call.number or "", "state": ""}
