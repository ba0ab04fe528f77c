"""Facts as typed values: what Ensono sent and what came of our own effects."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

import msgspec

from ecproc.domain.commands import ClientLinked, CommandAccepted, EnsonoNumberReturned
from ecproc.domain.effects import Effect
from ecproc.domain.external import ExternalReceived
from ecproc.domain.ids import NO_SEQUENCE, EffectKey
from ecproc.domain.remarks import Remark as Remark  # noqa: PLC0414 - told with the facts that carry it


class TicketType(StrEnum):
    """What picks the state machine."""

    INCIDENT = "Incident"
    REQUEST = "Request"
    CHANGE = "Change"


class Transaction(StrEnum):
    """The guide's transaction types, the one its samples add (C4), and the rest."""

    CREATE = "Create"
    UPDATE = "Update"
    NOTES = "Notes"
    CLOSURE = "Closure"
    ATTACHMENT = "Attachment"
    REDRAFT = "Redraft"
    RETURN_ENSONO_NUM = "ReturnEnsonoNum"
    APPROVAL_REQUEST = "Approval Request"
    UNKNOWN = "unknown"


class Note(msgspec.Struct, frozen=True, array_like=True):
    """A comment; its time is the message's."""

    id: str
    body: str
    author: str
    email: str


class AttachmentInfo(msgspec.Struct, frozen=True, array_like=True):
    """An announced file; `expires_at` is the download URL's end in microseconds UTC. `session`: it was signed with
    credentials that end on their own, before that."""

    id: str
    name: str
    type: str
    size: int | None
    expires_at: int | None
    session: bool = False


class ApprovalRequest(msgspec.Struct, frozen=True, array_like=True):
    """One external approver who is asked (or has answered) at Ensono; `state` is empty for a word nobody knows."""

    id: str
    name: str
    email: str
    state: str


OTHER_BODY: Final = Remark("body_differs", "the message came again under its number with another body")
"""What is remarked of a message whose key the log held already."""


