"""Reading the configuration: TOML file, then environment, then secret files; every problem is reported at once."""

import os
import re
import tomllib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, get_origin

import msgspec

from ecproc.config.catalogue import (
    FAMILIES,
    OPTIONS,
    PREFIX,
    SECTIONS,
    Option,
    field_of,
    list_options,
    suggest_option,
    suggest_word,
)
from ecproc.config.checks import check_config
from ecproc.config.options import Config, SecretFile
from ecproc.config.rotation import split_secret
from ecproc.config.secret import Secret
from ecproc.errors import ConfigError, ConfigProblem
from ecproc.privacy import is_shared

DEFAULT_FILE: Final = Path("ecproc.toml")

_PATH_VARIABLE: Final = "ECPROC_CONFIG"
_FAILPOINT_PREFIX: Final = "ECPROC_FAILPOINT"
_FILE_SUFFIX: Final = "_FILE"
_ERROR_LINE: Final = re.compile(r"^(.*) \(at (?:line (\d+), column \d+|end of document)\)$", re.DOTALL)
_SHOWN_CHARACTERS: Final = 60
_INSTANCE: Final = re.compile(r"[a-z][a-z0-9]*")
_RESERVED: Final = frozenset({"files"})
"""Names whose place on the listener is another's."""


def load_config(
    path: Path | None, env: Mapping[str, str], *, require_bridge: bool = True, default_path: Path = DEFAULT_FILE
) -> Config:
    """The checked configuration; warnings stand in it.

    The file is `path`, else `$ECPROC_CONFIG`, else `default_path` if that exists; variables win over it. Without
    `require_bridge` the bridge's address, client name and key may be missing. Raises `ConfigError` with every problem.
    """
    reading = _Reading(env)
    reading.read_file(path, default_path)
    reading.read_variables()
    config = reading.build(require_bridge=require_bridge)
    if reading.problems:
        raise ConfigError(*reading.problems)
    return config


