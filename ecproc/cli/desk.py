"""`ecproc desk`: whether the client's own desk is what it is configured as."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from contextlib import aclosing
from functools import partial
from typing import assert_never

import msgspec

from ecproc.cli.listing import write_table
from ecproc.cli.output import wants_json, write_document, write_human
from ecproc.cli.session import Json, Own
from ecproc.clock import SystemClock
from ecproc.config import Config
from ecproc.desk.finding import DeskFinding
from ecproc.errors import ExitCode


class _Report(msgspec.Struct, frozen=True):
    """What the check came to."""

    ok: bool
    desk: str
    findings: Sequence[DeskFinding]


def check(*, json: Json = False, session: Own) -> ExitCode:
    """Ask the client's desk whether it is what the configuration says; exit 3 if it is not, with what to do about it.

    Nothing is changed at the desk. A webhook desk is posted a probe twice under one id: both answers have to carry the
    nonce that its receiver chose at the first, which proves that it applies an id once.

    Example:
        ecproc desk check
        ecproc desk check --json | jq '.findings[]'
    """
    config = session.load_config()
    findings = session.run_loop(partial(_find, config))
    report = _Report(not findings, config.desk.kind, findings)
    if wants_json(json):
        write_document(report)
    elif findings:
        rows = [(found.check, found.severity, found.text, found.fix) for found in findings]
        write_table(("check", "severity", "finding", "what to do"), rows, whole=("check", "severity"))
    else:
        write_human(f"the {config.desk.kind} desk is as it should be")
    return ExitCode.OK if report.ok else ExitCode.FINDINGS


async def _find(config: Config) -> Sequence[DeskFinding]:
    match config.desk.kind:
        case "local":
            return ()  # it is a file of ours, which `ecproc doctor` looks at
        case "webhook":
            from ecproc.config.rotation import Secrets
            from ecproc.desk.webhook.desk import WebhookDesk
            from ecproc.desk.webhook.probe import check as probe

            clock = SystemClock()
            own = Secrets(config, lambda change: None)["desk.webhook.secrets"]
            desk = await WebhookDesk.open(config.desk_webhook, secrets=lambda: own.values, clock=clock)
            async with aclosing(desk):
                return await probe(desk, nonce=secrets.token_hex(16), now=clock.now())
        case kind:
            assert_never(kind)
