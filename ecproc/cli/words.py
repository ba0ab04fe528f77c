"""Words out of a closed list, as people type them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from cyclopts import Parameter, Token

from ecproc.cli.session import UsageError


@dataclass(frozen=True)
class _OneOf:
    """What makes a word of the list out of what was typed."""

    words: tuple[str, ...]

    def __call__(self, _type: object, tokens: Sequence[Token]) -> str:
        keyword = tokens[0].keyword or ""
        try:
            return find_word(tokens[0].value, self.words)
        except ValueError as error:
            raise UsageError(f"invalid value{keyword and f' for {keyword}'}: {error}") from None


def choice(words: Sequence[str], *, help: str, name: str | None = None) -> Parameter:
    """An option that takes one of these words, in any case where that leaves no doubt."""
    return Parameter(name=name, help=help, converter=_OneOf(tuple(words)))


def words_of(parameter: Parameter) -> Sequence[str]:
    """The words that an option made by `choice` takes; nothing of any other."""
    return parameter.converter.words if isinstance(parameter.converter, _OneOf) else ()


def find_word(text: str, words: Sequence[str]) -> str:
    """The word of the list that is meant. Raises ValueError, which names the list and the words that come close."""
    same = [word for word in words if word.casefold() == text.casefold()]
    if text in same or len(same) == 1:
        return text if text in same else same[0]
    lower = {word.casefold(): word for word in words}
    close = same or [lower[word] for word in get_close_matches(text.casefold(), list(lower), n=1)]
    hint = f", did you mean {' or '.join(close)}?" if close else ""
    raise ValueError(f"{text} is none of {', '.join(words)}{hint}")
