"""What the dispatcher asks of a destination."""

from __future__ import annotations

from typing import Protocol

from ecproc.domain.entry import Entry
from ecproc.outbox.retry import Attempt


class Performer(Protocol):
    """One destination. `name` is its breaker's label; `keyed` says that repeating a call at once is harmless."""

    name: str
    keyed: bool

    async def perform(self, stream: str, entry: Entry) -> Attempt:
        """Try the entry once, asking first where its class needs that. Expected troubles are values, never raised."""
