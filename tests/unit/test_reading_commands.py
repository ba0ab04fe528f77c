"""A command's document: how far it is and what was said, out of its row and its outbox entries."""

from __future__ import annotations

from typing import Any

import pytest

from ecproc.domain.commands import CommandAccepted, CommandKind, Comment, EnsonoNumberReturned, KnownCommand
from ecproc.domain.deltas import CommandChanged
from ecproc.domain.events import EffectFailed, EffectStarted, EffectSucceeded, EffectUnknown
from ecproc.domain.ids import EffectKey, TicketNumber
from ecproc.fold.recorded import decode_command, encode_command
from ecproc.reading.commands import CommandState, ShownCommand, describe_command
from ecproc.testing.ticket import Life, given, incident

K = EffectKey("K")


def describe(life: Life, key: str = "K") -> ShownCommand:
    known = [delta.command for delta in life.deltas if isinstance(delta, CommandChanged) and delta.command.key == key]
    kept = decode_command(encode_command(known[-1]))
    assert kept == known[-1]
    return describe_command(kept, life.whole.plans.entries)


def ours(*events: Any) -> Life:
    life = given(incident("Create", status="open", clientTicketNumber="INC1"))
    for event in (CommandAccepted(K, CommandKind.UPDATE, "me", {"group": "B"}, digest="d"), *events):
        life.when(event)
    return life


@pytest.mark.requirement("R11", "R202")
@pytest.mark.parametrize(
    ("events", "state", "answer"),
    [
        ([], "accepted", ""),
        ([EffectStarted(K)], "sent", ""),
        ([EffectFailed(K, "503", blamed=False, next_attempt_at=1)], "accepted", "503"),
        ([EffectUnknown(K, "timeout", 1)], "unknown", "timeout"),
        ([EffectSucceeded(K, {"answer": "Update Successful"})], "done", "Update Successful"),
        ([EffectFailed(K, "no such group", blamed=True, parked=True)], "dead", "no such group"),
        ([EffectFailed(K, "no such group", blamed=True)], "dead", "no such group"),
        ([EffectSucceeded(K, {"answer": "ok", "group": "D", "wanted_group": "B"})], "sent", "ok"),
    ],
)
def test_its_state_is_what_came_of_its_calls(events: list[Any], state: str, answer: str) -> None:
    assert describe(ours(*events)) == ShownCommand("e-CS1", "INC1", "K", CommandState(state), answer)


def test_one_of_several_calls_that_is_over_leaves_it_under_way() -> None:
    life = given(incident("Create", status="open", clientTicketNumber="INC1"))
    life.when(CommandAccepted(K, CommandKind.RESOLVE, fields={"closeNotes": "n" * 5_000}))
    assert describe(life).state == "accepted"
    life.when(EffectSucceeded(EffectKey("K:notes"), {"answer": "Comments added"}))
    assert (describe(life).state, describe(life).answer) == ("sent", "Comments added")
    life.when(EffectSucceeded(K, {"answer": "Ticket Closed Successfully"}))
    assert (describe(life).state, describe(life).answer) == ("done", "Ticket Closed Successfully")


@pytest.mark.requirement("R11")
def test_one_that_waits_for_our_number_is_accepted() -> None:
    life = given(incident("Create", status="open"), CommandAccepted(K, CommandKind.NOTE, comments=(Comment("text"),)))
    assert describe(life) == ShownCommand("e-CS1", None, "K", CommandState.ACCEPTED, "")
    life.settle()
    assert describe(life).client_ticket == "LOCAL-0000001"
    assert describe(life).state == "done"


def test_what_leads_to_nothing_says_why() -> None:
    life = Life("e-CS9").when(CommandAccepted(K, CommandKind.NOTE))
    assert describe(life) == ShownCommand(None, None, "K", CommandState.REFUSED, "there is no such ticket")
    life = ours(CommandAccepted(EffectKey("K2"), CommandKind.NOTE))
    assert (describe(life, "K2").state, describe(life, "K2").answer) == ("done", "its comments were given before")


@pytest.mark.requirement("R84", "R97")
@pytest.mark.parametrize("found", [EffectSucceeded(K, {"number": "e-CS9", "answer": "e-CS9"}), "queue"])
def test_a_create_tells_ensonos_number_once_it_is_known(found: Any) -> None:
    fields = {"ticketType": "Incident", "description": "d"}
    life = Life("client:INC1").when(CommandAccepted(K, CommandKind.CREATE, fields=fields))
    assert describe(life) == ShownCommand(None, "INC1", "K", CommandState.ACCEPTED, "")
    life.when(EnsonoNumberReturned(TicketNumber("e-CS9"), "e-CS9", 1) if found == "queue" else found)
    assert (describe(life).ticket, describe(life).state) == ("e-CS9", "done")


def test_an_entry_that_is_not_there_yet_does_not_make_it_done() -> None:
    command = KnownCommand(K, CommandKind.NOTE, 1, 1, entries=(K, EffectKey("K:group")))
    assert describe_command(command, {}).state == "accepted"
