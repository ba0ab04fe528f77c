"""What the running processor counted of deliveries that were not the first, left in its data directory: the log has no
receive counts (decision 1), and whether somebody else reads the queue is asked without a processor, too."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from ecproc.store.checks import replace_file

RECEIPTS: Final = "receipts.json"
MOST_WINDOWS: Final = 32
"""How many windows are kept, the newest ones."""

_Count = Annotated[int, Meta(ge=0, lt=1 << 62)]


class ReceiptWindow(msgspec.Struct, frozen=True):
    """A part of one processor's run, between two times in microseconds UTC.

    `again` counts deliveries, of messages that were handed out first within the window, that were not the first one,
    the last of them at `last`; `known` those whose message the log had, `lost` those that were handed out first while a
    GET failed. `readers` is how many GETs there may be at once.
    """

    since: _Count
    until: _Count
    again: _Count
    known: _Count
    lost: _Count
    readers: _Count
    last: _Count


class _File(msgspec.Struct):
    windows: tuple[ReceiptWindow, ...] = ()


def note_receipts(directory: Path, window: ReceiptWindow) -> None:
    """Leave that window in the data directory, in the place of the one that began when it did. Where it cannot be
    written nothing is said: the next one has the same counts and more."""
    others = [known for known in read_receipts(directory) if known.since != window.since]
    with suppress(OSError):
        body = msgspec.json.encode(_File((*others, window)[-MOST_WINDOWS:]))
        replace_file(directory / RECEIPTS, body)


def read_receipts(directory: Path) -> Sequence[ReceiptWindow]:
    """The windows in a data directory, the oldest first; none where there is no file, or none that we wrote."""
    try:
        return msgspec.json.decode((directory / RECEIPTS).read_bytes(), type=_File).windows
    except (OSError, msgspec.DecodeError, RecursionError):
        return ()
