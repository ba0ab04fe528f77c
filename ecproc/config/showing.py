"""What `config show` and `config init` print."""

import json
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, TypeAlias

from ecproc.config.catalogue import FAMILIES, OPTIONS, SECTIONS, Option, field_of, find_section, list_options
from ecproc.config.options import Config
from ecproc.config.secret import Secret

Scalar: TypeAlias = str | int | float | tuple[str, ...] | tuple[float, ...]

_WIDTH = 100


class ConfigRow(NamedTuple):
    """One option as `config show` prints it; a secret that is set shows as `***`."""

    key: str
    value: Scalar
    origin: str


def describe_config(config: Config) -> tuple[ConfigRow, ...]:
    """Every option with its value and where it came from, in the order of the template."""
    return tuple(
        ConfigRow(option.name, _plain(_value_of(config, option)), config.origins.get(option.name, "default"))
        for option in _list_all(config)
    )


def template() -> str:
    """A TOML file that sets every option to its default, each with its description."""
    return "\n".join(_section(section) for section in SECTIONS)


def _section(section: str) -> str:
    lines = [f"[{section}]"]
    for option in OPTIONS.values():
        if option.section == section:
            lines += [f"# {line}" for line in textwrap.wrap(option.description, _WIDTH)]
            lines.append(f"{option.key} = {_toml(_plain(option.default))}")
    return "\n".join(lines) + "\n"


def _list_all(config: Config) -> Iterator[Option]:
    yield from OPTIONS.values()
    for family, struct in FAMILIES.items():
        for name in getattr(config, field_of(family)):
            yield from list_options(f"{family}.{name}", struct)


def _value_of(config: Config, option: Option) -> object:
    return getattr(find_section(config, option.section), option.attribute)


def _plain(value: object) -> Scalar:
    match value:
        case Secret() | Path():
            return str(value)
        case tuple() if value and isinstance(value[0], Secret):
            return tuple(map(str, value))
        case str() | int() | float() | tuple():
            return value
        case _:
            raise TypeError(type(value).__name__)


def _toml(value: Scalar) -> str:
    match value:
        case str() | bool():
            return json.dumps(value)
        case tuple():
            return f"[{', '.join(_toml(item) for item in value)}]"
        case _:
            return f"{value:g}" if isinstance(value, float) else str(value)
