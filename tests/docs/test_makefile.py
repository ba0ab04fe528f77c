"""What `make` says about itself."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Final

REPOSITORY: Final = Path(__file__).parents[2]


def make(*arguments: str) -> str:
    command = ["make", "--no-print-directory", "-C", str(REPOSITORY), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout


def test_help_names_every_target_and_is_what_make_does_alone() -> None:
    text = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    phony = re.search(r"^\.PHONY: (.+)$", text, re.MULTILINE)
    assert phony

    lines = make("help").splitlines()

    assert [line.split()[:2] for line in lines] == [["make", target] for target in phony[1].split()]
    assert all(len(line) <= 120 for line in lines)
    assert make().splitlines() == lines
