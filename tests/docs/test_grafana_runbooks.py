"""The run-books: of one form, and every command, option, log event, panel and page that they name is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Final

import pytest

from ecproc.cli.catalogue import COMMANDS
from ecproc.config.catalogue import OPTIONS, SECTIONS
from ecproc.telemetry.hooks import DELETE_OUTCOMES, DESTINATIONS, LANES, LOSS_REASONS, QUARANTINE_REASONS, STOPPERS
from tests.grafana import GRAFANA, METRIC, ROOT, RUNBOOKS, list_panels, read_boards, read_catalogue, read_rules

PAGES: Final = sorted(RUNBOOKS.glob("*.md"))
BOOKS: Final = [page for page in PAGES if page.name != "README.md"]
SECTIONS_OF_A_PAGE: Final = ["First look", "What to do", "When to call Ensono"]
SEVERITY: Final = {"Page": "page", "Warning": "warning"}

COMMAND: Final = re.compile(r"[`\"]ecproc ((?:[a-z-]+ ?)+)")
SETTING: Final = re.compile(rf"`((?:{'|'.join(map(re.escape, SECTIONS))})\.[a-z_]+)`")
EVENTS: Final = re.compile(r"\blog events? ((?:`?[a-z_]*_[a-z_]+`?(?:, | and |, or | or )?)+)")
EVENT: Final = re.compile(r"[a-z]+(?:_[a-z]+)+")
LINK: Final = re.compile(r"\]\(([^)#]+)[^)]*\)")
PANEL: Final = re.compile(r"\"([^\"]+)\"")
FIRST_CELL: Final = re.compile(r"^\| (`[a-z_]+`(?:, `[a-z_]+`)*) \|", re.MULTILINE)

TEXTS: Final = {
    **{page.stem: re.sub(r"\s+", " ", page.read_text(encoding="utf-8")) for page in PAGES},
    **{rule["alert"]: rule["annotations"]["description"] for rule in read_rules("alerts.yml")},
}
"""What people are told, each in one line."""

CLOSED_SETS: Final = {
    "ecproc-deletes-failing": frozenset(DELETE_OUTCOMES) - {"deleted"},
    "ecproc-quarantine-not-empty": frozenset(QUARANTINE_REASONS),
    "ecproc-breaker-open": frozenset(DESTINATIONS),
    "ecproc-effects-lost": frozenset(LOSS_REASONS),
    "ecproc-receiving-stopped": frozenset(STOPPERS),
}
"""Pages with a table that has a row for each word of a label."""


def name_page(path: Path) -> str:
    return path.stem


def list_named(pattern: re.Pattern[str], text: str) -> set[str]:
    """Give what a pattern finds, without the marks around single names."""
    return {name for found in pattern.findall(text) for name in re.findall(r"[\w.]+", found)}


@pytest.fixture(scope="module")
def strings() -> frozenset[str]:
    """Every text that stands in the code."""
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in (ROOT / "ecproc").rglob("*.py")]
    nodes = (node for tree in trees for node in ast.walk(tree))
    return frozenset(node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str))


@pytest.mark.parametrize("page", BOOKS, ids=name_page)
def test_a_page_says_what_it_means_what_is_at_risk_and_what_to_do(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    [rule] = [rule for rule in read_rules("alerts.yml") if text.startswith(f"# {rule['alert']}\n")]
    urgency, _, meaning = text.split("\n\n")[1].partition(". ")

    assert rule["annotations"]["runbook"].endswith(f"/{page.name}")
    assert SEVERITY[urgency] == rule["labels"]["severity"]
    assert meaning
    assert "\n\n**At risk.** " in text
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == SECTIONS_OF_A_PAGE


@pytest.mark.parametrize("page", PAGES, ids=name_page)
def test_every_page_that_is_linked_is_there(page: Path) -> None:
    linked = LINK.findall(page.read_text(encoding="utf-8"))

    assert [link for link in linked if not (page.parent / link).is_file()] == []


@pytest.mark.parametrize("name", TEXTS)
def test_every_command_exists(name: str) -> None:
    known = {command.name for command in COMMANDS}
    named = {words.strip() for words in COMMAND.findall(TEXTS[name])}

    assert [words for words in named if not any(f"{words} ".startswith(f"{each} ") for each in known)] == []


@pytest.mark.parametrize("page", PAGES, ids=name_page)
def test_every_option_exists(page: Path) -> None:
    assert list_named(SETTING, page.read_text(encoding="utf-8")) <= {*OPTIONS, *SECTIONS}


@pytest.mark.parametrize("name", TEXTS)
def test_every_log_event_is_written_somewhere(name: str, strings: frozenset[str]) -> None:
    assert {event for events in EVENTS.findall(TEXTS[name]) for event in EVENT.findall(events)} <= strings


@pytest.mark.parametrize("page", PAGES, ids=name_page)
def test_every_panel_is_on_a_board(page: Path) -> None:
    titles = {panel["title"] for board in read_boards().values() for panel in list_panels(board)}
    titles |= {mark["name"] for board in read_boards().values() for mark in board["annotations"]["list"]}
    looks = page.read_text(encoding="utf-8").partition("## First look")[2].partition("## What to do")[0]
    prose = re.sub(r"`[^`]*`", "", re.sub(r"\s+", " ", looks))

    assert set(PANEL.findall(prose)) <= titles


@pytest.mark.parametrize("page", [*PAGES, GRAFANA / "README.md"], ids=name_page)
def test_every_metric_exists(page: Path) -> None:
    assert set(METRIC.findall(page.read_text(encoding="utf-8"))) <= read_catalogue().keys()


@pytest.mark.parametrize("name", CLOSED_SETS)
def test_a_table_has_a_row_for_each_word(name: str) -> None:
    text = (RUNBOOKS / f"{name}.md").read_text(encoding="utf-8")

    assert list_named(FIRST_CELL, text) == CLOSED_SETS[name]


def test_the_lanes_are_told_apart() -> None:
    text = (RUNBOOKS / "ecproc-outbox-stuck.md").read_text(encoding="utf-8")

    assert [lane for lane in LANES if f"`{lane}`" not in text] == []
