"""The ticket document: one stream's live rows joined."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from ecproc.domain.log import Row
from ecproc.fold.recorded import decode_entry

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode

LISTS: Final = {
    "note": "notes",
    "attachment": "attachments",
    "approval": "approvals",
    "client_ticket": "client_tickets",
    "history": "history",
    "outbox": "effects",
    "anomaly": "anomalies",
}
"""Table to member; the rows come in the order of their ordinals."""
CAPPED: Final = ("history", "outbox", "anomaly")
"""Tables of which a document shows the newest entries only."""


def join_document(header: Row, rows: Mapping[str, Sequence[Row]], *, effects_count: int) -> bytes:
    """A ticket's document as JSON."""
    document: dict[str, Any] = _decode(header.data or b"{}")
    counts = {name: document.pop(name) for name in ("history_count", "anomalies_count")}
    for table, member in LISTS.items():
        document[member] = [_item(row) for row in rows.get(table, ())]
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
