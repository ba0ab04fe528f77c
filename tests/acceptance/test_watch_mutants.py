"""Negative controls of the watch's tests: each must fail on the watch that has the fault it is about."""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

import pytest

from tests.acceptance import test_desk_mutants
from tests.acceptance.test_mutants import Change, copy_package

DESK: Final = "desk/servicenow/"
SUITE: Final = "tests/conformance/test_watch_servicenow.py"
OWN: Final = "tests/unit/test_servicenow_watch.py"
WAYS: Final = "tests/runtime/test_two_ways.py"


class Mutant(NamedTuple):
    """A wrong watch, and the test that must fail on it, by its file and its name."""

    changes: tuple[Change, ...]
    file: str
    test: str


MUTANTS: Final = {
    "cursor-is-now": Mutant(
        (Change(f"{DESK}feed.py", "seen = max(mark.seen, min(time, page.newest))", "seen = page.newest"),),
        SUITE,
        "test_a_quiet_time_moves_no_cursor_past_what_is_written_in_it",
    ),
    "later-and-not-since": Mutant(
        (Change(f"{DESK}query.py", 'self._add(field, ">=", time', 'self._add(field, ">", time'),),
        SUITE,
        "test_what_comes_in_the_second_of_the_last_one_is_told",
    ),
    "offset-paging": Mutant(
        (
            Change(f"{DESK}feed.py", "    if mark.behind:\n        query", "    if False:\n        query"),
            Change(f"{DESK}feed.py", "(mark.behind and (time", "(False and (time"),
            Change(
                f"{DESK}feed.py",
                'at=time, behind=last["sys_id"])',
                "at=mark.at, behind=str(int(mark.behind or 0) + len(page.rows)))",
            ),
            Change(
                f"{DESK}feed.py",
                "    if mark.behind:\n        return TableMark",
                "    if False:\n        return TableMark",
            ),
            Change(
                f"{DESK}watch.py",
                "        seen = await self._at.session.send(request)\n        newest",
                '        request = request.__class__(method="GET", path=request.path, query=request.query,'
                ' params=(*request.params, ("sysparm_offset", mark.behind or "0")))\n'
                "        seen = await self._at.session.send(request)\n        newest",
            ),
        ),
        SUITE,
        "test_changes_while_the_pages_are_read_are_missed_by_none",
    ),
    "short-page-is-the-end": Mutant(
        (Change(f"{DESK}watch.py", "is_whole=is_whole and not has_next", "is_whole=len(rows) < limit"),),
        SUITE,
        "test_the_rows_that_are_hidden_end_no_round",
    ),
    "ties-cut-off": Mutant(
        (Change(f"{DESK}feed.py", 'at=time, behind=last["sys_id"])', "at=_shift(time, 1.0))"),),
        SUITE,
        "test_ties_in_one_second_are_told_once_each_however_many",
    ),
    "clock-set-back-unnoticed": Mutant(
        (Change(f"{DESK}watch.py", "        if stepped != mark:\n", "        if False:\n"),),
        SUITE,
        "test_a_clock_that_is_set_back_hides_nothing",
    ),
    "own-user-skipped-wholesale": Mutant(
        (
            Change(
                f"{DESK}hearing.py",
                "        if not number:\n",
                '        if not number or row.get("sys_updated_by") == self._user:\n',
            ),
        ),
        OWN,
        "test_a_change_by_our_own_user_is_told_like_any_other",
    ),
    "display-values-as-raw": Mutant(
        (
            Change(
                f"{DESK}wire.py",
                '("sysparm_exclude_reference_link", "true"))',
                '("sysparm_exclude_reference_link", "true"), ("sysparm_display_value", "true"))',
            ),
        ),
        OWN,
        "test_a_record_is_told_as_it_is_there_and_in_the_guide_s_words",
    ),
    "marker-as-a-prefix": Mutant(
        (Change(f"{DESK}heard.py", "_MARKER.fullmatch(", "_MARKER.match("),),
        OWN,
        "test_of_our_own_note_a_note_of_ensono_s_and_a_person_s_only_the_person_s_is_told",
    ),
    "attachments-by-name-only": Mutant(
        (Change(f"{DESK}heard.py", "any(is_file(row, file) for", 'any(row.get("file_name") == file.name for'),),
        OWN,
        "test_a_file_that_we_handed_over_is_no_news_and_its_namesake_is",
    ),
    "record-before-what-was-said": Mutant(
        (Change(f"{DESK}watch.py", "return [*hung, *await", "return [*await"),),
        OWN,
        "test_what_was_said_is_told_before_the_end_that_came_in_the_middle_of_a_round",
    ),
    "our-write-casts-no-shadow": Mutant(
        (Change("domain/shadow.py", "    if outcome.view:\n", "    if False:\n"),),
        WAYS,
        "test_what_became_of_our_own_words_at_the_desk_is_no_news",
    ),
    "record-read-amid-our-call": Mutant(
        (
            Change(
                "commands/external.py",
                "judge_record(state, told, moving=moving)",
                "judge_record(state, told, moving=False)",
            ),
        ),
        WAYS,
        "test_what_became_of_our_own_words_at_the_desk_is_no_news",
    ),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_wrong_watch_is_found_out(tmp_path: Path, name: str) -> None:
    mutant = MUTANTS[name]
    copy_package(tmp_path, mutant.changes)
    failed = test_desk_mutants.run(as_of_desks(mutant), tmp_path)
    assert failed.returncode == pytest.ExitCode.TESTS_FAILED, failed.stdout + failed.stderr
    assert mutant.test in failed.stdout


@pytest.mark.slow
def test_the_right_watch_passes_them_all(tmp_path: Path) -> None:
    copy_package(tmp_path, ())
    for name, mutant in MUTANTS.items():
        passed = test_desk_mutants.run(as_of_desks(mutant), tmp_path)
        assert passed.returncode == pytest.ExitCode.OK, name + passed.stdout


def as_of_desks(mutant: Mutant) -> test_desk_mutants.Mutant:
    """The mutant as `run` takes it, which looks at the test only."""
    return test_desk_mutants.Mutant(mutant.changes[0], mutant.file, mutant.test)
