"""Conditions of rules: what matches, and what is known of two of them without trying."""

from __future__ import annotations

import re
import time
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecproc.mapping.predicates import (
    BadPredicate,
    Predicate,
    are_disjoint,
    globs_meet,
    implies,
    matches_glob,
    read_predicate,
)

CLOSED = frozenset({"type", "status", "priority"})
PATTERNS = st.text(st.sampled_from("ab*?"), max_size=5)
LITTLE = st.text(st.sampled_from("ab"), max_size=4)
TEXTS = ["", *("".join(letters) for size in (1, 2, 3, 4) for letters in product("ab", repeat=size))]


def predicate(**table: object) -> Predicate:
    return read_predicate({"not" if key == "not_" else key: value for key, value in table.items()}, closed=CLOSED)


@pytest.mark.parametrize(
    ("table", "values", "holds"),
    [
        ({"type": "Incident", "group": ["Network*", "Voice"]}, {"type": "Incident", "group": "Network West"}, True),
        ({"type": "incident"}, {"type": "Incident"}, True),
        ({"status": "Pending"}, {"status": " pending "}, True),
        ({"group": "network*"}, {"group": "Network"}, False),
        ({"group": "V?ice"}, {"group": "Voice"}, True),
        ({"group": "a.c"}, {"group": "abc"}, False),
        ({"cis": ""}, {}, True),
        ({"cis": "*"}, {}, False),
        ({"cis": "*"}, {"cis": "x"}, True),
        ({"not_": {"cis": "*"}}, {"cis": ""}, True),
        ({"priority": ["1", "2"], "not_": {"cis": "*"}}, {"priority": "2", "cis": "x"}, False),
        ({"not_": {"group": "A", "status": "open"}}, {"group": "A", "status": "closed"}, True),
    ],
)
def test_what_a_condition_holds_for(table: dict[str, object], values: dict[str, str], holds: bool) -> None:
    assert predicate(**table).holds(values) is holds


@pytest.mark.parametrize(
    ("table", "path", "help_text"),
    [
        ({}, (), "leave it out, or name a field"),
        ({"status": []}, ("status",), ""),
        ({"priority": 1}, ("priority",), 'write it as text: "1"'),
        ({"priority": ["1", 2]}, ("priority",), 'write it as text: "2"'),
        ({"group": {"a": "b"}}, ("group",), ""),
        ({"not": {}}, ("not",), 'as in not = { cis = "" }'),
        ({"not": {"not": {"a": "b"}}}, ("not", "not"), ""),
        ({"group": "x" * 201}, ("group",), ""),
        ("pending", (), 'as in { status = "pending" }'),
    ],
)
def test_what_is_no_condition_is_told_by_its_key(table: object, path: tuple[str, ...], help_text: str) -> None:
    with pytest.raises(BadPredicate) as caught:
        read_predicate(table, closed=CLOSED)
    assert (caught.value.path, caught.value.help) == (path, help_text)


@given(PATTERNS, LITTLE)
def test_a_pattern_matches_as_its_regular_expression_does(pattern: str, text: str) -> None:
    expression = "".join({"*": ".*", "?": "."}.get(letter, letter) for letter in pattern)
    assert matches_glob(pattern, text) == (bool(re.fullmatch(expression, text)) and (bool(text) or not pattern))


@given(PATTERNS, PATTERNS)
def test_two_patterns_meet_where_one_text_matches_both(one: str, other: str) -> None:
    found = any(matches_glob(one, text) and matches_glob(other, text) for text in TEXTS)
    assert globs_meet(one, other) or not found
    if len(one) + len(other) <= 4:  # the texts are long enough for all of those
        assert globs_meet(one, other) == found


CONDITIONS = st.builds(
    lambda wanted, excluded: {
        **{name: patterns for name, patterns in wanted.items() if patterns},
        **({"not": excluded} if excluded else {}),
    },
    st.dictionaries(st.sampled_from("xy"), st.lists(PATTERNS, max_size=2), max_size=2),
    st.dictionaries(st.sampled_from("xy"), PATTERNS, max_size=2),
).filter(bool)


@given(CONDITIONS, CONDITIONS, st.lists(st.tuples(LITTLE, LITTLE), min_size=20, max_size=20))
def test_what_is_said_of_two_conditions_is_never_wrong(
    one: dict[str, object], other: dict[str, object], pairs: list[tuple[str, str]]
) -> None:
    mine, yours = read_predicate(one, closed=()), read_predicate(other, closed=())
    for x, y in pairs:
        values = {"x": x, "y": y}
        assert not (are_disjoint(mine, yours) and mine.holds(values) and yours.holds(values))
        assert not (implies(mine, yours) and mine.holds(values) and not yours.holds(values))
        assert mine.may_hold({"x": x}) or not mine.holds(values)
        assert mine.holds(values) or not mine.must_hold({"x": x})


def test_a_condition_that_holds_always_excludes_nothing_and_is_implied_by_all() -> None:
    pending = predicate(status="pending")
    assert not are_disjoint(None, pending)
    assert implies(pending, None)
    assert not implies(None, pending)
    assert are_disjoint(pending, predicate(not_={"status": ["pending", "open"]}))
    assert implies(pending, predicate(status=["open", "pending"]))


def test_a_hostile_pattern_takes_no_time() -> None:
    began = time.perf_counter()
    assert not matches_glob("*a" * 90 + "b", "a" * 4_000)
    assert time.perf_counter() - began < 5
