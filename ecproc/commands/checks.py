"""Whether a command can be accepted: against the ticket it is for, the guide's table, and what the client configured.

What is illegal at Ensono's is refused here, with what is possible instead (Appendix B, R82); what would change nothing
is no command. Two steps that the table does not have are a matter of policy: a ticket that is not resolved may be
resolved on its way to closed (R80), and an update may bring a resolved one back (R111).
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Final, TypeAlias, assert_never

import msgspec

from ecproc.commands.capability import Refusal, check_capability
from ecproc.commands.known import KnownTicket
from ecproc.commands.values import CLOSED, check_comments, check_fields
from ecproc.config import CommandsConfig
from ecproc.domain import incident
from ecproc.domain.commands import RESOLVE_FIRST, CommandAccepted, CommandKind, Comment
from ecproc.domain.deltas import Approval
from ecproc.domain.events import TicketType
from ecproc.domain.ids import (
    EffectKey,
    client_create_key,
    client_stream,
    command_key,
    decision_key,
    identity,
    return_key,
    upload_key,
)
from ecproc.domain.sending import STATUSES
from ecproc.domain.state import ApprovalState

DEFAULT_PRIORITY: Final = "3"
"""What Ensono takes where nothing is said: it is said (R89, C31)."""

_TEXTS: Final = frozenset({"description", "shortDescription", "closeNotes", "comment"})
_MOVES: Final = frozenset({*CLOSED["status"], *(status for _, status in STATUSES.values())})
"""All states that a command can ask for (R104)."""
_UNSTATED: Final = _MOVES - {incident.State.CLOSED}
"""Where a ticket may be asked to go of which no message has told the state."""


class CommandRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for: fields under the guide's names. An update and a note need a key, others have one by nature."""

    kind: CommandKind
    fields: Mapping[str, str] = {}
    comments: tuple[Comment, ...] = ()
    key: str = ""
    who: str = ""


class Unchanged(msgspec.Struct, frozen=True):
    """There is nothing to do: the ticket is so already."""

    reason: str


Checked: TypeAlias = CommandAccepted | Unchanged | Refusal
"""What becomes of a request."""


def check_command(
    request: CommandRequest, ticket: KnownTicket | None, options: CommandsConfig, *, environment: str
) -> Checked:
    """The command as it is accepted, or why it is not. `ticket` is the one it is for; of a create the one that has its
    number already. Where a key by nature was accepted before, its answer stands: this is for what is asked anew."""
    kind = request.kind
    refusal = None if kind is CommandKind.CREATE else _check_ticket(kind, ticket, environment)
    fields = _complete(request, options)
    refusal = refusal or check_fields(kind, fields, overflow=options.overflow)
    refusal = refusal or check_comments(request.comments, overflow=options.overflow)
    if refusal is not None:
        return refusal
    if kind is CommandKind.CREATE or ticket is None:
        return _check_create(request, fields, ticket)
    match kind:
        case CommandKind.UPDATE:
            return _check_update(request, fields, ticket)
        case CommandKind.NOTE:
            return _accept(request, fields, ticket) if request.comments else Refusal("a note needs a text", "body")
        case CommandKind.RESOLVE | CommandKind.CLOSE | CommandKind.CANCEL:
            return _check_end(request, fields, ticket, options)
        case CommandKind.APPROVE | CommandKind.REJECT:
            return _check_decision(request, fields, ticket)
        case CommandKind.ATTACH | CommandKind.RETURN_NUMBER:
            return _accept(request, fields, ticket)
        case _:
            assert_never(kind)


def name_command(request: CommandRequest, ticket: KnownTicket | None) -> EffectKey:
    """The request's key: its own, else the one it has by nature; empty where it has neither."""
    if request.key:
        return EffectKey(request.key)
    told = request.fields.get
    if request.kind is CommandKind.CREATE:
        return client_create_key(identity(told("clientTicketNumber")))
    if ticket is None:
        return EffectKey("")
    match request.kind:
        case CommandKind.RESOLVE | CommandKind.CLOSE | CommandKind.CANCEL:
            return command_key(request.kind, ticket.stream, ticket.turn)
        case CommandKind.APPROVE | CommandKind.REJECT:
            return decision_key(ticket.stream, ticket.generation)
        case CommandKind.ATTACH:
            return upload_key(ticket.stream, told("sha256", ""), told("name", ""))
        case CommandKind.RETURN_NUMBER:
            return return_key(ticket.stream, identity(told("clientTicketNumber")))
        case CommandKind.UPDATE | CommandKind.NOTE:
            return EffectKey("")
        case _:
            assert_never(request.kind)


def find_home(request: CommandRequest, ticket: KnownTicket | None) -> str:
    """The stream in which the accepted command belongs."""
    if request.kind is CommandKind.CREATE or ticket is None:
        return client_stream(identity(request.fields.get("clientTicketNumber")))
    return ticket.stream


def digest_request(request: CommandRequest) -> str:
    """What tells this request from another under the same key, whoever asks."""
    told = (request.kind, sorted(request.fields.items()), request.comments)
    return sha256(msgspec.json.encode(told)).hexdigest()


