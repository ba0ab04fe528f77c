"""What the rest of ecproc asks of the client's own ITSM."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from pathlib import Path
from typing import Final, Protocol

import msgspec

from ecproc.domain.effects import LANES, EffectKind, Lane, Repeat
from ecproc.domain.external import ExternalReceived
from ecproc.domain.remarks import Remark

DESK_KINDS: Final = tuple(kind for kind, lane in LANES.items() if lane is Lane.DESK)
"""What a desk is asked to do."""


class StoredFile(msgspec.Struct, frozen=True):
    """A file that was downloaded: its announced name and type, and where its bytes stand on this machine.

    They were there once; whoever reads them says so if they are gone, for a person can bring them back.
    """

    name: str
    type: str
    size: int
    sha256: str
    path: Path


class DeskCall(msgspec.Struct, frozen=True):
    """One thing to do at the desk.

    `key` is the effect's idempotency key: the same key twice must be applied once and answered alike.
    `kind` is the effect's kind; `number` the client ticket, None for a create; `ticket` Ensono's number. `reference` is
    the desk's own name for the client ticket's record, empty where it never told one (or Ensono told us the number).
    `fields` are what the call is about, in the guide's names; `record` all that is known of the ticket by now, for a
    desk whose fields are made of several of the guide's. `file` is what an attach hands over. `planned_at`, in
    microseconds UTC, is when the effect was decided.
    """

    key: str
    kind: str
    ticket: str
    ticket_type: str
    number: str | None
    fields: Mapping[str, str]
    generation: int = 1
    reference: str = ""
    file: StoredFile | None = None
    record: Mapping[str, str] = {}
    planned_at: int = 0


class DeskAnswer(msgspec.Struct, frozen=True):
    """The client ticket the call was about (for a create: its new number) and its state afterwards, empty where the
    desk does not tell it: then it stays what it was.

    `reference` and `url` are the desk's own name for the record and its page, where it has them. `remarks` are
    anomalies of the ticket that the answer shows: codes of the contract, and a detail for people. `view` has, under the
    guide's names, what the record now has in the fields that the call wrote, as the desk has them (for a create: in all
    that it tells changes of), and `stamp` what the record counts its changes by: see `Watch`.
    """

    number: str
    state: str
    reference: str = ""
    url: str = ""
    remarks: tuple[Remark, ...] = ()
    view: Mapping[str, str] = {}
    stamp: int = 0


class DeskUnavailable(Exception):
    """The desk could not be asked or did not answer; `sent` says that the call may have been applied.

    `down`: no other call would fare better. `hint`, here and below, is what a person can do about it, and `remarks` is
    what is odd about the ticket. `call` is what was asked, and the answer's status (R202).
    """

    def __init__(
        self,
        reason: str,
        *,
        sent: bool,
        retry_after: float | None = None,
        down: bool = False,
        hint: str = "",
        remarks: tuple[Remark, ...] = (),
        call: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(reason)
        self.sent = sent
        self.retry_after = retry_after
        self.down = down
        self.hint = hint
        self.remarks = remarks
        self.call = call or {}


class DeskHasNoRoom(DeskUnavailable):
    """The desk's own file has no room just now (another program's lock, a full disk): not applied, and worth another
    try within the attempt."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason, sent=False)


class DeskRefused(Exception):
    """The desk refused this call, e.g. for an unknown ticket number; `final` where asking again cannot help before a
    person or the ticket changed something."""

    def __init__(
        self,
        reason: str,
        *,
        final: bool = False,
        hint: str = "",
        remarks: tuple[Remark, ...] = (),
        call: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(reason)
        self.final = final
        self.hint = hint
        self.remarks = remarks
        self.call = call or {}


class Desk(Protocol):
    """The client's ITSM."""

    def repeat_of(self, kind: EffectKind) -> Repeat:
        """Why repeating a call of that kind is harmless; the same for as long as the desk is open."""

    def ends_after(self, kind: EffectKind) -> float:
        """Seconds after which a call of that kind that was cut off has certainly come to its end at the desk: it is not
        looked up before."""

    async def perform(self, call: DeskCall) -> DeskAnswer:
        """Do it once per key. Raises DeskUnavailable or DeskRefused."""

    async def look_up(self, call: DeskCall) -> DeskAnswer | None:
        """What a former call with this key led to, None if it was never applied.

        Asked before a repeat of those kinds that have to be looked up. Raises DeskUnavailable or DeskRefused.
        """

    async def aclose(self) -> None:
        """Release files and connections."""


class News(msgspec.Struct, frozen=True):
    """Something that changed at the desk; `file` is the desk's own name for content that can be fetched, of about
    `size` bytes, for an attachment that is not stored here yet."""

    event: ExternalReceived
    file: str = ""
    name: str = ""
    type: str = ""
    size: int = 0


class WatchPage(msgspec.Struct, frozen=True):
    """News, and the cursor from which the next ones are read; `more`: there may be some at once."""

    news: tuple[News, ...]
    cursor: str
    more: bool


class Watch(Protocol):
    """A desk whose changes are noticed by asking (connectors 1.8).

    What it gives may have been given before: every news has an id for ever. What a cursor has passed was given.
    """

    @property
    def source(self) -> str:
        """The desk's configured name."""

    async def changes(self, cursor: str) -> WatchPage:
        """A page of what changed since the cursor; the empty one is some time before now. Raises DeskUnavailable."""

    async def read_again(self, records: Collection[str]) -> tuple[News, ...]:
        """The records of these references as they stand now. Raises DeskUnavailable."""

    async def fetch(self, file: str, write: Callable[[bytes], Awaitable[None]], most: int) -> None:
        """Give the content of a file piece by piece. Raises DeskUnavailable, and DeskRefused where there is none, or
        more than `most` bytes."""
