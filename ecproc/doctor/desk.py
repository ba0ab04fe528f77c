"""A look at a desk that is somebody else's: what it lets us do."""

from __future__ import annotations

from contextlib import aclosing

from ecproc.clock import Clock
from ecproc.config import Config, Secrets
from ecproc.desk.finding import DeskCheck
from ecproc.desk.opening import open_servicenow
from ecproc.desk.servicenow.probe import check
from ecproc.doctor.report import Opinion, Trouble
from ecproc.errors import Severity
from ecproc.mapping_file import open_mapping


async def check_servicenow(config: Config, *, nonce: str, write: bool, clock: Clock) -> DeskCheck:
    """What is wrong with the configured instance for us. Raises ConfigError."""
    mapping, _ = open_mapping(config)
    secrets = Secrets(config, lambda change: None)
    desk = await open_servicenow(config, mapping=mapping, secrets=secrets, clock=clock)
    async with aclosing(desk):
        return await check(desk.instance, config.desk_servicenow, mapping, nonce=nonce, write=write)


def judge_check(found: DeskCheck, place: str) -> Opinion:
    """The same as one check of many."""
    troubles = tuple(Trouble(f"{one.check}: {one.text}", one.fix, Severity(one.severity)) for one in found.findings)
    return Opinion(f"{place}{''.join(f'; {note}' for note in found.notes)}", troubles)
