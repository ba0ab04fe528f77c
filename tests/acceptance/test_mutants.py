"""Negative controls: the scenario that proves the processor must fail, for the right reason, on one that is wrong; so
must the tests of the mapping, on one that maps wrongly."""

from __future__ import annotations

import os
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

LOAD: Final = "tests/unit/test_mapping_load.py"
TABLES: Final = "tests/unit/test_mapping_tables.py"
PROOF: Final = "tests/unit/test_mapping_proof.py"
MAPPING_MUTANTS: Final = {
    "default-although-a-row-exists": Mutant(
        (
            Change(
                "mapping/rules.py",
                "return fold_guide_word(source, text) if self.direction is Direction.TO_DESK else fold_word(text)",
                "return text",
            ),
        ),
        f"{TABLES}::test_a_word_finds_its_row_however_it_is_written",
    ),
    "integer-as-key": Mutant(
        (Change("mapping/reading.py", "place.bare and _NUMBER.fullmatch(key)", "place.bare and False"),),
        f"{LOAD}::test_a_problem_stands_at_its_line",
    ),
    "integer-as-value": Mutant(
        (
            Change(
                "mapping/reading.py",
                "        if isinstance(value, str):\n            return value\n",
                "        if isinstance(value, str | int):\n            return str(value)\n",
            ),
        ),
        f"{LOAD}::test_a_problem_stands_at_its_line",
    ),
    "inverse-of-images": Mutant(
        (
            Change(
                "mapping/inverse.py",
                "lost = [word for word in sources if not _is_same(way.field, returned[word], word)]",
                "lost = [word for word in sources if returned[word] not in sources]",
            ),
        ),
        f"{PROOF}::test_every_word_of_the_guides_is_sent_there_and_back",
    ),
    "limits-before-escaping": Mutant(
        (
            Change(
                "domain/texts.py", "    return len(text) + sum(map(text.count, _ESCAPED))\n", "    return len(text)\n"
            ),
        ),
        "tests/unit/test_domain_texts.py::test_limits_are_counted_as_a_text_is_sent",
    ),
    "hash-of-the-file": Mutant(
        (
            Change(
                "mapping/load.py",
                "    return _build(_parse(text, source), find_places(text), source)\n",
                "    mapping = _build(_parse(text, source), find_places(text), source)\n"
                "    digest = hashlib.sha256(text.encode()).hexdigest()\n"
                "    return msgspec.structs.replace(mapping, hash=digest[:_HASH_DIGITS])\n",
            ),
        ),
        f"{LOAD}::test_the_hash_tells_contents_apart_and_nothing_else",
    ),
    "block-by-its-header": Mutant(
        (
            Change(
                "mapping/extra.py",
                'if not block or not (plain == wanted or plain.endswith(f"\\n{wanted}")):',
                "if not block or self.header not in plain:",
            ),
        ),
        f"{TABLES}::test_our_own_block_is_stripped_and_nothing_else",
    ),
}
"""Wrong mappings, and the test that must fail."""


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


@pytest.mark.parametrize("name", ["none", *MAPPING_MUTANTS])
def test_a_wrong_mapping_is_found_out(tmp_path: Path, name: str) -> None:
    package_root = tmp_path / "mutant"
    mutant = MAPPING_MUTANTS.get(name)
    copy_package(package_root, mutant.changes if mutant else ())
    claims = [mutant.claim] if mutant else sorted({mutant.claim for mutant in MAPPING_MUTANTS.values()})
    ran = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider", "-o", "pythonpath="),
            *("-c", str(ROOT / "pyproject.toml"), "--rootdir", str(ROOT), "--tb=line"),
            *(str(ROOT / claim) for claim in claims),
        ],
        env={**os.environ, "PYTHONPATH": os.pathsep.join((str(package_root), str(ROOT)))},
        cwd=package_root,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == (1 if mutant else 0), ran.stdout
    assert "AssertionError" in ran.stdout or "DID NOT RAISE" in ran.stdout or not mutant, ran.stdout
