"""The rules for Prometheus: about metrics that exist, with a run-book, a firing and a quiet test each, which pass."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest
import yaml

from tests.grafana import (
    PROMETHEUS,
    ROOT,
    RUNBOOKS,
    Metric,
    Query,
    find_undone_counters,
    find_unknown,
    list_derived,
    list_rule_queries,
    list_selectors,
    read_catalogue,
    read_rules,
)

ALERTS: Final = {rule["alert"]: rule for rule in read_rules("alerts.yml")}
QUERIES: Final = [*list_rule_queries()]
TESTS: Final = sorted(PROMETHEUS.glob("tests/*.yml"))
RULES: Final = [PROMETHEUS / name for name in ("alerts.yml", "recording.yml")]
SEVERITIES: Final = frozenset({"page", "warning"})
ADDRESS: Final = re.compile(r"https?://")


@pytest.fixture(scope="module")
def catalogue() -> Mapping[str, Metric]:
    """Every metric that ecproc exposes, and what the rules make of them."""
    return {**read_catalogue(), **list_derived()}


@pytest.fixture(scope="module")
def promtool() -> str:
    """Prometheus' own tool; its absence fails where everything must be tried."""
    found = shutil.which("promtool")
    if found is None and not os.environ.get("CI"):
        pytest.skip("promtool is not installed")
    assert found is not None, "promtool is not installed"
    return found


def kebab(alert: str) -> str:
    """Give the name of an alert's run-book."""
    return re.sub(r"(?<!^)(?=[A-Z])", "-", alert).lower()


@pytest.mark.requirement("R212")
@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_says_how_urgent_it_is_and_what_to_do(name: str) -> None:
    rule = ALERTS[name]
    annotations = rule["annotations"]

    assert re.fullmatch(r"Ecproc([A-Z][a-z]+)+", name)
    assert rule["labels"].keys() == {"severity"}
    assert rule["labels"]["severity"] in SEVERITIES
    assert annotations.keys() == {"summary", "description", "runbook"}
    assert "{{" in annotations["summary"] + annotations["description"], "it names no instance and no number"
    assert not annotations["summary"].endswith(".")
    assert annotations["description"].endswith(".")
    assert ADDRESS.search(str(rule)) is None


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_has_a_run_book(name: str) -> None:
    assert ALERTS[name]["annotations"]["runbook"] == f"docs/runbooks/{kebab(name)}.md"
    assert (ROOT / ALERTS[name]["annotations"]["runbook"]).is_file()


def test_a_run_book_has_an_alert() -> None:
    pages = {path.stem for path in RUNBOOKS.iterdir()} - {"README"}

    assert pages == {kebab(name) for name in ALERTS}


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query.where)
def test_a_rule_is_about_what_exists(query: Query, catalogue: Mapping[str, Metric]) -> None:
    assert list_selectors(query.expr)
    assert find_unknown(query, catalogue) == []
    assert find_undone_counters(query, catalogue) == []


class Case(NamedTuple):
    """One case of the rules' tests: after so many minutes an alert fires, or is quiet."""

    alert: str
    minutes: int
    fires: bool


def list_cases() -> Iterator[Case]:
    """Yield all of them."""
    for path in TESTS:
        for case in yaml.safe_load(path.read_text(encoding="utf-8"))["tests"]:
            for each in case["alert_rule_test"]:
                minutes = int(each["eval_time"].removesuffix("m"))
                yield Case(each["alertname"], minutes, bool(each["exp_alerts"]))


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_is_seen_firing_and_quiet(name: str) -> None:
    assert {case.fires for case in list_cases() if case.alert == name} == {True, False}


@pytest.mark.requirement("R210", "R211")
@pytest.mark.parametrize(
    ("name", "ensono"),
    [
        ("EcprocQueueNotRead", 30),
        ("EcprocQueueNeverRead", 30),
        ("EcprocReceivingStopped", 30),
        ("EcprocDeletesFailing", 60),
        ("EcprocReceivesLow", 60),
    ],
)
def test_an_alert_fires_before_ensono_s_does(name: str, ensono: int) -> None:
    """Theirs come after 30 minutes of more than ten unread messages, and at an average age of one hour."""
    firing = [case.minutes for case in list_cases() if case.alert == name and case.fires]

    assert firing
    assert max(firing) < ensono


def test_no_case_is_about_an_alert_that_does_not_exist() -> None:
    assert {case.alert for case in list_cases()} == {*ALERTS}


@pytest.mark.parametrize("path", RULES, ids=lambda path: path.name)
def test_prometheus_takes_the_rules(path: Path, promtool: str) -> None:
    checked = run(promtool, "check", "rules", "--lint-fatal", str(path))

    assert checked.returncode == 0, checked.stderr


def test_prometheus_takes_the_example(promtool: str) -> None:
    checked = run(promtool, "check", "config", "--syntax-only", str(PROMETHEUS / "prometheus.yml"))
    example: Mapping[str, Any] = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text(encoding="utf-8"))

    assert checked.returncode == 0, checked.stderr
    assert sorted(example["rule_files"]) == [path.name for path in RULES]
    assert [job["job_name"] for job in example["scrape_configs"]] == ["ecproc"]


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.name)
def test_the_alerts_fire_and_are_quiet_as_told(path: Path, promtool: str) -> None:
    tested = run(promtool, "test", "rules", str(path))

    assert tested.returncode == 0, tested.stdout + tested.stderr


def test_an_alert_that_does_not_fire_as_told_is_found(promtool: str, tmp_path: Path) -> None:
    shutil.copytree(PROMETHEUS, tmp_path, dirs_exist_ok=True)
    alerts = tmp_path / "alerts.yml"
    alerts.write_text(alerts.read_text(encoding="utf-8").replace("<= 10", "<= 9"), encoding="utf-8")

    tested = run(promtool, "test", "rules", str(tmp_path / "tests" / "time_to_loss.yml"))

    assert tested.returncode == 1
    assert "EcprocReceivesLow fires: a message came ten times" in tested.stdout + tested.stderr


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