class Message(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """A queue message as understood. `at` is its SentTimestamp in microseconds; texts are verbatim.

    `status` is the body's status or state; `changed` is None where the body has no such member. `fields` are the
    body's own, without identity, state, notes and attachment members. `dedup` is a digest of the queue's deduplication
    id, 0 for none.
    """

    position: int
    version: int
    at: int
    message_id: str
    ticket_number: str
    transaction: Transaction
    transaction_name: str
    sequence: bytes = NO_SEQUENCE
    ticket_type: TicketType | None = None
    client_number: str = ""
    number_missing: bool = False
    status: str | None = None
    fields: Mapping[str, str] = {}
    changed: Mapping[str, str] | None = None
    notes: tuple[Note, ...] = ()
    attachment: AttachmentInfo | None = None
    approval: ApprovalRequest | None = None
    opened_at: int | None = None
    client_name: str = ""
    dedup: int = 0
    remarks: tuple[Remark, ...] = ()


class QuarantineReason(StrEnum):
    """Why a message cannot be taken."""

    UNDECODABLE = "undecodable"
    """It has no body, or one that is no JSON object."""
    NO_TICKET_TYPE = "no_ticket_type"
    """It names no ticketType, and neither did a message of its group before."""
    UNKNOWN_TICKET_TYPE = "unknown_ticket_type"
    """Its ticketType is none of the guide's."""
    TOO_DEEP = "too_deep"
    """Its body is nested more deeply than is read."""
    UNROUTABLE = "unroutable"
    """It names neither a group nor a ticket."""
    RESERVED_GROUP = "reserved_group"
    """Its group is called as streams are that hold no ticket of Ensono's."""
    BAD_PAYLOAD = "bad_payload"
    """Another system of the client's posted it, and it holds no news that is known."""


class Undecodable(msgspec.Struct, frozen=True, kw_only=True):
    """A message that could not be understood: why, as a QuarantineReason, and the detail for people."""

    position: int
    version: int
    at: int
    reason: str
    detail: str


class Scope(msgspec.Struct, frozen=True):
    """Whether the client wants a ticket at its own desk (`inside`), and the name of the rule that decided it, empty
    where none did."""

    inside: bool = msgspec.field(name="in")
    rule: str = ""


class Decided(msgspec.Struct, frozen=True):
    """The end of an actor's step: the stream is decided through this version, these effects are to be done. `scope` is
    the ticket's from here on, unset where it is as it was."""

    through: int
    effects: tuple[Effect, ...] = ()
    scope: Scope | msgspec.UnsetType = msgspec.UNSET


class Quarantined(msgspec.Struct, frozen=True):
    """The message at that position is skipped by every fold."""

    position: int
    reason: str
    detail: str = ""


class Noticed(msgspec.Struct, frozen=True):
    """An anomaly that only the running processor could see, about the message at that position."""

    position: int
    code: str
    detail: str


class EffectStarted(msgspec.Struct, frozen=True):
    """Intent: the first byte may leave after this is durable."""

    key: EffectKey


class EffectSucceeded(msgspec.Struct, frozen=True):
    """A trusted answer or a positive look-up, and what it told (number, state, sha256, size, path, request_id).

    `cause`, here and in the other outcomes, is the position that the performed effect names as its own: which plan of
    the key this came of. Older logs have 0, for whatever plan stood there. `remarks`, there too, is what the receiver's
    answer shows to be odd about the ticket. `view` is what the desk has in the fields that the call wrote, as it has
    them, at the record's `stamp`.
    """

    key: EffectKey
    result: Mapping[str, str] = {}
    cause: int = 0
    remarks: tuple[Remark, ...] | msgspec.UnsetType = msgspec.UNSET
    view: Mapping[str, str] | msgspec.UnsetType = msgspec.UNSET
    stamp: int | msgspec.UnsetType = msgspec.UNSET


class Hold(StrEnum):
    """Why an entry waits although nobody blamed it and its destination is well."""

    ODD_ANSWER = "odd_answer"
    """It was answered in words that nobody knows: it counts as done only once a message shows it (decision 21)."""
    CONFIGURATION = "configuration"
    """Our own configuration refuses it, and could be mended (decision 22)."""


class EffectFailed(msgspec.Struct, frozen=True):
    """An attempt that did not take effect, as far as anybody knows.

    `blamed`: the answer was about this entry and costs it an attempt; otherwise its destination was in trouble, or
    `held` says what it waits for. `next_attempt_at` in microseconds UTC, None once it is over: `parked` waits for a
    person or a new fact, else discarded. `request_id` is the receiver's own name for the call, for support cases;
    `call`, here and below, has its method and path and the answer's status, as far as there were any (R202).
    """

    key: EffectKey
    reason: str
    blamed: bool
    next_attempt_at: int | None = None
    parked: bool = False
    held: Hold | None = None
    request_id: str = ""
    cause: int = 0
    call: Mapping[str, str] = {}
    remarks: tuple[Remark, ...] | msgspec.UnsetType = msgspec.UNSET


class EffectUnknown(msgspec.Struct, frozen=True):
    """An attempt that may have taken effect: sent, no trusted answer."""

    key: EffectKey
    reason: str
    next_attempt_at: int | None = None
    request_id: str = ""
    cause: int = 0
    call: Mapping[str, str] = {}
    remarks: tuple[Remark, ...] | msgspec.UnsetType = msgspec.UNSET


class Act(StrEnum):
    """What a person did."""

    RETRY = "retry"
    DISCARD = "discard"
    PAUSE = "pause"
    RESUME = "resume"
    RESCOPE = "rescope"
    LINK = "link"


PAUSED_TICKET: Final = "ticket"
"""What a person pauses who means the stream itself."""


class OperatorActed(msgspec.Struct, frozen=True, omit_defaults=True):
    """A person steered: an outbox entry (`key`, of the plan that `cause` names as an outcome does), a quarantined
    message (`position`), what is performed (`what`: a destination, or PAUSED_TICKET), or took the stream's ticket into
    scope whatever the rules say. Or linked this ticket of Ensono's to one of ours, by `number` and `generation`;
    `reference` is the ITSM's own name for that record.

    `who` is the login name or role, `note` why.
    """

    act: Act
    who: str
    note: str = ""
    key: EffectKey = EffectKey("")
    cause: int = 0
    position: int = 0
    what: str = ""
    number: str = ""
    generation: int = 0
    reference: str = ""


class Released(msgspec.Struct, frozen=True):
    """A quarantined message, from that position, that a person had read once more: as it is understood now."""

    position: int
    fact: Message | Undecodable


class TimerName(StrEnum):
    """What a ticket may wait for until a time (`timers.py`)."""

    CONFIRMATION = "confirmation"
    APPROVAL = "approval"
    OFF_HOLD = "off_hold"
    PRESUMED_CLOSED = "presumed_closed"


class TimerElapsed(msgspec.Struct, frozen=True):
    """The time of a wait came before its end. It moves nothing (R78)."""

    timer: TimerName
    about: str


class PolicyChanged(msgspec.Struct, frozen=True):
    """The policy and the mapping in force from here on, without secrets: each with the `hash` that names it. Without a
    mapping of its own the desk's is in force."""

    hash: str
    policy: Mapping[str, object] = {}
    mapping: Mapping[str, object] = {}


class EffectOutcome(StrEnum):
    """How one attempt of an effect ended, in one word."""

    SUCCEEDED = "succeeded"
    RETRYABLE = "retryable"
    UNKNOWN = "unknown"
    HELD = "held"
    """Its destination was in trouble, or our configuration refuses it: it cost the entry no attempt."""
    DISCARDED = "discarded"
    PARKED = "parked"


class LossReason(StrEnum):
    """Why an effect ended without being done, in one word."""

    EXPIRED = "expired"
    """What it needs is gone: an attachment's address."""
    REFUSED = "refused"
    """Its receiver said no for good, or what it was for is void."""
    ATTEMPTS_SPENT = "attempts_spent"
    ODD_ANSWER = "odd_answer"
    """It was answered in words nobody knows, and must not be done twice."""
    UNKNOWN = "unknown"
    """It may have been done, again and again without an answer, and must not be done twice."""


Outcome = EffectStarted | EffectSucceeded | EffectFailed | EffectUnknown | OperatorActed
"""What changes an outbox entry."""
OUTCOMES: Final = (EffectStarted, EffectSucceeded, EffectFailed, EffectUnknown, OperatorActed)
OwnFact = (
    Outcome
    | Noticed
    | CommandAccepted
    | ClientLinked
    | EnsonoNumberReturned
    | TimerElapsed
    | PolicyChanged
    | ExternalReceived
)
"""What was not received."""
Fact = Message | Undecodable | Quarantined | Released | OwnFact


class Place(msgspec.Struct, frozen=True, gc=False):
    """Where and when a recorded event stands: `at` in microseconds UTC."""

    position: int
    version: int
    at: int
