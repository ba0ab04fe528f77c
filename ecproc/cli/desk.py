"""`ecproc desk`: whether the client's own desk is what it is configured as."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from contextlib import aclosing
from functools import partial
from typing import Annotated

import msgspec
from cyclopts import Parameter

from ecproc.cli.listing import write_table
from ecproc.cli.output import wants_json, write_document, write_human
from ecproc.cli.printable import printable_line
from ecproc.cli.session import Json, Own, UsageError
from ecproc.clock import SystemClock
from ecproc.config import Config
from ecproc.desk.finding import DeskCheck, DeskFinding
from ecproc.errors import ExitCode


class _Report(msgspec.Struct, frozen=True):
    """What the check came to."""

    ok: bool
    desk: str
    findings: Sequence[DeskFinding]
    notes: Sequence[str]


def check(
    *,
    write: Annotated[
        bool,
        Parameter(
            help="Make a test record in each table of a ServiceNow instance, find it by its key, write a note, and"
            " close it: only that proves that keys are kept."
        ),
    ] = False,
    json: Json = False,
    session: Own,
) -> ExitCode:
    """Ask the client's desk whether it is what the configuration says; exit 3 if it is not, with what to do about it.

    Nothing is changed at the desk, but for what --write does. A webhook desk is posted a probe twice under one id: both
    answers have to carry the nonce that its receiver chose at the first, which proves that it applies an id once. A
    ServiceNow instance is asked for the rights, fields and lists that the desk needs. A desk of another package is
    asked for its own check, if it brings one.

    Example:
        ecproc desk check
        ecproc desk check --write
        ecproc desk check --json | jq '.findings[]'
    """
    config = session.load_config()
    if write and config.desk.kind != "servicenow":
        raise UsageError(f"--write is for a ServiceNow desk, and desk.kind is {config.desk.kind}")
    found = session.run_loop(partial(_find, config, write=write))
    report = _Report(not found.findings, config.desk.kind, found.findings, found.notes)
    if wants_json(json):
        write_document(report)
        return ExitCode.OK if report.ok else ExitCode.FINDINGS
    for note in report.notes:
        write_human(f"note: {printable_line(note)}")
    if report.findings:
        rows = [(one.check, one.severity, one.text, one.fix) for one in report.findings]
        write_table(("check", "severity", "finding", "what to do"), rows, whole=("check", "severity"))
    else:
        write_human(f"the {config.desk.kind} desk is as it should be")
    return ExitCode.OK if report.ok else ExitCode.FINDINGS


async def _find(config: Config, *, write: bool) -> DeskCheck:
    clock, nonce = SystemClock(), secrets.token_hex(16)
    match config.desk.kind:
        case "local":
            return DeskCheck(())  # it is a file of ours, which `ecproc doctor` looks at
        case "servicenow":
            from ecproc.doctor.desk import check_servicenow

            return await check_servicenow(config, nonce=nonce, write=write, clock=clock)
        case "webhook":
            from ecproc.config.rotation import Secrets
            from ecproc.desk.webhook.desk import WebhookDesk
            from ecproc.desk.webhook.probe import check as probe

            own = Secrets(config, lambda change: None)["desk.webhook.secrets"]
            desk = await WebhookDesk.open(config.desk_webhook, secrets=lambda: own.values, clock=clock)
            async with aclosing(desk):
                return DeskCheck(await probe(desk, nonce=nonce, now=clock.now()))
        case kind:
            from ecproc.config.rotation import Secrets
            from ecproc.desk.plugin import check_plugin
            from ecproc.mapping_file import open_mapping

            mapping, _ = open_mapping(config)
            live = Secrets(config, lambda change: None)
            found = await check_plugin(config, mapping=mapping, secrets=live, clock=clock)
            nothing = (f"the {kind} desk brings no check: nothing was asked",)
            return DeskCheck((), nothing) if found is None else DeskCheck(tuple(found))
