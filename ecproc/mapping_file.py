"""The mapping that a configuration names: read once, proven, or refused with every reason."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from ecproc.config import Config
from ecproc.errors import ConfigError, ConfigProblem, Severity
from ecproc.mapping import Finding, Mapping, default_mapping, load_mapping, prove
from ecproc.mapping.load import MOST_BYTES

_OPTION: Final = "mapping.file"


def open_mapping(config: Config) -> tuple[Mapping, tuple[ConfigProblem, ...]]:
    """The mapping in force under this configuration, and what the proof warns of. Raises ConfigError."""
    path = config.mapping_file
    kind = config.desk.kind
    if path is None:
        return default_mapping(kind), ()
    place = config.origins.get(_OPTION, "").removeprefix("env ").removeprefix("default")
    mapping = read_mapping(path, place=place)
    problems, warnings = judge_mapping(mapping)
    if mapping.desk != kind:
        text = f"the mapping is for the desk {mapping.desk!r}, and desk.kind is {kind!r}"
        problems = (
            *problems,
            ConfigProblem(text, mapping.places["desk"], f'write desk = "{kind}", if it fits that one'),
        )
    if problems:
        raise ConfigError(*problems)
    return mapping, warnings


def read_mapping(path: Path, *, place: str = "") -> Mapping:
    """The mapping in a file, not proven yet; `place` is where the file is named. Raises ConfigError."""
    reason = ""
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
        return load_mapping(content.decode("utf-8-sig"), source=str(path))
    except OSError as error:
        reason = error.strerror or type(error).__name__
    except UnicodeDecodeError:
        reason = "it is not UTF-8" if len(content) <= MOST_BYTES else f"it has more than {MOST_BYTES:,} bytes"
    raise ConfigError(ConfigProblem(f"cannot read the mapping file {path}: {reason}", place))


def judge_mapping(mapping: Mapping) -> tuple[tuple[ConfigProblem, ...], tuple[ConfigProblem, ...]]:
    """What the proof has against a mapping, and what it warns of."""
    found = prove(mapping)
    errors = tuple(_as_problem(finding) for finding in found if finding.severity is Severity.ERROR)
    return errors, tuple(_as_problem(finding) for finding in found if finding.severity is Severity.WARNING)


def _as_problem(finding: Finding) -> ConfigProblem:
    return ConfigProblem(finding.text, finding.location, finding.help)
