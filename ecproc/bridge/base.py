"""What the rest of ecproc asks of the bridge."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias

import msgspec

from ecproc.errors import BridgeUnavailable


class Request(msgspec.Struct, frozen=True):
    """A ticket call below the environment's URL, e.g. PUT /tickets/e-CS1/returnptn with its JSON body.

    `repeatable`: doing it twice is doing it once. On a connection that is kept the bridge may just be about to close
    it, and then nobody knows whether the call took effect: only such calls may use one.
    """

    method: str
    path: str
    body: bytes | None = None
    repeatable: bool = False


class Answer(msgspec.Struct, frozen=True):
    """What the bridge answered: any status, the body up to the byte cap, Retry-After in seconds if it named one.

    `request_id` is the bridge's own name for the call, which Ensono can look up, `date` its Date header; each empty if
    it gave none.
    """

    status: int
    body: bytes
    retry_after: float | None = None
    request_id: str = ""
    date: str = ""


Deleted: TypeAlias = Callable[[int, Answer | BridgeUnavailable | None], None]
"""Hears what became of a DELETE, by its place among those that were asked for."""


class Queue(Protocol):
    """The two calls that every message takes. Each has a total deadline and a byte cap, follows no redirect and is
    never logged with its query. An answer of any status is returned; `BridgeUnavailable` says why there is none, and
    whether the request may have reached the bridge all the same (`sent`)."""

    async def receive(self) -> Answer:
        """GET /queue: at most ten messages, hidden from other readers for the visibility time."""

    async def delete(self, receipt_handle: str) -> Answer:
        """DELETE /queue/{handle}, the handle percent-encoded with no safe characters (R27)."""

    async def delete_many(self, receipt_handles: Sequence[str], deleted: Deleted, *, within: float) -> None:
        """DELETE each of these once, as many at once as there may be, and return when all have ended. `deleted` hears
        of each as it ends: its answer, why there is none, or None where it was not begun within so many seconds."""


class Bridge(Queue, Protocol):
    """All calls of the guide, the others under the same rules as the queue's."""

    async def send(self, request: Request) -> Answer:
        """One ticket call."""
