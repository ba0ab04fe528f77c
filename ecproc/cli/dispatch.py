"""From arguments to an exit code: finds the command, calls it, and turns every failure into one clear message."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from traceback import extract_tb
from typing import Annotated, Final

from cyclopts import App, CycloptsError, Parameter, UnknownCommandError

from ecproc import __version__
from ecproc.cli.catalogue import COMMANDS, CONFIG_HELP, GROUPS
from ecproc.cli.output import OutputClosed, abandon_output, flush, say
from ecproc.cli.session import Session, UsageError
from ecproc.errors import ConfigError, ConfigProblem, EcprocError, ExitCode

_WORST_FIRST: Final = (
    ExitCode.LOG_DAMAGED,
    ExitCode.STORAGE,
    ExitCode.DATA_DIR_IN_USE,
    ExitCode.CONFIG,
    ExitCode.TEMPORARY,
    ExitCode.FAILED,
)


def dispatch(tokens: Sequence[str]) -> int:
    """Run the command that these arguments name."""
    _occupy_standard_files()
    session = Session()
    try:
        code = _call(tokens, session)
        flush()
    except UnknownCommandError as error:
        return _report_usage(_describe_unknown(error), tokens)
    except CycloptsError as error:
        return _report_usage(str(error).replace("\n", " "), tokens)
    except UsageError as error:
        return _report_usage(str(error), tokens)
    except BaseException as error:
        return _report_failure(error, session)
    return code


def _occupy_standard_files() -> None:
    """Let no file of ours get the number of a standard stream that we were started without: a stray word to it would go
    into the log's file."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def _call(tokens: Sequence[str], session: Session) -> int:
    app = _build_app()

    @app.meta.default
    def launch(
        *words: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
        config: Annotated[Path | None, Parameter(help=CONFIG_HELP)] = None,
    ) -> object:
        session.config_path = config
        command, bound, ignored = app.parse_args(words, exit_on_error=False, print_error=False)
        own = {"session": session} if "session" in ignored else {}
        return command(*bound.args, **bound.kwargs, **own)

    result = app.meta(tokens, exit_on_error=False, print_error=False, result_action="return_value")
    return result if isinstance(result, int) else ExitCode.OK


def _build_app() -> App:
    """The parser with every command's name; a command's module is imported when it is called."""
    app = App(
        name="ecproc",
        help="The client end of Ensono's Envision Connect bridge.",
        version=f"ecproc {__version__}",
        help_formatter="plain",
        default_parameter=Parameter(negative=()),
        suppress_keyboard_interrupt=False,
    )
    groups = {name: App(name=name, help=summary) for name, summary in GROUPS.items()}
    for group in groups.values():
        app.command(group)
    for command in COMMANDS:
        group_name, _, name = command.name.rpartition(" ")
        parent = groups[group_name] if group_name else app
        parent.command(command.target, name=name, help=command.summary)
    return app


def _report_usage(message: str, tokens: Sequence[str]) -> ExitCode:
    words = " ".join(tokens[:2])
    named = next((command.name for command in COMMANDS if f"{words} ".startswith(f"{command.name} ")), "")
    say(f"error: {message}\n  = help: {' '.join(['ecproc', *named.split(), '--help'])}")
    return ExitCode.USAGE


def _describe_unknown(error: UnknownCommandError) -> str:
    """As the parser would, which imports every command for it."""
    word = next(iter(error.unused_tokens or ()), "")
    names = {"--config", "--help", "--version", *(part for command in COMMANDS for part in command.name.split())}
    close = get_close_matches(word, sorted(names), n=1)
    what = "option" if word.startswith("-") else "command"
    return f"there is no {what} {word}" + (f", did you mean {close[0]}?" if close else "")


def _report_failure(error: BaseException, session: Session) -> int:
    leaves = list(_leaves(error))
    if any(isinstance(leaf, OutputClosed) for leaf in leaves):
        abandon_output()
        return ExitCode.OK
    if any(isinstance(leaf, KeyboardInterrupt) for leaf in leaves):
        return ExitCode.INTERRUPTED
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else ExitCode.FAILED
    for failure in dict.fromkeys(failure for leaf in leaves for failure in _describe(leaf, session)):
        session.fail(failure.message, hint=failure.help, place=failure.location)
    codes = [leaf.exit_code if isinstance(leaf, EcprocError) else ExitCode.FAILED for leaf in leaves]
    return next(code for code in _WORST_FIRST if code in codes)


def _leaves(error: BaseException) -> Iterator[BaseException]:
    """What went wrong, out of the groups that task groups wrap it in."""
    if isinstance(error, BaseExceptionGroup):
        for member in error.exceptions:
            yield from _leaves(member)
    else:
        yield error


def _describe(error: BaseException, session: Session) -> Sequence[ConfigProblem]:
    """What to say of a failure; those that say the same are one."""
    match error:
        case ConfigError():
            return error.problems
        case EcprocError():
            return (ConfigProblem(str(error), help=error.hint),)
        case OSError():
            return (ConfigProblem(session.redact(_describe_system(error))),)
        case _:
            text = session.redact(f"{type(error).__name__}: {error}")
            return (ConfigProblem(f"a defect of ecproc: {text} ({_find_place(error)})"),)


def _describe_system(error: OSError) -> str:
    """What the system says, with the whole path of the file it is about."""
    reason = error.strerror or str(error) or type(error).__name__
    return f"{Path(os.fsdecode(error.filename)).absolute()}: {reason}" if _names_file(error) else reason


def _names_file(error: OSError) -> bool:
    return isinstance(error.filename, str | bytes | os.PathLike)


def _find_place(error: BaseException) -> str:
    """Where it was raised: what a report of a defect needs, and all of a traceback that cannot hold a secret."""
    frames = extract_tb(error.__traceback__)
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else f"Python {sys.version_info[:2]}"
