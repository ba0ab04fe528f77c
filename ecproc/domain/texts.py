"""Texts that are longer than Ensono takes: in numbered parts, with nothing lost and nothing cut off (R88)."""

from __future__ import annotations

from collections.abc import Mapping
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


def comment_limit(comment: Comment) -> int:
    """The characters of its body that leave room for its signature."""
    return max(_LEAST, COMMENT_LIMIT - sum(len(text) + _LABEL for text in comment.signature))


def split_text(text: str, first: int, following: int = COMMENT_LIMIT) -> list[str]:
    """The text itself, if the first limit holds it; else numbered parts within the limits, whose texts are all of it,
    character by character."""
    if len(text) <= first:
        return [text]
    parts = _cut(text, first, following)
    return [f"({number}/{len(parts)}) {part}" for number, part in enumerate(parts, 1)]


def split_comment(comment: Comment) -> list[Comment]:
    """The comment, in as many as it takes; each has the signature."""
    limit = comment_limit(comment)
    return [msgspec.structs.replace(comment, body=body) for body in split_text(comment.body, limit, limit)]


def _cut(text: str, limit: int, following: int) -> list[str]:
    parts: list[str] = []
    while len(text) > limit - _NUMBERING:
        at = _find_break(text, min(limit - _NUMBERING, len(text) - 1))
        parts.append(text[:at])
        text, limit = text[at:], following
    return [*parts, text]


def _find_break(text: str, limit: int) -> int:
    """Where to end a part: behind the last white space near the limit, else at it."""
    near = max(1, limit - _NEAR)
    return next((at for at in range(limit, near, -1) if text[at - 1].isspace()), limit)
