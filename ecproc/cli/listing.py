"""Lists of things: one JSON array, or a table on a terminal."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from shutil import get_terminal_size
from typing import Final, TypeVar

import msgspec

from ecproc.cli.output import write_human, write_line
from ecproc.cli.printable import printable_line

T = TypeVar("T")

_GAP: Final = 2
_FOLDED: Final = 24
"""What a column that may be folded gets at least."""


async def take(items: AsyncIterator[T], limit: int | None) -> AsyncIterator[T]:
    """The first so many of them; all without a limit."""
    left = limit
    async for item in items:
        yield item
        left = None if left is None else left - 1
        if left == 0:
            return


async def write_list(items: AsyncIterator[msgspec.Struct]) -> None:
    """Write the items as one JSON array, each on a line of its own, as they come: a long list is never held whole."""
    opened = b"["
    async for item in items:
        write_line(opened + msgspec.json.encode(item))
        opened = b","
    write_line(b"]" if opened == b"," else b"[]")


def write_nothing(*, as_json: bool) -> None:
    """Write a list that has no items."""
    if as_json:
        write_line(b"[]")


def write_table(headings: Sequence[str], rows: Sequence[Sequence[str]], *, whole: Sequence[str] = ()) -> None:
    """Write a plain table, if it has rows; its texts are made harmless to a terminal, a row is no more than one.

    What stands under the headings in `whole` is never broken, so that it can be copied.
    """
    if not rows:
        return
    from rich.cells import cell_len  # only for a terminal, and it takes longer to load than most lists to write
    from rich.table import Table
    from rich.text import Text

    texts = [[printable_line(text) for text in row] for row in rows]
    longest = [max(map(cell_len, column)) for column in zip(headings, *texts, strict=True)]
    needed = sum(
        (length if heading in whole else min(length, _FOLDED)) + _GAP
        for heading, length in zip(headings, longest, strict=True)
    )
    # A terminal breaks lines that are too long for it without harm; a table that squeezes its columns is unreadable.
    width = max(needed, get_terminal_size().columns)
    table = Table(box=None, header_style="dim", padding=(0, _GAP, 0, 0), pad_edge=False, width=width)
    for heading in headings:
        table.add_column(heading.replace("_", " "), overflow="fold", no_wrap=heading in whole)
    for row in texts:
        table.add_row(*map(Text, row))
    write_human(table)
