"""Commands as they are asked for: the arguments of `ecproc send`, and the documents of `POST /api/v1/commands`."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import msgspec
from msgspec import Meta

from ecproc.commands.checks import CommandRequest
from ecproc.domain.commands import CommandKind, Comment

_Ticket: TypeAlias = Annotated[str, Meta(min_length=1, description="Ensono's number or ours.")]
HereOnly: TypeAlias = Annotated[
    str | None, Meta(description="By the control socket only.", extra_json_schema={"const": None})
]
Base64: TypeAlias = Annotated[
    bytes,
    Meta(extra_json_schema={"pattern": "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"}),
]
_Grade: TypeAlias = str | float
"""A number is taken as it is written: 3.0 is 3."""


class Create(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="create"):
    """Open a ticket of ours at Ensono's."""

    type: str
    number: str
    short: str
    description: str
    contact_name: str | None = None
    contact_email: str | None = None
    contact_phone: str | None = None
    group: str | None = None
    priority: _Grade | None = None
    impact: _Grade | None = None
    urgency: _Grade | None = None
    cis: str | tuple[Annotated[str, Meta(pattern="^[^,]*$")], ...] | None = None
    comment: tuple[str, ...] = ()


class Update(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="update"):
    """Change fields of a ticket."""

    ticket: _Ticket
    short: str | None = None
    description: str | None = None
    group: str | None = None
    priority: _Grade | None = None
    impact: _Grade | None = None
    urgency: _Grade | None = None
    status: str | None = None


class NoteOn(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="note"):
    """Comment on a ticket; `at` is the time of the comment as RFC 3339."""

    ticket: _Ticket
    body: str
    author: str = ""
    email: str = ""
    phone: str = ""
    at: str = ""


class ResolveTicket(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="resolve"
):
    """Resolve a ticket."""

    ticket: _Ticket
    notes: str


class Close(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="close"):
    """Close a resolved ticket."""

    ticket: _Ticket
    notes: str


class Cancel(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="cancel"):
    """Cancel a ticket."""

    ticket: _Ticket
    notes: str


class Attach(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="attach"):
    """Send a file: its `content` in Base64 under a `name`, or, by the control socket only, a `file` of this machine."""

    ticket: _Ticket
    file: HereOnly = None
    name: str | None = None
    content: Base64 | None = None
    base64: bool = False


class Approve(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="approve"):
    """Approve a change; `approver` is an e-mail address."""

    ticket: _Ticket
    approver: str
    comment: str
    approval_id: str | None = None


class Reject(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="reject"):
    """Reject a change, with the reason."""

    ticket: _Ticket
    approver: str
    comment: str
    approval_id: str | None = None


class ReturnNumber(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="return-number"
):
    """Tell Ensono the number of the client ticket."""

    ticket: _Ticket
    number: str


AnyCommand: TypeAlias = (
    Create | Update | NoteOn | ResolveTicket | Close | Cancel | Attach | Approve | Reject | ReturnNumber
)
"""One of them, told apart by `kind`."""

_GUIDE: dict[str, str] = {
    "type": "ticketType",
    "short": "shortDescription",
    "contact_name": "contactName",
    "contact_email": "contactEmail",
    "contact_phone": "contactPhone",
    "notes": "closeNotes",
    "approval_id": "approvalid",
    "number": "clientTicketNumber",
}
"""Arguments that the guide calls otherwise."""
_SIGNED: dict[str, str] = {
    "author": "commenter",
    "email": "commenterEmail",
    "phone": "commenterPhone",
    "at": "commentTime",
}
_BESIDE = frozenset({"kind", "ticket"})


def write_request(command: AnyCommand, *, key: str, who: str) -> CommandRequest:
    """The command in the guide's names; `key` is empty for one by nature. Not for a file, which is to be read first."""
    kind = kind_of(command)
    match command:
        case NoteOn():
            comment = Comment(
                command.body,
                key=key,
                commenter=command.author,
                commenter_email=command.email,
                commenter_phone=command.phone,
                comment_time=command.at,
            )
            return CommandRequest(kind=kind, comments=(comment,), key=key, who=who)
        case Create(comment=texts):
            comments = tuple(Comment(text) for text in texts)
            return CommandRequest(kind=kind, fields=_list_fields(command), comments=comments, key=key, who=who)
        case _:
            return CommandRequest(kind=kind, fields=_list_fields(command), key=key, who=who)


def kind_of(command: AnyCommand) -> CommandKind:
    """What kind of command it is."""
    return CommandKind(str(command.__struct_config__.tag))


def name_argument(kind: CommandKind, field: str) -> str:
    """What the argument of such a command is called that becomes the guide's field."""
    if kind is CommandKind.CREATE and field == "body":
        return "comment"
    return next((argument for argument, guide in (_GUIDE | _SIGNED).items() if guide == field), field)


def _list_fields(command: AnyCommand) -> dict[str, str]:
    told = {name: getattr(command, name) for name in command.__struct_fields__ if name not in _BESIDE}
    return {
        _GUIDE.get(name, name): _write(value)
        for name, value in told.items()
        if (value is not None and name != "comment") or (name == "comment" and isinstance(value, str))
    }


def _write(value: str | float | tuple[str, ...]) -> str:
    if isinstance(value, tuple):
        return ",".join(value)
    return value if isinstance(value, str) else f"{value:g}"
