"""Negative controls of the ServiceNow desk's tests: each must fail on the desk that has the fault it is about."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from tests.acceptance.test_mutants import Change, copy_package
from tests.acceptance.world import ROOT

DESK: Final = "desk/servicenow/"
SUITE: Final = "tests/conformance/test_desk_servicenow.py"
OWN: Final = "tests/unit/test_servicenow_desk.py"
WIRE: Final = "tests/unit/test_servicenow_wire.py"


class Mutant(NamedTuple):
    """A wrong desk, and the test that must fail on it, by its file and its name."""

    change: Change
    file: str
    test: str


MUTANTS: Final = {
    "look-up-trusts-the-first-row": Mutant(
        Change(
            f"{DESK}soundness.py",
            "ours = [row for row in rows if all(row.get(name) == value for name, value in wanted.items())]",
            "ours = [*rows]",
        ),
        OWN,
        "test_a_key_field_that_does_not_exist_finds_nobody_and_makes_no_second",
    ),
    "post-repeated-on-500": Mutant(
        Change(
            f"{DESK}answers.py",
            "return _unavailable(request, seen, reason, sent=not request.repeatable)",
            "return _unavailable(request, seen, reason)",
        ),
        OWN,
        "test_a_success_that_breaks_off_or_fails_behind_the_write_is_looked_up",
    ),
    "comment-repeated-without-look-up": Mutant(
        Change(
            f"{DESK}desk.py",
            "return Repeat.LOOK_UP if kind in _ADDING else Repeat.IDEMPOTENT",
            "return Repeat.LOOK_UP if kind is EffectKind.CREATE else Repeat.IDEMPOTENT",
        ),
        SUITE,
        "test_a_call_whose_answer_is_lost_is_applied_once",
    ),
    "state-not-verified": Mutant(
        Change(f"{DESK}setting.py", "        _require_state(told, row)\n", ""),
        OWN,
        "test_a_state_that_stays_is_refused",
    ),
    "key-not-verified": Mutant(
        Change(f"{DESK}soundness.py", "        if row.get(self._marks.key_field) == key:\n", "        if row:\n"),
        OWN,
        "test_a_key_that_is_not_kept_downs_the_desk_until_it_is",
    ),
    "token-renewed-on-403": Mutant(
        Change(f"{DESK}session.py", "if seen.status == 401 and", "if seen.status in (401, 403) and"),
        WIRE,
        "test_a_403_renews_no_token",
    ),
    "retry-after-ignored": Mutant(
        Change(f"{DESK}answers.py", "wait = parse_retry_after(seen.retry_after, now=seen.at)", "wait = None"),
        WIRE,
        "test_how_long_an_instance_asks_us_to_wait",
    ),
    "silence-of-one-call-only": Mutant(
        Change(f"{DESK}session.py", "            self._silent_until = max(", "            self._never = max("),
        OWN,
        "test_429_with_retry_after_holds_every_call_and_costs_none",
    ),
    "shown-values-taken-for-raw-ones": Mutant(
        Change(f"{DESK}wire.py", 'value = value.get("value", "")', 'value = value.get("display_value", "")'),
        WIRE,
        "test_values_are_raw_ones",
    ),
    "marker-found-as-a-prefix": Mutant(
        Change(
            f"{DESK}texts.py",
            "return bool(lines) and lines[-1].strip() == marker",
            'return bool(lines) and marker.rstrip("]") in entry',
        ),
        OWN,
        "test_note_1_is_not_note_12_and_a_quoted_marker_is_none",
    ),
    "attachment-known-by-its-name": Mutant(
        Change(f"{DESK}files.py", ' and row.get("size_bytes") == str(file.size)', ""),
        OWN,
        "test_a_file_is_known_by_more_than_its_name",
    ),
    "text-in-a-query": Mutant(
        Change(
            f"{DESK}query.py",
            "return len(text) <= _LONGEST_EMAIL and _EMAIL.fullmatch(text) is not None",
            "return True",
        ),
        WIRE,
        "test_a_query_has_no_more_conditions_than_it_was_built_of",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", MUTANTS)
def test_a_wrong_desk_is_found_out(tmp_path: Path, name: str) -> None:
    mutant = MUTANTS[name]
    copy_package(tmp_path, (mutant.change,))
    failed = run(mutant, tmp_path)
    assert failed.returncode == pytest.ExitCode.TESTS_FAILED, failed.stdout + failed.stderr
    assert mutant.test in failed.stdout


@pytest.mark.slow
def test_the_right_desk_passes_them_all(tmp_path: Path) -> None:
    copy_package(tmp_path, ())
    for name, mutant in MUTANTS.items():
        passed = run(mutant, tmp_path)
        assert passed.returncode == pytest.ExitCode.OK, name + passed.stdout


def run(mutant: Mutant, package_root: Path) -> subprocess.CompletedProcess[str]:
    """Run the test on the package in that directory."""
    own = {"PYTHONPATH": os.pathsep.join((str(package_root), str(ROOT)))}
    quiet = (
        "-q",
        "-x",
        "-p",
        "no:cacheprovider",
        "-o",
        "pythonpath=",
        "--tb=line",
        "-n0",
        "-c",
        str(ROOT / "pyproject.toml"),
    )
    return subprocess.run(
        [sys.executable, "-m", "pytest", *quiet, str(ROOT / mutant.file), "-k", mutant.test],
        env={**os.environ, **own},
        cwd=package_root,  # where a module is looked for first
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
