"""One rule's table to a rule."""

from __future__ import annotations

import re
from collections.abc import Mapping as MappingOf
from datetime import tzinfo
from typing import Any, Final
from zoneinfo import ZoneInfo

import msgspec

from ecproc.mapping import guide
from ecproc.mapping.places import Path
from ecproc.mapping.predicates import BadPredicate, Predicate, read_predicate
from ecproc.mapping.reading import Shapeless, ShapeReader
from ecproc.mapping.rules import BETWEEN, EVERY, Direction, How, Rule, fold_rows
from ecproc.mapping.templates import BadTemplate, Template, read_template

MOST_SOURCES: Final = 4
LEAST_MAX: Final = 40
"""Characters that a field with a limit has at least: a numbered part needs room for its number."""
LARGEST_MAX: Final = 1_000_000

_KEYS: Final = (
    *("type", "field", "from", "map", "copy", "const", "template", "reference", "default", "refuse", "only_if"),
    *("max", "overflow", "report_unmapped", "unescape", "split", "join", "zone"),
)
_SIDES: Final = ("map", "copy", "const", "template")
_NEED: Final[MappingOf[str, tuple[str, ...]]] = {
    "default": ("map", "copy", "reference"),
    "refuse": ("map",),
    "report_unmapped": ("map", "copy", "reference"),
    "from": ("map", "copy", "reference"),
    "reference": ("map", "copy", "const", "template", "reference"),
    "unescape": ("map", "copy", "template"),
    "split": ("map", "copy", "reference"),
    "zone": ("copy", "template"),
}
"""Keys that go only with some right-hand sides."""
_FIELD: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
_KIND: Final = re.compile(r"[a-z][a-z0-9_]{0,39}")


def read_rule(value: object, direction: Direction, path: Path, reader: ShapeReader) -> Rule | None:
    """The rule that a table is; None, with what is wrong noted, where it is none."""
    table = reader.table(value, path)
    known = len(reader.problems)
    reader.refuse_unknown(table, _KEYS, path)
    try:
        rule = _read(table, direction, path, reader)
    except Shapeless:
        return None
    return rule if len(reader.problems) == known else None


def _read(table: MappingOf[str, Any], direction: Direction, path: Path, reader: ShapeReader) -> Rule:
    written = reader.word(table.get("type", guide.ANY), (*guide.TYPES, guide.ANY), (*path, "type"))
    field = reader.text(table.get("field", ""), (*path, "field"))
    how = _read_side(table, direction, path, reader)
    if field == EVERY:
        _check_every(table, how, path, reader)
    elif not _FIELD.fullmatch(field):
        raise reader.fail(f"{direction} has a rule without the name of a field", (*path, "field"), "write field = …")
    for key, sides in _NEED.items():
        if key in table and how not in sides:
            raise reader.fail(f"{key} does not go with {how}", (*path, key), f"it goes with {', '.join(sides)}")
    rule = Rule(
        name=f"{direction}.{written}.{field}",
        direction=direction,
        type=written,
        field=field,
        how=how,
        place=reader.place(path),
        places=_list_places(table, path, reader),
        sources=_read_sources(table, field, how, path, reader),
        rows=reader.rows(table["map"], (*path, "map")) if how is How.MAP else {},
        const=reader.text(table.get("const", ""), (*path, "const")),
        template=_read_template(table, path, reader) if how is How.TEMPLATE else Template(()),
        default=reader.text(table["default"], (*path, "default")) if "default" in table else None,
        refuse=reader.texts(table.get("refuse", []), (*path, "refuse")),
        only_if=_read_condition(table, direction, path, reader) if "only_if" in table else None,
        reference=_read_kind(table, path, reader),
        report_unmapped=reader.flag(table.get("report_unmapped", False), (*path, "report_unmapped")),
        unescape=reader.flag(table.get("unescape", False), (*path, "unescape")),
        split=_read_separator(table, direction, path, reader),
        join=reader.text(table["join"], (*path, "join")) if "join" in table else None,
        zone=_read_zone(table, path, reader) if "zone" in table else None,
        **_read_limit(table, direction, path, reader),
    )
    return _fold(rule, path, reader)


def _read_side(table: MappingOf[str, Any], direction: Direction, path: Path, reader: ShapeReader) -> How:
    """The one right-hand side; `reference` is one where there is no other."""
    sides = [side for side in _SIDES if side in table]
    name = f"{direction} has a rule for {table.get('field', '?')} with"
    if len(sides) > 1:
        raise reader.fail(f"{name} {' and '.join(sides)}", (*path, sides[1]), "keep one of them")
    if not sides and "reference" not in table:
        raise reader.fail(f"{name} no right-hand side", path, f"add {', '.join(_SIDES)} or reference")
    if sides == ["copy"] and table["copy"] is not True:
        raise reader.fail("copy can only be true", (*path, "copy"), "leave it out otherwise")
    return How(sides[0]) if sides else How.REFERENCE


