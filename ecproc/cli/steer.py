"""`ecproc outbox|quarantine retry|discard`, `ecproc pause|resume`: what a person does about what is stuck."""

from __future__ import annotations

import getpass
import os
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated, Final, TypeAlias, TypeVar
from urllib.parse import quote

import msgspec
from cyclopts import Parameter

from ecproc.cli.control import CALL_SECONDS, ControlAnswer, connect
from ecproc.cli.listing import write_table
from ecproc.cli.output import say, wants_json, write_document
from ecproc.cli.session import Failed, Json, Limit, Own, Session, UsageError, require_log
from ecproc.cli.words import choice
from ecproc.commands.orders import (
    EntriesOrder,
    EntriesReport,
    MessageReport,
    NoteOrder,
    PauseOrder,
    PauseReport,
    steer_entries,
    steer_message,
    steer_pause,
)
from ecproc.commands.steering import EntriesWanted, Person, Steering
from ecproc.control import WHO_HEADER
from ecproc.domain.effects import EffectKind, Lane
from ecproc.domain.entry import EntryState
from ecproc.domain.events import Act
from ecproc.errors import ExitCode

if TYPE_CHECKING:
    from ecproc.config import Config

T = TypeVar("T", bound=msgspec.Struct)

_WAIT_SECONDS: Final = 24 * 3_600.0
"""How long a command that waits for outcomes hears nothing, at most."""
_OK: Final = 200
_NOT_NOW: Final = 503
_COLUMNS: Final = ("state", "key", "reason")

_Why: TypeAlias = Annotated[str, Parameter(help="Why, for whoever reads the log later.", show_default=False)]
Keys: TypeAlias = Annotated[str, Parameter(help="Keys of entries, as `ecproc outbox list` shows them.")]
State: TypeAlias = Annotated[str | None, choice(tuple(map(str, EntryState)), help="Only entries in this state.")]
OfLane: TypeAlias = Annotated[str | None, choice(tuple(map(str, Lane)), help="Only entries of this lane.")]
OfKind: TypeAlias = Annotated[str | None, choice(tuple(map(str, EffectKind)), help="Only entries of this kind.")]
OfTicket: TypeAlias = Annotated[str | None, Parameter(help="Only entries of this ticket, by Ensono's number or ours.")]
Reason: TypeAlias = Annotated[str | None, Parameter(help="Only entries whose reason contains this.")]
Every: TypeAlias = Annotated[
    bool, Parameter(name="--all", help="All that the filter finds, instead of keys.", show_default=False)
]
Messages: TypeAlias = Annotated[str, Parameter(help="Positions or MessageIds, as `ecproc quarantine list` shows them.")]


def retry_entries(
    *keys: Keys,
    state: State = None,
    lane: OfLane = None,
    kind: OfKind = None,
    ticket: OfTicket = None,
    reason: Reason = None,
    every: Every = False,
    limit: Limit = None,
    gradual: Annotated[
        bool, Parameter(help="1, 2, 5, 10 … at once, up to the first that fails.", show_default=False)
    ] = False,
    force: Annotated[
        bool, Parameter(help="Also where something that was done later would be undone.", show_default=False)
    ] = False,
    wait: Annotated[bool, Parameter(help="Wait for what comes of each attempt.", show_default=False)] = False,
    note: _Why = "",
    json: Json = False,
    session: Own,
) -> ExitCode:
    """Try outbox entries once more: at once where a processor runs, else when it is started.

    Without --state a filter means those that are discarded, parked or retryable. Nothing that was done is done twice.

    Example:
        ecproc outbox retry create:e-CS0879727:g1 --wait
        ecproc outbox retry --all --lane desk --gradual --note 'desk is back'
    """
    wanted = _filter(keys, every, state=state, lane=lane, kind=kind, ticket=ticket, reason=reason)
    order = EntriesOrder(keys, wanted, limit, gradual, force, wait, note)
    return _steer_entries(session, Act.RETRY, order, as_json=json)


def discard_entries(
    *keys: Keys,
    state: State = None,
    lane: OfLane = None,
    kind: OfKind = None,
    ticket: OfTicket = None,
    reason: Reason = None,
    every: Every = False,
    limit: Limit = None,
    note: _Why = "",
    json: Json = False,
    session: Own,
) -> ExitCode:
    """Give outbox entries up; `ecproc outbox retry` brings them back.

    Without --state a filter means all that are not done or discarded already.

    Example:
        ecproc outbox discard create:e-CS0879727:g1 --note 'made by hand'
        ecproc outbox discard --all --ticket e-CS0879727
    """
    wanted = _filter(keys, every, state=state, lane=lane, kind=kind, ticket=ticket, reason=reason)
    order = EntriesOrder(keys, wanted, limit, note=note)
    return _steer_entries(session, Act.DISCARD, order, as_json=json)


def retry_messages(*messages: Messages, note: _Why = "", json: Json = False, session: Own) -> ExitCode:
    """Have messages in quarantine read once more and taken, behind all that came since.

    One that still cannot be taken stays where it is, and the command exits 3.

    Example:
        ecproc quarantine retry 4242 --note 'version 1.2 reads it'
    """
    return _steer_messages(session, Act.RETRY, messages, note, as_json=json)


def discard_messages(*messages: Messages, note: _Why = "", json: Json = False, session: Own) -> ExitCode:
    """Take messages out of quarantine for good; they stay in the log.

    Example:
        ecproc quarantine discard 4242 4243 --note 'a test of theirs'
    """
    return _steer_messages(session, Act.DISCARD, messages, note, as_json=json)


