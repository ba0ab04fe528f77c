"""Lists of things: one JSON array, or a table on a terminal that is written whole or as its rows come."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from shutil import get_terminal_size
from typing import Final, NamedTuple, TypeVar

import msgspec

from ecproc.cli.output import write_human, write_line, write_text
from ecproc.cli.printable import printable_line

T = TypeVar("T")

_GAP: Final = 2
_FOLDED: Final = 24
"""What a column that may be folded gets at least."""
_CUT: Final = 8
"""What a column whose texts may be cut gets at least, if they need it."""
_LEARNED: Final = 200
"""By how many of its rows a table that is written as they come gets its widths."""


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


class Column(NamedTuple):
    """A column of a table that is written as its rows come; what stands in a `whole` one is never cut."""

    heading: str
    whole: bool = False
    least: int = _CUT


class RowWriter:
    """A table on a terminal, a line for each row, as wide as that at most: however long it is, it is never held whole.

    Widths are those of its first rows. The last column gets what is left, and is left out where that is too little.
    """

    def __init__(self, columns: Sequence[Column]) -> None:
        self._columns = list(columns)
        self._waiting: list[Sequence[str]] = []
        self._widths: list[int] = []
        self.rows = 0

    def write(self, row: Sequence[str]) -> None:
        """Write a row, its texts made harmless to a terminal; it may wait for the next ones."""
        self.rows += 1
        self._waiting.append([printable_line(text) for text in row])
        if self._widths or len(self._waiting) >= _LEARNED:
            self.flush()

    def flush(self) -> None:
        """Write all rows that wait; nothing of a table without rows."""
        if self._waiting and not self._widths:
            self._widths = fit(self._columns, self._waiting, get_terminal_size().columns)
            self._write_headings()
        for row in self._waiting:
            write_text(self._format(row))
        self._waiting.clear()

    def _write_headings(self) -> None:
        from rich.text import Text

        headings = self._format([column.heading for column in self._columns])
        write_human(Text(headings, style="dim", no_wrap=True))

    def _format(self, row: Sequence[str]) -> str:
        cells = zip(row, self._columns, self._widths, strict=False)
        return (" " * _GAP).join(_place(text, column, width) for text, column, width in cells).rstrip()


def fit(columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int) -> list[int]:
    """The width of each column; the last one has none where there is no room for it."""
    from rich.cells import cell_len

    *needed, last = [max(map(cell_len, texts)) for texts in zip([item.heading for item in columns], *rows, strict=True)]
    left = width - _GAP * len(needed) - sum(needed)
    if left >= min(columns[-1].least, last):
        return [*needed, left]
    over = sum(needed) + _GAP * (len(needed) - 1) - width
    while over > 0:
        cut = [at for at, column in enumerate(columns[:-1]) if not column.whole and needed[at] > column.least]
        if not cut:
            break
        needed[max(cut, key=needed.__getitem__)] -= 1
        over -= 1
    return needed


def _place(text: str, column: Column, width: int) -> str:
    from rich.cells import cell_len, set_cell_size

    length = cell_len(text)
    if length <= width or column.whole:
        return text + " " * (width - length)
    return f"{set_cell_size(text, width - 1)}…"
