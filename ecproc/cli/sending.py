"""How a command goes to Ensono: by the processor that runs, or without one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final
from urllib.parse import quote
from uuid import uuid4

import msgspec
from cyclopts import Parameter, validators

from ecproc.cli.output import say, wants_json, write_document, write_text
from ecproc.cli.session import Failed, Session
from ecproc.commands.capability import Refusal
from ecproc.commands.intake import SETTLED, Accepted, Conflict, Intake, IntakeAnswer, Overloaded
from ecproc.commands.requests import AnyCommand, NoteOn, Update, kind_of, name_argument
from ecproc.commands.values import check_key
from ecproc.errors import ExitCode
from ecproc.reading.commands import CommandState, ShownCommand

if TYPE_CHECKING:
    from ecproc.cli.control import Control, ControlAnswer
    from ecproc.config import Config

WAIT_SECONDS: Final = 300.0
_SLICE_SECONDS: Final = 20
"""For how long one call to the running processor waits."""
_ACCEPTED: Final = 202
_OK: Final = 200
_KEY_HEADER: Final = "Idempotency-Key"
_NAMELESS: Final = frozenset({"ticket", "file"})
"""Arguments that are told by their place."""


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


def send_command(session: Session, command: AnyCommand, way: Way) -> ExitCode:
    """Send it by the running processor or, where none runs, write it down or run one until it is settled."""
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
    from ecproc.cli.control import ControlFailed
    from ecproc.control import WHO_HEADER

    headers = {WHO_HEADER: quote(_name_login()), **({_KEY_HEADER: key} if key else {})}
    body = msgspec.json.encode(command)
    document = _read(await control.call("POST", "/api/v1/commands", body=body, headers=headers))
    left = way.timeout if way.wait else 0.0
    while left > 0 and document.state not in SETTLED:
        part = min(left, float(_SLICE_SECONDS))
        target = f"/api/v1/commands/{quote(document.command, safe='')}?wait={max(1, round(part))}"
        try:
            answer = await control.call("GET", target, seconds=part + _SLICE_SECONDS)
        except ControlFailed:  # it ended meanwhile: what it accepted is written down
            break
        if answer.status != _OK:  # there was nothing to do, or it ends
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

    if answer.status in (_OK, _ACCEPTED):
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
