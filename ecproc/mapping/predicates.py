"""Conditions over the fields of a ticket or a record: which there are, what they match, and how two of them relate.

`{ type = "Incident", group = ["Network*", "Voice"], not = { cis = "" } }`: every key must hold, a list is "any of", `*`
and `?` stand for any characters and for one. An absent field is the empty text, which only `""` matches: `"*"` is
anything that is said. Words of closed lists are compared without case, all else exactly.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

from msgspec import Struct

NOT: Final = "not"
LONGEST_PATTERN: Final = 200
"""Characters of a pattern."""
MOST_PATTERNS: Final = 1_000
"""Patterns of one key."""


class BadPredicate(Exception):
    """Why a table is no condition; `path` leads to the key at fault, below the table."""

    def __init__(self, path: Sequence[str], reason: str, help: str = "") -> None:
        super().__init__(reason)
        self.path = tuple(path)
        self.reason = reason
        self.help = help


class Clause(Struct, frozen=True):
    """One key and the patterns of which one must match; with `fold` case and blanks around a word say nothing."""

    key: str
    patterns: tuple[str, ...]
    fold: bool = False

    @property
    def is_always(self) -> bool:
        """Whether it matches every text."""
        return {"", "*"} <= set(self.patterns)

    def matches(self, text: str) -> bool:
        """Whether one of the patterns matches the text."""
        word = fold_word(text) if self.fold else text
        return any(matches_glob(pattern, word) for pattern in self.patterns)


class Predicate(Struct, frozen=True):
    """All clauses must match, and not all of those in `excluded`."""

    clauses: tuple[Clause, ...]
    excluded: Predicate | None = None

    @property
    def keys(self) -> frozenset[str]:
        """The fields that decide it."""
        return frozenset(clause.key for clause in self._all_clauses())

    @property
    def patterns(self) -> Iterable[tuple[str, str, bool]]:
        """Key and pattern of everything it compares, and whether that stands under `not`."""
        own = [(clause.key, pattern, False) for clause in self.clauses for pattern in clause.patterns]
        return own + ([(key, pattern, True) for key, pattern, _ in self.excluded.patterns] if self.excluded else [])

    def holds(self, values: Mapping[str, str]) -> bool:
        """Whether it holds for a ticket or a record with these fields."""
        if not all(clause.matches(values.get(clause.key, "")) for clause in self.clauses):
            return False
        return self.excluded is None or not self.excluded.holds(values)

    def may_hold(self, known: Mapping[str, str]) -> bool:
        """Whether it can hold where so much is known of the fields."""
        if not all(clause.matches(known[clause.key]) for clause in self.clauses if clause.key in known):
            return False
        return self.excluded is None or not self.excluded.must_hold(known)

    def must_hold(self, known: Mapping[str, str]) -> bool:
        """Whether it holds whatever the other fields are."""
        if not all(clause.is_always or _is_met(clause, known) for clause in self.clauses):
            return False
        return self.excluded is None or not self.excluded.may_hold(known)

    def _all_clauses(self) -> Sequence[Clause]:
        return (*self.clauses, *(self.excluded.clauses if self.excluded else ()))


def _is_met(clause: Clause, known: Mapping[str, str]) -> bool:
    return clause.key in known and clause.matches(known[clause.key])


def read_predicate(table: object, *, closed: Collection[str]) -> Predicate:
    """The condition that a table means; `closed` are the keys whose words are compared without case.

    Raises BadPredicate.
    """
    if not isinstance(table, dict):
        raise BadPredicate((), "a condition is a table", 'as in { status = "pending" }')
    excluded: Predicate | None = None
    if NOT in table:
        inner = table[NOT]
        if not isinstance(inner, dict) or not inner:
            raise BadPredicate((NOT,), "not needs a table with at least one key", 'as in not = { cis = "" }')
        if NOT in inner:
            raise BadPredicate((NOT, NOT), "not cannot stand in not")
        excluded = Predicate(_read_clauses(inner, (NOT,), closed))
    clauses = _read_clauses({key: value for key, value in table.items() if key != NOT}, (), closed)
    if not clauses and excluded is None:
        raise BadPredicate((), "the condition is empty, so that it says nothing", "leave it out, or name a field")
    return Predicate(clauses, excluded)


def _read_clauses(table: Mapping[str, object], path: Sequence[str], closed: Collection[str]) -> tuple[Clause, ...]:
    clauses = []
    for key, value in table.items():
        patterns = value if isinstance(value, list) else [value]
        if not patterns:
            raise BadPredicate((*path, key), f"{key} is an empty list, which nothing matches")
        if len(patterns) > MOST_PATTERNS:
            raise BadPredicate((*path, key), f"{key} has {len(patterns)} patterns, {MOST_PATTERNS} at most")
        texts: list[str] = []
        for pattern in patterns:
            if isinstance(pattern, bool | int | float):
                raise BadPredicate((*path, key), f"{key} is a number", f'write it as text: "{pattern}"')
            if not isinstance(pattern, str):
                raise BadPredicate((*path, key), f"{key} must be text or a list of texts")
            if len(pattern) > LONGEST_PATTERN:
                reason = f"{key} has a pattern of {len(pattern)} characters, {LONGEST_PATTERN} at most"
                raise BadPredicate((*path, key), reason)
            texts.append(fold_word(pattern) if key in closed else pattern)
        clauses.append(Clause(key, tuple(texts), key in closed))
    return tuple(clauses)


def fold_word(text: str) -> str:
    """A word of a closed list as it is compared."""
    return text.strip().casefold()


def matches_glob(pattern: str, text: str) -> bool:
    """Whether the pattern matches the whole text; linear in both for most, their product at worst."""
    if not text or not pattern:
        return text == pattern
    at = place = 0
    star, resumed = -1, 0
    while at < len(text):
        if place < len(pattern) and pattern[place] == "*":
            star, resumed = place, at
            place += 1
        elif place < len(pattern) and pattern[place] in ("?", text[at]):
            place, at = place + 1, at + 1
        elif star >= 0:
            resumed += 1
            place, at = star + 1, resumed
        else:
            return False
    return all(letter == "*" for letter in pattern[place:])


def globs_meet(one: str, other: str) -> bool:
    """Whether there is a text that both patterns match."""
    if not one or not other:
        return one == other
    waiting, seen = [(0, 0)], {(0, 0)}
    while waiting:
        here, there = waiting.pop()
        if here == len(one) and there == len(other):
            return True
        for step in _list_steps(one, here, other, there):
            if step not in seen:
                seen.add(step)
                waiting.append(step)
    return False


def _list_steps(one: str, here: int, other: str, there: int) -> Iterable[tuple[int, int]]:
    """Where two patterns can go on together from these places."""
    mine = one[here] if here < len(one) else ""
    yours = other[there] if there < len(other) else ""
    if mine == "*":
        yield here + 1, there
        if yours:
            yield here, there + 1
    if yours == "*":
        yield here, there + 1
        if mine:
            yield here + 1, there
    if mine and yours and "*" not in (mine, yours) and (mine == yours or "?" in (mine, yours)):
        yield here + 1, there + 1


def are_disjoint(one: Predicate | None, other: Predicate | None) -> bool:
    """Whether it is certain that both never hold at once; None holds always."""
    if one is None or other is None:
        return False
    theirs = {clause.key: clause for clause in other.clauses}
    for clause in one.clauses:
        against = theirs.get(clause.key)
        if against and not any(globs_meet(mine, yours) for mine in clause.patterns for yours in against.patterns):
            return True
    return _excludes(one, other) or _excludes(other, one)


def _excludes(one: Predicate, other: Predicate) -> bool:
    """Whether the `not` of the one names all that the other lets through."""
    if one.excluded is None:
        return False
    theirs = {clause.key: clause for clause in other.clauses}
    return all(
        clause.key in theirs and all(_covers(clause.patterns, pattern) for pattern in theirs[clause.key].patterns)
        for clause in one.excluded.clauses
    )


def implies(one: Predicate | None, other: Predicate | None) -> bool:
    """Whether it is certain that the other holds wherever the one does; None holds always."""
    if other is None:
        return True
    if one is None:
        return False
    mine = {clause.key: clause for clause in one.clauses}
    for clause in other.clauses:
        own = mine.get(clause.key)
        if own is None or not all(_covers(clause.patterns, pattern) for pattern in own.patterns):
            return clause.is_always
    return other.excluded is None or other.excluded == one.excluded or are_disjoint(one, other.excluded)


def _covers(patterns: Iterable[str], pattern: str) -> bool:
    """Whether whatever the pattern matches is matched by one of those."""
    is_word = not {"*", "?"} & set(pattern)
    return any(
        known == pattern or (known == "*" and pattern != "") or (is_word and matches_glob(known, pattern))
        for known in patterns
    )
