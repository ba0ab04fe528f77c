"""On which lines of a TOML file its sections and keys stand."""

import tomllib
from collections.abc import Iterator, Mapping
from typing import Any


def number_lines(text: str) -> dict[str, int]:
    """The first line of each section and key, as `section.key`: each statement is parsed alone, under its header."""
    lines: dict[str, int] = {}
    header, start = "", 1
    statement: list[str] = []
    for number, line in enumerate(text.replace("\r\n", "\n").split("\n"), 1):
        statement.append(line)
        parsed = _try_parse("\n".join([header, *statement]))
        if parsed is None:
            continue
        for name in _names_in(parsed):
            lines.setdefault(name, start)
        if statement[0].lstrip().startswith("["):
            header = line
        statement, start = [], number + 1
    return lines


def _try_parse(text: str) -> dict[str, Any] | None:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return None


def _names_in(document: Mapping[str, Any]) -> Iterator[str]:
    for name, value in document.items():
        yield name
        if isinstance(value, dict):
            yield from (f"{name}.{inner}" for inner in _names_in(value))
