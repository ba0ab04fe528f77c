"""`ecproc explain`: which scope rule, policy and mapping rules decided about a ticket."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated

import anyio

from ecproc.cli.listing import write_table
from ecproc.cli.moments import Moment, find_position, moment_option
from ecproc.cli.output import wants_json, write_document, write_human
from ecproc.cli.printable import printable_line
from ecproc.cli.session import Failed, Json, Own, Reveal, TicketArgument, require_log
from ecproc.reading.masking import mask_struct

if TYPE_CHECKING:
    from ecproc.config import Config
    from ecproc.reading.explaining import Explained


def explain(
    ticket: TicketArgument,
    /,
    *,
    at: Annotated[
        Moment | None, moment_option("As it was then: a position of the log, or a time (UTC unless it has a zone).")
    ] = None,
    json: Json = False,
    reveal: Reveal = False,
    session: Own,
) -> None:
    """Show what decided about a ticket: whether it is in scope and by which rule, the policy in force, what was done
    about each re-open, and which rule of the mapping decided each field that the desk was told.

    Policy and mapping are those that the log says were in force then, not those of the configuration now.

    Example:
        ecproc explain e-CS0879727
        ecproc explain LOCAL-0000001 --at 4242 --json
    """
    config = session.load_config()
    require_log(config)
    found = anyio.run(partial(_explain, config, ticket, at))
    found = found if reveal else mask_struct(found)
    if wants_json(json):
        write_document(found)
    else:
        _write(found)


async def _explain(config: Config, ticket: str, at: Moment | None) -> Explained:
    from ecproc.fold.tickets import MACHINES
    from ecproc.reading.explaining import explain as explain_stream
    from ecproc.reading.opening import open_queries, open_reading

    async with open_queries(config) as queries:
        position = None if at is None else await find_position(queries, at)
        stream = await queries.find_stream(ticket)
    found = None
    if stream is not None:
        async with open_reading(config) as reader:
            found = await explain_stream(reader, stream, machines=MACHINES, desk=config.desk.kind, at=position)
    if found is None:
        when = f" at {at.shown}" if at is not None else ""
        raise Failed(f"there {'was' if at is not None else 'is'} no ticket {ticket}{when}")
    return found


def _write(found: Explained) -> None:
    scope, policy = found.scope, found.policy
    rule = f"by {scope.rule}" if scope.rule else "no rule is about it"
    days = f", up to {policy.reopen.within_days} days" if policy.reopen.within_days else ""
    write_human(
        printable_line(f"{found.ticket} as of position {found.at}"),
        printable_line(f"scope: {'in' if scope.inside else 'out'} ({rule})"),
        printable_line(f"policy {policy.hash or 'not recorded'}, mapping {policy.mapping or 'not recorded'}"),
        printable_line(f"re-open: {policy.reopen.way}{days}"),
    )
    came = [(str(one.position), one.message_id, one.handled or "–") for one in policy.reopen.came]
    write_table(("position", "re-opened by", "handled"), came, whole=("position", "handled"))
    rows = [(one.field, one.rule, one.before, one.after, "default" if one.default else "") for one in found.mapping]
    write_table(("field", "rule", "before", "after", ""), rows, whole=("field", "rule"))
