"""What --help prints: the same form for the program, a group and a command."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from shutil import get_terminal_size
from typing import TYPE_CHECKING, Final

from ecproc.cli.catalogue import COMMANDS, CONFIG_HELP, GROUPS, INTRODUCTION

if TYPE_CHECKING:
    from ecproc.cli.reference import CommandReference, ParameterReference

_NARROWEST: Final = 40
"""Columns that texts are wrapped at, at least."""
_LONGEST_NAME: Final = 24
"""Columns of a name beside which its text begins."""

_HELP_ROW: Final = ("--help, -h", "Describe a command: ecproc COMMAND --help")


def describe_program() -> str:
    """The text of `ecproc --help`."""
    rows = [(command.name, command.summary) for command in COMMANDS]
    options = [("--config FILE", CONFIG_HELP), _HELP_ROW, ("--version", "Print the version.")]
    return _join("ecproc [--config FILE] COMMAND [OPTIONS]", [INTRODUCTION], {"Commands": rows, "Options": options})


def describe_group(name: str) -> str:
    """The text of `ecproc GROUP --help`."""
    rows = [(command.name, command.summary) for command in COMMANDS if command.name.startswith(f"{name} ")]
    options = [("--config FILE", CONFIG_HELP), (_HELP_ROW[0], f"Describe a command: ecproc {name} COMMAND --help")]
    return _join(f"ecproc {name} COMMAND [OPTIONS]", [GROUPS[name]], {"Commands": rows, "Options": options})


def describe_command(command: CommandReference) -> str:
    """The text of `ecproc COMMAND --help`."""
    arguments = [(item.names[0], tell_parameter(item)) for item in command.arguments]
    options = [(name_option(item), tell_parameter(item)) for item in command.options]
    return _join(command.usage, command.text, {"Arguments": arguments, "Options": options}, command.example)


def name_option(option: ParameterReference) -> str:
    """An option as it is typed, with its other spellings and what stands behind it."""
    return f"{', '.join(option.names)} {option.value}".rstrip()


def tell_parameter(parameter: ParameterReference) -> str:
    """All that there is to say of an argument or option."""
    more = (
        f"One of: {', '.join(parameter.choices)}." if parameter.choices else "",
        f"Default: {parameter.default}." if parameter.default else "",
        "Required." if parameter.required and parameter.value else "",
    )
    return " ".join(filter(None, (parameter.help, *more)))


def _join(
    usage: str,
    paragraphs: Iterable[str],
    sections: dict[str, list[tuple[str, str]]],
    example: Sequence[str] = (),
) -> str:
    width = max(get_terminal_size().columns, _NARROWEST)
    blocks = ["\n".join(_wrap(usage, width, first="Usage: ", rest=" " * len("Usage: ")))]
    blocks += ["\n".join(_wrap(paragraph, width)) for paragraph in paragraphs]
    blocks += [f"{title}:\n" + "\n".join(_list_rows(rows, width)) for title, rows in sections.items() if rows]
    if example:
        blocks.append("\n".join(["Example:", *(f"  {line}".rstrip() for line in example)]))
    return "\n\n".join(blocks)


def _list_rows(rows: Sequence[tuple[str, str]], width: int) -> Iterator[str]:
    column = max(len(name) for name, _ in rows if len(name) <= _LONGEST_NAME) + 4
    for name, text in rows:
        beside = len(name) <= _LONGEST_NAME
        if not beside:
            yield f"  {name}"
        yield from _wrap(text, width, first=f"  {name}".ljust(column) if beside else " " * column, rest=" " * column)


def _wrap(text: str, width: int, *, first: str = "", rest: str = "") -> list[str]:
    from textwrap import wrap

    return wrap(
        text, width, initial_indent=first, subsequent_indent=rest, break_long_words=False, break_on_hyphens=False
    )
