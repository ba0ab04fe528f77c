"""`ecproc send`: what the client asks of Ensono."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, TypeAlias

from cyclopts import Parameter

from ecproc.cli.sending import Way, send_command
from ecproc.cli.session import Own
from ecproc.cli.words import choice
from ecproc.commands.requests import (
    Approve,
    Attach,
    Cancel,
    Close,
    Create,
    NoteOn,
    Reject,
    ResolveTicket,
    ReturnNumber,
    Update,
)
from ecproc.commands.values import CLOSED
from ecproc.errors import ExitCode

_Ticket: TypeAlias = Annotated[str, Parameter(help="Ensono's number or ours, in any case, with or without e-.")]
_Short: TypeAlias = Annotated[str, Parameter(help="Short description.")]
_Description: TypeAlias = Annotated[str, Parameter(help="Description.")]
_Group: TypeAlias = Annotated[str | None, Parameter(help="Group at Ensono.")]
_Priority: TypeAlias = Annotated[str | None, choice(CLOSED["priority"], help="Priority.")]
_Impact: TypeAlias = Annotated[str | None, choice(CLOSED["impact"], help="Impact, with an urgency, for a priority.")]
_Urgency: TypeAlias = Annotated[str | None, choice(CLOSED["urgency"], help="Urgency.")]
_Notes: TypeAlias = Annotated[str, Parameter(help="Close notes.")]
_Approver: TypeAlias = Annotated[str, Parameter(help="E-mail address of who decided.")]
_ApprovalId: TypeAlias = Annotated[str | None, Parameter(help="Which request is answered, where there are several.")]
_WAY: Final = Way()


def create(
    *,
    type: Annotated[str, choice(CLOSED["ticketType"], help="A change is asked for as a Request.")],
    number: Annotated[str, Parameter(help="Our ticket's number.")],
    short: _Short,
    description: _Description,
    contact_name: Annotated[str | None, Parameter(help="Contact; else commands.contact_name.")] = None,
    contact_email: Annotated[str | None, Parameter(help="The contact's address; else commands.contact_email.")] = None,
    contact_phone: Annotated[str | None, Parameter(help="The contact's phone.")] = None,
    group: _Group = None,
    priority: _Priority = None,
    impact: _Impact = None,
    urgency: _Urgency = None,
    cis: Annotated[str | None, Parameter(help="Configuration items, separated by commas.")] = None,
    comment: Annotated[
        tuple[str, ...], Parameter(help="A comment that was made before; may be repeated.", show_default=False)
    ] = (),
    way: Way = _WAY,
    session: Own,
) -> ExitCode:
    """Open a ticket of ours at Ensono's; with --wait its number there is told.

    Example:
        ecproc send create --type Incident --number INC0012345 --priority 3 \\
          --short 'Mail is slow' --description 'Since 9:00' --wait
    """
    command = Create(
        type=type,
        number=number,
        short=short,
        description=description,
        contact_name=contact_name,
        contact_email=contact_email,
        contact_phone=contact_phone,
        group=group,
        priority=priority,
        impact=impact,
        urgency=urgency,
        cis=cis,
        comment=comment,
    )
    return send_command(session, command, way)


def update(
    ticket: _Ticket,
    /,
    *,
    short: Annotated[str | None, Parameter(help="Short description.")] = None,
    description: Annotated[str | None, Parameter(help="Description.")] = None,
    group: _Group = None,
    priority: _Priority = None,
    impact: _Impact = None,
    urgency: _Urgency = None,
    status: Annotated[str | None, choice(CLOSED["status"], help="Status.")] = None,
    way: Way = _WAY,
    session: Own,
) -> ExitCode:
    """Change fields of a ticket; what it has already is not sent.

    Example:
        ecproc send update e-CS0879727 --priority 2 --wait
    """
    command = Update(
        ticket=ticket,
        short=short,
        description=description,
        group=group,
        priority=priority,
        impact=impact,
        urgency=urgency,
        status=status,
    )
    return send_command(session, command, way)


def note(
    ticket: _Ticket,
    /,
    *,
    body: Annotated[str, Parameter(help="The comment.")],
    author: Annotated[str, Parameter(help="Who made it.", show_default=False)] = "",
    email: Annotated[str, Parameter(help="The author's address.", show_default=False)] = "",
    phone: Annotated[str, Parameter(help="The author's phone.", show_default=False)] = "",
    at: Annotated[str, Parameter(help="When it was made, as RFC 3339 has it.", show_default=False)] = "",
    way: Way = _WAY,
    session: Own,
) -> ExitCode:
    """Comment on a ticket.

    Example:
        ecproc send note INC0012345 --body 'It happened again at 10:15' --author 'A. Smith'
    """
    command = NoteOn(ticket=ticket, body=body, author=author, email=email, phone=phone, at=at)
    return send_command(session, command, way)


def resolve(ticket: _Ticket, /, *, notes: _Notes, way: Way = _WAY, session: Own) -> ExitCode:
    """Resolve a ticket.

    Example:
        ecproc send resolve e-CS0879727 --notes 'Restarted the service'
    """
    return send_command(session, ResolveTicket(ticket=ticket, notes=notes), way)


def close(ticket: _Ticket, /, *, notes: _Notes, way: Way = _WAY, session: Own) -> ExitCode:
    """Close a resolved ticket; one that is not is refused, or resolved first (commands.close_open).

    Example:
        ecproc send close e-CS0879727 --notes 'Confirmed by the user'
    """
    return send_command(session, Close(ticket=ticket, notes=notes), way)


def cancel(ticket: _Ticket, /, *, notes: _Notes, way: Way = _WAY, session: Own) -> ExitCode:
    """Cancel a ticket.

    Example:
        ecproc send cancel e-CS0879727 --notes 'Opened twice'
    """
    return send_command(session, Cancel(ticket=ticket, notes=notes), way)


def attach(
    ticket: _Ticket,
    file: Annotated[Path, Parameter(help="The file, which is copied into the data directory at once.")],
    /,
    *,
    base64: Annotated[bool, Parameter(help="Send it as Base64.", show_default=False)] = False,
    way: Way = _WAY,
    session: Own,
) -> ExitCode:
    """Send a file to a ticket.

    Example:
        ecproc send attach e-CS0879727 ./screenshot.png --wait
    """
    return send_command(session, Attach(ticket=ticket, file=str(Path.cwd() / file), base64=base64), way)


def approve(
    ticket: _Ticket,
    /,
    *,
    approver: _Approver,
    comment: Annotated[str, Parameter(help="What is said with it.")],
    approval_id: _ApprovalId = None,
    way: Way = _WAY,
    session: Own,
) -> ExitCode:
    """Approve a change.

    Example:
        ecproc send approve e-CHG0030001 --approver ann@example.com --comment 'Go ahead'
    """
    return send_command(
        session, Approve(ticket=ticket, approver=approver, comment=comment, approval_id=approval_id), way
    )


def reject(
    ticket: _Ticket,
    /,
    *,
    approver: _Approver,
    comment: Annotated[str, Parameter(help="The reason.")],
    approval_id: _ApprovalId = None,
    way: Way = _WAY,
    session: Own,
) -> ExitCode:
    """Reject a change, with the reason.

    Example:
        ecproc send reject e-CHG0030001 --approver ann@example.com --comment 'Not in the freeze'
    """
    return send_command(
        session, Reject(ticket=ticket, approver=approver, comment=comment, approval_id=approval_id), way
    )


def return_number(
    ticket: _Ticket, number: Annotated[str, Parameter(help="Our ticket's number.")], /, *, way: Way = _WAY, session: Own
) -> ExitCode:
    """Tell Ensono the number of our ticket.

    Example:
        ecproc send return-number e-CS0879727 INC0012345
    """
    return send_command(session, ReturnNumber(ticket=ticket, number=number), way)
