"""Messages that came again under their own number with another body: kept beside the first ones (decision 5)."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ecproc.domain.ids import variant_key
from ecproc.domain.log import NewEvent, RecordedEvent
from ecproc.store.base import LogReader
from ecproc.wire.payload import body_of


async def find_variants(
    store: LogReader, events: Sequence[NewEvent], recorded: Sequence[RecordedEvent | None]
) -> list[NewEvent]:
    """Of messages whose key was in the log already those with another body, under keys of their own.

    Bodies are told apart by their bytes as received: a redelivery repeats them, so a body that is spelled anew, be it
    in white space only, was not the queue's doing. To look costs a read for each message that came again, and no other.
    """
    variants: list[NewEvent] = []
    for event, appended in zip(events, recorded, strict=True):
        if appended is not None or event.message_key is None:
            continue
        first = await store.read_message(event.message_key)
        body = body_of(event.payload)
        if first is not None and first.payload != event.payload and body_of(first.payload) != body:
            variants.append(msgspec.structs.replace(event, message_key=variant_key(event.message_key, body)))
    return variants
