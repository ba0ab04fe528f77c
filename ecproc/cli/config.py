"""`ecproc config`: what the options are, what they are set to, and whether they can be."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import asdict

from ecproc.cli.listing import write_table
from ecproc.cli.output import wants_json, write_document, write_human, write_text
from ecproc.cli.session import Json, Own, say_problem
from ecproc.config import describe_config, template
from ecproc.config.showing import Scalar
from ecproc.errors import ConfigError, ConfigProblem, ExitCode
from ecproc.reading.masking import mask_text


def check(*, json: Json = False, session: Own) -> ExitCode:
    """Check the configuration as `run` would; exit 78 and name every problem if it is wrong.

    Example:
        ecproc --config ecproc.toml config check
    """
    problems: Sequence[ConfigProblem] = ()
    warnings: Sequence[ConfigProblem] = ()
    try:
        warnings = session.load_config(require_bridge=True).warnings
    except ConfigError as error:
        problems = error.problems
    for problem in problems:
        say_problem("error", problem)
    for warning in warnings:
        say_problem("warning", warning)
    if wants_json(json):
        write_document(
            {"ok": not problems, "problems": list(map(asdict, problems)), "warnings": list(map(asdict, warnings))}
        )
    elif not problems:
        write_human("the configuration is valid")
    return ExitCode.CONFIG if problems else ExitCode.OK


def show(*, json: Json = False, session: Own) -> None:
    """Show every option with its value and where that came from; secrets show as ***.

    Example:
        ecproc config show
        ecproc config show --json | jq '.[] | select(.origin != "default")'
    """
    rows = describe_config(session.load_config())
    if wants_json(json):
        write_document([row._asdict() | {"value": _mask(row.value)} for row in rows])
    else:
        values = [(row.key, mask_text(_text(row.value)), row.origin) for row in rows]
        write_table(("option", "value", "from"), values, whole=("option", "from"))


def init(*, session: Own) -> None:
    """Print a configuration file with every option, its description and its default.

    Example:
        ecproc config init > ecproc.toml
    """
    session.start_logging()
    write_text(template().rstrip("\n"))


def _mask(value: Scalar) -> Scalar:
    return mask_text(value) if isinstance(value, str) else value


def _text(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
