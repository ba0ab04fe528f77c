"""The generated reference: what the code says, and nothing that it does not."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

REPOSITORY: Final = Path(__file__).parents[2]
REFERENCE: Final = REPOSITORY / "docs" / "reference"
CODE: Final = """\
log = structlog.get_logger()


def tell(fell, answer):
    known = {"free_bytes": 1, "reason": ""}
    (log.warning if fell else log.info)("disk_reserve", **known, hint="")
    told = log.error if fell else log.info
    told("breaker", open=True)
    log.error("ticket_parked", ticket="", exc_info=answer)
    raise Failed("no event")


class Reports:
    def tell(self, fields):
        self._complaints.tell(logging.WARNING, "web", "reason", now=0.0, **fields)
        self._complain("warning" if fields else "info", "effect_retry", fields, hint="")
        self._complain(fields)
"""
MEANINGS: Final = """\
breaker = { text = "Left alone." }
disk_reserve = { text = "A mark." }
effect_retry = { text = "Again.", fields = ["key"], levels = ["info"] }
ticket_parked = { text = "Stopped." }
web = { text = "Turned away." }
"""
ROWS: Final = [
    "| `breaker` | info, error | `open` | Left alone. |",
    "| `disk_reserve` | info, warning | `free_bytes` `reason` `hint` | A mark. |",
    "| `effect_retry` | info | `hint` `reason` `key` | Again. |",
    "| `ticket_parked` | error | `ticket` `error` `cause` `errors` `trace` | Stopped. |",
    "| `web` | warning | `reason` | Turned away. |",
]


def run(script: str, *options: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, REPOSITORY / "docs" / script, *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Give a tree whose code logs five events, all of them explained."""
    for folder in ("ecproc", "docs/reference"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "ecproc" / "loud.py").write_text(CODE, encoding="utf-8")
    (tmp_path / "docs" / "log_events.toml").write_text(MEANINGS, encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize("script", ["build_reference.py", "build_log_events.py"])
def test_the_pages_in_this_tree_are_what_the_code_says(script: str) -> None:
    checked = run(script, "--check")

    assert checked.returncode == 0, checked.stderr


def test_a_stale_page_is_named_and_left_alone(tmp_path: Path) -> None:
    folder = shutil.copytree(REFERENCE, tmp_path / "reference")
    page = folder / "limits.md"
    page.write_text(page.read_text(encoding="utf-8").replace("268,435,456", "7"), encoding="utf-8")

    checked = run("build_reference.py", "--check", "--folder", folder)

    assert checked.returncode == 1
    assert checked.stderr == "error: reference/limits.md is stale: run `python docs/build_reference.py`\n"
    assert run("build_reference.py", "--folder", folder).returncode == 0
    assert page.read_text(encoding="utf-8") == (REFERENCE / "limits.md").read_text(encoding="utf-8")


def test_events_are_found_with_their_levels_and_fields(tree: Path) -> None:
    built = run("build_log_events.py", "--root", tree)

    assert built.returncode == 0, built.stderr
    lines = (tree / "docs" / "reference" / "log-events.md").read_text(encoding="utf-8").splitlines()
    assert lines[lines.index("| --- | --- | --- | --- |") + 1 :] == ROWS


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("web = ", "wed = ", "web has no meaning\nerror: docs/log_events.toml: wed is logged nowhere"),
        ('["info"]', '["error"]', "effect_retry is never logged as error"),
    ],
)
def test_an_event_and_its_meaning_belong_together(tree: Path, old: str, new: str, complaint: str) -> None:
    source = tree / "docs" / "log_events.toml"
    source.write_text(MEANINGS.replace(old, new), encoding="utf-8")

    built = run("build_log_events.py", "--root", tree)

    assert built.returncode == 1
    assert built.stderr == f"error: docs/log_events.toml: {complaint}\n"
    assert not (tree / "docs" / "reference" / "log-events.md").exists()


def test_a_log_page_that_is_behind_the_code_is_stale(tree: Path) -> None:
    assert run("build_log_events.py", "--root", tree).returncode == 0
    (tree / "ecproc" / "loud.py").write_text(CODE.replace("ticket=", "stream="), encoding="utf-8")

    checked = run("build_log_events.py", "--root", tree, "--check")

    assert checked.returncode == 1
    assert checked.stderr == "error: log-events.md is stale: run `python docs/build_log_events.py`\n"
