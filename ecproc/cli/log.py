"""`ecproc log`: the event log itself."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import anyio
from msgspec.structs import asdict

from ecproc.cli.listing import write_table
from ecproc.cli.output import wants_json, write_document, write_human
from ecproc.cli.printable import printable_line
from ecproc.cli.session import Json, Own, require_log
from ecproc.clock import SystemClock
from ecproc.config import Config
from ecproc.errors import ExitCode
from ecproc.store.base import Damage
from ecproc.store.checks import LogVerified, note_check

if TYPE_CHECKING:
    from ecproc.reading.stats import LogStats


def verify(*, json: Json = False, session: Own) -> ExitCode:
    """Read the whole log and check its hash chain, order and anchor; exit 3 and say where if it does not hold.

    Example:
        ecproc log verify --json
    """
    from ecproc.store.opening import verify_log

    config = session.load_config()
    require_log(config)
    found = verify_log(config.data)
    if isinstance(found, Damage):
        document: object = {"ok": False, "position": found.position, "reason": found.reason}
        text = printable_line(f"damaged at position {found.position}: {found.reason}")
    else:
        note_check(config.data.directory, LogVerified(SystemClock().now()))
        head = {"position": found.head.position, "hash": found.head.hash.hex()}
        document = {"ok": True, "events": found.events, "head": head}
        text = f"{found.events:,} events hold, up to {head['hash']}"
    if wants_json(json):
        write_document(document)
    else:
        write_human(text)
    return ExitCode.FINDINGS if isinstance(found, Damage) else ExitCode.OK


def stats(*, json: Json = False, session: Own) -> None:
    """Say how long the log is, how fast it and the stored files grow, and how many days the disk lasts at that rate.

    bytes are those of the log with its write-ahead log, bytes_per_day of log and stored files in the last 7 days;
    days_left is what is free above data.reserve_bytes at that rate. Both are null where less than an hour is known.

    Example:
        ecproc log stats --json
    """
    config = session.load_config()
    require_log(config)
    found = anyio.run(partial(_measure, config))
    if wants_json(json):
        write_document(found)
        return
    rows = [
        (name.replace("_", " "), "unknown" if value is None else _show(value)) for name, value in asdict(found).items()
    ]
    write_table(("", ""), rows)


async def _measure(config: Config) -> LogStats:
    from ecproc.reading.opening import open_reading
    from ecproc.reading.stats import measure_log

    async with open_reading(config) as reader:
        return await measure_log(reader, config.data, now=SystemClock().now())


def _show(value: object) -> str:
    match value:
        case float():
            return f"{value:,.1f}"
        case int():
            return f"{value:,}"
        case _:
            return str(value)