def _check_ticket(kind: CommandKind, ticket: KnownTicket | None, environment: str) -> Refusal | None:
    if ticket is None:
        return Refusal("there is no such ticket", "ticket")
    if ticket.type is None:
        return Refusal(f"no message of {ticket.ticket} has come yet, so nobody knows what it is", "ticket")
    refusal = check_capability(kind, ticket.type, environment=environment)
    if refusal is None and ticket.is_final and STATUSES.get(kind, ("", ""))[1] not in _list_moves(ticket):
        return Refusal(f"{ticket.ticket} is {ticket.state}: Ensono takes nothing more for it", "ticket")
    return refusal


def _complete(request: CommandRequest, options: CommandsConfig) -> dict[str, str]:
    """The fields as they are sent: words without the white space around them, and what a create says where nothing is
    said."""
    fields = {name: value if name in _TEXTS else value.strip() for name, value in request.fields.items()}
    if request.kind is not CommandKind.CREATE:
        return fields
    contact = {"contactName": options.contact_name, "contactEmail": options.contact_email}
    fields = {**{name: value for name, value in contact.items() if value}, **fields}
    return fields if {"priority", "impact", "urgency"} & fields.keys() else {**fields, "priority": DEFAULT_PRIORITY}


def _accept(
    request: CommandRequest, fields: Mapping[str, str], ticket: KnownTicket | None
) -> CommandAccepted | Refusal:
    key = name_command(request, ticket)
    if not key:
        return Refusal(f"{request.kind} needs a key of its own", "key")
    return CommandAccepted(key, request.kind, request.who, fields, request.comments, digest_request(request))


def _check_create(request: CommandRequest, fields: dict[str, str], holder: KnownTicket | None) -> Checked:
    number = fields.pop("clientTicketNumber")
    if holder is not None:
        return Refusal(f"{number} is {holder.ticket} at Ensono already", "clientTicketNumber")
    return _accept(request, fields, None)


def _check_update(request: CommandRequest, fields: Mapping[str, str], ticket: KnownTicket) -> Checked:
    known = {**ticket.fields, "status": ticket.state}
    news = {name: value for name, value in fields.items() if known.get(name) != value}
    status, moves = news.get("status"), _list_moves(ticket)
    if status is not None and status not in moves:
        allowed = tuple(word for word in CLOSED["status"] if word in moves)
        return Refusal(f"{ticket.ticket} cannot go from {ticket.state} to {status}", "status", allowed)
    if news or request.comments:
        return _accept(request, news, ticket)
    if fields:
        return Unchanged(f"{ticket.ticket} has these values already")
    return Refusal("an update needs a field", "", ("description", "group", "priority", "shortDescription", "status"))


def _check_end(
    request: CommandRequest, fields: Mapping[str, str], ticket: KnownTicket, options: CommandsConfig
) -> Checked:
    status, moves = STATUSES[request.kind][1], _list_moves(ticket)
    if ticket.state == status:
        return Unchanged(f"{ticket.ticket} is {status} already")
    if status in moves:
        return _accept(request, fields, ticket)
    if request.kind is CommandKind.CLOSE and options.close_open == "resolve_first":
        return _accept(request, {**fields, RESOLVE_FIRST: "true"}, ticket)
    shown = ticket.state or "in no known state"
    return Refusal(f"{ticket.ticket} is {shown}: it cannot be {status}", "ticket", tuple(sorted(moves)))


def _list_moves(ticket: KnownTicket) -> frozenset[str]:
    """The states that the ticket can be asked to go to."""
    if ticket.type is TicketType.CHANGE:
        return frozenset()
    if ticket.state is None:
        return _UNSTATED
    return frozenset(state.value for state in incident.EXPECTED[incident.State(ticket.state)] if state != ticket.state)


def _check_decision(request: CommandRequest, fields: Mapping[str, str], ticket: KnownTicket) -> Checked:
    """One decision in each generation, about a request that is open there (R177, R178, R180)."""
    if decision_key(ticket.stream, ticket.generation) in ticket.asked:
        return Refusal(f"{ticket.ticket} was answered in generation {ticket.generation} already", "ticket")
    open_, named = ticket.open_approvals, fields.get("approvalid", "")
    if not open_:
        return Refusal(_say_why_none(ticket), "ticket")
    if named and named not in {item.id for item in open_}:
        ids = tuple(item.id for item in open_)
        return Refusal(f"approval {named[:80]} is not open in generation {ticket.generation}", "approvalid", ids)
    chosen = next((item for item in open_ if item.id == named), None) or _choose(open_, fields["approver"])
    name = {"approverName": chosen.name} if chosen.name and _is_of(chosen, fields["approver"]) else {}
    return _accept(request, {**fields, **name, "approvalid": chosen.id}, ticket)


def _choose(approvals: list[Approval], approver: str) -> Approval:
    """The request to the approver who decides if there is one, else the first."""
    return next((item for item in approvals if _is_of(item, approver)), approvals[0])


def _is_of(approval: Approval, approver: str) -> bool:
    return approval.email.strip().casefold() == approver.casefold()


def _say_why_none(ticket: KnownTicket) -> str:
    current = [item for item in ticket.approvals if item.generation == ticket.generation]
    if any(item.state in (ApprovalState.APPROVED, ApprovalState.REJECTED) for item in current):
        return f"{ticket.ticket} was answered in generation {ticket.generation} already: the first answer counts"
    if any(item.state == ApprovalState.VOID for item in ticket.approvals):
        return f"{ticket.ticket} was redrafted, which made its approvals void: none is open"
    return f"{ticket.ticket} asks for no approval now"