What: TypeAlias = Annotated[str, Parameter(help="bridge, desk, attachments, or a ticket by either number.")]


def pause(what: What, /, *, note: _Why = "", json: Json = False, session: Own) -> ExitCode:
    """Let nothing more be performed there, until `ecproc resume`; a restart changes nothing of it.

    Messages are received and folded all the same, and what is to be done is written down.

    Example:
        ecproc pause desk --note 'maintenance until 14:00'
        ecproc pause e-CS0879727
    """
    return _steer_pause(session, Act.PAUSE, PauseOrder(what, note), as_json=json)


def resume(what: What, /, *, note: _Why = "", json: Json = False, session: Own) -> ExitCode:
    """Go on with what was paused, or with a ticket that is parked; exit 3 if it is parked again at once.

    Example:
        ecproc resume desk
    """
    return _steer_pause(session, Act.RESUME, PauseOrder(what, note), as_json=json)


def _filter(keys: Sequence[str], every: bool, **names: str | None) -> EntriesWanted | None:
    if bool(keys) == every:
        raise UsageError("name entries by their keys, or by a filter with --all, and not both")
    if keys and any(names.values()):
        raise UsageError("a filter goes with --all, not with keys")
    return msgspec.convert({name: value for name, value in names.items() if value}, EntriesWanted) if every else None


def _steer_entries(session: Session, act: Act, order: EntriesOrder, *, as_json: bool) -> ExitCode:
    waits = order.wait or order.gradual
    target = f"/api/v1/outbox/{act}"
    call = OrderCall(target, order, EntriesReport, seconds=_WAIT_SECONDS if waits else CALL_SECONDS)
    report = carry_out(session, call, lambda steering, person: steer_entries(steering, act, order, person))
    failed = any(entry.refused or (waits and entry.state != EntryState.COMPLETED) for entry in report.entries)
    if wants_json(as_json):
        write_document(report)
    else:
        rows = [[entry.state, entry.key, entry.refused or entry.reason] for entry in report.entries]
        write_table(_COLUMNS, rows, whole=_COLUMNS[:-1])
        say(f"{len(rows)} entries" + (f", {report.left} left alone after one failed" if report.left else ""))
    return ExitCode.FAILED if failed else ExitCode.OK


def _steer_messages(session: Session, act: Act, names: Sequence[str], note: str, *, as_json: bool) -> ExitCode:
    if not names:
        raise UsageError("name a message by its position or MessageId")
    reports = []
    for name in names:
        order = NoteOrder(note)
        call = OrderCall(f"/api/v1/quarantine/{quote(name, safe='')}/{act}", order, MessageReport)
        reports.append(carry_out(session, call, partial(_steer_message, act, name)))
    if wants_json(as_json):
        write_document(reports)
    else:
        for report in reports:
            say(f"{report.message}: {report.state}" + (f", {report.reason}" if report.reason else ""))
    return ExitCode.FINDINGS if any(report.reason for report in reports) else ExitCode.OK


async def _steer_message(act: Act, name: str, steering: Steering, person: Person) -> MessageReport:
    return await steer_message(steering, act, name, person)


def _steer_pause(session: Session, act: Act, order: PauseOrder, *, as_json: bool) -> ExitCode:
    call = OrderCall(f"/api/v1/{act}", order, PauseReport)
    report = carry_out(session, call, lambda steering, person: steer_pause(steering, act, order, person))
    if wants_json(as_json):
        write_document(report)
    else:
        say(f"{report.what} {'is paused' if report.paused else 'goes on'}{report.reason and ': '}{report.reason}")
    return ExitCode.FINDINGS if report.reason else ExitCode.OK


class OrderCall(msgspec.Struct, frozen=True):
    """An order as it goes to a running processor, and what is answered."""

    target: str
    order: msgspec.Struct
    answer: type
    seconds: float = CALL_SECONDS


def carry_out(
    session: Session, call: OrderCall, do: Callable[[Steering, Person], Awaitable[T]], *, needs_log: bool = True
) -> T:
    """The order carried out by the running processor, or here where none runs. Raises Failed where there is no log yet,
    unless it makes one."""
    config = session.load_config()
    if needs_log:
        require_log(config)
    note = getattr(call.order, "note", "")
    return session.run_unless_stopped(
        partial(_carry_out_anywhere, session, config, call, Person(name_login(), note), do)
    )


async def _carry_out_anywhere(
    session: Session, config: Config, call: OrderCall, person: Person, do: Callable[[Steering, Person], Awaitable[T]]
) -> T:
    async with connect(config) as control:
        if control is not None:
            headers = {WHO_HEADER: quote(person.who)}
            body = msgspec.json.encode(call.order)
            answer = await control.call("POST", call.target, body=body, headers=headers, seconds=call.seconds)
            report: T = _read(answer, call.answer)
            return report
    from ecproc.offline import take_data_dir

    async with take_data_dir(session.load_config(require_bridge=True)) as taken:
        return await do(taken.steering, person)


def _read(answer: ControlAnswer, shape: type[T]) -> T:
    if answer.status == _OK:
        return msgspec.json.decode(answer.body, type=shape)
    failed = Failed(reason_of(answer))
    if answer.status == _NOT_NOW:
        failed.exit_code = ExitCode.TEMPORARY
    raise failed


def reason_of(answer: ControlAnswer) -> str:
    try:
        told = msgspec.json.decode(answer.body, type=dict[str, object])
    except msgspec.DecodeError:
        return f"the processor answered {answer.status}"
    return str(told.get("detail") or told.get("error") or f"the processor answered {answer.status}")


def name_login() -> str:
    """The login name; the number of the user where it has none."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())
