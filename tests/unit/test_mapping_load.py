"""A mapping file's text: what it may hold, where each problem stands, and what its hash tells apart."""

from __future__ import annotations

import json
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecproc.errors import ConfigError, ExitCode
from ecproc.mapping import default_mapping, load_mapping, prove
from ecproc.mapping.places import find_places
from ecproc.mapping.rules import How

HEAD = 'version = 1\ndesk = "servicenow"\n'
RULE = '[[to_desk]]\ntype = "incident"\nfield = "state"\nfrom = "status"\n'


def problems_of(text: str, *, head: str = HEAD) -> list[tuple[str, str, str]]:
    """Every problem as (message, place, help)."""
    with pytest.raises(ConfigError) as caught:
        load_mapping(head + text, source="m.toml")
    assert caught.value.exit_code == ExitCode.CONFIG
    return [(problem.message, problem.location, problem.help) for problem in caught.value.problems]


@pytest.mark.parametrize("kind", ["servicenow", "local", "webhook", "somebodys"])
def test_every_desk_has_a_mapping_that_the_proof_accepts_without_a_word(kind: str) -> None:
    mapping = default_mapping(kind)
    assert mapping.desk == kind
    assert prove(mapping) == []


@pytest.mark.parametrize(
    ("text", "message", "line", "help_text"),
    [
        ("x = [", "not valid TOML: ", 3, None),
        ("choice = 1", "unknown key choice", 3, "did you mean choices?"),
        (RULE + "maps = {}", "to_desk has a rule for state with no right-hand side", 3, None),
        (RULE + "map = {}\nreferense = 'x'", "unknown key to_desk.referense", 8, "did you mean reference?"),
        (RULE + "map = { open = 1 }", "to_desk.map.open is the number 1", 7, 'write it as text: "1"'),
        (RULE + 'map = { 1 = "x" }', "to_desk.map has the number 1 as a key", 7, 'write it as text: "1"'),
        (RULE + 'map = { -5 = "x" }', "to_desk.map has the number -5 as a key", 7, 'write it as text: "-5"'),
        (RULE + "map = {}\ndefault = 2.5", "to_desk.default is the number 2.5", 8, 'write it as text: "2.5"'),
        (RULE + "copy = true\nconst = ''", "to_desk has a rule for state with copy and const", 8, "keep one of them"),
        (RULE + "copy = false", "copy can only be true", 7, "leave it out otherwise"),
        (RULE + "copy = true\nmax = 10", "to_desk.max must be a whole number from 40 to 1000000, not 10", 8, ""),
        (RULE + "copy = true\noverflow = 'refuse'", "overflow goes with max", 8, ""),
        (RULE + "copy = true\njoin = ','", "join goes with split", 8, ""),
        (RULE + "copy = true\nzone = 'Europe/Brelin'", "zone 'Europe/Brelin' is not known", 8, None),
        (RULE + "copy = true\nzone = '../../etc/passwd'", "zone '../../etc/passwd' is not known", 8, None),
        (RULE + "copy = true\nonly_if = {}", "only_if: the condition is empty, so that it says nothing", 8, None),
        (RULE + "copy = true\nonly_if = { status = 1 }", "only_if: status is a number", 8, 'write it as text: "1"'),
        ("[choices.incidents]\nx = {}", "choices.incidents is no ticket type", 3, "did you mean incident?"),
        ("[choices.incident]\nstate = { 1 = 'a' }", "choices.incident.state has the number 1 as a key", 4, None),
        ("[[to_desk]]\nfield = 'a;b'\nconst = ''", "to_desk has a rule without the name of a field", 4, None),
        ("[[to_desk]]\nfield = 'x'\ntemplate = '{a b}'", "template: '{a b}' is no field of a template", 5, None),
        ("[[to_desk]]\nfield = 'x'\ntemplate = 'a } b'", "template: a single } means nothing", 5, None),
        ("[[to_desk]]\nfield = 'x'\ntemplate = '{a.__class__|upper}'", None, 5, None),
        ("[[to_desk]]\nfield = 'x'\nmap = {}", "the map for x has no from", 3, None),
        ("[[to_desk]]\ntype = 'any'\nfield = '*'\nconst = 'x'", None, 6, None),
        ("[[from_desk]]\nfield = 'status'\ncopy = true\nmax = 160", None, 6, None),
        ("[[from_desk]]\nfield = 'cis'\ncopy = true\nsplit = ';'", "a list for Ensono needs join", 6, None),
        ("[extra]\nfields = 'x'", "extra.fields must be a list of texts, not 'x'", 4, ""),
        ("[extra]\nline = '{nam}: {value}'", None, 4, "as in {name}: {value}"),
        ('[extra]\nheader = "a\\nb"', None, 4, None),
        ("to_desk = 1", "to_desk must be a list of rules", 3, "write [[to_desk]] above each"),
    ],
)
def test_a_problem_stands_at_its_line(text: str, message: str | None, line: int, help_text: str | None) -> None:
    found = problems_of(text)
    assert any(
        (message is None or one[0].startswith(message))
        and one[1] == f"m.toml:{line}"
        and (help_text is None or one[2] == help_text)
        for one in found
    ), found


