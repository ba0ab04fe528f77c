"""The manual page: made from what commands say of themselves, and valid for those who read such pages."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from docs.build_man import PAGE, escape, write_sentences
from ecproc.cli.reference import list_commands

REPOSITORY: Final = Path(__file__).parents[2]
SCRIPT: Final = REPOSITORY / "docs" / "build_man.py"


def build(*options: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, SCRIPT, *options]
    env = {"PYTHONPATH": str(REPOSITORY)}
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)


def test_the_page_in_this_tree_is_what_the_commands_say() -> None:
    checked = build("--check")
    assert checked.returncode == 0, checked.stderr


def test_a_stale_page_is_told_and_mended(tmp_path: Path) -> None:
    page = tmp_path / "man" / "ecproc.1"
    assert build("--page", page).returncode == 0
    assert page.read_bytes() == (REPOSITORY / PAGE).read_bytes()
    page.write_text("stale", encoding="utf-8")
    checked = build("--check", "--page", page)
    assert (checked.returncode, checked.stderr) == (1, "error: ecproc.1 is stale: run `python docs/build_man.py`\n")


def read_by(*command: str) -> str:
    """What a program for such pages says of ours; where a machine lacks it there is nobody to ask."""
    program = shutil.which(command[0]) or pytest.skip(f"needs {command[0]}")
    env = {"LC_ALL": "C.UTF-8", "MANWIDTH": "100", "PATH": "/usr/bin:/bin"}
    page = REPOSITORY / PAGE
    ended = subprocess.run(
        [program, *command[1:], page], env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.stderr == ""
    return ended.stdout


def test_mandoc_misses_no_more_than_a_date() -> None:
    (told,) = read_by("mandoc", "-Tlint").splitlines()
    assert "missing date" in told


def test_man_shows_every_command_with_its_options_and_its_example() -> None:
    shown = " ".join(read_by("man", "--warnings=w", "--no-hyphenation", "-l").split())
    for command in list_commands():
        assert command.usage in shown
        assert all(option.names[0] in shown for option in command.options)
        assert all(" ".join(line.split()) in shown for line in command.example), command.name


def test_nothing_in_a_text_is_taken_for_a_request() -> None:
    assert escape(".so /etc/passwd") == "\\&.so /etc/passwd"
    assert escape("'a\\b' --c …") == "\\(aqa\\eb\\(aq \\-\\-c \\[u2026]"
    assert write_sentences("One. Two 1.5 e.g. x.") == "One.\nTwo 1.5 e.g. x."
