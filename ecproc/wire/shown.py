"""The answer to reading a ticket (R124, R125): what of it the queue's messages have too, under their names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ecproc.wire.lenient import DECODE_ERRORS, decode_json, fold_names, scalar_text

_NAMES: Final[Mapping[str, str]] = {
    "state": "status",
    "xaitodatasyncclientnumber": "clientTicketNumber",
    "shortdescription": "shortDescription",
    "description": "description",
    "priority": "priority",
    "impact": "impact",
    "urgency": "urgency",
    "closenotes": "closeNotes",
}
"""From the record's names, folded, to the guide's in messages."""
_RECORDS: Final = ("case", "incident")
"""Where the same record stands, the better place first."""


def read_shown(body: bytes) -> dict[str, str] | None:
    """The fields of a ticket that Ensono shows, by the names that messages give them; None if it is no such answer.
    What is empty there is left out."""
    try:
        answer: Any = decode_json(body).value
    except DECODE_ERRORS:
        return None
    response = fold_names(answer).get("response") if isinstance(answer, dict) else None
    records = fold_names(response) if isinstance(response, dict) else {}
    record = next((found for name in _RECORDS if isinstance(found := records.get(name), dict)), None)
    if record is None:
        return None
    told = {name: scalar_text(value) for name, value in fold_names(record).items()}
    return {guide: text for name, guide in _NAMES.items() if (text := (told.get(name) or "").strip())}
