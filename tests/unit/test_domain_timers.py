"""Timers: which a ticket has, what each is told once about, and what makes one void."""

from __future__ import annotations

from typing import Any, Final

import msgspec
import pytest
from hypothesis import given as hypothesis_given
from hypothesis import settings

from ecproc.domain.commands import ClientLinked, CommandAccepted, CommandKind, Comment
from ecproc.domain.deltas import TimerChanged
from ecproc.domain.events import Act, OperatorActed, Place, TimerElapsed, TimerName
from ecproc.domain.ids import ClientNumber, EffectKey, TicketNumber
from ecproc.domain.policy import Policy
from ecproc.domain.state import TicketState
from ecproc.domain.timers import list_timers
from ecproc.fold.machine import evolve_fact
from ecproc.fold.tickets import TicketMachine
from ecproc.testing.ticket import START, Event, Life, approver, change, fail, given, incident, note, sent, succeed
from tests.simulation.strategies import History, histories

HOUR: Final = 3_600
DAY: Final = 24 * HOUR
OVERMORROW: Final = "2023-11-16T22:13:20Z"
"""Two days after every life begins."""


def open_timers(life: Life) -> dict[str, bool]:
    """The timers of a ticket, and whether they have elapsed."""
    return {timer.key: timer.elapsed_at is not None for timer in life.state.timers.values()}


def elapse(life: Life) -> Life:
    """Tell all of the ticket's timers at once."""
    return life.when(*[TimerElapsed(timer.timer, timer.about) for timer in life.state.timers.values()])


def ours(**body: Any) -> Life:
    """A ticket of which Ensono has our number."""
    return given(incident("Create", status="open", priority="3", clientTicketNumber="INC1", **body))


def ask(command: CommandKind, *comments: Comment, key: str = "K", **fields: str) -> CommandAccepted:
    return CommandAccepted(EffectKey(key), command, "somebody", fields, comments, "digest")


def named(transaction: str, **body: Any) -> Any:
    return incident(transaction, clientTicketNumber="INC1", **body)


# --- presumed closed, off hold, approval ------------------------------------------------------------------------------


@pytest.mark.requirement("R78")
def test_a_ticket_is_presumed_closed_seven_days_after_it_was_resolved_and_stays_resolved() -> None:
    life = ours().when(named("Closure", status="resolved", changed={"status": "resolved"}))
    (timer,) = life.state.timers.values()
    assert timer.timer is TimerName.PRESUMED_CLOSED
    assert timer.due_at == timer.since + 7 * DAY * 1_000_000

    elapse(life.wait(7 * DAY - 60))
    assert open_timers(life) == {timer.key: False}

    elapse(life.wait(60)).then(status="resolved", history=["open", "resolved"])
    assert open_timers(life) == {timer.key: True}


@pytest.mark.requirement("R77", "R78")
@pytest.mark.parametrize("status", ["open", "closed", "pending"])
def test_what_was_presumed_is_forgotten_when_the_ticket_goes_on(status: str) -> None:
    life = ours().when(named("Closure", status="resolved", changed={"status": "resolved"})).wait(8 * DAY)
    elapse(life).when(named("Update", status=status, changed={"status": status}))
    assert open_timers(life) == {}

    if status != "closed":
        life.when(named("Closure", status="resolved", changed={"status": "resolved"}))
        assert list(open_timers(life).values()) == [False]


@pytest.mark.requirement("R58")
def test_a_date_is_told_once_and_another_date_is_another_wait() -> None:
    held = {"status": "pending", "offHoldDate": "2023-11-15 00:00:00"}
    life = ours().when(named("Update", **held, changed=held))
    assert open_timers(life) == {"off_hold:2023-11-15 00:00:00": False}

    elapse(elapse(life.wait(DAY))).then(status="pending")
    assert open_timers(life) == {"off_hold:2023-11-15 00:00:00": True}
    assert sum(isinstance(delta, TimerChanged) for delta in life.deltas) == 2

    life.when(named("Update", status="pending", changed={"offHoldDate": OVERMORROW}))
    assert open_timers(life) == {f"off_hold:{OVERMORROW}": False}
    life.when(named("Update", status="workinprogress", changed={"status": "workinprogress"}))
    assert open_timers(life) == {}


