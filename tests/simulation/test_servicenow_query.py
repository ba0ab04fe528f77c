"""Encoded queries: what they find, what they ignore, and that look-ups by index find what a walk finds."""

from __future__ import annotations

from random import Random
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecproc.simulator.servicenow.database import Database
from ecproc.simulator.servicenow.query import Condition, ParsedQuery, compile_query, parse_query

NOW: Final = 1_790_000_000.0
EMPTY: Final = Database(Random(1))
ROWS: Final = (
    {"number": "INC1", "state": "1", "short_description": "mail is slow", "correlation_id": "a:g1", "priority": "5"},
    {"number": "INC2", "state": "2", "short_description": "Mail is down", "correlation_id": "a:g2", "priority": "10"},
    {"number": "INC3", "state": "6", "short_description": "printer", "correlation_id": "", "priority": "2"},
    {"number": "INC4", "state": "2", "short_description": "a^b", "correlation_id": "c:g1", "priority": ""},
)


@pytest.fixture(scope="module")
def database() -> Database:
    made = Database(Random(1))
    user = made.insert("sys_user", {"user_name": "beth", "email": "beth@example.com"}, by="admin", now=NOW)
    for count, row in enumerate(ROWS):
        caller = {"caller_id": user["sys_id"]} if row["number"] == "INC2" else {}
        made.insert("incident", {**row, **caller}, by="admin", now=NOW + count)
    return made


def numbers(database: Database, query: str) -> list[str]:
    return [row["number"].removeprefix("INC") for row in database.find("incident", query)]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", "1234"),
        ("state=2", "24"),
        ("state!=2", "13"),
        ("correlation_id=", "3"),
        ("correlation_id!=a:g1", "234"),
        ("priority>5", "2"),
        ("priority>=5", "12"),
        ("priority<5", "3"),
        ("priority<=5", "13"),
        ("short_descriptionLIKEmail", "1"),
        ("short_descriptionSTARTSWITHMail", "2"),
        ("short_descriptionENDSWITHslow", "1"),
        ("stateIN1,6", "13"),
        ("stateNOT IN1,6", "24"),
        ("correlation_idISEMPTY", "3"),
        ("correlation_idISNOTEMPTY", "124"),
        ("state=2^short_descriptionLIKEdown", "2"),
        ("state=1^ORstate=6", "13"),
        ("state=1^ORstate=2^correlation_idSTARTSWITHa", "12"),
        ("state=1^NQstate=6", "13"),
        ("state=2^correlation_id=a:g2^NQstate=6", "23"),
        ("caller_id.email=beth@example.com", "2"),
        ("short_description=a^^b", "4"),
        ("state=2^EQ", "24"),
        ("ORDERBYDESCnumber", "4321"),
        ("state=2^ORDERBYDESCnumber", "42"),
        ("ORDERBYDESCstate^ORDERBYDESCnumber", "3421"),
        ("ORDERBYpriority", "3124"),
        ("sys_created_on>2026-09-21 14:13:21", "34"),
        ("sys_created_on>=2026-09-21 14:13:21", "234"),
        ("sys_created_on=2026-09-21 14:13:21", "2"),
        ("number=INC3", "3"),
        ("sys_id=0", ""),
    ],
)
def test_queries_find_what_the_documentation_says(database: Database, query: str, found: str) -> None:
    assert "".join(numbers(database, query)) == found


@pytest.mark.parametrize(
    ("query", "found", "ignored"),
    [
        ("no_such_field=1", "1234", ("no_such_field=1",)),
        ("no_such_field=1^state=2", "24", ("no_such_field=1",)),
        ("state=6^ORno_such_field=1", "3", ("ORno_such_field=1",)),
        ("no_such_field=1^ORstate=6", "3", ("no_such_field=1",)),
        ("no_such_field=1^NQstate=6", "3", ("no_such_field=1",)),
        ("state~2", "1234", ("state~2",)),
        ("ORDERBYno_such_field", "1234", ("ORDERBYno_such_field",)),
        ("caller_id.nothing=1^state=1", "1", ("caller_id.nothing=1",)),
        ("state.nothing=1^state=1", "1", ("state.nothing=1",)),
    ],
)
def test_an_invalid_part_is_ignored_and_the_rest_decides(
    database: Database, query: str, found: str, ignored: tuple[str, ...]
) -> None:
    assert "".join(numbers(database, query)) == found
    assert database.parse("incident", query).ignored == ignored


def test_the_rows_that_an_index_leaves_are_those_that_a_walk_finds(database: Database) -> None:
    for field in ("correlation_id", "number", "sys_updated_on", "sys_created_on", "sys_id"):
        kind = database.type_in("incident")(field)
        assert kind is not None
        for held in {row[field] for row in database.find("incident")} | {"", "~", "2026"}:
            for operator in ("=", ">", ">=", "<", "!="):
                query = ParsedQuery((((Condition(field, operator, held, kind),),),))
                matches = compile_query(query, database.value_in("incident"))
                walked = [row for row in database.stores["incident"].rows.values() if matches(row)]
                assert database.find("incident", query) == walked, (field, operator, held)


def test_changed_and_removed_rows_are_found_by_what_they_hold_now() -> None:
    made = Database(Random(1))
    first = made.insert("incident", {"correlation_id": "k"}, by="admin", now=NOW)
    made.insert("incident", {"correlation_id": "k"}, by="admin", now=NOW)
    made.update("incident", first["sys_id"], {"correlation_id": "m"}, by="admin", now=NOW + 60)
    assert len(made.find("incident", "correlation_id=k")) == 1
    assert made.find("incident", "correlation_id=m") == [first]
    assert made.find("incident", "sys_updated_on>2026-09-21 14:14:00") == [first]
    made.stores["incident"].drop(first["sys_id"])
    assert made.find("incident", "correlation_id=m") == []
    assert len(made.find("incident", "sys_updated_on>=2020-01-01 00:00:00")) == 1


@given(st.text(max_size=60))
def test_no_text_breaks_the_parser(text: str) -> None:
    query = parse_query(text, EMPTY.type_in("incident"))
    assert all(condition.field for group in query.groups for clause in group for condition in clause)
