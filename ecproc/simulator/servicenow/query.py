"""Encoded queries (`sysparm_query`): taken apart, and told whether a row matches."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

import msgspec

from ecproc.simulator.servicenow.schema import FieldType

FieldValues: TypeAlias = dict[str, str]
"""A row: its raw values by column."""
TypeOf: TypeAlias = Callable[[str], FieldType | None]
"""The type of a column, or of one behind references (`caller_id.email`); None for what is no column."""
ValueOf: TypeAlias = Callable[[FieldValues, str], str]

SCRIPT: Final = "javascript:"
"""What makes an instance run a value of a query; here it is only counted."""
_CONDITION: Final = re.compile(
    r"([a-z0-9_.]+)(ISNOTEMPTY|ISEMPTY|NOT LIKE|NOT IN|LIKE|STARTSWITH|ENDSWITH|IN|!=|>=|<=|=|>|<)(.*)", re.DOTALL
)
_ORDER: Final = re.compile(r"ORDERBY(DESC)?([a-z0-9_.]+)")
_LITERAL: Final = "\0"
"""Stands for `^^`, a caret that separates nothing."""


class Condition(msgspec.Struct, frozen=True):
    """One comparison, on a column that exists."""

    field: str
    operator: str
    value: str
    type: FieldType


class Ordering(msgspec.Struct, frozen=True):
    """One column to sort by."""

    field: str
    descending: bool
    type: FieldType


class ParsedQuery(msgspec.Struct, frozen=True):
    """Rows match if one of `groups` does: all of its clauses, of each at least one condition. No group matches all.

    `ignored` are the parts that name no column or no comparison: the instance leaves them out and goes by the rest.
    """

    groups: tuple[tuple[tuple[Condition, ...], ...], ...] = ()
    orders: tuple[Ordering, ...] = ()
    ignored: tuple[str, ...] = ()


def parse_query(text: str, type_of: TypeOf) -> ParsedQuery:
    """Take an encoded query apart; never fails."""
    groups: list[tuple[tuple[Condition, ...], ...]] = []
    orders: list[Ordering] = []
    ignored: list[str] = []
    for part in text.replace("^^", _LITERAL).split("^NQ"):
        clauses: list[list[Condition]] = []
        for term in part.split("^"):
            _take_term(term.replace(_LITERAL, "^"), type_of, clauses, orders, ignored)
        if any(clauses):
            groups.append(tuple(tuple(clause) for clause in clauses if clause))
    return ParsedQuery(tuple(groups), tuple(orders), tuple(ignored))


def _take_term(
    term: str, type_of: TypeOf, clauses: list[list[Condition]], orders: list[Ordering], ignored: list[str]
) -> None:
    if term in ("", "EQ"):
        return
    if match := _ORDER.fullmatch(term):
        kind = type_of(match[2])
        if kind is None:
            ignored.append(term)
        else:
            orders.append(Ordering(match[2], match[1] is not None, kind))
        return
    is_alternative = term.startswith("OR")
    condition = _read_condition(term.removeprefix("OR"), type_of)
    if condition is None:
        ignored.append(term)
    # What follows an ignored part by ^OR still stands for itself, as an alternative to nothing.
    if not is_alternative or not clauses:
        clauses.append([])
    if condition is not None:
        clauses[-1].append(condition)


def _read_condition(text: str, type_of: TypeOf) -> Condition | None:
    match = _CONDITION.fullmatch(text)
    kind = type_of(match[1]) if match else None
    return Condition(match[1], match[2], match[3], kind) if match and kind is not None else None


def compile_query(query: ParsedQuery, value_of: ValueOf) -> Callable[[FieldValues], bool]:
    """Give the test that rows have to pass."""
    if not query.groups:
        return lambda row: True
    groups = [[[_compile(condition, value_of) for condition in clause] for clause in group] for group in query.groups]
    return lambda row: any(all(any(test(row) for test in clause) for clause in group) for group in groups)


def _compile(condition: Condition, value_of: ValueOf) -> Callable[[FieldValues], bool]:
    field, test = condition.field, _make_test(condition)
    if "." in field:
        return lambda row: test(value_of(row, field))
    return lambda row: test(row.get(field, ""))


def _make_test(condition: Condition) -> Callable[[str], bool]:
    value = condition.value
    key = sort_key(condition.type)
    wanted = key(value)
    words = frozenset(value.split(","))
    tests: Mapping[str, Callable[[str], bool]] = {
        "=": lambda held: held == value,
        "!=": lambda held: held != value,
        ">": lambda held: held != "" and key(held) > wanted,
        ">=": lambda held: held != "" and key(held) >= wanted,
        "<": lambda held: held != "" and key(held) < wanted,
        "<=": lambda held: held != "" and key(held) <= wanted,
        "LIKE": lambda held: value in held,
        "NOT LIKE": lambda held: value not in held,
        "STARTSWITH": lambda held: held.startswith(value),
        "ENDSWITH": lambda held: held.endswith(value),
        "IN": lambda held: held in words,
        "NOT IN": lambda held: held not in words,
        "ISEMPTY": lambda held: held == "",
        "ISNOTEMPTY": lambda held: held != "",
    }
    return tests[condition.operator]


def sort_key(kind: FieldType) -> Callable[[str], tuple[float, str]]:
    """Give what values of this type are ordered by: numbers as numbers, and what is none after them."""
    if kind is FieldType.NUMBER:
        return lambda held: (_read_number(held), held)
    return lambda held: (0.0, held)


def _read_number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("inf")
