"""The drawn state machines are the ones in the code."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ecproc.domain import change, client_create, incident
from ecproc.domain.entry import EntryState

REPOSITORY = Path(__file__).parents[2]
PAGE = REPOSITORY / "docs" / "state-machines.md"


def build(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(REPOSITORY / "docs" / "build_diagrams.py"), *options]
    env = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=env)


def test_the_page_in_this_tree_is_what_the_code_says() -> None:
    checked = build("--check")

    assert checked.returncode == 0, checked.stderr


def test_a_stale_page_is_found_and_written_anew(tmp_path: Path) -> None:
    page = tmp_path / "state-machines.md"
    page.write_text("# Old\n")
    stale = build("--check", "--page", str(page))
    assert (stale.returncode, page.read_text()) == (1, "# Old\n")
    assert "run `python docs/build_diagrams.py`" in stale.stderr

    assert build("--page", str(page)).returncode == 0

    assert page.read_text() == PAGE.read_text()


@pytest.mark.parametrize("machine", [incident.State, change.State, client_create.State, EntryState])
def test_every_state_is_drawn(
    machine: type[incident.State] | type[change.State] | type[client_create.State] | type[EntryState],
) -> None:
    words = set(PAGE.read_text().split())

    assert {state.value for state in machine} <= words
