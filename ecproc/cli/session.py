"""What a command is given besides its own arguments: the configuration, logging, and the log to read."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, TypeAlias

from cyclopts import Parameter

from ecproc.cli.output import say
from ecproc.config import Config, load_config
from ecproc.errors import EcprocError
from ecproc.store.datadir import ANCHOR, DATABASE


class UsageError(Exception):
    """The arguments cannot be meant together."""


class Failed(EcprocError):
    """What was asked for is not there."""


class Session:
    """One run of the command line."""

    def __init__(self) -> None:
        self.config_path: Path | None = None
        self._secrets: Sequence[str] = ()

    def load_config(self, *, require_bridge: bool = False) -> Config:
        """The checked configuration, with logging set up for it. Raises ConfigError."""
        self.start_logging()
        config = load_config(self.config_path, os.environ, require_bridge=require_bridge)
        secrets = (config.bridge.api_key, config.web.read_token, config.web.command_token)
        self._secrets = [secret.reveal() for secret in secrets if secret]
        self.start_logging()
        return config

    def start_logging(self) -> None:
        """Send log lines to stderr: readable on a terminal, JSON elsewhere, without the secrets known by now."""
        from ecproc.telemetry.logs import configure_logging

        configure_logging(sys.stderr, json=not sys.stderr.isatty(), secrets=self._secrets)

    def redact(self, text: str) -> str:
        """The text on one line, without secrets."""
        from ecproc.telemetry.redaction import Redactor

        return Redactor(self._secrets).redact(text)


Own: TypeAlias = Annotated[Session, Parameter(parse=False)]
Json: TypeAlias = Annotated[bool, Parameter(help="Print one JSON document, also on a terminal.", show_default=False)]
Reveal: TypeAlias = Annotated[bool, Parameter(help="Show URL queries, which may hold keys.", show_default=False)]
Ticket: TypeAlias = Annotated[str, Parameter(help="Ensono's number or ours, in any case, with or without e-.")]


def has_log(config: Config) -> bool:
    """Whether there is something to read: no processor has run on that data directory otherwise."""
    database = config.data.dir / DATABASE
    # A new file is empty for a moment; an empty one with an anchor has lost what it held, which the store tells.
    return database.is_file() and (database.stat().st_size > 0 or (config.data.dir / ANCHOR).exists())


def require_log(config: Config) -> None:
    """Raise Failed unless there is a log."""
    if not has_log(config):
        raise Failed(_no_log(config))


def mention_missing_log(config: Config) -> None:
    """Say why a list is empty: an empty one is no failure."""
    say(_no_log(config))


def _no_log(config: Config) -> str:
    return f"there is no event log in {config.data.dir} yet (data.dir): nothing was received"
