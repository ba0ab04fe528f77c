"""What the rest of ecproc asks of the client's own ITSM."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol

import msgspec

from ecproc.domain.effects import LANES, EffectKind, Lane, Repeat

DESK_KINDS: Final = tuple(kind for kind, lane in LANES.items() if lane is Lane.DESK)
"""What a desk is asked to do."""


class DeskCall(msgspec.Struct, frozen=True):
    """One thing to do at the desk.

    `key` is the effect's idempotency key: the same key twice must be applied once and answered alike.
    `kind` is the effect's kind; `number` the client ticket, None for a create; `ticket` Ensono's number.
    """

    key: str
    kind: str
    ticket: str
    ticket_type: str
    number: str | None
    fields: Mapping[str, str]


class DeskAnswer(msgspec.Struct, frozen=True):
    """The client ticket the call was about (for a create: its new number) and its state afterwards."""

    number: str
    state: str


class DeskUnavailable(Exception):
    """The desk could not be asked or did not answer; `sent` says that the call may have been applied."""

    def __init__(self, reason: str, *, sent: bool, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.sent = sent
        self.retry_after = retry_after


class DeskHasNoRoom(DeskUnavailable):
    """The desk's own file has no room just now (another program's lock, a full disk): not applied, and worth another
    try within the attempt."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason, sent=False)


class DeskRefused(Exception):
    """The desk refused this call for good, e.g. an unknown ticket number."""


class Desk(Protocol):
    """The client's ITSM."""

    def repeat_of(self, kind: EffectKind) -> Repeat:
        """Why repeating a call of that kind is harmless; the same for as long as the desk is open."""

    async def perform(self, call: DeskCall) -> DeskAnswer:
        """Do it once per key. Raises DeskUnavailable or DeskRefused."""

    async def look_up(self, call: DeskCall) -> DeskAnswer | None:
        """What a former call with this key led to, None if it was never applied.

        Asked before a repeat of those kinds that have to be looked up. Raises DeskUnavailable or DeskRefused.
        """

    async def aclose(self) -> None:
        """Release files and connections."""
