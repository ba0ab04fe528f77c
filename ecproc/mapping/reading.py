"""A document's values as what they must be; whatever is not is a problem at its line."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Sequence
from collections.abc import Mapping as MappingOf
from typing import Any, Final, TypeVar

from ecproc.errors import ConfigProblem
from ecproc.mapping.places import KeyPlace, Path

W = TypeVar("W", bound=str)

_NUMBER: Final = re.compile(r"[+-]?[0-9][0-9_]*")
_SHOWN: Final = 60


class Shapeless(Exception):
    """A value that is not what it must be; it was complained of."""


class ShapeReader:
    """Reads values of a mapping's document, and collects what is wrong with them."""

    def __init__(self, places: MappingOf[Path, KeyPlace], source: str) -> None:
        self._places = places
        self._source = source
        self.problems: list[ConfigProblem] = []

    def place(self, path: Path) -> str:
        """Where a key stands, as `file:line`; else where the nearest thing around it does."""
        while path and path not in self._places:
            path = path[:-1]
        return f"{self._source}:{self._places[path].line}" if path in self._places else self._source

    def complain(self, message: str, path: Path, help: str = "") -> None:
        """Note a problem at that key."""
        self.problems.append(ConfigProblem(message, self.place(path), help))

    def fail(self, message: str, path: Path, help: str = "") -> Shapeless:
        """The same, as something to raise."""
        self.complain(message, path, help)
        return Shapeless(message)

    def refuse_unknown(self, table: MappingOf[str, Any], known: Collection[str], path: Path) -> None:
        """Complain of every key that is none of the known ones."""
        for key in table:
            if key not in known:
                near = difflib.get_close_matches(key, list(known), n=1)
                name = ".".join(map(str, [part for part in path if isinstance(part, str)] + [key]))
                self.complain(f"unknown key {name}", (*path, key), f"did you mean {near[0]}?" if near else "")

    def table(self, value: object, path: Path) -> dict[str, Any]:
        """A table; an empty one where it is none."""
        if isinstance(value, dict):
            return value
        self.complain(f"{_name(path)} must be a table", path)
        return {}

    def text(self, value: object, path: Path) -> str:
        """A text. Raises Shapeless."""
        if isinstance(value, str):
            return value
        if isinstance(value, int | float) and not isinstance(value, bool):
            raise self.fail(f"{_name(path)} is the number {value}", path, f'write it as text: "{value}"')
        raise self.fail(f"{_name(path)} must be text, not {_show(value)}", path)

    def texts(self, value: object, path: Path, *, single: bool = False) -> tuple[str, ...]:
        """A list of texts; with `single` one text may stand for a list of it. Raises Shapeless."""
        if single and not isinstance(value, list):
            return (self.text(value, path),)
        if not isinstance(value, list):
            raise self.fail(f"{_name(path)} must be a list of texts, not {_show(value)}", path)
        return tuple(self.text(item, (*path, place)) for place, item in enumerate(value))

    def list_of(self, value: object, path: Path) -> tuple[str, ...]:
        """A list of texts; an empty one where it is none."""
        try:
            return self.texts(value, path)
        except Shapeless:
            return ()

    def flag(self, value: object, path: Path) -> bool:
        """True or false; false where it is neither."""
        if isinstance(value, bool):
            return value
        self.complain(f"{_name(path)} must be true or false, not {_show(value)}", path)
        return False

    def word(self, value: object, known: Sequence[W], path: Path) -> W:
        """One of the known words. Raises Shapeless."""
        text = self.text(value, path)
        for word in known:
            if word == text:
                return word
        raise self.fail(f"{_name(path)} must be {' or '.join(known)}, not {_show(text)}", path)

    def number(self, value: object, low: int, high: int, path: Path) -> int:
        """A whole number between the two. Raises Shapeless."""
        if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
            return value
        reason = f"{_name(path)} must be a whole number from {low} to {high}, not {_show(value)}"
        raise self.fail(reason, path)

    def rows(self, value: object, path: Path) -> dict[str, str]:
        """A table of texts; a key that is written as a number is as much a problem as a value that is one."""
        rows: dict[str, str] = {}
        for key, item in self.table(value, path).items():
            place = self._places.get((*path, key))
            if place is not None and place.bare and _NUMBER.fullmatch(key):
                self.complain(
                    f"{_name(path)} has the number {key} as a key", (*path, key), f'write it as text: "{key}"'
                )
                continue
            try:
                rows[key] = self.text(item, (*path, key))
            except Shapeless:
                continue
        return rows


def _name(path: Path) -> str:
    """What a key is called: the keys that lead to it, below its rule."""
    return ".".join(part for part in path if isinstance(part, str))


def _show(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
