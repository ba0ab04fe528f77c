"""The page about doctor and reconcile has every check and every code, with the limits that the code goes by."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

from ecproc.descriptors import FEW_FILES
from ecproc.doctor import bridging, data, echo, machine
from ecproc.doctor.examination import VERIFY_SECONDS
from ecproc.doctor.report import CheckName
from ecproc.errors import Severity
from ecproc.reading.mismatches import SLOW_RETURN, MismatchCode

PAGE: Final = (Path(__file__).parents[2] / "docs" / "doctor.md").read_text(encoding="utf-8")


def rows_under(heading: str) -> dict[str, str]:
    """The first table under a heading: what stands in each row behind its name."""
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return dict(re.findall(r"^\| `(\w+)` \| (.+) \|$", section, re.MULTILINE))


def test_every_check_stands_on_the_page_in_its_order() -> None:
    assert list(rows_under("Doctor")) == [*CheckName]


def test_every_code_stands_on_the_page() -> None:
    assert list(rows_under("Reconcile")) == [*MismatchCode]


def test_every_severity_is_explained() -> None:
    assert all(f"`{severity}`" in PAGE for severity in Severity)


def spell(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


@pytest.mark.parametrize(
    ("check", "told"),
    [
        ("tls", f"less than {bridging.CERTIFICATE_DAYS} days"),
        ("clock", f"more than {bridging.CLOCK_DRIFTS:.0f} s"),
        ("clock", f"more than {bridging.CLOCK_OFF:.0f} s"),
        ("sqlite", f"older than {spell(machine.OLDEST_SQLITE)}"),
        ("sqlite", f"Before {spell(machine.RESET_MENDED)}"),
        ("files", f"fewer than {FEW_FILES}"),
        ("fsync", f"more than {machine.SLOW_SYNC * 1000:.0f} ms"),
        ("database", f"More than {data.LONG_WAL / 1e6:.0f} MB"),
        ("log", f"too long for {VERIFY_SECONDS:.0f} seconds"),
        ("anchor", f"more than {data.ANCHOR_SECONDS} s"),
    ],
)
def test_a_checks_limit_is_the_codes(check: str, told: str) -> None:
    assert told in rows_under("Doctor")[check]


def test_other_limits_are_the_codes() -> None:
    assert f"for {echo.ECHO_SECONDS:.0f} s and one" in PAGE
    assert f"longer than {SLOW_RETURN // 60_000_000} minutes" in rows_under("Reconcile")["not_returned"]
