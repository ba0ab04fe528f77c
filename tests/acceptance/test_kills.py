"""The long run's kills in small, and processors that are wrong, which they must find out."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from ecproc.domain.commands import CommandKind
from tests.acceptance.test_mutants import Change, copy_package
from tests.torture.frame import Round
from tests.torture.kills import HITS, Case, kill_all, list_cases


def make_cases(*chosen: tuple[CommandKind, str, int]) -> list[Case]:
    return [
        Case(kind=kind, failpoint=point, hit=hit, place=place) for place, (kind, point, hit) in enumerate(chosen, 1)
    ]


@pytest.mark.slow
@pytest.mark.requirement("R97", "I4", "R199")
async def test_what_was_accepted_is_sent_once_however_the_processor_died(tmp_path: Path) -> None:
    cases = make_cases(
        (CommandKind.CREATE, "claim.committed", 1),
        (CommandKind.NOTE, "settle.committed", 2),
        (CommandKind.APPROVE, "project.folded", 1),
        (CommandKind.ATTACH, "attachment.renamed", 1),
    )

    killing = await kill_all(cases, tmp_path)

    assert killing.findings == []
    assert killing.died == cases
    assert (killing.counts["lost"], killing.counts["doubled"]) == (0, 0)


MUTANTS: Final = {
    "call-twice": (
        Change(
            "outbox/perform/bridge.py",
            "        attempt = await self._call(effect)\n",
            "        await self._call(effect)\n        attempt = await self._call(effect)\n",
        ),
        "done 2 times, 0 of them at the kill",
    ),
    "take-what-was-interrupted-for-done": (
        Change(
            "outbox/perform/bridge.py",
            "await self._find_shown(stream, entry) if entry.tries else None",
            "{} if entry.tries else None",
        ),
        "done 0 times",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", MUTANTS)
async def test_a_wrong_processor_is_found_out(tmp_path: Path, name: str) -> None:
    change, claim = MUTANTS[name]
    copy_package(tmp_path / "mutant", (change,))

    killing = await kill_all(make_cases((CommandKind.NOTE, "claim.committed", 1)), tmp_path, tmp_path / "mutant")

    assert any(claim in finding for finding in killing.findings), killing.findings


def test_a_share_is_the_seeds_and_all_is_all() -> None:
    pairs = {(case.kind, case.failpoint) for case in list_cases(Round(1))}

    assert len(list_cases(Round(1))) == len(HITS) * len(pairs)
    assert {kind for kind, _ in pairs} == {*CommandKind}
    assert len(list_cases(Round(1, 0.1))) == round(len(pairs) / 10)
    assert list_cases(Round(1, 0.1)) == list_cases(Round(1, 0.1)) != list_cases(Round(2, 0.1))