@pytest.mark.requirement("R55", "R58")
@pytest.mark.parametrize("date", ["", "soon", "08/02/2023"])
def test_a_date_that_nobody_can_read_is_no_timer(date: str) -> None:
    held = {"status": "pending", "offHoldDate": date}
    assert open_timers(ours().when(named("Update", **held, changed=held))) == {}


def asked_change(**body: Any) -> Life:
    return given(
        change("Create", type="Normal", state="Assess", **body),
        change("Approval Request", type="Normal", state="Assess", **approver("a1"), **body),
    )


@pytest.mark.requirement("R179")
def test_an_open_approval_is_told_a_day_before_the_change_starts() -> None:
    life = asked_change(startDate=OVERMORROW)
    (timer,) = life.state.timers.values()
    assert (timer.key, timer.due_at) == ("approval:a1", (START + DAY) * 1_000_000)

    assert open_timers(elapse(life.wait(DAY))) == {"approval:a1": True}
    life.when(change("Update", type="Normal", state="Assess", startDate="2023-12-24 00:00:00"))
    assert open_timers(elapse(life)) == {"approval:a1": False}


@pytest.mark.requirement("R179")
def test_an_approval_of_a_change_without_a_date_waits_and_is_never_told() -> None:
    life = asked_change()
    assert [timer.due_at for timer in life.state.timers.values()] == [None]
    assert open_timers(elapse(life.wait(99 * DAY))) == {"approval:a1": False}


@pytest.mark.requirement("R179", "R180")
@pytest.mark.parametrize(
    "end",
    [
        change("Approval Request", type="Normal", state="Assess", startDate=OVERMORROW, **approver("a1", "Approved")),
        change("Update", type="Normal", state="Scheduled", startDate=OVERMORROW),
        change("Redraft", type="Normal", state="New", startDate=OVERMORROW),
    ],
)
def test_an_approval_that_was_answered_or_is_void_waits_no_more(end: Any) -> None:
    assert open_timers(asked_change(startDate=OVERMORROW).when(end)) == {}


# --- confirmation -----------------------------------------------------------------------------------------------------


@pytest.mark.requirement("R182")
@pytest.mark.parametrize(
    ("command", "shown"),
    [
        (ask(CommandKind.UPDATE, priority="2"), named("Update", status="open", changed={"priority": "2"})),
        (ask(CommandKind.UPDATE, priority="2"), named("Notes", status="open", priority="2", notes=note("n1"))),
        (
            ask(CommandKind.NOTE, Comment("we look", "c1", "Jason")),
            named("Notes", status="open", notes=note("n1", "we look by Jason")),
        ),
        (
            ask(CommandKind.RESOLVE, closeNotes="done"),
            named("Closure", status="resolved", changed={"status": "resolved"}),
        ),
        (
            ask(CommandKind.CANCEL, closeNotes="no"),
            named("Update", status="cancelled", changed={"status": "cancelled"}),
        ),
    ],
)
def test_a_command_waits_for_a_message_that_shows_it(command: CommandAccepted, shown: Any) -> None:
    key = f"confirmation:{command.key}"
    life = ours().when(command)
    assert open_timers(life) == {}
    life.when(succeed(command.key))
    assert open_timers(life) == {key: False}

    assert open_timers(elapse(life.wait(HOUR - 60))) == {key: False}
    other = named("Update", status="open", priority="3", changed={"shortDescription": "else"})
    assert open_timers(elapse(life.wait(60)).when(other)) == {key: True}
    assert key not in open_timers(life.when(shown))


@pytest.mark.requirement("R182")
def test_a_message_that_overtakes_the_answer_confirms_too() -> None:
    life = ours().when(ask(CommandKind.UPDATE, priority="2"))
    life.when(named("Update", status="open", changed={"priority": "2"})).when(succeed("K"))
    assert open_timers(life) == {}


