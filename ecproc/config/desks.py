"""The section of a desk that another package brings: which types it may have, and what is said where it cannot be."""

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, get_args, get_origin

from msgspec import NODEFAULT, Struct

from ecproc.config.catalogue import Option, list_options, suggest_word
from ecproc.config.options import DESKS
from ecproc.config.secret import Secret
from ecproc.errors import ConfigError, ConfigProblem

FindDesk: TypeAlias = Callable[[str], type[Struct]]
"""The type of the options of a desk that another package brings, by the desk's name. Raises ConfigError."""

DESK_NAME: Final = re.compile(r"[a-z][a-z0-9]*")

_KEY: Final = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_TYPES: Final = (str, int, float, bool, Path, Secret)
_LISTS: Final = (tuple[str, ...], tuple[Secret, ...])
_TOLD: Final = 300
"""Characters kept of why a package refuses its options."""
_TYPES_HELP: Final = (
    "str, int, float, bool, Path, Secret, Literal of texts, tuple[str, ...] and tuple[Secret, ...] can be"
)


def unknown_desk(kind: str, others: Iterable[str] = ()) -> ConfigError:
    """The error of a `desk.kind` that is none of ours, nor of the `others` that are installed."""
    known = (*DESKS, *sorted(others))
    meant = suggest_word(kind, known)
    advice = f"{f'did you mean {meant}? ' if meant else ''}known here: {', '.join(known)}"
    return ConfigError(ConfigProblem(f"unknown desk.kind {kind!r}", help=advice))


def refuse_desk(kind: str) -> type[Struct]:
    """Find no desk but ours: a `FindDesk` where no package is asked."""
    raise unknown_desk(kind)


def find_fault(struct: object) -> str:
    """Why a type cannot be a section of the configuration, empty if it can. Raises what its annotations raise."""
    if not (isinstance(struct, type) and issubclass(struct, Struct)):
        return "its options are no msgspec.Struct"
    options = [*list_options("", struct)]
    files = {f"{option.key}_file" for option in options if option.is_secret}
    for option in options:
        if not _KEY.fullmatch(option.key):
            return f"its option {option.key!r} is not named in lower case, with single _ between words"
        if option.key in files:
            return f"its option {option.key!r} has the variable of a secret's file"
        if not _is_plain(option.type):
            return f"its option {option.key!r} is of a type that none can be of: {_TYPES_HELP}"
        if option.default is not NODEFAULT and not isinstance(option.default, _class_of(option.type)):
            return f"the default of its option {option.key!r} is not of its type"
    return ""


def make_options(struct: type[Struct], values: Mapping[str, Any]) -> Struct | str:
    """The options with these values, or why they are refused: never with one of the secrets among them."""
    try:
        return struct(**values)
    except Exception as error:  # the package's own check of them
        text, name = str(error), type(error).__name__
    return name if any(secret in text for secret in _list_texts(values.values())) else text[:_TOLD] or name


def require(option: Option, place: str) -> ConfigProblem:
    """What is said of an option that has to be set, at that place if anywhere, and is not."""
    file = f" or {option.variable}_FILE" if option.is_secret else f" or {option.key} in [{option.section}]"
    return ConfigProblem(f"{option.name} is required", place, f"set {option.variable}{file}")


def _list_texts(values: Iterable[object]) -> Iterable[str]:
    for value in values:
        for one in value if isinstance(value, tuple) else (value,):
            if isinstance(one, Secret) and one:
                yield one.reveal()


def _is_plain(kind: Any) -> bool:
    if get_origin(kind) is Literal:
        return all(isinstance(word, str) for word in get_args(kind))
    return kind in _TYPES or kind in _LISTS


def _class_of(kind: Any) -> type | tuple[type, ...]:
    if kind is float:
        return (float, int)
    if get_origin(kind) is Literal:
        return str
    return get_origin(kind) or kind  # type: ignore[no-any-return]
