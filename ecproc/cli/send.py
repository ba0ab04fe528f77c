"""`ecproc send`: what the client asks of Ensono."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, TypeAlias
from urllib.parse import quote
from uuid import uuid4

import msgspec
from cyclopts import Parameter, validators

from ecproc.cli.output import say, wants_json, write_document, write_text
from ecproc.cli.session import Failed, Own, Session
from ecproc.cli.words import choice
from ecproc.commands.capability import Refusal
from ecproc.commands.intake import SETTLED, Accepted, Conflict, Intake, IntakeAnswer, Overloaded
from ecproc.commands.requests import (
    AnyCommand,
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
    kind_of,
    name_argument,
)
from ecproc.commands.values import CLOSED, check_key
from ecproc.errors import ExitCode
from ecproc.reading.commands import CommandState, ShownCommand

if TYPE_CHECKING:
    from ecproc.cli.control import Control, ControlAnswer
    from ecproc.config import Config

WAIT_SECONDS: Final = 300.0
_SLICE_SECONDS: Final = 20
"""For how long one call to the running processor waits."""
_ACCEPTED: Final = 202
_UNKNOWN: Final = 404
_KEY_HEADER: Final = "Idempotency-Key"
_NAMELESS: Final = frozenset({"ticket", "file"})
"""Arguments that are told by their place."""

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


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Way:
    """How a command is sent, whatever it is."""

    wait: Annotated[bool, Parameter(help="Wait until the outcome is known.", show_default=False)] = False
    timeout: Annotated[float, Parameter(help="Seconds that --wait waits.", validator=validators.Number(gt=0))] = (
        WAIT_SECONDS
    )
    dry_run: Annotated[
        bool, Parameter(help="Print the request as it would leave, and send nothing.", show_default=False)
    ] = False
    key: Annotated[
        str, Parameter(help="Idempotency key; else the one it has by nature, or a fresh one.", show_default=False)
    ] = ""
    json: Annotated[bool, Parameter(help="Print one JSON document, also on a terminal.", show_default=False)] = False


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
    """Open a ticket of ours at Ensono's; with --wait its number there is told."""
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
    return _send(session, command, way)


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
    """Change fields of a ticket; what it has already is not sent."""
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
    return _send(session, command, way)


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
    """Comment on a ticket."""
    command = NoteOn(ticket=ticket, body=body, author=author, email=email, phone=phone, at=at)
    return _send(session, command, way)


def resolve(ticket: _Ticket, /, *, notes: _Notes, way: Way = _WAY, session: Own) -> ExitCode:
    """Resolve a ticket."""
    return _send(session, ResolveTicket(ticket=ticket, notes=notes), way)


def close(ticket: _Ticket, /, *, notes: _Notes, way: Way = _WAY, session: Own) -> ExitCode:
    """Close a resolved ticket; one that is not is refused, or resolved first (commands.close_open)."""
    return _send(session, Close(ticket=ticket, notes=notes), way)


def cancel(ticket: _Ticket, /, *, notes: _Notes, way: Way = _WAY, session: Own) -> ExitCode:
    """Cancel a ticket."""
    return _send(session, Cancel(ticket=ticket, notes=notes), way)


def attach(
    ticket: _Ticket,
    file: Annotated[Path, Parameter(help="The file, which is copied into the data directory at once.")],
    /,
    *,
    base64: Annotated[bool, Parameter(help="Send it as Base64.", show_default=False)] = False,
    way: Way = _WAY,
    session: Own,
) -> ExitCode:
    """Send a file to a ticket."""
    return _send(session, Attach(ticket=ticket, file=str(Path.cwd() / file), base64=base64), way)


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
    """Approve a change."""
    return _send(session, Approve(ticket=ticket, approver=approver, comment=comment, approval_id=approval_id), way)


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
    """Reject a change, with the reason."""
    return _send(session, Reject(ticket=ticket, approver=approver, comment=comment, approval_id=approval_id), way)


def return_number(
    ticket: _Ticket, number: Annotated[str, Parameter(help="Our ticket's number.")], /, *, way: Way = _WAY, session: Own
) -> ExitCode:
    """Tell Ensono the number of our ticket."""
    return _send(session, ReturnNumber(ticket=ticket, number=number), way)


# --- how it is sent ---------------------------------------------------------------------------------------------------


def _send(session: Session, command: AnyCommand, way: Way) -> ExitCode:
    key = way.key
    refused = check_key(key) if key else None
    if refused is not None:
        raise _fail(refused.reason, refused.field, ())
    if not key and isinstance(command, (NoteOn, Update)):
        key = f"ec-{uuid4()}"
        say(f"key: {key}")
    session.interrupts.stopped_code = ExitCode.TEMPORARY
    if way.dry_run:
        return session.run_unless_stopped(lambda: _show_calls(session, command, key, way))
    told = session.run_unless_stopped(lambda: _send_running(session, command, key, way))
    if told:
        return told[0]
    config = session.load_config(require_bridge=True)
    if not way.wait:
        return session.run_unless_stopped(lambda: _send_alone(config, command, key, way))
    return _send_and_run(session, config, command, key, way)


