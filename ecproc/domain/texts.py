"""Texts that are longer than Ensono takes: in numbered parts, with nothing lost and nothing cut off (R88)."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from ecproc.domain.commands import Comment

COMMENT_LIMIT: Final = 4_000
"""Characters of a comment's body, with what is appended to it."""
LIMITS: Final[Mapping[str, int]] = {
    "description": 4_000,
    "shortDescription": 160,
    "closeNotes": 4_000,
    "comment": 3_500,
}
"""Characters of the fields that have a limit; a decision's comment leaves room for whom and what it has to name beside
its reason (R175)."""

_LABEL: Final = 20
"""Characters kept free for whatever Ensono sets before each thing that it appends to a comment (R115)."""
_LEAST: Final = 1_000
"""Characters of a comment's body that its signature always leaves."""
_NUMBERING: Final = 16
"""Characters that `(1/3) ` takes at most."""
_NEAR: Final = 80
"""How far before the limit a part may end, to end between two words."""


_ESCAPED: Final = frozenset('\\"\n\r\t')
"""Characters that take two in what is sent (R99)."""
_JOINER = "\u200d"
_MODIFIERS: Final = range(0x1F3FB, 0x1F400)
"""Skin tones, which change the character before them."""


def written_length(text: str) -> int:
    """How many characters of Ensono's limits a text takes: they are counted as it is sent, escaped (R88, R99)."""
    return len(text) + sum(map(text.count, _ESCAPED))


def comment_limit(comment: Comment) -> int:
    """The characters of its body that leave room for its signature."""
    return max(_LEAST, COMMENT_LIMIT - sum(written_length(text) + _LABEL for text in comment.signature))


def split_text(
    text: str, first: int, following: int = COMMENT_LIMIT, *, measure: Callable[[str], int] = written_length
) -> list[str]:
    """The text itself, if the first limit holds it; else numbered parts within the limits, whose texts are all of it,
    character by character. No part ends inside of what people see as one character, or of a line break."""
    if measure(text) <= first:
        return [text]
    parts = _cut(text, first, following, measure)
    return [f"({number}/{len(parts)}) {part}" for number, part in enumerate(parts, 1)]


def split_comment(comment: Comment) -> list[Comment]:
    """The comment, in as many as it takes; each has the signature."""
    limit = comment_limit(comment)
    return [msgspec.structs.replace(comment, body=body) for body in split_text(comment.body, limit, limit)]


def cut_text(text: str, most: int) -> str:
    """The first characters of a text, so many at most, without a piece of one that people see as one."""
    return text if len(text) <= most else text[: _find_whole(text, most)]


def _cut(text: str, limit: int, following: int, measure: Callable[[str], int]) -> list[str]:
    parts: list[str] = []
    while measure(text) > limit - _NUMBERING:
        at = _find_break(text, min(_fit(text, limit - _NUMBERING, measure), len(text) - 1))
        parts.append(text[:at])
        text, limit = text[at:], following
    return [*parts, text]


def _fit(text: str, limit: int, measure: Callable[[str], int]) -> int:
    """The most characters from the beginning that a limit holds, one at least."""
    low, high = 1, min(limit, len(text))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if measure(text[:middle]) <= limit else (low, middle - 1)
    return low


def _find_break(text: str, limit: int) -> int:
    """Where to end a part: behind the last white space near the limit, else at it."""
    near = max(1, limit - _NEAR)
    spaces = (at for at in range(limit, near, -1) if text[at - 1].isspace() and _is_whole(text, at))
    return next(spaces, _find_whole(text, limit))


def _find_whole(text: str, limit: int) -> int:
    """The last place up to the limit that parts no character; the limit itself in what is no text that people write."""
    return next((at for at in range(limit, limit // 2, -1) if _is_whole(text, at)), limit)


def _is_whole(text: str, at: int) -> bool:
    """Whether a text can be cut there without parting a line break, a surrogate pair or a combining sequence."""
    before, behind = text[at - 1 : at], text[at : at + 1]
    if not before or not behind:
        return True
    if before == "\r" and behind == "\n":
        return False
    if "\ud800" <= before <= "\udbff" and "\udc00" <= behind <= "\udfff":
        return False
    joined = _JOINER in (before, behind) or ord(behind) in _MODIFIERS
    return not joined and not unicodedata.category(behind).startswith("M")
