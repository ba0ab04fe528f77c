"""The boards: made from boards.toml, laid out as boards are expected to be, and about metrics that exist."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from shutil import copytree
from typing import Any, Final

import pytest

from tests.grafana import (
    COMMON_LABELS,
    GRAFANA,
    METRIC,
    RATE_INTERVAL,
    ROOT,
    SELECTED,
    SERIES,
    Metric,
    Query,
    find_undone_counters,
    find_unknown,
    list_board_queries,
    list_derived,
    list_panels,
    list_rule_queries,
    list_selectors,
    parse,
    read_boards,
    read_catalogue,
    read_rules,
)

BOARDS: Final = read_boards()
QUERIES: Final = [*list_board_queries(BOARDS)]
PANELS: Final = [(name, panel) for name, board in BOARDS.items() for panel in list_panels(board)]
SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
UNITS: Final = frozenset({"s", "bytes", "percentunit", "cpm", "short", "none"})
"""Grafana's names of what values are: it knows more, and takes any other text for a suffix."""


def name_panel(value: object) -> str:
    """Give a panel's title for the list of tests."""
    return str(value["title"]) if isinstance(value, dict) else str(value)


@pytest.fixture(scope="module")
def catalogue() -> Mapping[str, Metric]:
    """Every metric that ecproc exposes."""
    return read_catalogue()


# --- boards -----------------------------------------------------------------------------------------------------------


def test_the_boards_are_made_from_their_source() -> None:
    assert sorted(BOARDS) == ["outbox.json", "overview.json", "time-to-loss.json"]
    assert check(GRAFANA).returncode == 0, check(GRAFANA).stderr


def test_what_is_stale_or_made_by_nothing_is_found(tmp_path: Path) -> None:
    folder = tmp_path / "grafana"
    copytree(GRAFANA, folder)
    board = folder / "dashboards" / "outbox.json"
    board.write_text(board.read_text(encoding="utf-8").replace("Oldest due", "Oldest"), encoding="utf-8")
    (folder / "dashboards" / "mine.json").write_text("{}", encoding="utf-8")
    readme = folder / "README.md"
    readme.write_text(
        readme.read_text(encoding="utf-8").replace("| `ecproc_actors` |", "| `actors` |"), encoding="utf-8"
    )

    checked = check(folder)

    assert checked.returncode == 1
    assert [line.split()[1] for line in checked.stderr.splitlines()] == ["outbox.json", "README.md", "mine.json"]


def check(folder: Path) -> subprocess.CompletedProcess[str]:
    script = ROOT / "docs" / "build_boards.py"
    command = [sys.executable, str(script), "--check", "--folder", str(folder)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("name", BOARDS)
def test_a_board_is_told_by_a_fixed_id_and_cannot_be_edited(name: str) -> None:
    board = BOARDS[name]

    assert board["uid"] == f"ecproc-{name.removesuffix('.json')}"
    assert board["id"] is None  # Grafana's own number
    assert board["editable"] is False
    assert board["tags"] == ["ecproc"]
    assert board["title"].startswith("ecproc / ")
    assert board["description"]
    assert board["refresh"] in {"30s", "1m"}


@pytest.mark.parametrize("name", BOARDS)
def test_a_board_leads_to_the_others_and_keeps_what_is_selected(name: str) -> None:
    [link] = BOARDS[name]["links"]

    assert (link["type"], link["tags"]) == ("dashboards", ["ecproc"])
    assert link["includeVars"]
    assert link["keepTime"]


@pytest.mark.parametrize("name", BOARDS)
def test_source_job_and_instance_are_selected_above_a_board(name: str) -> None:
    source, *others = BOARDS[name]["templating"]["list"]

    assert (source["name"], source["type"], source["query"]) == ("datasource", "datasource", "prometheus")
    assert [each["name"] for each in others] == ["job", "instance"]
    for each in others:
        assert each["datasource"] == SOURCE
        assert each["type"] == "query"
        assert each["refresh"] == 2, "read again when the time range changes"
        assert each["multi"]
        assert each["includeAll"]
        found = re.fullmatch(r"label_values\((.+), (\w+)\)", each["query"]["query"])
        assert found is not None
        assert found[2] == each["name"]
        assert [selector.name for selector in list_selectors(found[1])] == ["ecproc_build_info"]


@pytest.mark.parametrize("name", BOARDS)
def test_panels_have_places_of_their_own(name: str) -> None:
    panels = BOARDS[name]["panels"]
    taken = [spot for panel in panels for spot in list_spots(panel["gridPos"])]

    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len({panel["title"] for panel in panels}) == len(panels), "run-books name panels by their titles"
    assert len({*taken}) == len(taken)
    assert all(0 <= column < 24 for column, _ in taken)


def list_spots(place: Mapping[str, int]) -> Iterator[tuple[int, int]]:
    """Yield the squares of the grid that a panel covers."""
    for row in range(place["h"]):
        yield from ((place["x"] + column, place["y"] + row) for column in range(place["w"]))


@pytest.mark.parametrize(("name", "panel"), PANELS, ids=name_panel)
def test_a_panel_says_what_it_shows_and_where_from(name: str, panel: Mapping[str, Any]) -> None:
    defaults = panel["fieldConfig"]["defaults"]

    assert panel["title"]
    assert panel["description"].endswith(".")
    assert defaults["unit"] in UNITS
    assert defaults["noValue"]
    assert panel["datasource"] == SOURCE
    assert panel["targets"]
    assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
    for target in panel["targets"]:
        assert target["datasource"] == SOURCE
        # A value that is gone must not go on being shown as the current one.
        assert target["instant"] is not target["range"]
        assert target["instant"] is (panel["type"] in {"stat", "table"})
    steps = [step["value"] for step in defaults["thresholds"]["steps"]]
    assert steps[0] is None
    assert steps[1:] == sorted(steps[1:])


# --- queries ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query.where)
def test_a_query_is_narrowed_to_what_is_selected(query: Query) -> None:
    for selector in list_selectors(query.expr):
        assert {(name, "MatchOp.Re", value) for name, value in SELECTED.items()} <= {*selector.matchers}


@pytest.mark.parametrize(("name", "panel"), PANELS, ids=name_panel)
def test_what_is_drawn_over_time_takes_its_interval_from_the_board(name: str, panel: Mapping[str, Any]) -> None:
    ranges = [selector.range for target in panel["targets"] for selector in list_selectors(target["expr"])]

    if panel["type"] in {"timeseries", "heatmap"}:
        assert {*ranges} <= {None, RATE_INTERVAL}


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query.where)
def test_a_query_is_about_what_exists(query: Query, catalogue: Mapping[str, Metric]) -> None:
    assert find_unknown(query, {**catalogue, **list_derived()}) == []
    assert find_undone_counters(query, catalogue) == []


