"""A desk's closed lists as a mapping file has them: written, and put in the place of those that a file had."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Final, TypeAlias

Choices: TypeAlias = Mapping[str, Mapping[str, Mapping[str, str]]]
"""By ticket type and field: labels by code."""

_HEADER: Final = re.compile(r"^\s*\[")
_CHOICES: Final = re.compile(r"^\s*\[\s*choices\s*[.\]]")


def write_choices(choices: Choices) -> str:
    """The tables of these lists, as TOML."""
    return "\n".join(_write_table(ticket_type, lists) for ticket_type, lists in choices.items() if lists)


def replace_choices(text: str, choices: Choices) -> str:
    """A mapping file's text with these lists, where it had its own, or else behind its last key without a table.

    Fields whose lists are not given keep none: give all that the mapping has.
    """
    kept: list[str] = []
    above: list[str] = []  # comments that stand above the next table
    place: int | None = None
    inside = False
    for line in text.splitlines():
        if _HEADER.match(line):
            place = len(kept) if place is None else place
            inside = _CHOICES.match(line) is not None
            kept += above if not inside else []
            above = []
        if not inside:
            kept.append(line)
        elif line.strip() and not line.lstrip().startswith("#"):
            above = []
        else:
            above.append(line)
    place = len(kept) if place is None else place
    before, behind = "\n".join(kept[:place]).rstrip("\n"), "\n".join(kept[place:]).strip("\n")
    return "\n\n".join(part for part in (before, write_choices(choices).rstrip("\n"), behind) if part) + "\n"


def _write_table(ticket_type: str, lists: Mapping[str, Mapping[str, str]]) -> str:
    lines = [f"{field} = {_write_list(words)}" for field, words in lists.items()]
    return "\n".join([f"[choices.{ticket_type}]", *lines, ""])


def _write_list(words: Mapping[str, str]) -> str:
    pairs = ", ".join(f"{_write_text(code)} = {_write_text(label)}" for code, label in words.items())
    return f"{{ {pairs} }}" if pairs else "{}"


def _write_text(text: str) -> str:
    """The text in quotes, without what nobody sees."""
    return json.dumps("".join(each for each in text if each.isprintable()), ensure_ascii=False)
