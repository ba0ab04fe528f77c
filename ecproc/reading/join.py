"""The document: a stream's header row joined with the rows of its lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from ecproc.domain.events import Scope
from ecproc.domain.log import Row
from ecproc.fold.recorded import decode_entry
from ecproc.reading.waiting import WaitingFor

_EVERY: Final = Scope(True)
"""Where nothing was decided about it, a ticket is in scope."""
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode

LISTS: Final[Mapping[str, Mapping[str, str]]] = {
    "ticket": {
        "note": "notes",
        "attachment": "attachments",
        "approval": "approvals",
        "client_ticket": "client_tickets",
        "history": "history",
        "outbox": "effects",
        "anomaly": "anomalies",
    },
    "subject": {"history": "history", "outbox": "effects", "anomaly": "anomalies"},
}
"""The table of a stream's header (`subject` for what is no ticket), and its document's lists: table to member.

Lists come in the order of their rows' ordinals.
"""
CAPPED: Final = ("history", "outbox", "anomaly")
"""Tables of which a document shows the newest entries only."""

_COUNTS: Final = ("history_count", "anomalies_count")
"""Members of a header that stand behind the lists they count."""


def join_document(
    header: Row, rows: Mapping[str, Sequence[Row]], *, effects_count: int, waiting_for: WaitingFor | None = None
) -> bytes:
    """A stream's document as JSON."""
    document: dict[str, Any] = _decode(header.data or b"{}")
    counts = {name: document.pop(name) for name in _COUNTS if name in document}
    for table, member in LISTS[header.table].items():
        document[member] = [_item(row) for row in rows.get(table, ())]
    if header.table == "ticket":
        document["scope"] = document.pop("scope", _EVERY)
        document["waiting_for"] = waiting_for
    return _encode({**document, **counts, "effects_count": effects_count})


def _item(row: Row) -> Any:
    if row.table != "outbox":
        return msgspec.Raw(row.data or b"null")
    entry = decode_entry(row.data or b"")
    return {
        "key": entry.effect.key,
        "kind": entry.effect.kind,
        "state": entry.state,
        "attempts": entry.attempts,
    }
