"""Named crash points: one no-op call each until a test arms one, then the process dies there by SIGKILL."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Final

FAILPOINTS: Final = frozenset(
    {
        "receive.sent",  # a GET was answered, nothing of it is in the log
        "append.begun",  # the transaction is open
        "append.written",  # rows are in, not committed
        "append.committed",  # durable, no DELETE sent
        "delete.sent",  # the bridge answered one DELETE of the batch
        "project.folded",  # effects decided, not written
        "project.committed",  # effects durable, dispatcher not told
        "claim.committed",  # intent durable, first byte not sent
        "effect.performed",  # the receiver answered, outcome not written
        "settle.committed",  # outcome durable, its actor not woken
        "attachment.written",  # temporary file complete, not renamed
        "attachment.renamed",  # file in place, outcome not written
        "desk.committed",  # the desk applied the call, no answer given
        "start.recovered",  # unsettled effects marked, nothing received yet
    }
)

COMMAND_FAILPOINTS: Final = frozenset(
    {
        "backup.copying",  # some of a database's pages are in the copy
        "backup.written",  # the copy is whole and checked, not in its place
        "link.examined",  # all pairs can be imported, none is recorded
    }
)
"""Those that no processor comes by."""


def _nothing(name: str) -> None:
    """Stand in for every failpoint while none is armed."""


_hit: Callable[[str], None] = _nothing


def failpoint(name: str) -> None:
    """Die here if a test armed this name."""
    _hit(name)


def arm_failpoints(spec: str) -> None:
    """Arm `name:count` pairs, comma separated: the process is killed at the count-th hit of that name.

    Raises ValueError on a name that no code carries, so that a test cannot wait for a point that never comes.
    """
    global _hit  # noqa: PLW0603 - one switch for the process, set once before anything runs
    remaining: dict[str, int] = {}
    for part in filter(None, (item.strip() for item in spec.split(","))):
        name, _, count = part.partition(":")
        if name not in FAILPOINTS | COMMAND_FAILPOINTS:
            raise ValueError(f"unknown failpoint {name!r}")
        remaining[name] = int(count or 1)

    def hit(name: str) -> None:
        left = remaining.get(name)
        if left is None:
            return
        if left <= 1:
            os.kill(os.getpid(), signal.SIGKILL)
        remaining[name] = left - 1

    _hit = hit if remaining else _nothing