class _Reading:
    """What has been read so far: values with their places, and every problem on the way."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self.env = env
        self.options: dict[str, Option] = dict(OPTIONS)
        self.instances: dict[str, dict[str, None]] = {family: {} for family in FAMILIES}
        self.problems: list[ConfigProblem] = []
        self.warnings: list[ConfigProblem] = []
        self.values: dict[str, Any] = {}
        self.origins: dict[str, str] = dict.fromkeys(OPTIONS, "default")
        self.failed: set[str] = set()
        self.secret_files: dict[str, SecretFile] = {}
        self.unread = False
        self.directory = Path()

    def read_file(self, path: Path | None, default_path: Path) -> None:
        """Take every option of the TOML file, if there is one."""
        named = self.env.get(_PATH_VARIABLE, "")
        if path is not None:
            place = str(path)
        elif named:
            path, place = Path(named), _PATH_VARIABLE
        elif default_path.is_file():
            path, place = default_path, str(default_path)
        else:
            return
        self.directory = path.parent
        text = self._read_text(path, place, "the configuration file")
        self.unread = text is None or not self._take_document(path, text)

    def read_variables(self) -> None:
        """Take every `ECPROC_*` variable; a name we do not know is a problem, not noise."""
        variables = {option.variable: option for option in self.options.values() if _has_variable(option)}
        files = {name + _FILE_SUFFIX: option for name, option in variables.items() if option.is_secret}
        for name in sorted(self.env):
            if not name.startswith(PREFIX) or name == _PATH_VARIABLE or name.startswith(_FAILPOINT_PREFIX):
                continue
            if option := variables.get(name):
                self._take(option, self.env[name], f"env {name}", as_text=True)
            elif option := files.get(name):
                self._take_secret_file(option, name)
            else:
                ends = [known.removeprefix(PREFIX) for known in (*variables, *files, _PATH_VARIABLE)]
                known = suggest_word(name.removeprefix(PREFIX), ends)
                self._problem(f"unknown variable {name}", name, f"did you mean {PREFIX}{known}?" if known else "")

    def build(self, *, require_bridge: bool) -> Config:
        """The config of what was taken, after the checks that look across options."""
        taken: defaultdict[str, dict[str, Any]] = defaultdict(dict)
        for name, value in self.values.items():
            taken[self.options[name].section][self.options[name].attribute] = value
        sections: dict[str, Any] = {field_of(section): struct(**taken[section]) for section, struct in SECTIONS.items()}
        for family, struct in FAMILIES.items():
            known = self.instances[family]
            sections[field_of(family)] = {name: struct(**taken[f"{family}.{name}"]) for name in known}
        kept: dict[str, Any] = {"origins": self.origins, "secret_files": self.secret_files, "directory": self.directory}
        config = Config(**kept, **sections)
        # What a file that nobody could read sets is not known to be missing.
        for finding in check_config(config, require_bridge=require_bridge and not self.unread):
            if finding.name not in self.failed:
                problem = ConfigProblem(finding.message, self._place(finding.name), finding.help)
                (self.warnings if finding.warning else self.problems).append(problem)
        return msgspec.structs.replace(config, warnings=tuple(self.warnings))

    def _take_document(self, path: Path, text: str) -> bool:
        """Whether the text is TOML; its options are taken if so."""
        try:
            document = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            match = _ERROR_LINE.match(str(error))
            reason, line = (match[1], match[2] or text.count("\n") + 1) if match else (str(error), 1)
            self._problem(f"not valid TOML: {reason}", f"{path}:{line}")
            return False
        lines = _line_numbers(text)
        for section, table in document.items():
            if section in SECTIONS:
                self._take_section(section, table, path, lines)
            else:
                self._unknown_section(section, table, f"{path}:{lines.get(section, 1)}")
        self._warn_of_readers(path)
        return True

    def _take_section(self, section: str, table: object, path: Path, lines: Mapping[str, int]) -> None:
        if not isinstance(table, dict):
            place = f"{path}:{lines.get(section, 1)}"
            self._problem(f"{section} must be a section", place, f"write [{section}] and its keys below")
            return
        for key, value in table.items():
            name = f"{section}.{key}"
            if name in SECTIONS:
                self._take_section(name, value, path, lines)
            elif name in FAMILIES:
                self._take_family(name, value, path, lines)
            else:
                self._take_key(section, key, value, f"{path}:{lines.get(name, 1)}")

    def _take_family(self, family: str, tables: object, path: Path, lines: Mapping[str, int]) -> None:
        if not isinstance(tables, dict):
            self._problem(f"{family} must be sections", f"{path}:{lines.get(family, 1)}", f"write [{family}.NAME]")
            return
        for name, table in tables.items():
            section = f"{family}.{name}"
            if _INSTANCE.fullmatch(name) and name not in _RESERVED:
                self.instances[family][name] = None
                own = {option.name: option for option in list_options(section, FAMILIES[family])}
                self.options |= own
                self.origins |= dict.fromkeys(own, "default")
                self._take_section(section, table, path, lines)
            else:
                wanted = "lower-case letters and digits, a letter first, and not files"
                self._problem(f"{_show(name)} cannot be a name in {family}", f"{path}:{lines.get(section, 1)}", wanted)

    def _take_key(self, section: str, key: str, value: object, place: str) -> None:
        if option := self.options.get(f"{section}.{key}"):
            self._take(option, value, place, as_text=False)
        else:
            known = suggest_option(section, key)
            self._problem(f"unknown key {section}.{key}", place, f"did you mean {known}?" if known else "")

    def _unknown_section(self, section: str, table: object, place: str) -> None:
        if isinstance(table, dict):
            known = suggest_word(section, SECTIONS)
            self._problem(f"unknown section [{section}]", place, f"did you mean [{known}]?" if known else "")
        else:
            known = suggest_option("", section)
            self._problem(f"{section} stands in no section", place, f"did you mean {known}?" if known else "")

    def _take_secret_file(self, option: Option, variable: str) -> None:
        if option.variable in self.env:
            self._problem(f"{option.variable} and {variable} are both set", variable, "keep one of them")
            return
        path = Path(self.env[variable])
        text = self._read_text(path, variable, f"the file of {option.name}")
        if text is None:
            self.failed.add(option.name)
            return
        values = split_secret(option.name, text)
        if isinstance(values, str):
            self.failed.add(option.name)
            self._problem(f"{_whole(path)} cannot be used: {values}", variable)
            values = ()
        self.origins[option.name] = f"env {variable}"
        self.values[option.name] = values if option.is_secret_list else values[0] if values else Secret()
        self.secret_files[option.name] = SecretFile(path, values)
        self._warn_of_readers(path, variable)

    def _take(self, option: Option, value: object, origin: str, *, as_text: bool) -> None:
        self.origins[option.name] = origin
        self.failed.discard(option.name)
        try:
            raw = _parse_list(option, value) if as_text and isinstance(value, str) else value
            self.values[option.name] = msgspec.convert(raw, option.annotation, strict=not as_text, dec_hook=_decode)
        except msgspec.MsgspecError:
            self.failed.add(option.name)
        # Outside the handler, so that no exception of a failed conversion hangs on to a secret.
        if option.name in self.failed:
            shown = "" if option.is_secret else f", not {_show(value)}"
            self._problem(f"{option.name} must be {option.expectation}{shown}", self._place(option.name))

    def _read_text(self, path: Path, place: str, what: str) -> str | None:
        reason = ""
        try:
            return path.read_bytes().decode("utf-8-sig")
        except OSError as error:
            reason = error.strerror or type(error).__name__
        except UnicodeDecodeError:
            reason = "it is not UTF-8"
        self._problem(f"cannot read {what} {_whole(path)}: {reason}", place)
        return None

    def _warn_of_readers(self, path: Path, variable: str = "") -> None:
        secret = [name for name, place in self.origins.items() if place.startswith(f"{path}:") and self._is_set(name)]
        if (secret or variable) and is_shared(path.stat(), os.geteuid()):
            help_text = f"chmod 600 {_whole(path)}"
            problem = ConfigProblem(f"other users may read {_whole(path)}, which holds a secret", variable, help_text)
            self.warnings.append(problem)

    def _is_set(self, name: str) -> bool:
        return self.options[name].is_secret and bool(self.values.get(name))

    def _place(self, name: str) -> str:
        return self.origins[name].removeprefix("env ").removeprefix("default")

    def _problem(self, message: str, place: str, help_text: str = "") -> None:
        self.problems.append(ConfigProblem(message, place, help_text))


def _has_variable(option: Option) -> bool:
    """Of sections that there are several of only secrets have one."""
    return option.name in OPTIONS or option.is_secret


def _whole(path: Path) -> Path:
    """The path from the root on: who reads a log does not know where the process was started."""
    try:
        return path.absolute()
    except FileNotFoundError:  # where it was started is gone
        return path


def _parse_list(option: Option, value: str) -> object:
    if get_origin(option.type) is not tuple:
        return value
    if value.lstrip().startswith("["):
        return msgspec.json.decode(value)
    return [item for part in value.split(",") if (item := part.strip())]


def _decode(kind: type, value: object) -> object:
    if not isinstance(value, str) or (kind is Path and not value):
        raise msgspec.ValidationError
    return kind(value)


def _show(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"


def _line_numbers(text: str) -> dict[str, int]:
    """The first line of each section and key, as `section.key`: each statement is parsed alone, under its header."""
    lines: dict[str, int] = {}
    header, start = "", 1
    statement: list[str] = []
    for number, line in enumerate(text.replace("\r\n", "\n").split("\n"), 1):
        statement.append(line)
        parsed = _try_parse("\n".join([header, *statement]))
        if parsed is None:
            continue
        for name in _names_in(parsed):
            lines.setdefault(name, start)
        if statement[0].lstrip().startswith("["):
            header = line
        statement, start = [], number + 1
    return lines


def _try_parse(text: str) -> dict[str, Any] | None:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return None


def _names_in(document: Mapping[str, Any]) -> Iterator[str]:
    for name, value in document.items():
        yield name
        if isinstance(value, dict):
            yield from (f"{name}.{inner}" for inner in _names_in(value))
