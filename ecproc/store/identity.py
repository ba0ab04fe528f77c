"""Whose log it is: its first event names the bridge, client and environment it was written for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from ecproc.domain.log import Batch, NewEvent, RecordedEvent
from ecproc.errors import WrongEnvironment
from ecproc.store.base import Store

IDENTITY_STREAM: Final = "ecproc"
IDENTITY_KIND: Final = "LogIdentified"
"""The log's first event: whose log this is, as the JSON object that a store is opened with."""
NOTED: Final = frozenset({"guide"})
"""Members that say how a log was begun, and make it nobody else's: the version of the guide. Older logs lack it."""


async def identify_log(store: Store, identity: Mapping[str, str], *, place: Path) -> None:
    """Write into a new log whose it is. Raises WrongEnvironment where an old one says otherwise, NOTED aside."""
    first = await store.read_event(1)
    if first is None:
        payload = msgspec.json.encode(dict(identity), order="sorted")
        await store.commit(Batch(events=[NewEvent(IDENTITY_STREAM, IDENTITY_KIND, payload)]))
    elif why := compare_identity(first, identity):
        raise WrongEnvironment(f"the log in {place} {why}")


def compare_identity(first: RecordedEvent, identity: Mapping[str, str]) -> str:
    """In which way a log with that first event is another one's, NOTED aside; empty where it is this one's."""
    written, wanted = _read_identity(first), _leave_noted(identity)
    if written == wanted:
        return ""
    return f"was written for {_describe(written)}, the configuration says {_describe(wanted)}"


def _read_identity(first: RecordedEvent) -> dict[str, str] | None:
    if first.kind != IDENTITY_KIND:
        return None
    return _leave_noted(msgspec.json.decode(first.payload, type=dict[str, str]))


def _leave_noted(identity: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in identity.items() if name not in NOTED}


def _describe(identity: Mapping[str, str] | None) -> str:
    if identity is None:
        return "no environment"
    return " ".join(f"{name}={value!r}" for name, value in sorted(identity.items()))
