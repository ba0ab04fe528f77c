"""Which command the arguments ask for, before anything of it is loaded, and whether it is to describe itself.

What names no command is refused here, with the commands that may have been meant.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import Final, NamedTuple

from ecproc.cli.catalogue import COMMANDS, GROUPS, Command
from ecproc.cli.session import UsageError

_HELP: Final = ("--help", "-h")
_HELP_WORD: Final = "help"
_VERSION: Final = "--version"
_CONFIG: Final = "--config"
_CLOSE: Final = 0.75
"""How alike an option in front of the command must be to one that belongs there."""

_BY_NAME: Final = {command.name: command for command in COMMANDS}


class Asked(NamedTuple):
    """What was asked for; `words` name a command or a group, or nothing at all."""

    words: tuple[str, ...] = ()
    helps: bool = False
    version: bool = False

    @property
    def command(self) -> Command | None:
        """The command, unless only a group was named, or nothing."""
        return _BY_NAME.get(" ".join(self.words))

    @property
    def runs(self) -> bool:
        """Whether a command is to be carried out."""
        return self.command is not None and not (self.helps or self.version)


def read_request(tokens: Sequence[str], *, strict: bool = True) -> Asked:
    """What these arguments ask for. Raises UsageError where they name no command, unless not `strict`."""
    try:
        return _read(tokens)
    except UsageError:
        if strict:
            raise
    first = next((token for token in _plain(tokens) if not token.startswith("-")), "")
    return Asked((first,) if first in GROUPS else ())


def _read(tokens: Sequence[str]) -> Asked:
    plain = list(_plain(tokens))
    words = [token for token in plain if not token.startswith("-")]
    asking = _find_asking(words)
    words = [word for place, word in enumerate(words) if place not in asking]
    helps = bool(asking) or any(token in _HELP for token in plain)
    _check_front(plain, words)
    if not words:
        if _CONFIG in tokens[-1:]:
            raise UsageError(f"{_CONFIG} requires an argument, and a command behind it")
        return Asked(helps=True, version=_VERSION in plain)
    found = _find_words(words)
    if len(found) == 1 and found[0] in GROUPS and not (helps or _VERSION in plain):
        raise UsageError(f"{found[0]} needs a command: {', '.join(_list_members(found[0]))}")
    return Asked(found, helps, _VERSION in plain)


def _find_asking(words: Sequence[str]) -> Sequence[int]:
    """The places of the words `help` that ask for it: in front, and behind a group."""
    front = next((place for place, word in enumerate(words) if word != _HELP_WORD), len(words))
    behind = front + 1
    in_group = words[front:behind] and words[front] in GROUPS and words[behind : behind + 1] == [_HELP_WORD]
    return [*range(front), *([behind] if in_group else [])]


def _plain(tokens: Sequence[str]) -> Iterator[str]:
    """The arguments less `--config` with its file, as far as `--`."""
    rest = iter(tokens)
    for word in rest:
        if word == "--":
            return
        if word == _CONFIG:
            next(rest, None)
        elif not word.startswith(f"{_CONFIG}="):
            yield word


def _check_front(plain: Sequence[str], words: Sequence[str]) -> None:
    """Refuse an option that stands before the command and does not belong there."""
    known = (*_HELP, _VERSION)
    option = plain[0] if plain and plain[0].startswith("-") and plain[0] not in known else ""
    if not option:
        return
    close = get_close_matches(option.partition("=")[0], [*known, _CONFIG], n=1, cutoff=_CLOSE)
    hint = f", did you mean {close[0]}?" if close else ""
    if not hint and words and (words[0] in GROUPS or words[0] in _BY_NAME):
        hint = f" before the command: write ecproc {' '.join(_find_words(words))} {option}"
    raise UsageError(f"there is no option {option}{hint}")


def _find_words(words: Sequence[str]) -> tuple[str, ...]:
    first = words[0]
    if first in _BY_NAME:
        return (first,)
    if first not in GROUPS:
        raise UsageError(f"there is no command {first}{_suggest_first(words)}")
    if len(words) == 1 or f"{first} {words[1]}" in _BY_NAME:
        return tuple(words[:2])
    raise UsageError(f"there is no command {words[1]}{_suggest_second(first, words[1])}")


def _suggest_first(words: Sequence[str]) -> str:
    first = words[0]
    members = [name for name in _BY_NAME if name.endswith(f" {first}")]
    if members:
        return f" on its own, did you mean {' or '.join(members)}?"
    if any(character.isdigit() for character in first):
        return f", did you mean show {first}?"
    singles = sorted({name.partition(" ")[0] for name in _BY_NAME} | {_HELP_WORD})
    close = get_close_matches(first.lower(), singles, n=1)
    return f", did you mean {close[0]}?" if close else ""


def _list_members(group: str) -> Sequence[str]:
    return [name.partition(" ")[2] for name in _BY_NAME if name.startswith(f"{group} ")]


def _suggest_second(group: str, word: str) -> str:
    members = _list_members(group)
    close = get_close_matches(word.lower(), members, n=1)
    if close:
        return f", did you mean {close[0]}?"
    elsewhere = [name for name in _BY_NAME if word in name.split()]
    hint = f"; did you mean ecproc {' or ecproc '.join(elsewhere)}?" if elsewhere else ""
    return f" in {group}, which has {', '.join(members)}{hint}"
