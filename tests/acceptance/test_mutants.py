"""Negative controls: the scenario that proves the processor must fail, for the right reason, on one that is wrong."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
import pytest

from ecproc.simulator.faults import MILD, CallFaults
from tests.acceptance.scenario import Kill, run_scenario
from tests.acceptance.world import ROOT, Broken, Plan

FAULTS: Final = msgspec.structs.replace(MILD, tickets=CallFaults(error_before=0.4, latency=(0.001, 0.01)))
"""Returning a number often takes several attempts: time enough for the next generation's to overtake it."""

KILLS: Final = (Kill("append.written", 2),)


class Change(NamedTuple):
    """A piece of a file of the package, and what stands there instead."""

    path: str
    old: str
    new: str


class Mutant(NamedTuple):
    """A wrong processor, and the claim that must fall."""

    changes: tuple[Change, ...]
    claim: str


MUTANTS: Final = {
    "delete-before-commit": Mutant(
        (
            Change(
                "runtime/ingest.py",
                """\
        fresh = await self._append(ordered)
        failpoint("append.committed")
        deleting = self._deleting.create_task(self._delete_all(ordered, started))
""",
                """\
        deleting = self._deleting.create_task(self._delete_all(ordered, started))
        await deleting
        fresh = await self._append(ordered)
        failpoint("append.committed")
""",
            ),
        ),
        "every message is in the log",
    ),
    "dedupe-by-deduplication-id": Mutant(
        (
            Change(
                "store/plan.py",
                "            key = event.message_key\n            if key is not None:\n",
                """\
            key = event.message_key
            if key is not None:
                attributes = msgspec.json.decode(event.payload)["attributes"]
                key = str(attributes.get("MessageDeduplicationId")).encode()
                self.highest_key = b"\\xff"
""",
            ),
            Change(
                "store/sqlite/sql/log.py",
                "SELECT 1 FROM event WHERE message_key = ?",
                "SELECT 1 FROM event WHERE message_key IS NOT NULL"
                " AND CAST(payload AS TEXT) ->> '$.attributes.MessageDeduplicationId' = CAST(? AS TEXT)",
            ),
        ),
        "every message is in the log",
    ),
    "no-redelivery-handling": Mutant(
        (
            Change(
                "store/plan.py",
                "elif key in keys or holds_key(key):",
                "elif False:",
            ),
            Change("store/sqlite/sql/schema.py", "CREATE UNIQUE INDEX", "CREATE INDEX"),
        ),
        "no message is in the log twice",
    ),
    "decide-once-per-step": Mutant(
        (
            Change(
                "fold/step.py",
                "        taking.effects += state.plans.plan(machine.decide(state, fact, deltas, place, policy))\n",
                "        facts_of_step.append((fact, deltas, place))\n",
            ),
            Change(
                "fold/step.py",
                "    while fold.pending and taking.facts < limit:\n",
                "    facts_of_step = []\n    while fold.pending and taking.facts < limit:\n",
            ),
            Change(
                "fold/step.py",
                "    step = taking.conclude(",
                """\
    for fact, deltas, place in facts_of_step:
        taking.effects += state.plans.plan(machine.decide(state, fact, deltas, place, policy))
    step = taking.conclude(""",
            ),
        ),
        "the desk was told every step in order",
    ),
    "older-number-overtaken": Mutant(
        (
            Change(
                "outbox/lanes.py",
                "    for entry in entries:\n",
                "    later: list[int] = []\n    for entry in entries:\n",
            ),
            Change(
                "outbox/lanes.py",
                "            return Wait(entry.next_attempt_at)\n",
                "            later.append(entry.next_attempt_at)\n            continue\n",
            ),
            Change(
                "outbox/lanes.py",
                "        return Run(entry)\n    return None\n",
                "        return Run(entry)\n    return Wait(min(later)) if later else None\n",
            ),
        ),
        "Ensono has the newest number",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["none", *MUTANTS])
async def test_a_wrong_processor_is_found_out(tmp_path: Path, name: str) -> None:
    package_root = tmp_path / "mutant"
    mutant = MUTANTS.get(name)
    copy_package(package_root, mutant.changes if mutant else ())
    plan = Plan(tickets=6, seed=3, faults=FAULTS, visibility=1.0, package_root=package_root)
    if mutant is None:
        await run_scenario(tmp_path, plan, kills=KILLS, redelivered=0.02)
        return
    with pytest.raises(Broken) as found:
        await run_scenario(tmp_path, plan, kills=KILLS)
    assert mutant.claim in found.value.claims, found.value


def copy_package(package_root: Path, changes: tuple[Change, ...]) -> None:
    """Copy the package and change the copy; what is to be changed must stand there exactly once."""
    package = shutil.copytree(ROOT / "ecproc", package_root / "ecproc")
    for change in changes:
        file = package / change.path
        text = file.read_text(encoding="utf-8")
        assert text.count(change.old) == 1, f"{change.path} has changed: write this mutant anew\n{change.old}"
        file.write_text(text.replace(change.old, change.new), encoding="utf-8")
    asked = subprocess.run(
        [sys.executable, "-c", "import ecproc; print(ecproc.__file__)"],
        env={"PYTHONPATH": str(package_root)},
        cwd=package_root.parent,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert Path(asked.stdout.strip()).is_relative_to(package_root), "the copy is not what would run"
