"""`ecproc reconcile`: what does not add up between us and Ensono."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Annotated, Final

import anyio
import msgspec
from cyclopts import Parameter

from ecproc.cli.listing import take, write_table
from ecproc.cli.output import say, wants_json, write_line
from ecproc.cli.session import Failed, JsonLines, Limit, Own, has_log, mention_missing_log
from ecproc.clock import SystemClock
from ecproc.commands.capability import READABLE
from ecproc.config import Config
from ecproc.errors import ExitCode
from ecproc.reading.masking import mask_struct

if TYPE_CHECKING:
    from ecproc.reading.mismatches import Mismatch
    from ecproc.store.base import Reader

_COLUMNS: Final = ("code", "ticket", "since", "detail", "hint")


def reconcile(
    *,
    remote: Annotated[
        bool,
        Parameter(help="Compare open incidents and requests with Ensono's, in dev and echo only.", show_default=False),
    ] = False,
    limit: Limit = None,
    json: JsonLines = False,
    session: Own,
) -> ExitCode:
    """List what does not add up between us and Ensono: one line each, as JSON unless a terminal shows it; exit 3 if
    there is any.

    Codes are unconfirmed, not_returned, two_client_tickets, link_differs, gap, second_consumer, import_open and, with
    --remote, remote_differs. Only tickets that have not come to their end are looked at. It only reads, beside a
    running processor or without one; what processors counted of late is evidence too.

    Example:
        ecproc reconcile
        ecproc reconcile --json | jq -r .ticket
    """
    config = session.load_config(require_bridge=remote)
    if remote and config.bridge.environment not in READABLE:
        raise Failed(f"--remote is for {' and '.join(sorted(READABLE))} only: elsewhere Ensono shows no tickets (R124)")
    if not has_log(config):
        mention_missing_log(config)
        return ExitCode.OK
    found = anyio.run(partial(_list, config, remote=remote, limit=limit, as_json=wants_json(json)))
    return ExitCode.FINDINGS if found else ExitCode.OK


async def _list(config: Config, *, remote: bool, limit: int | None, as_json: bool) -> int:
    """Print what does not add up; how much that is."""
    from ecproc.reading.opening import open_reading

    rows: list[tuple[str, ...]] = []
    found = 0
    async with open_reading(config) as reader, aclosing(_find(config, reader, remote=remote)) as items:
        async for item in take(items, limit):
            found += 1
            shown = mask_struct(item)
            if as_json:
                write_line(msgspec.json.encode(shown))
            else:
                since = f"{shown.since[:19]}Z" if shown.since else "–"
                rows.append((shown.code, shown.ticket or "–", since, shown.detail, shown.hint))
    if not as_json:
        write_table(_COLUMNS, rows, whole=_COLUMNS[:3])
        say(f"{found} that do not add up" if found else "everything adds up")
    return found


async def _find(config: Config, reader: Reader, *, remote: bool) -> AsyncGenerator[Mismatch, None]:
    from ecproc.reading.mismatches import list_mismatches
    from ecproc.store.receipts import read_receipts

    clock, windows = SystemClock(), read_receipts(config.data.directory)
    async for item in list_mismatches(reader, now=clock.now(), windows=windows):
        yield item
    if not remote:
        return
    from ecproc.bridge.http import HttpBridge
    from ecproc.config import Secrets
    from ecproc.doctor.remote import list_remote_differences

    key = Secrets(config, lambda change: None)["bridge.api_key"]
    bridge = HttpBridge(config.bridge, api_key=key, limits=config.limits, clock=clock)
    try:
        async for item in list_remote_differences(reader, bridge):
            yield item
    finally:
        await bridge.aclose()
