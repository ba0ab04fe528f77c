"""Negative controls: what is told of policies must fail on a processor that gets one of them wrong."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.acceptance.test_mutants import Change, copy_package
from tests.acceptance.world import ROOT

SUITE: Final = "tests/unit/test_domain_policies.py"
MUTANTS: Final = {
    "scope-read-in-evolve": (
        Change(
            "domain/ticket.py",
            "    state.touch(message)\n    state.type = known\n",
            "    state.touch(message)\n    if not state.is_inside:\n        return []\n    state.type = known\n",
        ),
        "test_a_ticket_out_of_scope_is_folded_and_nothing_is_done_about_it",
    ),
    "re-open-by-transaction-type": (
        Change(
            "domain/incident.py",
            "    if kind is EffectKind.REOPEN:\n",
            "    if kind is EffectKind.REOPEN and message.transaction is Transaction.UPDATE:\n",
        ),
        "test_a_new_ticket_is_created_and_returned_and_takes_what_comes_later[Closure]",
    ),
    "within-days-by-wall-clock": (
        Change(
            "domain/reopening.py",
            "message.at - state.ended_at > days * DAY",
            "__import__('time').time() * 1_000_000 - state.ended_at > days * DAY",
        ),
        "test_a_late_re_open_gets_a_new_ticket_by_the_messages_own_times[29-reopen_client_ticket]",
    ),
    "comments-swallow-files": (
        Change(
            "domain/decisions.py",
            "not generation or is_past_telling(state, draft.policy):\n",
            "not generation or state.reopens:\n",
        ),
        "test_comments_alone_tell_a_ticket_that_is_left_as_it_is",
    ),
    "old-number-kept": (
        Change(
            "domain/state.py",
            "next((item for item in reversed(self.client_tickets) if item.generation == generation), None)",
            "next((item for item in self.client_tickets if item.generation == generation), None)",
        ),
        "test_a_new_ticket_is_created_and_returned_and_takes_what_comes_later[Update]",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["none", *MUTANTS])
def test_a_wrong_policy_is_found_out(tmp_path: Path, name: str) -> None:
    package_root = tmp_path / "mutant"
    change, failing = MUTANTS.get(name, (None, ""))
    copy_package(package_root, (change,) if change is not None else ())
    suite = shutil.copy(ROOT / SUITE, package_root)
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:schemathesis", str(suite)],
        env={"PYTHONPATH": str(package_root), "PATH": os.environ.get("PATH", "")},
        cwd=package_root,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    if change is None:
        assert ran.returncode == 0, ran.stdout
    else:
        assert ran.returncode == 1, ran.stdout
        assert f"::{failing}" in ran.stdout, ran.stdout
