"""What differs between a live row and the rebuilt one, field by field."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import takewhile
from typing import Any, Final

from ecproc.cli.printable import printable_line
from ecproc.reading.masking import mask_text
from ecproc.store.base import Difference

_FIELDS: Final = 10
"""Fields of one row that are named."""
_BEFORE: Final = 30
_SHOWN: Final = 120
"""Characters of a value that are shown, and how many of them stand before the first that differs."""
_WHOLE: Final = "row"
"""What differs where a row has no fields, or only its bytes do."""


def describe_difference(difference: Difference) -> str:
    """The row's table, stream and id, and each field that differs with the live and the rebuilt value; URL queries are
    masked, and long values cut around the first character that differs."""
    name = printable_line(" ".join(filter(None, (difference.table, difference.stream, difference.id))))
    fields = list(_list_fields(difference.live, difference.rebuilt))
    lines = [line for path, live, rebuilt in fields[:_FIELDS] for line in _describe_field(path, live, rebuilt)]
    more = [f"  and {len(fields) - _FIELDS} more fields"] if len(fields) > _FIELDS else []
    return "\n".join((f"differs: {name}", *lines, *more))


def _list_fields(live: bytes | None, rebuilt: bytes | None) -> Iterator[tuple[str, str | None, str | None]]:
    """The path of each field that differs, and its two values as JSON."""
    if live is None or rebuilt is None:
        yield _WHOLE, _read_text(live), _read_text(rebuilt)
        return
    before, after = _take_apart(live), _take_apart(rebuilt)
    paths = [path for path in before | after if before.get(path) != after.get(path)]
    if not paths:
        yield _WHOLE, _read_text(live), _read_text(rebuilt)
    for path in paths:
        yield path, before.get(path), after.get(path)


def _take_apart(data: bytes) -> dict[str, str]:
    try:
        return dict(_flatten("", json.loads(data)))
    except (ValueError, RecursionError):
        return {_WHOLE: _read_text(data) or ""}


def _flatten(path: str, value: Any) -> Iterator[tuple[str, str]]:
    match value:
        case dict() if value:
            for name, member in value.items():
                yield from _flatten(f"{path}.{name}" if path else name, member)
        case list() if value:
            for place, member in enumerate(value):
                yield from _flatten(f"{path}[{place}]", member)
        case _:
            yield path or _WHOLE, json.dumps(value, ensure_ascii=False)


def _read_text(data: bytes | None) -> str | None:
    return None if data is None else data.decode("utf-8", "backslashreplace")


def _describe_field(path: str, live: str | None, rebuilt: str | None) -> Iterator[str]:
    texts = [None if text is None else printable_line(mask_text(text)) for text in (live, rebuilt)]
    yield f"  {printable_line(path)}"
    if texts[0] == texts[1]:
        yield "    differs only in what is masked"
        return
    same = takewhile(lambda pair: pair[0] == pair[1], zip(*(text or "" for text in texts), strict=False))
    start = max(sum(1 for _ in same) - _BEFORE, 0)
    for side, text in zip(("live   ", "rebuilt"), texts, strict=True):
        yield f"    {side} {'(none)' if text is None else _cut(text, start)}"


def _cut(text: str, start: int) -> str:
    shown = text[start : start + _SHOWN]
    return f"{'…' if start else ''}{shown}{'…' if start + _SHOWN < len(text) else ''}"
