"""The parsers of the command line: one to run a command with, and one that knows all that is to be said of all."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Final, TypeAlias, get_type_hints

from cyclopts import App, Parameter

from ecproc.cli.catalogue import COMMANDS, CONFIG_HELP, GROUPS, INTRODUCTION, Command
from ecproc.cli.words import words_of

ConfigFile: TypeAlias = Annotated[Path | None, Parameter(help=CONFIG_HELP, metavar="FILE")]

_HELP: Final = ("--help", "-h")
_OWN: Final = "session"
"""The parameter that every command is given beside its arguments."""


def build_parser(commands: Iterable[Command]) -> App:
    """What parses these commands; a command's module is imported when it is called."""
    app = _make_app("ecproc", INTRODUCTION)
    _add_commands(app, commands, lambda command: command.target)
    return app


def build_described(commands: Iterable[Command] = COMMANDS) -> App:
    """These commands with all options and the words that each takes, to be described; none can be run by it."""
    app = _make_app("ecproc", INTRODUCTION, help_flags=_HELP, version_flags="--version")

    @app.default
    def ecproc(*, config: ConfigFile = None) -> None: ...

    _add_commands(app, commands, lambda command: _describe_arguments(load_function(command)), help_flags=_HELP)
    return app


def load_function(command: Command) -> Callable[..., object]:
    """The command's function; its module is imported for that."""
    module, _, name = command.target.partition(":")
    function: Callable[..., object] = getattr(import_module(module), name)
    return function


def _make_app(name: str, help: str, *, help_flags: Any = (), version_flags: Any = ()) -> App:
    return App(
        name=name,
        help=help,
        help_flags=help_flags,
        version_flags=version_flags,
        help_format="plaintext",
        default_parameter=Parameter(negative=()),
        suppress_keyboard_interrupt=False,
    )


def _add_commands(
    app: App, commands: Iterable[Command], find: Callable[[Command], Any], *, help_flags: Any = ()
) -> None:
    groups = {name: _make_app(name, summary, help_flags=help_flags) for name, summary in GROUPS.items()}
    for group in groups.values():
        app.command(group)
    for command in commands:
        group_name, _, name = command.name.rpartition(" ")
        parent = groups[group_name] if group_name else app
        parent.command(find(command), name=name, help=command.summary)


def _describe_arguments(function: Callable[..., object]) -> Callable[..., object]:
    """A stand-in with the arguments of the command's function, the words they take, and --config.

    A parser that knew the words itself would take none of them in another case.
    """

    def described(*_: object, **__: object) -> None: ...

    hints = get_type_hints(function, include_extras=True)
    own = inspect.signature(function).parameters
    kept = [item.replace(annotation=_tell_words(hints[item.name])) for item in own.values() if item.name != _OWN]
    kept.append(inspect.Parameter("config", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=ConfigFile))
    described.__signature__ = inspect.Signature(kept)  # type: ignore[attr-defined]
    described.__annotations__ = {item.name: item.annotation for item in kept}
    return described


def _tell_words(hint: Any) -> Any:
    parameters = [item for item in getattr(hint, "__metadata__", ()) if isinstance(item, Parameter)]
    words = next((found for item in parameters if (found := words_of(item))), ())
    return Annotated[hint, Parameter(choices=words)] if words else hint
