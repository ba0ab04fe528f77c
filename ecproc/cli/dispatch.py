"""From arguments to an exit code: finds the command, calls it, and turns every failure into one clear message."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from traceback import extract_tb
from typing import Annotated, Final

from cyclopts import App, CycloptsError, Parameter
from cyclopts.exceptions import UnusedCliTokensError

from ecproc import __version__
from ecproc.cli.catalogue import Command
from ecproc.cli.help import describe_command, describe_group, describe_program
from ecproc.cli.output import (
    OutputClosed,
    OutputFailed,
    abandon_output,
    flush,
    open_standard_streams,
    say,
    write_text,
)
from ecproc.cli.parser import build_parser
from ecproc.cli.printable import printable_line
from ecproc.cli.request import Asked, read_request
from ecproc.cli.session import Session, UsageError
from ecproc.errors import ConfigError, ConfigProblem, EcprocError, ExitCode
from ecproc.interrupts import Interrupts

_PLACE_HINT: Final = "start it in a directory that exists, and name files and data.dir by whole paths"

_WORST_FIRST: Final = (
    ExitCode.LOG_DAMAGED,
    ExitCode.STORAGE,
    ExitCode.DATA_DIR_IN_USE,
    ExitCode.CONFIG,
    ExitCode.TEMPORARY,
    ExitCode.FAILED,
)


def dispatch(tokens: Sequence[str], interrupts: Interrupts) -> int:
    """Run the command that these arguments name."""
    open_standard_streams()
    session = Session(interrupts)
    code: int = ExitCode.OK
    try:
        asked = read_request(tokens)
        code = _call(tokens, asked.command, session) if asked.command and asked.runs else _answer(asked)
        flush()
    except OutputClosed:
        abandon_output()
    except CycloptsError as error:
        return _report_usage(_describe_misuse(error), tokens, session)
    except UsageError as error:
        return _report_usage(str(error), tokens, session)
    except BaseException as error:
        return _report_failure(error, session)
    return code


def _answer(asked: Asked) -> int:
    write_text(f"ecproc {__version__}" if asked.version else _describe(asked))
    return ExitCode.OK


def _describe(asked: Asked) -> str:
    """What --help prints."""
    if not asked.words:
        return describe_program()
    if asked.command is None:
        return describe_group(asked.words[0])
    from ecproc.cli.reference import find_command

    return describe_command(find_command(asked.command.name))


def _call(tokens: Sequence[str], command: Command, session: Session) -> int:
    app = build_parser([command])

    def bind(words: Sequence[str], config: Path | None) -> Callable[[], object]:
        session.config_path = config
        function, bound, ignored = app.parse_args(words, exit_on_error=False, print_error=False)
        own = {"session": session} if "session" in ignored else {}
        if not command.ends_in_order:
            session.interrupts.release()
        return partial(function, *bound.args, **bound.kwargs, **own)

    _take_config(app, bind)
    # Called out here: in there a broken pipe is taken for the end of the process.
    call = app.meta(tokens, exit_on_error=False, print_error=False, result_action="return_value")
    result = call()
    return result if isinstance(result, int) else ExitCode.OK


def _take_config(app: App, bind: Callable[[Sequence[str], Path | None], object]) -> None:
    """Let --config stand anywhere; `bind` gets the other words, and the file."""

    @app.meta.default
    def ecproc(  # the name that stands in front of all usage
        *words: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
        config: Path | None = None,
    ) -> object:
        return bind(words, config)


def _report_usage(message: str, tokens: Sequence[str], session: Session) -> ExitCode:
    words = read_request(tokens, strict=False).words
    advice = " ".join(["ecproc", *words, "--help"])
    if words[:1] == ("run",):  # whose stderr is a log, from the first line on
        session.start_logging()
        session.logs_failures = True
        session.fail(message, hint=advice)
    else:
        say(f"error: {printable_line(message)}\n  = help: {advice}")
    return ExitCode.USAGE


def _describe_misuse(error: CycloptsError) -> str:
    if isinstance(error, UnusedCliTokensError):
        return f"too many arguments: {' '.join(error.unused_tokens or ())}"
    return str(error).replace("\n", " ")


def _report_failure(error: BaseException, session: Session) -> int:
    leaves = list(_leaves(error))
    if any(isinstance(leaf, OutputClosed | OutputFailed) for leaf in leaves):
        abandon_output()
    if any(isinstance(leaf, OutputClosed) for leaf in leaves):
        return ExitCode.OK
    if any(isinstance(leaf, KeyboardInterrupt) for leaf in leaves):
        return ExitCode.INTERRUPTED
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else ExitCode.FAILED
    for failure in dict.fromkeys(failure for leaf in leaves for failure in _explain(leaf, session)):
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


def _explain(error: BaseException, session: Session) -> Sequence[ConfigProblem]:
    """What to say of a failure; those that say the same are one."""
    match error:
        case ConfigError():
            return error.problems
        case EcprocError():
            return (ConfigProblem(str(error), help=error.hint),)
        case OutputFailed():
            return (ConfigProblem(str(error)),)
        case FileNotFoundError() if not _names_file(error) and not _has_place():
            return (ConfigProblem("the directory this was started in is gone", help=_PLACE_HINT),)
        case OSError():
            return (ConfigProblem(session.redact(_describe_system(error))),)
        case _:
            text = session.redact(f"{type(error).__name__}: {error}")
            return (ConfigProblem(f"a defect of ecproc: {text} ({_find_place(error)})"),)


def _describe_system(error: OSError) -> str:
    """What the system says, with the whole path of the file it is about."""
    reason = error.strerror or str(error) or type(error).__name__
    return (
        f"{Path(os.fsdecode(error.filename)).absolute()}: {reason}" if _names_file(error) and _has_place() else reason
    )


def _has_place() -> bool:
    """Whether the working directory is still there: no relative path means anything without it."""
    try:
        Path.cwd()
    except FileNotFoundError:
        return False
    return True


def _names_file(error: OSError) -> bool:
    return isinstance(error.filename, str | bytes | os.PathLike)


def _find_place(error: BaseException) -> str:
    """Where it was raised: what a report of a defect needs, and all of a traceback that cannot hold a secret."""
    frames = extract_tb(error.__traceback__)
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else f"Python {sys.version_info[:2]}"
