"""Side effects as values: described here, planned by an actor, performed by the dispatcher."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

import msgspec

from ecproc.domain.ids import EffectKey, TicketNumber


class Lane(StrEnum):
    """Entries of one ticket and lane finish in planned order; lanes do not wait for each other."""

    DESK = "desk"
    BRIDGE = "bridge"
    ATTACHMENTS = "attachments"


class EffectKind(StrEnum):
    """Everything ecproc does outside."""

    CREATE = "create_client_ticket"
    UPDATE = "update_client_ticket"
    COMMENT = "comment_client_ticket"
    RESOLVE = "resolve_client_ticket"
    CLOSE = "close_client_ticket"
    CANCEL = "cancel_client_ticket"
    REOPEN = "reopen_client_ticket"
    ATTACH = "attach_client_ticket"
    RETURN_NUMBER = "return_client_number"
    DOWNLOAD = "download_attachment"
    CREATE_TICKET = "create_ticket"
    UPDATE_TICKET = "update_ticket"
    ADD_COMMENTS = "add_comments"
    RESOLVE_TICKET = "resolve_ticket"
    CLOSE_TICKET = "close_ticket"
    CANCEL_TICKET = "cancel_ticket"
    APPROVE_CHANGE = "approve_change"
    REJECT_CHANGE = "reject_change"
    UPLOAD = "upload_attachment"


LANES: Final[Mapping[EffectKind, Lane]] = {
    EffectKind.CREATE: Lane.DESK,
    EffectKind.UPDATE: Lane.DESK,
    EffectKind.COMMENT: Lane.DESK,
    EffectKind.RESOLVE: Lane.DESK,
    EffectKind.CLOSE: Lane.DESK,
    EffectKind.CANCEL: Lane.DESK,
    EffectKind.REOPEN: Lane.DESK,
    EffectKind.ATTACH: Lane.DESK,
    EffectKind.RETURN_NUMBER: Lane.BRIDGE,
    EffectKind.DOWNLOAD: Lane.ATTACHMENTS,
    EffectKind.CREATE_TICKET: Lane.BRIDGE,
    EffectKind.UPDATE_TICKET: Lane.BRIDGE,
    EffectKind.ADD_COMMENTS: Lane.BRIDGE,
    EffectKind.RESOLVE_TICKET: Lane.BRIDGE,
    EffectKind.CLOSE_TICKET: Lane.BRIDGE,
    EffectKind.CANCEL_TICKET: Lane.BRIDGE,
    EffectKind.APPROVE_CHANGE: Lane.BRIDGE,
    EffectKind.REJECT_CHANGE: Lane.BRIDGE,
    EffectKind.UPLOAD: Lane.ATTACHMENTS,
}


_SETTING: Final = frozenset(
    {EffectKind.UPDATE, EffectKind.RESOLVE, EffectKind.CLOSE, EffectKind.CANCEL, EffectKind.REOPEN}
)
"""Kinds that set what another of them may have set since."""


def is_superseded(kind: EffectKind, later: EffectKind) -> bool:
    """Whether doing the first after the second, of the same ticket, puts something back to what it was before."""
    return {kind, later} <= _SETTING or kind is later is EffectKind.RETURN_NUMBER


class Repeat(StrEnum):
    """Why repeating a call is harmless: told for each kind of effect by whoever performs it (decision 9)."""

    IDEMPOTENT = "idempotent"
    """It sets a value: doing it twice is doing it once."""
    KEYED = "keyed"
    """The receiver knows the key and answers a repeat as it answered the first call."""
    LOOK_UP = "look-up"
    """It is not; the receiver is asked what a former call led to before it is repeated."""
    BLIND = "blind"
    """It is not, and nobody can be asked: a repeat may be one call too many."""

    @property
    def leaves_intent(self) -> bool:
        """Whether the log holds an `EffectStarted` before the first byte leaves: where a repeat is not answered as the
        first call was. Else the plan, which is durable before, is intent enough."""
        return self is Repeat.LOOK_UP or self is Repeat.BLIND

    @property
    def safe_at_once(self) -> bool:
        """Whether a call that was cut off may be repeated while it may still be on its way."""
        return self is Repeat.IDEMPOTENT or self is Repeat.KEYED


class Effect(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing to do outside, without secrets: a download's URL stays in the message that announced it.

    `position` and `ordinal` name the cause, the event and the place among its effects; `at` is when that event was
    recorded. `ticket` is Ensono's number as paths need it, `number` and `reference` are the client ticket's where they
    were known when the effect was decided. `hurry`: what it needs may end before its deadline, so it goes first.
    `done`: it was seen to have come about, so nothing is left to do under its key, and `fields` are its result.
    `created_by` is the create that tells the client ticket's number, where that is another than its generation's first.
    Times are microseconds UTC.
    """

    key: EffectKey
    kind: EffectKind
    generation: int
    position: int
    at: int
    ticket: TicketNumber
    ticket_type: str
    ordinal: int = 0
    number: str | None = None
    reference: str = ""
    fields: Mapping[str, str] = {}
    deadline: int | None = None
    rearm: bool = False
    hurry: bool = False
    done: bool = False
    created_by: EffectKey = EffectKey("")

    @property
    def lane(self) -> Lane:
        """The lane this kind runs in."""
        return LANES[self.kind]