def _check_every(table: MappingOf[str, Any], how: How, path: Path, reader: ShapeReader) -> None:
    more = [key for key in table if key not in ("type", "field", "copy")]
    if how is not How.COPY or more:
        reason = 'the rule for field = "*" copies, and has nothing beside copy = true'
        raise reader.fail(reason, (*path, more[0] if more else "field"))


def _read_sources(table: MappingOf[str, Any], field: str, how: How, path: Path, reader: ShapeReader) -> tuple[str, ...]:
    if how in (How.CONST, How.TEMPLATE) or field == EVERY:
        return ()
    if "from" not in table:
        if how is How.COPY:
            return (field,)
        raise reader.fail(f"the {how} for {field} has no from", path, "write from = the field it reads")
    sources = reader.texts(table["from"], (*path, "from"), single=True)
    most = MOST_SOURCES if how is How.MAP and "split" not in table and "reference" not in table else 1
    if not 0 < len(sources) <= most or len({*sources}) < len(sources):
        raise reader.fail(f"from must name 1 to {most} fields, each once", (*path, "from"))
    for name in sources:
        if not _FIELD.fullmatch(name):
            raise reader.fail(f"{name[:80]!r} is no name of a field", (*path, "from"))
    return sources


def _read_template(table: MappingOf[str, Any], path: Path, reader: ShapeReader) -> Template:
    try:
        return read_template(reader.text(table["template"], (*path, "template")))
    except BadTemplate as error:
        raise reader.fail(f"template: {error}", (*path, "template"), error.help) from None


def _read_condition(table: MappingOf[str, Any], direction: Direction, path: Path, reader: ShapeReader) -> Predicate:
    try:
        return read_predicate(table["only_if"], closed=guide.CLOSED if direction is Direction.TO_DESK else {"type"})
    except BadPredicate as error:
        raise reader.fail(f"only_if: {error.reason}", (*path, "only_if", *error.path), error.help) from None


def _read_kind(table: MappingOf[str, Any], path: Path, reader: ShapeReader) -> str:
    kind = reader.text(table.get("reference", ""), (*path, "reference"))
    if "reference" in table and not _KIND.fullmatch(kind):
        raise reader.fail(f"reference {kind[:80]!r} is no kind of thing", (*path, "reference"), "group, user or ci")
    return kind


def _read_limit(table: MappingOf[str, Any], direction: Direction, path: Path, reader: ShapeReader) -> dict[str, Any]:
    for key in ("max", "overflow"):
        if key in table and direction is Direction.FROM_DESK:
            raise reader.fail(f"{key} is for the desk's fields: Ensono's limits always hold", (*path, key))
    if "overflow" in table and "max" not in table:
        raise reader.fail("overflow goes with max", (*path, "overflow"))
    if "max" not in table:
        return {}
    return {
        "max": reader.number(table["max"], LEAST_MAX, LARGEST_MAX, (*path, "max")),
        "overflow": reader.word(table.get("overflow", "comment"), ("comment", "refuse"), (*path, "overflow")),
    }


def _read_separator(table: MappingOf[str, Any], direction: Direction, path: Path, reader: ShapeReader) -> str:
    if "split" not in table:
        if "join" in table:
            raise reader.fail("join goes with split", (*path, "join"))
        return ""
    separator = reader.text(table["split"], (*path, "split"))
    if not separator:
        raise reader.fail("split needs the separator of the list", (*path, "split"), 'as in split = ","')
    if direction is Direction.FROM_DESK and "join" not in table:
        raise reader.fail("a list for Ensono needs join", (*path, "split"), 'as in join = ","')
    return separator


def _read_zone(table: MappingOf[str, Any], path: Path, reader: ShapeReader) -> tzinfo:
    name = reader.text(table["zone"], (*path, "zone"))
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        help_text = "an IANA name such as Europe/Berlin; where no name is known, install the package tzdata"
        raise reader.fail(f"zone {name[:80]!r} is not known", (*path, "zone"), help_text) from None


def _list_places(table: MappingOf[str, Any], path: Path, reader: ShapeReader) -> dict[str, str]:
    """Where the rule's keys and the keys of its tables stand."""
    places = {key: reader.place((*path, key)) for key in table}
    for key in ("map", "only_if"):
        inner = table.get(key)
        if isinstance(inner, dict):
            places |= {f"{key}.{name}": reader.place((*path, key, name)) for name in inner}
    return places


def _fold(rule: Rule, path: Path, reader: ShapeReader) -> Rule:
    """The rule with its rows under the keys as they are compared."""
    for key in rule.rows:
        if len(rule.sources) > 1 and key and key.count(BETWEEN) != len(rule.sources) - 1:
            wanted = BETWEEN.join(rule.sources)
            reader.complain(f"{rule.name}: the key {key!r} is not of the form {wanted}", (*path, "map", key))
    folded, differing = fold_rows(rule.rows, rule.fold)
    if any(guide.list_words(ticket_type, name) for ticket_type in rule.types for name in rule.sources):
        for key in differing:
            reader.complain(f"{rule.name}: {key!r} has another image under another spelling", (*path, "map", key))
    return msgspec.structs.replace(rule, folded=folded)
