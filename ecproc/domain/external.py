"""What another system told us: the client's desk about a ticket of ours (decision 19)."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import msgspec

from ecproc.domain.remarks import Remark


class ExternalKind(StrEnum):
    """What it is about."""

    RECORD = "record"
    """The ticket's record as it stands there; `view` is what of it the bridge has a word for."""
    NOTE = "note"
    ATTACHMENT = "attachment"
    APPROVAL = "approval"
    CREATED = "created"
    """The late answer to a create; `key` is the effect's."""
    UNDECODABLE = "undecodable"
    """It could not be read: only its body is kept."""


class ExternalNote(msgspec.Struct, frozen=True, omit_defaults=True):
    """A comment of the client's."""

    body: str
    author: str = ""
    email: str = ""
    at: str = ""


class ExternalFile(msgspec.Struct, frozen=True, omit_defaults=True):
    """A file of the client's, which is stored here already; `path` is below the data directory."""

    name: str
    type: str
    size: int
    sha256: str
    path: str


class ExternalDecision(msgspec.Struct, frozen=True, omit_defaults=True):
    """The client's answer to a change: approved, or rejected, and why."""

    approved: bool
    approver: str
    comment: str = ""


class ExternalReceived(msgspec.Struct, frozen=True, omit_defaults=True):
    """Something that another system told; it was acknowledged only once this was durable.

    `source` is the configured name of that system, `id` names the news there, for ever. `number` and `reference` are
    the client ticket's, `key` that of the create which made it, where the system tells. `stamp` grows with each change
    of a record, 0 where the system counts none. `view` has under
    the guide's names what the record says: as it is there, and in the guide's words. `mapping` is the hash of the
    mapping that was used, `body` what was received, as it came: in `body_base64` where it is no text. `remarks` is
    what is odd about it, or could not be done about it.
    """

    source: str
    kind: ExternalKind
    id: str
    number: str = ""
    reference: str = ""
    stamp: int = 0
    at: str = ""
    by: str = ""
    mapping: str = ""
    view: Mapping[str, tuple[str, str]] = {}
    note: ExternalNote | None = None
    file: ExternalFile | None = None
    decision: ExternalDecision | None = None
    key: str = ""
    body: str = ""
    body_base64: str = ""
    remarks: tuple[Remark, ...] = ()

    @property
    def lacks_reason(self) -> bool:
        """Whether it is a rejection that says nothing of why, which Ensono does not take (R179)."""
        return self.decision is not None and not self.decision.approved and not self.decision.comment.strip()

    @property
    def message_key(self) -> bytes:
        """The permanent dedupe key: none of a message's begins so, for those have a number."""
        return bytes(16) + f"x:{self.source}:{self.id}".encode()


class Shadowed(msgspec.Struct, frozen=True, array_like=True):
    """What we last wrote into a field of the client ticket, or saw in it, as it is there; `stamp` is the record's."""

    raw: str
    stamp: int = 0


class Fate(StrEnum):
    """What becomes of a news: the closed set that metrics have, too."""

    APPENDED = "appended"
    DUPLICATE = "duplicate"
    IGNORED = "ignored"
    """It is about no ticket of Ensono's."""
    DEFERRED = "deferred"
    """A call of ours to that client ticket is under way, or of unknown outcome: whose change this is shows later."""
    BUSY = "busy"
    """The outbox is full, or we stop: it is to be brought again."""


class DeskPoll(StrEnum):
    """How asking a desk for what changed ended: a closed set."""

    OK = "ok"
    FAILED = "failed"
    BUSY = "busy"
    """We had no room for what it brought."""
