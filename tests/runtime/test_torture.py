"""The long run in small, and what it must find: a part that no planted bug makes fail proves nothing."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from typing import Any, Final

import msgspec
import pytest
import structlog

from ecproc.domain import client_create
from ecproc.domain.attempt import Attempt, Blamed, Held
from ecproc.domain.client_create import ClientCreate
from ecproc.domain.deltas import Delta
from ecproc.domain.events import Place
from ecproc.errors import BridgeUnavailable
from ecproc.outbox.perform import bridge
from ecproc.simulator.faults import CallFaults
from ecproc.wire.requests import TicketCall
from tests.torture import creates, notes
from tests.torture.__main__ import main
from tests.torture.frame import Figures, Part, Round, run_parts

SMALL: Final = Round(seed=3, share=0.02)
MANY_LATE: Final = msgspec.structs.replace(creates.FAULTS, tickets=CallFaults(lost=0.05, late=0.3))


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Log nothing: there are thousands of faults."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()


# --- creates and notes ------------------------------------------------------------------------------------------------


@pytest.mark.requirement("R97", "C25", "I4")
def test_what_is_opened_twice_was_opened_behind_our_back_and_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(creates, "FAULTS", MANY_LATE)

    figures = creates.run_creates(SMALL)

    assert figures.findings == []
    assert (figures.count, figures.lost) == (200, 0)
    assert 0 < figures.doubled <= figures.more["late"]


@pytest.mark.requirement("R117")
def test_no_more_comments_come_twice_than_nobody_knew_the_outcome_of() -> None:
    figures = notes.run_notes(Round(seed=3, share=0.1))

    assert figures.findings == []
    assert (figures.count, figures.lost) == (400, 0)
    assert 0 < figures.doubled <= figures.more["unknown"]


async def look_nowhere(*_: object) -> None:
    return None


def hear_nothing(*_: object, first: bool) -> list[Delta]:
    return []


def test_a_create_that_does_not_look_first_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bridge.BridgePerformer, "_find_shown", look_nowhere)
    monkeypatch.setattr("ecproc.domain.ticket.tell_create", hear_nothing)

    found = creates.run_creates(SMALL).findings

    assert any("after the queue had told Ensono's number" in finding for finding in found), found


def give_up(error: BridgeUnavailable, call: TicketCall) -> Attempt:
    return Blamed(str(error), final=True)


def forget(error: BridgeUnavailable, call: TicketCall) -> Attempt:
    return Held(str(error))


def test_a_create_that_is_given_up_where_no_answer_came_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bridge, "explain_silence", give_up)

    figures = creates.run_creates(SMALL)

    assert figures.lost > 0
    assert figures.findings


def test_two_numbers_that_nobody_is_told_of_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def say_nothing(state: ClientCreate, ticket: str, home: str, place: Place) -> list[Delta]:
        return []

    monkeypatch.setattr(creates, "FAULTS", MANY_LATE)
    monkeypatch.setattr(client_create, "_compare", say_nothing)

    found = creates.run_creates(SMALL).findings

    assert any("is told only" in finding for finding in found), found


def test_comments_that_are_repeated_although_they_may_have_arrived_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bridge, "explain_silence", forget)

    found = notes.run_notes(Round(seed=3, share=0.1)).findings

    assert any("calls only nobody knew the outcome" in finding for finding in found), found


# --- the frame --------------------------------------------------------------------------------------------------------


def make_part(*findings: str, **members: Any) -> Part:
    def run(given: Round) -> Figures:
        return Figures(what="things", count=given.count(50), lost=0, doubled=1, more={"late": 2}, findings=findings)

    return Part(**{"name": "part", "limit": 60.0, "run": run, **members})


def test_a_round_is_a_line_and_what_it_found_stands_below() -> None:
    out = io.StringIO()

    assert run_parts([make_part()], seed=7, share=0.1, out=out)
    assert not run_parts([make_part("one is gone", "another too"), make_part()], seed=8, out=out)

    lines = out.getvalue().splitlines()
    assert lines[0] == "part seed 7: 5 things · lost 0 · doubled 1 · late 2 · 0.0 s · ok"
    assert [line.rpartition(" · ")[2] for line in lines[1:]] == ["FAILED", "  one is gone", "  another too", "ok"]


def test_further_rounds_have_further_seeds() -> None:
    seeds: list[int] = []

    def run(given: Round) -> Figures:
        seeds.append(given.seed)
        return Figures(what="", count=0, lost=0, doubled=0)

    run_parts([make_part(run=run)], seed=5, out=io.StringIO())
    assert seeds == [5]

    run_parts([make_part(run=run)], seed=5, seconds=0.05, out=io.StringIO())
    assert len(seeds) > 3
    assert seeds[1:] == [*range(5, 4 + len(seeds))]


@pytest.mark.timeout(60, method="thread")  # the other method has the one alarm clock that a process has
def test_a_round_that_does_not_end_has_failed_and_the_next_part_runs() -> None:
    def hang(given: Round) -> Figures:
        while True:
            pass

    out = io.StringIO()

    assert not run_parts([make_part(run=hang, limit=0.05), make_part()], seed=1, out=out)
    assert "took more than 0.05 s" in out.getvalue()
    assert out.getvalue().endswith("ok\n")


@pytest.mark.parametrize(
    ("arguments", "complaint"), [(["cretes"], "no such part: cretes"), (["--seed", "x"], "invalid int value")]
)
def test_what_is_not_understood_is_said_and_nothing_runs(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)

    assert ended.value.code == 2
    assert complaint in capsys.readouterr().err


def test_a_part_that_fails_is_an_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.torture.__main__.PARTS", {"well": make_part(), "bad": make_part("no")})

    assert main(["well"]) == 0
    assert main(["--tenth"]) == 1
