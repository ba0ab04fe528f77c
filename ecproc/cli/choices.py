"""`ecproc map choices`: the closed lists of the client's own desk, as the mapping file has them."""

from __future__ import annotations

from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from ecproc.cli.output import wants_json, write_document, write_human, write_text
from ecproc.cli.session import Failed, Json, Own, UsageError
from ecproc.clock import SystemClock
from ecproc.config import Config, Secrets
from ecproc.errors import ExitCode
from ecproc.mapping import Mapping, load_mapping
from ecproc.mapping.choices import Choices, replace_choices, write_choices
from ecproc.mapping.load import MOST_BYTES, built_in_text
from ecproc.mapping_file import open_mapping

_WriteFile = Annotated[
    Path | None,
    Parameter(name="--write", help="Mapping file whose lists are replaced; a new one begins as the built-in mapping."),
]


def choices(*, write: _WriteFile = None, json: Json = False, session: Own) -> ExitCode:
    """Read the closed lists of the ServiceNow instance: the states, codes and reasons that its fields may have.

    Example:
        ecproc map choices
        ecproc map choices --write mapping.toml
    """
    config = session.load_config()
    if config.desk.kind != "servicenow":
        raise UsageError(f"only a ServiceNow desk has lists to be read, and desk.kind is {config.desk.kind}")
    mapping, _ = open_mapping(config)
    found = session.run_loop(partial(_read, config, mapping))
    if write is not None:
        _write(write, found)
        if not wants_json(json):
            write_human(
                f"the lists of {sum(map(len, found.values()))} fields stand in {write}: ecproc map check {write}"
            )
    if wants_json(json):
        write_document(found)
    elif write is None:
        write_text(write_choices(found).rstrip("\n"))
    return ExitCode.OK


async def _read(config: Config, mapping: Mapping) -> Choices:
    from ecproc.desk.base import DeskRefused, DeskUnavailable
    from ecproc.desk.opening import open_servicenow
    from ecproc.desk.servicenow.choices import read_lists

    secrets = Secrets(config, lambda change: None)
    desk = await open_servicenow(config, mapping=mapping, secrets=secrets, clock=SystemClock())
    async with aclosing(desk):
        try:
            return await read_lists(desk.instance, mapping.choices)
        except (DeskUnavailable, DeskRefused) as error:
            raise Failed(f"the lists cannot be read: {error}", hint=error.hint) from None


def _write(path: Path, found: Choices) -> None:
    """Put the lists into a file, whole or not at all. Raises ConfigError where it would be no mapping any more."""
    text = built_in_text("servicenow")
    if path.exists():
        with path.open("rb") as file:
            text = file.read(MOST_BYTES + 1).decode("utf-8-sig")
    renewed = replace_choices(text, found)
    load_mapping(renewed, source=str(path))
    beside = path.with_name(f".{path.name}.new")
    beside.write_text(renewed, encoding="utf-8")
    beside.replace(path)
