"""`ecproc scope`: which tickets the client wants at its desk, tried and applied."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import anyio
from cyclopts import Parameter

from ecproc.cli.listing import write_table
from ecproc.cli.output import say, wants_json, write_document
from ecproc.cli.session import Failed, Json, Own, UsageError, require_log
from ecproc.errors import ExitCode
from ecproc.reading.masking import mask_struct

if TYPE_CHECKING:
    from ecproc.config import Config
    from ecproc.domain.policy import Policy
    from ecproc.reading.scoped import ScopeTrial

_MOST_BYTES: Final = 64 * 1024 * 1024
"""Of a file with messages or events."""
_WAIT_SECONDS: Final = 24 * 3_600.0
"""How long a running processor may take for all tickets."""
_WORDS: Final = {True: "in", False: "out", None: "–"}
_COLUMNS: Final = ("ticket", "message", "scope", "rule", "was")


def test(
    *names: Annotated[
        str, Parameter(name="FILE|TICKET", help="A file with queue messages or lines of events, or a ticket.")
    ],
    json: Json = False,
    session: Own,
) -> ExitCode:
    """Try the scope rules: of each message in a file, in order, and of tickets as they are now. Nothing is done.

    A name with a file behind it is a file: one JSON value, a list, or one on each line. Of a ticket it is also told
    what was decided when its last message came.

    Example:
        ecproc scope test message.json
        ecproc scope test e-CS0879727 --json | jq '.[].rule'
    """
    from ecproc.policy import open_policy

    if not names:
        raise UsageError("scope test needs a FILE or a TICKET to try the rules on")
    config = session.load_config()
    policy = open_policy(config)
    trials = [mask_struct(trial) for name in names for trial in _try(config, policy, name)]
    if wants_json(json):
        write_document(trials)
    else:
        write_table(_COLUMNS, [_row(trial) for trial in trials], whole=_COLUMNS)
    return ExitCode.OK


def apply(
    *tickets: Annotated[str, Parameter(name="TICKET", help="Tickets, by Ensono's number or ours.")],
    every: Annotated[
        bool,
        Parameter(name="--all", help="All that were left out and that today's rules take in.", show_default=False),
    ] = False,
    dry_run: Annotated[bool, Parameter(help="Only say what would be planned.", show_default=False)] = False,
    note: Annotated[str, Parameter(help="Why, for whoever reads the log later.", show_default=False)] = "",
    json: Json = False,
    session: Own,
) -> ExitCode:
    """Take tickets into scope, whatever the rules say of those that are named, and plan what their messages would have
    led to: the create, its updates and notes. What was planned before is not planned again.

    A file whose address has ended is given up with that reason.

    Example:
        ecproc scope apply --all --dry-run
        ecproc scope apply e-CS0879727 --note 'the rule was wrong'
    """
    from ecproc.cli.steer import OrderCall, carry_out
    from ecproc.commands.orders import ScopeOrder, ScopeReport, steer_scope

    if bool(tickets) == every:
        raise UsageError("name tickets, or all of them with --all, and not both")
    order = ScopeOrder(tickets, every, dry_run, note)
    call = OrderCall("/api/v1/scope/apply", order, ScopeReport, seconds=_WAIT_SECONDS)
    report = carry_out(session, call, lambda steering, person: steer_scope(steering, order, person))
    refused = [one for one in report.tickets if one.refused]
    if wants_json(json):
        write_document(report)
    else:
        rows = [(one.ticket, str(len(one.planned)), one.refused or ", ".join(one.planned)) for one in report.tickets]
        write_table(("ticket", "planned", "effects"), rows, whole=("ticket", "planned"))
        planned = sum(len(one.planned) for one in report.tickets)
        say(f"{len(rows)} tickets, {planned} effects {'would be' if dry_run else 'are'} planned")
    return ExitCode.FAILED if refused else ExitCode.OK


def _try(config: Config, policy: Policy, name: str) -> Sequence[ScopeTrial]:
    from ecproc.fold.tickets import MACHINES
    from ecproc.reading.mapped import Unreadable
    from ecproc.reading.scoped import list_scope_trials

    file = Path(name)
    if not file.is_file():
        require_log(config)
        return [anyio.run(partial(_try_ticket, config, policy, name))]
    with file.open("rb") as opened:
        content = opened.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise Failed(f"{file} has more than {_MOST_BYTES:,} bytes", hint="try it in parts, as one value on each line")
    try:
        return list(list_scope_trials(policy, content, MACHINES))
    except Unreadable as error:
        raise Failed(f"{file}: {error}", hint=error.hint) from None


async def _try_ticket(config: Config, policy: Policy, name: str) -> ScopeTrial:
    from ecproc.fold.tickets import MACHINES
    from ecproc.reading.documents import find_stream
    from ecproc.reading.opening import open_reading
    from ecproc.reading.scoped import try_ticket

    async with open_reading(config) as reader:
        stream = await find_stream(reader, name)
        if stream is None:
            raise Failed(f"{name} is neither a file nor a ticket")
        return await try_ticket(reader, stream, policy, MACHINES)


def _row(trial: ScopeTrial) -> tuple[str, ...]:
    was = (
        "–" if trial.recorded is None else " ".join(filter(None, (_WORDS[trial.recorded.inside], trial.recorded.rule)))
    )
    return trial.ticket, trial.message_id, _WORDS[trial.inside], trial.rule or trial.remark or "–", was
