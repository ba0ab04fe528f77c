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


async def identify_log(store: Store, identity: Mapping[str, str], *, place: Path) -> None:
    """Write into a new log whose it is. Raises WrongEnvironment where an old one says otherwise."""
    first = await store.read_event(1)
    if first is None:
        payload = msgspec.json.encode(dict(identity), order="sorted")
        await store.commit(Batch(events=[NewEvent(IDENTITY_STREAM, IDENTITY_KIND, payload)]))
    elif _read_identity(first) != dict(identity):
        raise WrongEnvironment(
            f"the log in {place} was written for {_describe(_read_identity(first))}, "
            f"the configuration says {_describe(identity)}"
        )


def _read_identity(first: RecordedEvent) -> dict[str, str] | None:
    return msgspec.json.decode(first.payload, type=dict[str, str]) if first.kind == IDENTITY_KIND else None


def _describe(identity: Mapping[str, str] | None) -> str:
    if identity is None:
        return "no environment"
    return " ".join(f"{name}={value!r}" for name, value in sorted(identity.items()))