def _send_and_run(session: Session, config: Config, command: AnyCommand, key: str, way: Way) -> ExitCode:
    """Run a whole processor until the command is settled: only the queue can tell of a lost create."""
    from ecproc.app import run_processor

    told: list[ExitCode] = []

    async def errand(intake: Intake) -> ExitCode:
        document = _read_answer(command, await intake.take(command, key=key, who=_name_login()))
        told.append(_tell(await intake.wait(document.command, way.timeout) or document, way))
        return told[0]

    async def run() -> ExitCode:
        return await run_processor(
            config, errand=errand, drain=None, learn=session.learn, interrupts=session.interrupts
        )

    code = session.run_loop(run)
    return ExitCode.TEMPORARY if code is ExitCode.OK and not told else code  # it was stopped in order before


async def _send_alone(config: Config, command: AnyCommand, key: str, way: Way) -> ExitCode:
    """Write it down where no processor runs: the next start sends it."""
    from ecproc.offline import take_data_dir

    async with take_data_dir(config) as taken:
        document = _read_answer(command, await taken.intake.take(command, key=key, who=_name_login()))
    return _tell(document, way)


async def _send_running(session: Session, command: AnyCommand, key: str, way: Way) -> Sequence[ExitCode]:
    """Give it to the running processor, and tell what it said; nothing if none runs."""
    from ecproc.cli.control import connect

    async with connect(session.load_config()) as control:
        return () if control is None else (await _ask(control, command, key, way),)


async def _ask(control: Control, command: AnyCommand, key: str, way: Way) -> ExitCode:
    from ecproc.control import WHO_HEADER

    headers = {WHO_HEADER: quote(_name_login()), **({_KEY_HEADER: key} if key else {})}
    body = msgspec.json.encode(command)
    document = _read(await control.call("POST", "/api/v1/commands", body=body, headers=headers))
    left = way.timeout if way.wait else 0.0
    while left > 0 and document.state not in SETTLED:
        part = min(left, float(_SLICE_SECONDS))
        target = f"/api/v1/commands/{quote(document.command, safe='')}?wait={max(1, round(part))}"
        answer = await control.call("GET", target, seconds=part + _SLICE_SECONDS)
        if answer.status == _UNKNOWN:  # there was nothing to do
            break
        document, left = _read(answer), left - part
    return _tell(document, way)


def _tell(document: ShownCommand, way: Way) -> ExitCode:
    """Print how far the command is; what the exit code says of that."""
    if wants_json(way.json):
        write_document(document)
    else:
        number = f", {document.ticket}" if document.ticket else ""
        write_text(f"{document.state}{number}{document.answer and ': '}{document.answer}  ({document.command})")
    if not way.wait:
        return ExitCode.OK
    match document.state:
        case CommandState.DONE:
            return ExitCode.OK
        case CommandState.REFUSED | CommandState.DEAD:
            return ExitCode.FAILED
        case _:
            return ExitCode.TEMPORARY


class _Told(msgspec.Struct):
    """As much of a problem document as says what is to blame."""

    detail: str
    field: str = ""
    allowed: tuple[str, ...] = ()


def _read(answer: ControlAnswer) -> ShownCommand:
    from ecproc.cli.steer import reason_of

    if answer.status in (200, _ACCEPTED):
        return msgspec.json.decode(answer.body, type=ShownCommand)
    try:
        told = msgspec.json.decode(answer.body, type=_Told)
    except msgspec.DecodeError:
        raise Failed(reason_of(answer)) from None
    raise _fail(told.detail, "" if told.field == _KEY_HEADER else told.field, told.allowed)


def _read_answer(command: AnyCommand, answer: IntakeAnswer) -> ShownCommand:
    match answer:
        case Accepted(document=document):
            return document
        case Refusal(reason=reason, field=field, allowed=allowed):
            raise _fail(reason, name_argument(kind_of(command), field), allowed)
        case Conflict(key=key):
            raise Failed(f"the key {key} was used for another command")
        case Overloaded():
            raise Failed("the outbox is full: nothing is taken until some of it is done")


def _fail(reason: str, argument: str, allowed: Sequence[str]) -> Failed:
    """The end of a command that is not taken, with the argument that is to blame and what it may be."""
    option = argument.upper() if argument in _NAMELESS else f"--{argument.replace('_', '-')}"
    hint = f"possible: {', '.join(allowed)}" if allowed else ""
    return Failed(f"{option}: {reason}" if argument else reason, hint=hint)


async def _show_calls(session: Session, command: AnyCommand, key: str, way: Way) -> ExitCode:
    """Print the requests that it would lead to."""
    from ecproc.commands.preview import preview_command

    config = session.load_config(require_bridge=True)
    answer = await preview_command(config, command, key=key, who=_name_login())
    if not isinstance(answer, list):
        return _tell(_read_answer(command, answer), way)
    if wants_json(way.json):
        write_document(answer)
    else:
        for call in answer:
            write_text(f"{call.method} {call.url}")
            for name, value in call.headers.items():
                write_text(f"{name}: {value}")
            write_text(f"\n{msgspec.json.format(bytes(call.body)).decode()}\n" if call.body else "")
    return ExitCode.OK


def _name_login() -> str:
    from ecproc.cli.steer import name_login

    return name_login()
