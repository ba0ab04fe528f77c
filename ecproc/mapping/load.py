"""A mapping file's text to a mapping: its shape is checked here, what its rules lead to by the proof."""

from __future__ import annotations

import difflib
import hashlib
import json
import re
import tomllib
from collections.abc import Collection
from collections.abc import Mapping as MappingOf
from importlib.resources import files
from typing import Any, Final

import msgspec

from ecproc.errors import ConfigError, ConfigProblem
from ecproc.mapping import guide
from ecproc.mapping.extra import Extra
from ecproc.mapping.places import KeyPlace, Path, find_places
from ecproc.mapping.reading import Shapeless, ShapeReader
from ecproc.mapping.rules import Direction, Rule
from ecproc.mapping.ruling import read_rule
from ecproc.mapping.tables import Mapping, chain_rules
from ecproc.mapping.templates import BadTemplate, read_template

VERSION: Final = 1
MOST_BYTES: Final = 1024 * 1024
MOST_RULES: Final = 2_000
MOST_ENTRIES: Final = 20_000
"""Rows and words of all tables and lists."""
MOST_FOR_FIELD: Final = 100
"""Rules of one type for one field: each is held against all others."""

_HASH_DIGITS: Final = 12
_KEYS: Final = ("version", "desk", "lossy", "strict_inverse", "choices", "to_desk", "from_desk", "extra")
_EXTRA_KEYS: Final = ("fields", "into", "header", "footer", "line", "on_change")
_DESK: Final = re.compile(r"[a-z][a-z0-9_-]{0,39}")
_ERROR_LINE: Final = re.compile(r"^(.*) \(at (?:line (\d+), column \d+|end of document)\)$", re.DOTALL)
_OWN: Final = frozenset({"servicenow"})
"""The desks that have a built-in mapping of their own; with any other all fields are copied as they are."""


def load_mapping(text: str, *, source: str) -> Mapping:
    """The mapping that a TOML text is; `source` is what problems call it. What its rules lead to is for `prove`.

    Raises ConfigError with every problem of its shape.
    """
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > MOST_BYTES:
        raise ConfigError(ConfigProblem(f"the mapping has {size:,} bytes, {MOST_BYTES:,} at most", source))
    return _build(_parse(text, source), find_places(text), source)


def default_mapping(desk_kind: str) -> Mapping:
    """The built-in mapping of a desk of that kind."""
    name, text = _name_built_in(desk_kind), built_in_text(desk_kind)
    return _build({**_parse(text, name), "desk": desk_kind}, find_places(text), f"built-in {name}")


def built_in_text(desk_kind: str) -> str:
    """The same as the file that it is."""
    return files(__package__).joinpath(_name_built_in(desk_kind)).read_text(encoding="utf-8")


def _name_built_in(desk_kind: str) -> str:
    return f"{desk_kind if desk_kind in _OWN else 'identity'}.toml"