@pytest.mark.parametrize(
    ("expr", "found"),
    [
        ('sum by (outcome) (rate(ecproc_queue_polls_total{outcome="empty"}[5m]))', []),
        ("ecproc_queue_polls", ["ecproc_queue_polls"]),
        ('ecproc_queue_polls_total{outcome="emptied"}', ['outcome="emptied"']),
        ('ecproc_queue_polls_total{lane=""}', ["lane"]),
        ("sum by (lane) (ecproc_queue_polls_total)", ["lane"]),
        ("ecproc_log_append_duration_seconds_bucket", []),
        ("ecproc_log_append_duration_seconds", ["ecproc_log_append_duration_seconds"]),
        ("ecproc_actors_count", ["ecproc_actors_count"]),
    ],
)
def test_a_query_about_what_does_not_exist_is_found(
    expr: str, found: list[str], catalogue: Mapping[str, Metric]
) -> None:
    assert find_unknown(Query("here", expr), catalogue) == found


def test_a_counter_that_is_shown_as_it_stands_is_found(catalogue: Mapping[str, Metric]) -> None:
    query = Query("here", "ecproc_queue_polls_total + rate(ecproc_queue_polls_total[5m])")

    assert find_undone_counters(query, catalogue) == ["ecproc_queue_polls_total"]


# --- metrics ----------------------------------------------------------------------------------------------------------


def test_every_metric_is_listed_with_its_board_or_the_reason_why_it_has_none(catalogue: Mapping[str, Metric]) -> None:
    text = (GRAFANA / "README.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(ecproc_\w+)` \| (\S.*) \|$", text, re.MULTILINE))
    shown = {SERIES.sub("", name) for query in QUERIES for name in METRIC.findall(query.expr)}

    assert sorted(rows) == sorted(name for name in catalogue if name.startswith("ecproc_"))
    unseen = {name for name, place in rows.items() if place.startswith("on no board: ")}
    assert unseen.isdisjoint(shown)


def test_every_record_is_used() -> None:
    used = {selector.name for query in (*QUERIES, *list_rule_queries()) for selector in list_selectors(query.expr)}

    assert [rule["record"] for rule in read_rules("recording.yml") if rule["record"] not in used] == []


def test_a_query_that_is_none_is_found() -> None:
    with pytest.raises(ValueError, match="parenthesis"):
        parse("sum by (job (x)")


def test_common_labels_are_no_metrics_own(catalogue: Mapping[str, Metric]) -> None:
    assert {label for metric in catalogue.values() for label in metric.labels}.isdisjoint(COMMON_LABELS - {"le"})
