"""The policy in the configuration: what is read of it, what is refused with its line, and what the log keeps."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from ecproc.config import Config, describe_config, load_config
from ecproc.config.catalogue import OPTIONS
from ecproc.domain.policy import AdoptFinal, Policy, Reopen
from ecproc.errors import ConfigError
from ecproc.policy import describe_policy, document_of, hash_of, open_policy, read_policy
from ecproc.policy.rules import MOST_RULES, read_rules

FULL = """\
[policy.reopen]
incident = "new_ticket"
request = "comment_only"
within_days = 30
fallback = "new_ticket"

[policy.adopt]
final = "document"

[[policy.scope]]
name = "vip"
when = { group = "Network VIP" }
then = "in"

[[policy.scope]] # the rest
name = "network"
then = "out"
[policy.scope.when]
group = ["Network*", "Voice"]
not = { priority = "1" }
"""


def load(text: str, tmp_path: Path, env: dict[str, str] | None = None) -> Config:
    path = tmp_path / "ecproc.toml"
    path.write_text(text, encoding="utf-8")
    return load_config(path, env or {}, require_bridge=False)


def problems_of(text: str, tmp_path: Path) -> list[tuple[str, str, str]]:
    with pytest.raises(ConfigError) as caught:
        open_policy(load(text, tmp_path))
    cut = f"{tmp_path}/"
    return [(item.message, item.location.replace(cut, ""), item.help) for item in caught.value.problems]


@pytest.mark.requirement("R207", "R213")
def test_the_policy_is_read_from_the_configuration(tmp_path: Path) -> None:
    config = load(FULL, tmp_path)
    policy = open_policy(config)

    assert (policy.reopen_incident, policy.reopen_request) == (Reopen.NEW_TICKET, Reopen.COMMENT_ONLY)
    assert (policy.reopen_within_days, policy.reopen_fallback) == (30, True)
    assert policy.adopt_final is AdoptFinal.DOCUMENT
    assert [(rule.name, rule.inside) for rule in policy.scope] == [("vip", True), ("network", False)]
    assert policy.find_scope({"group": "Network VIP"}).rule == "vip"
    assert policy.find_scope({"group": "Voice", "priority": "1"}).rule == ""
    assert not policy.find_scope({"group": "Network Ops", "priority": "2"}).inside
    rows = {row.key: row.value for row in describe_config(config)}
    assert rows["policy.scope"] == ("vip: in", "network: out")
    assert "scope: vip in, network out" in describe_policy(config)


def test_no_policy_is_what_was_always_done(tmp_path: Path) -> None:
    config = load("", tmp_path)
    assert msgspec.structs.replace(open_policy(config), hash="") == Policy()
    assert read_policy({}).hash == hash_of({})
    assert msgspec.structs.replace(read_policy({}), hash="") == Policy()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('name = "a b"\nwhen = { group = "x" }\nthen = "out"', ("a scope rule needs a name", 2)),
        ('name = "a"\nwhen = { group = "x" }\nthen = "ou"', ('policy.scope.then must be "in" or "out"', 4)),
        ('name = "a"\nwhen = { grup = "x" }\nthen = "out"', ("policy.scope.when.grup is no field", 3)),
        ('name = "a"\nwhen = { priority = 1 }\nthen = "out"', ("policy.scope.when.priority: priority is a number", 3)),
        ('name = "a"\nwhen = {}\nthen = "out"', ("policy.scope.when: the condition is empty", 3)),
        ('name = "a"\nthen = "out"', ("policy.scope.when: a condition is a table", 1)),
        ('name = "a"\nwhen = { group = "x" }\nthen = "out"\nthan = "in"', ("unknown key policy.scope.than", 5)),
    ],
)
def test_a_wrong_rule_is_refused_at_its_line(tmp_path: Path, text: str, expected: tuple[str, int]) -> None:
    [(message, place, _)] = problems_of(f"[[policy.scope]]\n{text}\n", tmp_path)

    assert message.startswith(expected[0])
    assert place == f"ecproc.toml:{expected[1]}"


def test_what_was_probably_meant_is_named(tmp_path: Path) -> None:
    text = '[[policy.scope]]\nname = "a"\nwhen = { grup = "x" }\nthen = "ou"\nnane = "b"\n'

    helps = [help for _, _, help in problems_of(text, tmp_path)]

    assert helps == ["did you mean name?", 'did you mean "out"?', "did you mean group?"]


def test_a_rule_that_never_decides_is_refused(tmp_path: Path) -> None:
    rule = '[[policy.scope]]\nname = "{}"\nwhen = {{ group = "{}" }}\nthen = "{}"\n'
    text = rule.format("all", "Net*", "out") + rule.format("vip", "Network", "in")

    [(message, place, _)] = problems_of(text, tmp_path)

    assert message == "the scope rule vip never decides: all, before it, holds whenever it does"
    assert place == "ecproc.toml:7"


def test_two_rules_have_two_names(tmp_path: Path) -> None:
    rule = '[[policy.scope]]\nname = "a"\nwhen = {{ group = "{}" }}\nthen = "out"\n'

    [(message, place, _)] = problems_of(rule.format("x") + rule.format("y"), tmp_path)

    assert (message, place) == ("two scope rules are called a", "ecproc.toml:6")


def test_rules_are_bounded() -> None:
    _, problems = read_rules([{}] * (MOST_RULES + 1))

    assert f"{MOST_RULES + 1} scope rules" in problems[0].message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[policy]\nscope = 7\n", "policy.scope must be an array of tables"),
        ("[policy.scope]\nname = 'a'\n", "policy.scope must be an array of tables"),
        ("[[policy.scop]]\nname = 'a'\n", "unknown key policy.scop"),
        ('[policy.reopen]\nincident = "open"\n', "policy.reopen.incident must be"),
    ],
)
def test_a_wrong_shape_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(text, tmp_path)
    assert caught.value.problems[0].message.startswith(message)


def test_variables_set_what_is_no_array_of_tables(tmp_path: Path) -> None:
    env = {OPTIONS["policy.reopen.incident"].variable: "new_ticket"}
    with pytest.raises(ConfigError):
        load("", tmp_path, {"ECPROC_POLICY__SCOPE": "[]"})
    assert open_policy(load("", tmp_path, env)).reopen_incident is Reopen.NEW_TICKET


def test_what_the_log_keeps_is_read_again_as_it_was(tmp_path: Path) -> None:
    config = load(FULL, tmp_path)
    document = document_of(config)
    kept = msgspec.json.decode(msgspec.json.encode(document))

    assert read_policy(kept) == open_policy(config)
    assert hash_of(kept) == hash_of(document) == open_policy(config).hash
    assert hash_of(document_of(load("", tmp_path))) != hash_of(document)
    reordered = dict(reversed(document.items()))
    assert hash_of(reordered) == hash_of(document)