def _parse(text: str, source: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        match = _ERROR_LINE.match(str(error))
        reason, line = (match[1], match[2] or text.count("\n") + 1) if match else (str(error), 1)
        raise ConfigError(ConfigProblem(f"not valid TOML: {reason}", f"{source}:{line}")) from None
    except RecursionError:
        raise ConfigError(ConfigProblem("it is nested too deeply", source)) from None


def _build(document: MappingOf[str, Any], places: MappingOf[Path, KeyPlace], source: str) -> Mapping:
    reader = ShapeReader(places, source)
    reader.refuse_unknown(document, _KEYS, ())
    _check_head(document, reader)
    if not _is_within_limits(document, reader):
        raise ConfigError(*reader.problems)
    choices = _read_choices(document.get("choices", {}), reader)
    extra = _read_extra(document.get("extra", {}), reader)
    rules = [rule for direction in Direction for rule in _read_rules(document, direction, reader)]
    lossy = reader.list_of(document.get("lossy", []), ("lossy",))
    strict = reader.flag(document.get("strict_inverse", False), ("strict_inverse",))
    if reader.problems:
        raise ConfigError(*reader.problems)
    return Mapping(
        hash=hash_document(document),
        desk=document["desk"],
        source=source,
        rules=tuple(rules),
        choices=choices,
        lossy=frozenset(lossy),
        strict_inverse=strict,
        extra=extra,
        chains=chain_rules(rules),
        places={name: reader.place((name,)) for name in ("desk", "lossy")},
    )


def hash_document(document: MappingOf[str, Any]) -> str:
    """What tells one content from another, however its file writes it."""
    canonical = json.dumps(document, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:_HASH_DIGITS]


def _check_head(document: MappingOf[str, Any], reader: ShapeReader) -> None:
    version, desk = document.get("version"), document.get("desk")
    if version is None:
        reader.complain("the mapping says no version", (), f"write version = {VERSION}")
    elif type(version) is not int or version != VERSION:
        reader.complain(f"version {version!r} is not known", ("version",), f"this ecproc reads version = {VERSION}")
    if not isinstance(desk, str) or not _DESK.fullmatch(desk):
        reader.complain("desk must be the kind of desk it is for", ("desk",), 'as in desk = "servicenow"')


def _is_within_limits(document: MappingOf[str, Any], reader: ShapeReader) -> bool:
    known = len(reader.problems)
    tables = [document.get(direction) for direction in Direction]
    rules = sum(len(table) for table in tables if isinstance(table, list))
    if rules > MOST_RULES:
        reader.complain(f"the mapping has {rules:,} rules, {MOST_RULES:,} at most", ())
    entries = _count_entries(document)
    if entries > MOST_ENTRIES:
        reader.complain(f"the tables of the mapping have {entries:,} entries, {MOST_ENTRIES:,} at most", ())
    return len(reader.problems) == known


def _count_entries(value: object) -> int:
    """The rows and words of tables and lists below the rules' own keys."""
    if isinstance(value, dict):
        return sum(_count_entries(item) if isinstance(item, dict | list) else 1 for item in value.values())
    if isinstance(value, list):
        return sum(_count_entries(item) if isinstance(item, dict | list) else 1 for item in value)
    return 0


def _read_rules(document: MappingOf[str, Any], direction: Direction, reader: ShapeReader) -> list[Rule]:
    tables = document.get(direction, [])
    if not isinstance(tables, list):
        reader.complain(f"{direction} must be a list of rules", (direction,), f"write [[{direction}]] above each")
        return []
    rules: list[Rule] = []
    counts: dict[str, int] = {}
    for place, table in enumerate(tables):
        rule = read_rule(table, direction, (direction, place), reader)
        if rule is not None:
            counts[rule.name] = number = counts.get(rule.name, 0) + 1
            rules.append(rule if number == 1 else msgspec.structs.replace(rule, name=f"{rule.name}#{number}"))
            if number == MOST_FOR_FIELD + 1:
                reader.complain(f"{rule.name} has more than {MOST_FOR_FIELD} rules", (direction, place), "use a map")
    return rules


def _read_choices(value: object, reader: ShapeReader) -> dict[str, dict[str, dict[str, str]]]:
    """The desk's closed lists: by ticket type and field what each word is called."""
    choices: dict[str, dict[str, dict[str, str]]] = {}
    for ticket_type, fields in reader.table(value, ("choices",)).items():
        if ticket_type not in guide.TYPES:
            known = suggest(ticket_type, guide.TYPES)
            reader.complain(f"choices.{ticket_type} is no ticket type", ("choices", ticket_type), known)
            continue
        choices[ticket_type] = {
            name: reader.rows(words, ("choices", ticket_type, name))
            for name, words in reader.table(fields, ("choices", ticket_type)).items()
        }
    return choices


def _read_extra(value: object, reader: ShapeReader) -> Extra:
    path: Path = ("extra",)
    table = reader.table(value, path)
    reader.refuse_unknown(table, _EXTRA_KEYS, path)
    usual = Extra()
    try:
        return Extra(
            fields=reader.texts(table.get("fields", []), (*path, "fields")),
            into=reader.word(table.get("into", usual.into), ("description", "comment"), (*path, "into")),
            header=_read_line(table.get("header", usual.header), (*path, "header"), reader),
            footer=_read_line(table.get("footer", usual.footer), (*path, "footer"), reader),
            line=_read_extra_line(table, usual, reader),
            on_change=reader.word(table.get("on_change", usual.on_change), ("comment", "ignore"), (*path, "on_change")),
        )
    except Shapeless:
        return usual


def _read_line(value: object, path: Path, reader: ShapeReader) -> str:
    text = reader.text(value, path)
    if not text.strip() or len(text.splitlines()) != 1:
        reader.complain(f"{path[-1]} must be one line that says something", path)
    return text


def _read_extra_line(table: MappingOf[str, Any], usual: Extra, reader: ShapeReader) -> Any:
    if "line" not in table:
        return usual.line
    path: Path = ("extra", "line")
    text = reader.text(table["line"], path)
    try:
        template = read_template(text)
    except BadTemplate as error:
        reader.complain(f"extra.line: {error}", path, "as in {name}: {value}")
        return usual.line
    if "value" not in template.fields or not {*template.fields} <= {"name", "value"}:
        reader.complain("extra.line names other fields than name and value, or no value", path, "as in {name}: {value}")
    return template


def suggest(word: str, known: Collection[str]) -> str:
    """The question whether one of the known words is meant; empty where none is near."""
    near = difflib.get_close_matches(word, list(known), n=1)
    return f"did you mean {near[0]}?" if near else ""
