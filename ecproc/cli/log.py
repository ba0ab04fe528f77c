"""`ecproc log`: the event log itself."""

from __future__ import annotations

from ecproc.cli.output import wants_json, write_document, write_human
from ecproc.cli.printable import printable_line
from ecproc.cli.session import Json, Own, require_log
from ecproc.clock import SystemClock
from ecproc.errors import ExitCode
from ecproc.store.base import Damage
from ecproc.store.checks import LogVerified, note_check


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
