"""What a command is given besides its own arguments: the configuration, logging, and the log to read."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Awaitable, Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, TypeAlias, TypeVar

import anyio
from cyclopts import Parameter, validators
from msgspec.structs import replace

from ecproc.cli.output import say
from ecproc.cli.printable import printable_line
from ecproc.config import Config, LogConfig, list_secret_texts, load_config
from ecproc.errors import ConfigProblem, EcprocError, ExitCode
from ecproc.interrupts import Interrupts
from ecproc.store.opening import holds_log

if TYPE_CHECKING:
    from ecproc.telemetry.redaction import Redactor


T = TypeVar("T")


class UsageError(Exception):
    """The arguments cannot be meant together."""


_LOOK_HINT: Final = "see: ecproc config check, ecproc doctor"


class Failed(EcprocError):
    """What was asked for is not there."""

    def __init__(self, reason: str, *, hint: str = "") -> None:
        super().__init__(reason)
        self.hint = hint


class Stopped(Failed):
    """A signal asked for it."""


class Session:
    """One run of the command line."""

    def __init__(self, interrupts: Interrupts) -> None:
        self.interrupts = interrupts
        self.config_path: Path | None = None
        self.logs_failures = False
        """Whether even the command's own failure is a log line: for a process whose stderr is a log."""
        self._redactor: Redactor | None = None

    def load_config(self, *, require_bridge: bool = False) -> Config:
        """The checked configuration, with logging set up for it; with `require_bridge` the mapping is proven too.

        Raises ConfigError.
        """
        self.start_logging()
        config = load_config(self.config_path, os.environ, require_bridge=require_bridge)
        self.learn(*list_secret_texts(config))
        self.start_logging(config.log)
        return self._prove_mapping(config) if require_bridge else config

    def _prove_mapping(self, config: Config) -> Config:
        from ecproc.mapping_file import open_mapping

        _, warnings = open_mapping(config)
        return replace(config, warnings=(*config.warnings, *warnings))

    def start_logging(self, log: LogConfig = LogConfig()) -> None:  # noqa: B008 - it is frozen
        """Send log lines to stderr, without the secrets known by then."""
        from ecproc.telemetry.logs import configure_logging

        as_json = log.format == "json" or (log.format == "auto" and not sys.stderr.isatty())
        configure_logging(sys.stderr, json=as_json, redactor=self.redactor, level=log.level.upper())

    def run_loop(self, work: Callable[[], Awaitable[T]]) -> T:
        """What `work` gives, in a loop of its own, the faster kind where there is one."""
        options = {"use_uvloop": find_spec("uvloop") is not None}
        return anyio.run(work, backend_options=options)

    def run_unless_stopped(self, work: Callable[[], Awaitable[T]]) -> T:
        """The same; a signal cancels it, and raises KeyboardInterrupt (SIGINT) or Stopped."""
        self.interrupts.stop_at_hangup()
        result: T | None = None
        try:
            result = self.run_loop(lambda: self.interrupts.cut_short(work))
        except* anyio.BrokenWorkerProcess:  # a process of ours took the signal too
            if self.interrupts.stop is None:
                raise
        if result is not None:
            return result
        if self.interrupts.stop is signal.SIGINT:
            raise KeyboardInterrupt
        name = self.interrupts.stop.name if self.interrupts.stop else "a signal"
        stopped = Stopped(f"stopped by {name}")
        stopped.exit_code = ExitCode(self.interrupts.stopped_code)
        raise stopped

    @property
    def redactor(self) -> Redactor:
        """What masks secrets in everything this command says."""
        from ecproc.telemetry.redaction import Redactor

        self._redactor = self._redactor or Redactor()
        return self._redactor

    def learn(self, *secrets: str) -> None:
        """Print none of these from now on."""
        self.redactor.learn(*secrets)

    def redact(self, text: str) -> str:
        """The text on one line, without secrets."""
        return self.redactor.redact(text)

    def fail(self, reason: str, *, hint: str = "", place: str = "") -> None:
        """Say why the command ends: for people, or as the last line of its log."""
        if self.logs_failures:
            from structlog import get_logger

            more = {**({"place": place} if place else {}), "hint": hint or _LOOK_HINT}
            get_logger().error("stopped", reason=reason, **more)
        else:
            say_problem("error", ConfigProblem(reason, place, hint))


def _refuse_empty(_type: object, text: str | None) -> None:
    """Raise ValueError for a name that is none: a script's variable was empty."""
    if text is not None and not text.strip():
        raise ValueError("it is empty")


Own: TypeAlias = Annotated[Session, Parameter(parse=False)]
Json: TypeAlias = Annotated[bool, Parameter(help="Print one JSON document, also on a terminal.", show_default=False)]
JsonLines: TypeAlias = Annotated[
    bool, Parameter(help="Print JSON, a document on each line, also on a terminal.", show_default=False)
]
Reveal: TypeAlias = Annotated[bool, Parameter(help="Show URL queries, which may hold keys.", show_default=False)]
Limit: TypeAlias = Annotated[int | None, Parameter(help="At most so many.", validator=validators.Number(gte=1))]
TicketArgument: TypeAlias = Annotated[
    str,
    Parameter(help="Ensono's number or ours, in any case, with or without e-.", validator=_refuse_empty),
]


def say_problem(kind: str, problem: ConfigProblem) -> None:
    """Say an error or a warning, each part of it on a line of its own."""
    say(f"{kind}: {ConfigProblem(*map(printable_line, (problem.message, problem.location, problem.help)))}")


def has_log(config: Config) -> bool:
    """Whether there is something to read: no processor has run on that data directory otherwise.

    Raises DataDirUnusable where something stands in the way of a look.
    """
    return holds_log(config.data)


def require_log(config: Config) -> None:
    """Raise Failed unless there is a log."""
    if not has_log(config):
        raise Failed(_no_log(config))


def mention_missing_log(config: Config) -> None:
    """Say why a list is empty: an empty one is no failure."""
    say(_no_log(config))


def _no_log(config: Config) -> str:
    return f"there is no event log in {config.data.directory} yet (data.dir): nothing was received"
