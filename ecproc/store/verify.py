"""What holds of a sound log whatever keeps it: each event follows from the one before, and the anchor is among them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from ecproc.store.base import Damage, Head
from ecproc.store.chain import link, payload_hash

_COLUMN_TYPES: Final = (
    (int,),
    (str,),
    (int,),
    (int,),
    (int,),
    (str,),
    (bytes, type(None)),
    (bytes,),
    (bytes,),
    (bytes,),
)


class _EventRow(NamedTuple):
    """An event with all that is kept of it, in the order of its columns (see `plan.EventRow`)."""

    position: int
    stream: str
    version: int
    prev: int
    at: int
    kind: str
    message_key: bytes | None
    payload: bytes
    payload_hash: bytes
    hash: bytes


def check_event(row: Sequence[object], before: Head) -> Damage | None:
    """Whether a row of the event table is the event that follows `before`, as it was written."""
    position = before.position + 1
    if row[0] != position:
        return Damage(position, "the event is missing")
    if not all(isinstance(value, types) for value, types in zip(row, _COLUMN_TYPES, strict=True)):
        return Damage(position, "a column holds a value of another type")
    event = _EventRow(*row)  # type: ignore[arg-type]  # as was just seen
    if payload_hash(event.payload) != event.payload_hash:
        return Damage(position, "the payload is not the one that was written")
    linked = link(
        before.hash,
        position,
        at=event.at,
        kind=event.kind,
        stream=event.stream,
        version=event.version,
        message_key=event.message_key,
        payload_hash=event.payload_hash,
    )
    if linked != event.hash:
        return Damage(position, "the event is not the one that was written, or does not follow the one before it")
    return None


def compare_anchor(anchor: Head, head: Head, found: bytes | None) -> Damage | None:
    """Whether a log with that head reaches its anchor; `found` is the hash of the event in the anchor's place."""
    if anchor.position > head.position:
        reason = f"the log ends at position {head.position}, but its anchor says that it reached {anchor.position}"
        return Damage(head.position + 1, reason)
    if found != anchor.hash:
        return Damage(anchor.position, "the event has another hash than the anchor says")
    return None
