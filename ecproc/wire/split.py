"""Cuts a JSON array or object into its members where a decoder gives up on the whole (hostile text in one of them).

Everything here takes time in proportion to the text, whatever stands in it: strings are blanked first, and what is
nested deeper than the members asked for is passed over in whole pieces.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import accumulate
from typing import Final

_MOST_PARTS: Final = 10_000
"""Members that an array or object is cut into; whatever stands behind them stays one piece."""

_OPEN: Final = frozenset(b"[{")
_CLOSE: Final = frozenset(b"]}")
_TOKEN: Final = re.compile(rb"[\[\]{},]")
_BEGIN: Final = re.compile(rb"[\[{]")
_NAME: Final = re.compile(rb'\s*+"([^"\\]*+)"\s*+:')
_UP: Final = b"\x01"
_DOWN: Final = b"\xff"
_STEPS: Final = bytes.maketrans(b"[{]}", _UP * 2 + _DOWN * 2)
_FLAT: Final = bytes(code for code in range(256) if code not in _OPEN | _CLOSE)
_PIECE: Final = 8_192
"""Bytes that are looked at together."""


class Part(bytes):
    """A piece of a text that was cut; `shape` is the same piece with nothing in its strings."""

    shape: bytes


def split_array(text: bytes) -> list[bytes]:
    """The members of a JSON array as their own bytes; whatever is in the brackets if it is damaged. Never raises."""
    shape = blank_strings(text)
    return [part for start, end in _cut(shape) if (part := _take(text, shape, start, end))]


def split_object(text: bytes) -> dict[str, bytes]:
    """The members of a JSON object as name and raw value; a name that stands twice counts once. Never raises."""
    members: dict[str, bytes] = {}
    shape = blank_strings(text)
    for start, end in _cut(shape):
        plain = _NAME.match(text, start, end)
        colon = plain.end() - 1 if plain else shape.find(b":", start, end)
        if colon >= 0:
            name = plain[1] if plain else text[start:colon].strip().strip(b'"')
            members[name.decode("utf-8", "replace")] = _take(text, shape, colon + 1, end)
    return members


def blank_strings(text: bytes) -> bytes:
    """The text, byte for byte as long, with no quote and nothing of a string left: its structure."""
    if isinstance(text, Part):
        return text.shape
    if b"\\" in text:
        text = text.replace(rb"\\", b"__").replace(rb"\"", b"__")
    pieces = text.replace(b'""', b"__").split(b'"')
    pieces[1::2] = map(b"_".__mul__, map(len, pieces[1::2]))
    return b"_".join(pieces)


def nests_deeper(text: bytes, limit: int) -> bool:
    """Whether arrays and objects stand in each other more than that many levels deep."""
    if text.count(b"[") + text.count(b"{") <= limit:
        return False
    depth = 0
    for steps in _read_steps(blank_strings(text)):
        if depth + steps.count(_UP) > limit and max(_follow(steps, depth)) > limit:
            return True
        depth += steps.count(_UP) - steps.count(_DOWN)
    return False


def _take(text: bytes, shape: bytes, start: int, end: int) -> bytes:
    """A piece without the white space around it."""
    bare = shape[start:end]
    begin = start + len(bare) - len(bare.lstrip())
    bare = bare.strip()
    part = Part(text[begin : begin + len(bare)])
    part.shape = bare
    return part


def _read_steps(shape: bytes) -> Iterator[bytes]:
    """The way up and down through the brackets, piece by piece."""
    for start in range(0, len(shape), _PIECE):
        yield shape[start : start + _PIECE].translate(_STEPS, _FLAT)


def _follow(steps: bytes, depth: int) -> Iterator[int]:
    return accumulate(memoryview(steps).cast("b"), initial=depth)


def _cut(shape: bytes) -> list[tuple[int, int]]:
    """Where the members stand between the first bracket and its partner, or the end if it has none."""
    first = _BEGIN.search(shape)
    if first is None:
        return []
    parts: list[tuple[int, int]] = []
    begin = start = first.end()
    depth = 1
    for begin, steps in zip(range(start, len(shape), _PIECE), _read_steps(shape[start:]), strict=True):
        ups = steps.count(_UP)
        downs = len(steps) - ups
        if depth > 1 and (depth - downs > 1 or min(_follow(steps, depth)) > 1):
            depth += ups - downs
            continue
        for match in _TOKEN.finditer(shape, begin, min(begin + _PIECE, len(shape))):
            token = match[0][0]
            if token in _OPEN:
                depth += 1
            elif token in _CLOSE:
                depth -= 1
                if depth == 0:
                    return [*parts, (start, match.start())]
            elif depth == 1:
                parts.append((start, match.start()))
                start = match.end()
                if len(parts) == _MOST_PARTS:
                    return [*parts, (start, len(shape))]
    return [*parts, (start, len(shape))]
