"""Where the keys of a TOML document stand: its reader does not tell."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from typing import Final, NamedTuple, TypeAlias

Path: TypeAlias = tuple[str | int, ...]
"""Keys and places in arrays, from the document's top."""

_BLANK: Final = re.compile(r"[ \t]*")
_NOTHING: Final = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")
_STRING: Final = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}|' r"'''.*?'{3,5}|" r'"(?:[^"\\\n]|\\.)*"|' r"'[^'\n]*'", re.DOTALL
)
_SCALAR: Final = re.compile(r"[^,\]}#\n]*")


class KeyPlace(NamedTuple):
    """The line of a key, and whether it is written without quotes."""

    line: int
    bare: bool = False


def find_places(text: str) -> dict[Path, KeyPlace]:
    """The place of every key, header and array element of a text that is TOML; of several the first one."""
    return _Scanner(text).scan()


class _Scanner:
    """Goes through a text that is known to be TOML, so that it need not doubt what it finds."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._line, self._counted = 1, 0
        self._arrays: dict[Path, int] = {}
        self._places: dict[Path, KeyPlace] = {}

    def scan(self) -> dict[Path, KeyPlace]:
        """Every place."""
        table: Path = ()
        while self._skip(_NOTHING) < len(self._text):
            if self._text[self._at] == "[":
                table = self._read_header()
            else:
                self._read_pair(table)
        return self._places

    def _read_header(self) -> Path:
        many = self._text.startswith("[[", self._at)
        line = self._count()
        self._at += 2 if many else 1
        parts = [name for name, _ in self._read_keys()]
        self._at += 2 if many else 1
        path: Path = ()
        for place, name in enumerate(parts, 1):
            path = (*path, name)
            self._note(path, KeyPlace(line))
            if many and place == len(parts):
                self._arrays[path] = self._arrays.get(path, -1) + 1
            if path in self._arrays:
                path = (*path, self._arrays[path])
        self._note(path, KeyPlace(line))
        return path

    def _read_pair(self, table: Path) -> None:
        line = self._count()
        for name, bare in self._read_keys():
            table = (*table, name)
            self._note(table, KeyPlace(line, bare))
        self._at += 1  # the equals sign
        self._skip(_BLANK)
        self._read_value(table)

    def _read_keys(self) -> list[tuple[str, bool]]:
        """The parts of a dotted key, and whether each is bare; it ends in front of what ends it."""
        found = []
        while True:
            self._skip(_BLANK)
            if bare := _BARE.match(self._text, self._at):
                found.append((bare[0], True))
                self._at = bare.end()
            else:
                found.append((self._read_string(), False))
            self._skip(_BLANK)
            if self._text[self._at : self._at + 1] != ".":
                return found
            self._at += 1

    def _read_string(self) -> str:
        start = self._at
        self._skip(_STRING)
        name: str = tomllib.loads(f"key = {self._text[start : self._at]}")["key"]
        return name

    def _read_value(self, path: Path) -> None:
        match self._text[self._at : self._at + 1]:
            case "[":
                for place in self._list_items("]"):
                    self._note((*path, place), KeyPlace(self._count()))
                    self._read_value((*path, place))
            case "{":
                for _ in self._list_items("}"):
                    self._read_pair(path)
            case '"' | "'":
                self._skip(_STRING)
            case _:
                self._skip(_SCALAR)

    def _list_items(self, end: str) -> Iterator[int]:
        """Stop in front of each item of an array or an inline table, and behind its end."""
        self._at += 1
        place = 0
        while self._text[self._skip(_NOTHING) : self._at + 1] != end:
            yield place
            place += 1
            if self._text[self._skip(_NOTHING) : self._at + 1] == ",":
                self._at += 1
        self._at += 1

    def _skip(self, pattern: re.Pattern[str]) -> int:
        match = pattern.match(self._text, self._at)
        if match is None:
            raise ValueError("the text is not TOML")
        self._at = match.end()
        return self._at

    def _count(self) -> int:
        self._line += self._text.count("\n", self._counted, self._at)
        self._counted = self._at
        return self._line

    def _note(self, path: Path, place: KeyPlace) -> None:
        self._places.setdefault(path, place)