@pytest.mark.requirement("R182")
def test_a_call_that_was_never_taken_is_not_waited_for() -> None:
    life = ours().when(ask(CommandKind.UPDATE, priority="2")).when(fail("K"))
    assert open_timers(life) == {}
    assert life.state.commands.unconfirmed == {}
    life.when(OperatorActed(Act.RETRY, "ann", key=EffectKey("K"))).when(succeed("K"))
    assert open_timers(life) == {"confirmation:K": False}


@pytest.mark.requirement("R182")
def test_what_was_sent_long_before_a_command_confirms_nothing() -> None:
    life = ours().wait(DAY).when(ask(CommandKind.UPDATE, priority="2")).when(succeed("K"))
    life.when(named("Update", status="open", changed={"priority": "2"}, envelope=sent(at=HOUR)))
    assert open_timers(life) == {"confirmation:K": False}


@pytest.mark.requirement("R182")
def test_an_answer_to_an_approval_is_shown_by_the_changes_next_step() -> None:
    life = asked_change(clientTicketNumber="INC1").when(
        ask(CommandKind.APPROVE, approver="a@x.com", approvalid="a1", comment="fine")
    )
    life.when(succeed("K"))
    assert open_timers(life) == {"confirmation:K": False}
    life.when(change("Notes", type="Normal", state="Assess", notes=note("n1", "fine")))
    assert open_timers(life) == {"confirmation:K": False}
    life.when(change("Update", type="Normal", state="Authorize"))
    assert open_timers(life) == {}


@pytest.mark.requirement("R182")
def test_a_ticket_that_came_to_its_end_confirms_everything() -> None:
    life = ours().when(ask(CommandKind.NOTE, Comment("late"))).when(succeed("K"))
    life.when(named("Update", status="closed", changed={"status": "closed"}))
    assert open_timers(life) == {}


@pytest.mark.requirement("R97", "R182")
def test_a_create_is_shown_by_any_message_of_its_ticket() -> None:
    linked = ClientLinked(TicketNumber("e-CS1"), ClientNumber("INC1"), "Incident", EffectKey("ec-create:INC1"))
    life = Life("e-CS1").when(linked)
    assert open_timers(elapse(life.wait(HOUR))) == {"confirmation:ec-create:INC1": True}
    assert open_timers(life.when(named("Update", status="open"))) == {}


def test_a_file_and_a_number_are_not_waited_for() -> None:
    upload = ask(CommandKind.ATTACH, name="a.txt", sha256="00", size="1", type="text/plain")
    number = ask(CommandKind.RETURN_NUMBER, key="N", clientTicketNumber="INC1")
    assert open_timers(ours().when(upload, number).when(succeed("K"), succeed("N"))) == {}


# --- whatever happens -------------------------------------------------------------------------------------------------


@pytest.mark.requirement("R78", "I5")
@settings(max_examples=150)
@hypothesis_given(histories())
def test_timers_follow_from_the_state_and_one_that_elapses_moves_nothing(history: History) -> None:
    machine, state = TicketMachine(), history.life.state
    kept = msgspec.structs.replace
    found = {timer.key: kept(timer, elapsed_at=None) for timer in state.timers.values()}
    assert found == {timer.key: timer for timer in list_timers(state)}

    place = Place(10**9, 10**9, 10**17)
    for timer in list(state.timers.values()):
        before = bare(state)
        elapsed = TimerElapsed(timer.timer, timer.about)
        deltas = evolve_fact(machine, state, elapsed, place)
        told = timer.elapsed_at is None and timer.due_at is not None
        assert [type(delta) for delta in deltas] == [TimerChanged] * told
        assert evolve_fact(machine, state, elapsed, place) == []
        assert machine.decide(state, elapsed, deltas, place, Policy()) == []
        assert bare(state) == before


def bare(state: TicketState) -> bytes:
    """A state without its timers and where its fold has come to."""
    return msgspec.json.encode(msgspec.structs.replace(state, timers={}, seen=TicketState("").seen), order="sorted")


def test_the_timer_of_another_log_is_no_timer_here() -> None:
    event: Event = TimerElapsed(TimerName.CONFIRMATION, "nobody's")
    life = ours().when(event).then(status="open")
    assert open_timers(life) == {}
