"""The page on mappings: its example is proven, and the error it shows is what the proof says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

from ecproc.errors import ConfigProblem
from ecproc.mapping import load_mapping, prove
from ecproc.mapping.ruling import _KEYS

PAGE: Final = (Path(__file__).parents[2] / "docs" / "mapping.md").read_text(encoding="utf-8")
EXAMPLE: Final = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.requirement("R200")
def test_the_example_holds() -> None:
    (text,) = EXAMPLE
    assert prove(load_mapping(text, source="mapping.toml")) == []


def test_the_error_on_the_page_is_the_proofs() -> None:
    text = EXAMPLE[0].replace(', cancelled = "8" }', " }")
    found = [one for one in prove(load_mapping(text, source="mapping.toml")) if one.severity == "error"]
    assert len(found) == 1
    assert f"error: {ConfigProblem(found[0].text, found[0].location, found[0].help)}\n" in PAGE


def test_every_key_of_a_rule_has_its_row() -> None:
    rows = " ".join(line.split("|")[1] for line in PAGE.splitlines() if line.startswith("| `"))
    assert {*re.findall(r"`(\w+)`", rows)} == {*_KEYS}
