"""Scope rules out of tables, and everything that is wrong with them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from ecproc.config.catalogue import suggest_word
from ecproc.domain.policy import ScopeRule
from ecproc.mapping import guide
from ecproc.mapping.predicates import BadPredicate, Predicate, implies, read_predicate

MOST_RULES: Final = 500
"""Scope rules: each is tried on every message until one holds."""
KEYS: Final = ("name", "when", "then")
DECISIONS: Final = {"in": True, "out": False}
FIELDS: Final = frozenset({*guide.FIELDS, "type", "client", "transaction"})
"""What a condition may ask of a ticket."""
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_NAME_HELP: Final = "up to 64 letters, digits, dots, dashes and underscores"


class RuleProblem(msgspec.Struct, frozen=True):
    """What is wrong with a rule: which one, counted from 0, the key to blame, why, and what to do."""

    rule: int
    key: str
    message: str
    help: str = ""


def read_rules(tables: Sequence[Mapping[str, object]]) -> tuple[tuple[ScopeRule, ...], list[RuleProblem]]:
    """The rules that these tables are, in their order, and what is wrong with the others."""
    problems: list[RuleProblem] = []
    rules: list[ScopeRule] = []
    names: set[str] = set()
    if len(tables) > MOST_RULES:
        problems.append(RuleProblem(MOST_RULES, "", f"{len(tables)} scope rules, {MOST_RULES} at most"))
    for place, table in enumerate(tables[:MOST_RULES]):
        known = len(problems)
        problems += [RuleProblem(place, key, *_describe_unknown(key)) for key in table if key not in KEYS]
        name = _read_name(place, table, names, problems)
        inside = _read_decision(place, table, problems)
        when = _read_condition(place, table, problems)
        if when is not None and inside is not None and len(problems) == known:
            _check_reached(place, name, when, rules, problems)
            rules.append(ScopeRule(name, when, inside))
    return tuple(rules), problems


def _describe_unknown(key: str) -> tuple[str, str]:
    near = suggest_word(key, KEYS)
    return f"unknown key policy.scope.{key[:60]}", f"did you mean {near}?" if near else f"it has {', '.join(KEYS)}"


def _read_name(place: int, table: Mapping[str, object], names: set[str], problems: list[RuleProblem]) -> str:
    name = table.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        problems.append(RuleProblem(place, "name", "a scope rule needs a name", _NAME_HELP))
        return ""
    if name in names:
        problems.append(RuleProblem(place, "name", f"two scope rules are called {name}", "give each its own"))
    names.add(name)
    return name


def _read_decision(place: int, table: Mapping[str, object], problems: list[RuleProblem]) -> bool | None:
    then = table.get("then")
    if not isinstance(then, str) or then not in DECISIONS:
        near = suggest_word(then, DECISIONS) if isinstance(then, str) else ""
        help_text = f'did you mean "{near}"?' if near else ""
        problems.append(RuleProblem(place, "then", 'policy.scope.then must be "in" or "out"', help_text))
        return None
    return DECISIONS[then]


def _read_condition(place: int, table: Mapping[str, object], problems: list[RuleProblem]) -> Predicate | None:
    try:
        when = read_predicate(table.get("when"), closed=guide.CLOSED)
    except BadPredicate as bad:
        where = ".".join(("policy.scope.when", *bad.path))
        problems.append(RuleProblem(place, "when", f"{where}: {bad.reason}", bad.help))
        return None
    for key in sorted(_list_keys(when) - FIELDS):
        near = suggest_word(key, FIELDS)
        message = f"policy.scope.when.{key[:60]} is no field of the guide's: it would never match"
        problems.append(RuleProblem(place, "when", message, f"did you mean {near}?" if near else ""))
    return when


def _list_keys(when: Predicate) -> set[str]:
    inner = when.excluded.keys if when.excluded is not None else frozenset[str]()
    return {*when.keys, *inner}


def _check_reached(
    place: int, name: str, when: Predicate, rules: Sequence[ScopeRule], problems: list[RuleProblem]
) -> None:
    """Complain of a rule that can never decide, because one before it takes all that it is about."""
    for before in rules:
        if isinstance(before.when, Predicate) and implies(when, before.when):
            message = f"the scope rule {name} never decides: {before.name}, before it, holds whenever it does"
            problems.append(RuleProblem(place, "when", message, "put the narrower rule first, or drop it"))
            return
