"""A file of links: comma-separated values in UTF-8, a pair on each line. Pure."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from io import StringIO
from typing import Final, NamedTuple

from ecproc.commands.linking import LinkPair, LinkProblem, tidy

_REQUIRED: Final = ("ensono_number", "client_number")
_OPTIONAL: Final = ("reference", "generation")
HEADER: Final = "ensono_number,client_number[,reference][,generation]"
"""What the first line of such a file says."""
_GENERATION: Final = re.compile(r"[1-9][0-9]{0,3}")
_SHOWN: Final = 60


class LinkFile(NamedTuple):
    """What a file holds: tidy pairs, and what is wrong with its other lines."""

    pairs: Sequence[LinkPair]
    problems: Sequence[LinkProblem]


def read_links(data: bytes) -> LinkFile:
    """The pairs in that file, each with its line. One that is no text, or of another header, has no pairs."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        return _refuse(line, "file", f"the byte 0x{data[error.start]:02x} is no UTF-8: save the file as UTF-8")
    if "\0" in text:
        return _refuse(text.count("\n", 0, text.index("\0")) + 1, "file", "it has a NUL: save the file as UTF-8 text")
    rows = _Rows(text)
    header = next(rows, [])
    if rows.broken is None and (wrong := _check_header(header)):
        return _refuse(max(rows.line, 1), "header", wrong)
    pairs: list[LinkPair] = []
    problems: list[LinkProblem] = []
    for row in rows:
        read = _read_row(rows.line, [name.strip() for name in header], row)
        if isinstance(read, LinkPair):
            pairs.append(read)
        else:
            problems.append(read)
    if rows.broken is not None:
        problems.append(rows.broken)
    return LinkFile(pairs, problems)


class _Rows(Iterator[list[str]]):
    """The rows that are not blank; `line` is the last one's first line. What breaks off is told in `broken`."""

    def __init__(self, text: str) -> None:
        self.line = 0
        self.broken: LinkProblem | None = None
        self._reader = csv.reader(StringIO(text, newline=""), strict=True)

    def __next__(self) -> list[str]:
        while True:
            self.line = self._reader.line_num + 1
            try:
                row = next(self._reader)
            except csv.Error as error:
                self.broken = LinkProblem(self.line, "line", f"{error}: see whether a quote is missing")
                raise StopIteration from None
            if any(value.strip() for value in row):
                return row


def _refuse(line: int, field: str, text: str) -> LinkFile:
    return LinkFile((), (LinkProblem(line, field, text),))


def _check_header(header: Sequence[str]) -> str:
    names = [name.strip() for name in header]
    optional = [name for name in _OPTIONAL if name in names]
    if names == [*_REQUIRED, *optional]:
        return ""
    if ";" in "".join(names) or "\t" in "".join(names):
        return f"columns are parted by commas: {HEADER}"
    found = ",".join(names)[:_SHOWN]
    return f"{found!r} is not {HEADER}: write that into the first line"


def _read_row(line: int, names: Sequence[str], row: Sequence[str]) -> LinkPair | LinkProblem:
    if len(row) != len(names):
        return LinkProblem(line, "columns", f"{len(row)} of {len(names)}: {','.join(names)}")
    told = dict(zip(names, row, strict=True))
    generation = told.get("generation", "1").strip()
    if not _GENERATION.fullmatch(generation):
        text = f"{generation[:_SHOWN]!r} is none: write 1, or for a change which of its generations it is"
        return LinkProblem(line, "generation", text)
    pair = LinkPair(told["ensono_number"], told["client_number"], told.get("reference", ""), int(generation, 10), line)
    return tidy(pair)
