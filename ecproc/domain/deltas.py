"""Deltas: what one fact changed in a stream's state. Rows are written from them, and effects decided on them."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from ecproc.domain.commands import ClientLinked, Comment, EnsonoNumberReturned, KnownCommand
from ecproc.domain.effects import EffectKind
from ecproc.domain.entry import Entry
from ecproc.domain.events import ApprovalRequest, AttachmentInfo, Note, Noticed, TimerName
from ecproc.domain.ids import ClientNumber, EffectKey


class Delta(msgspec.Struct, frozen=True):
    """One change of a stream's state. A kind of stream may have some of its own."""


class Refused(Delta, frozen=True):
    """The message cannot be taken: it belongs in quarantine, the state is as before."""

    reason: str
    detail: str


class Moved(Delta, frozen=True):
    """The stream went from one state to another (`before` None: its first state)."""

    before: str | None
    after: str
    event: str
    position: int
    at: int
    order: int


class Flagged(Delta, frozen=True):
    """An anomaly: something the protocol does not foresee, applied and recorded."""

    code: str
    detail: str
    position: int
    order: int


class Planned(Delta, frozen=True):
    """An effect was written down; `entry` is its outbox entry."""

    entry: Entry


class PauseChanged(Delta, frozen=True):
    """A person let nothing more be performed at `what` (a destination, or PAUSED_TICKET), or let it go on."""

    what: str
    paused: bool
    who: str
    note: str
    at: int


class QuarantineLeft(Delta, frozen=True):
    """The message at that position is in quarantine no more."""

    position: int


class Tells(Delta, frozen=True):
    """Another stream is told a fact, by the transaction that holds this step; with `if_held` only if it holds
    something. A replay does not tell it again: the fact stands there."""

    stream: str
    fact: ClientLinked | EnsonoNumberReturned | Noticed
    if_held: bool = False


# --- of commands ------------------------------------------------------------------------------------------------------


class CommandCall(msgspec.Struct, frozen=True):
    """One call that a command leads to. `number` is the client number it is about, where that is not the ticket's own;
    `generation` the only one in which it means anything, 0 for any."""

    kind: EffectKind
    key: EffectKey
    command: EffectKey
    fields: Mapping[str, str] = {}
    comments: tuple[Comment, ...] = ()
    number: str = ""
    generation: int = 0


class CommandChanged(Delta, frozen=True):
    """A command was accepted, or is known better than before."""

    command: KnownCommand


class CallsDue(Delta, frozen=True):
    """Calls that can be made now: the ticket's client number, where they need it, is known."""

    calls: tuple[CommandCall, ...]


class Echoed(Delta, frozen=True):
    """What a message repeats of what we told Ensono ourselves: fields, the state it moved to, notes by id (R215)."""

    fields: frozenset[str] = frozenset()
    moved: bool = False
    notes: frozenset[str] = frozenset()


# --- of tickets -------------------------------------------------------------------------------------------------------


class ClientTicket(msgspec.Struct, frozen=True):
    """One ticket of ours for this ticket. `returned`: Ensono has the number; `returned_at`: when it took it from us, in
    microseconds UTC, None where a message of its own was first to show it, or a link was imported. `reference` and
    `url` are the desk's own name for the record and its page, where it has them."""

    number: ClientNumber
    generation: int
    returned: bool
    state: str
    returned_at: int | None = None
    reference: str = ""
    url: str = ""


class Attachment(msgspec.Struct, frozen=True):
    """An announced file: `status` is an AttachmentStatus; `size` the real one once stored; `announced` is the position
    of the message that announced it last; `delivered` the generation whose client ticket has it, 0 for none."""

    id: str
    name: str
    type: str
    size: int | None
    status: str
    order: int
    sha256: str | None = None
    path: str | None = None
    announced: int = 0
    delivered: int = 0


class Approval(msgspec.Struct, frozen=True):
    """One approver's request: `state` is an ApprovalState, or the word that Ensono told; it was asked at `asked_at`, in
    microseconds UTC."""

    id: str
    name: str
    email: str
    generation: int
    state: str
    order: int
    asked_at: int = 0


class Timer(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a ticket waits for: `about` tells this wait from the next of its kind, `due_at` is None where nobody knows
    when it should be over, `elapsed_at` when it was told that it was not. Times are microseconds UTC."""

    timer: TimerName
    about: str
    since: int
    due_at: int | None = None
    elapsed_at: int | None = None

    @property
    def key(self) -> str:
        """What it is called by in its stream."""
        return f"{self.timer}:{self.about}"


class TimerChanged(Delta, frozen=True):
    """A timer began, is for another time or elapsed; or its wait is `over`."""

    timer: Timer
    over: bool = False


class FieldsChanged(Delta, frozen=True):
    """Fields that got another value; of those `respelled` it means what the one before did, or what the client ticket
    of an imported link has already."""

    fields: dict[str, str]
    respelled: frozenset[str] = frozenset()


class NoteAdded(Delta, frozen=True):
    """A note the ticket did not have."""

    note: Note
    at: int
    order: int


class AttachmentChanged(Delta, frozen=True):
    """A file was announced (`announced`) or its download ended."""

    attachment: Attachment
    announced: AttachmentInfo | None = None


class ApprovalChanged(Delta, frozen=True):
    """An approval was asked for (`asked`) or got another state."""

    approval: Approval
    asked: ApprovalRequest | None = None


class ClientTicketChanged(Delta, frozen=True):
    """A client ticket became known (`created` by us, or `adopted` with a number that Ensono had) or changed."""

    client_ticket: ClientTicket
    created: bool = False
    adopted: bool = False


class GenerationStarted(Delta, frozen=True):
    """A client ticket is needed for this generation; `notes` came while there was none to put them on."""

    generation: int
    notes: tuple[Note, ...] = ()


class GenerationEnded(Delta, frozen=True):
    """The client ticket of this generation has come to its end: closed, or else to be cancelled. `rejected`: Ensono
    cancelled it after a rejection, with which the client closed it already (R190)."""

    generation: int
    closed: bool = False
    rejected: bool = False


class NumberMissing(Delta, frozen=True):
    """Ensono does not have our number: it took it a while ago, or the return never succeeded."""

    client_ticket: ClientTicket
