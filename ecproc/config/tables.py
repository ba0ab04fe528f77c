"""Arrays of tables in a configuration file: what they hold, and on which lines."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from msgspec import Struct

from ecproc.errors import ConfigProblem

_HEADER: Final = re.compile(r"\s*(\[\[?)\s*([A-Za-z0-9_.\s-]+?)\s*\]\]?\s*(?:#.*)?$")
_KEY: Final = re.compile(r"\s*([A-Za-z0-9_-]+)\s*[.=]")


class TableAt(Struct, frozen=True):
    """One table of an array: its values as TOML has them, the file, and the lines of the table and of its keys."""

    values: Mapping[str, object]
    path: str
    lines: Mapping[str, int] = {}

    def place_of(self, key: str = "") -> str:
        """Where a key stands, as `file:line`; the table itself for one that does not."""
        return f"{self.path}:{self.lines.get(key) or self.lines.get('', 1)}"


def find_tables(text: str, name: str) -> Sequence[Mapping[str, int]]:
    """The lines of each `[[name]]` of a TOML text, under the empty key, and of the keys in it."""
    found: list[dict[str, int]] = []
    current: dict[str, int] | None = None
    for number, line in enumerate(text.splitlines(), 1):
        if header := _HEADER.match(line):
            title = "".join(header[2].split())
            if title == name and header[1] == "[[":
                current = {"": number}
                found.append(current)
            elif current is not None and title.startswith(f"{name}."):
                current.setdefault(title.removeprefix(f"{name}.").partition(".")[0], number)
            else:
                current = None
        elif current is not None and (key := _KEY.match(line)):
            current.setdefault(key[1], number)
    return found


def place_tables(
    name: str, value: object, path: Path, *, text: str, line: int
) -> tuple[str, tuple[TableAt, ...]] | ConfigProblem:
    """Where an array of tables begins, and its tables with their lines; what is wrong with one that is none. `line` is
    that of an array that is written as a value."""
    found = find_tables(text, name)
    place = f"{path}:{found[0][''] if found else line}"
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        return ConfigProblem(f"{name} must be an array of tables", place, f"write [[{name}]] and its keys below")
    inline = {} if found else {"": line}
    return place, tuple(
        TableAt(item, str(path), found[at] if at < len(found) else inline) for at, item in enumerate(value)
    )