def test_every_problem_is_told_at_once() -> None:
    bad = RULE + 'map = { open = 1, pending = 2 }\n[[to_desk]]\nfield = "x"\n[extra]\ninto = "nowhere"\n'
    assert len(problems_of(bad)) == 4


@pytest.mark.parametrize(
    "head",
    ["", "version = 2\ndesk = 'x'\n", "version = '1'\ndesk = 'x'\n", "version = true\ndesk = 'x'\n", "version = 1\n"],
)
def test_version_and_desk_must_be_known(head: str) -> None:
    assert problems_of("", head=head)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("# " + "x" * 1024 * 1024, "bytes, 1,048,576 at most"),
        ("[[to_desk]]\nfield = 'x'\nconst = 'y'\n" * 2_001, "the mapping has 2,001 rules, 2,000 at most"),
        (RULE + "map = {" + ", ".join(f"k{n} = 'x'" for n in range(20_001)) + "}", "entries, 20,000 at most"),
        ("x = " + "[" * 5_000, ""),
        ("[[to_desk]]\nfield = 'x'\nconst = 'y'\n" * 101, "to_desk.any.x has more than 100 rules"),
    ],
)
def test_limits_are_kept(text: str, message: str) -> None:
    assert message in problems_of(text)[0][0]


def test_a_large_mapping_is_read_and_proven_soon() -> None:
    rules = "".join(f"[[to_desk]]\ntype = 'any'\nfield = 'f{n}'\nfrom = 'status'\ncopy = true\n" for n in range(1_999))
    rows = "".join(f"'Group {n}' = 'g{n}'\n" for n in range(9_000))
    text = f"{HEAD}{rules}[[to_desk]]\nfield = 'big'\nfrom = 'group'\ndefault = 'x'\n[to_desk.map]\n{rows}"
    mapping = load_mapping(text, source="m.toml")
    assert prove(mapping) == []
    last = mapping.rules[-1]
    assert last.place_of("map.Group 8999") == f"m.toml:{text.count(chr(10))}"
    assert last.how is How.MAP


@pytest.mark.requirement("R200")
def test_the_hash_tells_contents_apart_and_nothing_else() -> None:
    text = HEAD + RULE + 'map = { open = "1", closed = "2" }\ndefault = "3"\n'
    known = load_mapping(text, source="a").hash
    assert len(known) == 12
    assert int(known, 16)
    other_order = HEAD + RULE + '# a comment\ndefault = "3"\nmap = { closed = "2", open = "1" }\n'
    assert load_mapping(other_order, source="b").hash == known
    spread = "# x\r\n" + HEAD + RULE + 'default = "3"\n[to_desk.map]\nopen = "1"\nclosed = "2"\n'
    assert load_mapping(spread, source="a").hash == known
    assert load_mapping(text.replace('"3"', '"4"'), source="a").hash != known


def test_the_order_of_rules_is_content() -> None:
    one, two = "[[to_desk]]\nfield = 'a'\nconst = 'x'\n", "[[to_desk]]\nfield = 'b'\nconst = 'x'\n"
    assert load_mapping(HEAD + one + two, source="a").hash != load_mapping(HEAD + two + one, source="a").hash


# --- where keys stand ---


def test_places_are_found_in_every_form_of_toml() -> None:
    text = '''# comment [x]
a = """
b = 1
"""
"c d".e = { f = ['x', # not = here
  "]"], g = 'h' }
[[t]]
k = \'\'\'
[[t]]\'\'\'
[t.m]
"1" = 'x'
2 = "}"
[[t]]
m.n = 1979-05-27T07:32:00Z
'''
    tomllib.loads(text)
    places = find_places(text)
    lines = {path: place.line for path, place in places.items()}
    assert lines[("a",)] == 2
    assert ("b",) not in lines
    assert lines[("c d", "e", "f")] == 5
    assert lines[("c d", "e", "f", 1)] == 6
    assert lines[("c d", "e", "g")] == 6
    assert lines[("t", 0)] == 7
    assert lines[("t", 0, "k")] == 8
    assert lines[("t", 0, "m", "1")] == 11
    assert not places[("t", 0, "m", "1")].bare
    assert places[("t", 0, "m", "2")] == (12, True)
    assert lines[("t", 1, "m", "n")] == 14


KEYS = st.text(st.sampled_from("ab\"'\\.= #[]{}\n"), min_size=1, max_size=4)
VALUES = st.recursive(
    KEYS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=6
)


def _write(value: object) -> str:

    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {_write(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",\n".join(map(_write, value)) + "]"
    return json.dumps(value)


def _paths(value: object, path: tuple[str | int, ...] = ()) -> set[tuple[str | int, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return {path}.union(*(_paths(item, (*path, key)) for key, item in items))


@given(st.dictionaries(KEYS, VALUES, max_size=4))
def test_every_key_of_any_document_has_a_place(document: dict[str, object]) -> None:
    text = "".join(f"{_write(key)} = {_write(value)}\n" for key, value in document.items())
    assert tomllib.loads(text) == document
    assert find_places(text).keys() == _paths(document) - {()}
