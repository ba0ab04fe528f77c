"""What there is to say of each command: the one source of `--help`, completion, manual page and documentation."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, get_args

from cyclopts import App, Parameter

from ecproc.cli.catalogue import COMMANDS, Command
from ecproc.cli.parser import build_described, load_function

if TYPE_CHECKING:
    from cyclopts.argument import Argument

_EXAMPLE: Final = "Example:"
_PLAIN: Final = Parameter(negative=())
_VALUES: Final = {int: "N", float: "SECONDS", Path: "FILE"}
"""What an option's value is called, by its type, where it has no name of its own."""


class ParameterReference(NamedTuple):
    """One argument or option.

    `names` are its spellings, the usual one first; `value` is what stands behind an option, empty for a flag; `default`
    is empty where there is none, or none to tell; `choices` are all that it takes, empty where it takes anything.
    """

    names: tuple[str, ...]
    value: str
    help: str
    required: bool
    repeated: bool
    default: str
    choices: tuple[str, ...]


class CommandReference(NamedTuple):
    """One command; `text` are the paragraphs of its description, `example` the lines of commands to type."""

    name: str
    summary: str
    text: tuple[str, ...]
    example: tuple[str, ...]
    arguments: tuple[ParameterReference, ...]
    options: tuple[ParameterReference, ...]

    @property
    def usage(self) -> str:
        """The command line in short: what is in brackets may be left out."""
        required = [f"{option.names[0]} {option.value}" for option in self.options if option.required]
        return " ".join(["ecproc", self.name, *required, "[OPTIONS]", *map(_place, self.arguments)])


def list_commands() -> list[CommandReference]:
    """Every command in the order of `ecproc --help`; imports all of their modules."""
    app = build_described()
    return [_describe(app, command) for command in COMMANDS]


def find_command(name: str) -> CommandReference:
    """The command of that name, one or two words. Raises KeyError if there is none."""
    command = {command.name: command for command in COMMANDS}[name]
    return _describe(build_described([command]), command)


def _describe(app: App, command: Command) -> CommandReference:
    for word in command.name.split():
        app = app[word]
    text, example = split_docstring(inspect.getdoc(load_function(command)) or command.summary)
    found = [argument for argument in app.assemble_argument_collection(default_parameter=_PLAIN) if argument.show]
    return CommandReference(
        command.name,
        command.summary,
        text,
        example,
        tuple(_describe_parameter(argument) for argument in found if argument.index is not None),
        tuple(_describe_parameter(argument) for argument in found if argument.index is None),
    )


def split_docstring(text: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The paragraphs, each on one line, and the lines of the block under `Example:`, as they are written."""
    told, _, block = text.partition(f"\n\n{_EXAMPLE}\n")
    paragraphs = tuple(" ".join(paragraph.split()) for paragraph in told.split("\n\n"))
    return paragraphs, tuple(inspect.cleandoc(f"\n{block}").splitlines())


def _describe_parameter(argument: Argument) -> ParameterReference:
    choices = argument.get_choices(force=True) or ()
    repeated = "tuple" in str(argument.hint)
    return ParameterReference(
        names=tuple(argument.names),
        value="" if argument.index is not None else _name_value(argument, choices),
        help=argument.parameter.help or "",
        required=argument.required,
        repeated=repeated,
        default=_name_default(argument),
        choices=tuple(choices),
    )


def _name_value(argument: Argument, choices: Sequence[str]) -> str:
    if argument.parameter.metavar:
        return argument.parameter.metavar
    if argument.is_flag():
        return ""
    kind = next(_list_types(argument.hint), str)
    return argument.name.lstrip("-").upper() if choices else _VALUES.get(kind, "TEXT")


def _list_types(hint: Any) -> Iterator[type]:
    """The types that the hint names, less None."""
    for part in get_args(hint) or (hint,):
        if isinstance(part, type) and part is not type(None):
            yield part


def _name_default(argument: Argument) -> str:
    default = argument.field_info.default
    if default is True:
        return "on"
    if default is False or default in (inspect.Parameter.empty, None, "", ()):
        return ""
    return f"{default:g}" if isinstance(default, float) else str(default)


def _place(argument: ParameterReference) -> str:
    shown = f"{argument.names[0]}{'...' if argument.repeated else ''}"
    return shown if argument.required else f"[{shown}]"
