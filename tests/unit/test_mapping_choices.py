"""A desk's lists in a mapping file: what was there besides stays, and what comes from the desk is text."""

from __future__ import annotations

import tomllib

from hypothesis import given
from hypothesis import strategies as st

from ecproc.errors import Severity
from ecproc.mapping import load_mapping, prove
from ecproc.mapping.choices import replace_choices, write_choices
from ecproc.mapping.load import built_in_text

BUILT_IN = built_in_text("servicenow")
LISTS = {"incident": {"state": {"1": "New", "2": 'In "Progress"'}, "hold_reason": {}}, "change": {"risk": {"4": "Low"}}}
words = st.dictionaries(st.text(min_size=1, max_size=10), st.text(max_size=20), max_size=4)


def test_the_same_lists_change_nothing_but_their_form() -> None:
    before = load_mapping(BUILT_IN, source="mapping.toml")
    after = load_mapping(replace_choices(BUILT_IN, before.choices), source="mapping.toml")
    assert after.hash == before.hash
    assert [found for found in prove(after) if found.severity is Severity.ERROR] == []


def test_other_lists_take_their_place_and_comments_stay() -> None:
    renewed = replace_choices(BUILT_IN, LISTS)
    assert tomllib.loads(renewed)["choices"] == LISTS
    assert renewed.count("[choices.") == 2
    kept = [line for line in BUILT_IN.splitlines() if line.startswith("#")]
    assert kept
    assert [line for line in kept if line not in renewed] == []
    assert replace_choices(renewed, LISTS) == renewed


@given(words)
def test_whatever_a_label_is_it_stays_text(listed: dict[str, str]) -> None:
    read = tomllib.loads(
        write_choices({"incident": {"state": {f"{n}{key}": label for n, (key, label) in enumerate(listed.items())}}})
    )
    assert [label for label in read["choices"]["incident"]["state"].values()] == [
        "".join(each for each in label if each.isprintable()) for label in listed.values()
    ]


def test_a_file_without_lists_gets_them_before_its_first_table() -> None:
    renewed = replace_choices('version = 1\ndesk = "servicenow"\n[[to_desk]]\ntype = "any"\n', LISTS)
    assert renewed.index("[choices.incident]") < renewed.index("[[to_desk]]")
    assert tomllib.loads(renewed)["to_desk"] == [{"type": "any"}]
