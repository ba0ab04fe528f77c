"""Stored files on their way to the client ticket, and what the desk's answers leave on the ticket."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from ecproc.domain.deltas import ClientTicket
from ecproc.domain.events import EffectFailed, EffectSucceeded, EffectUnknown, Outcome, Remark
from ecproc.domain.ids import ClientNumber, EffectKey
from ecproc.fold.recorded import encode_event, wants_decision
from ecproc.testing.ticket import Answered, Life, change, file, given, incident, note, sent, succeed

STORED = {"sha256": "ab" * 32, "size": "138092", "path": "attachments/ab/" + "ab" * 32}
REMARK = Remark("double_create", "INC0000001, INC0000002")


def open_incident() -> Life:
    return given(
        incident("Create", status="open"), succeed("create", number="INC1", reference="7f", url="https://x/7f")
    )


def test_a_create_tells_the_desk_s_own_name_for_the_record_and_later_calls_give_it_back() -> None:
    life = open_incident().when(incident("Update", changed={"priority": "1"}))

    assert life.state.client_tickets == [
        ClientTicket(ClientNumber("INC1"), 1, False, "open", None, "7f", "https://x/7f")
    ]
    assert (life.new[0].number, life.new[0].reference) == ("INC1", "7f")


@pytest.mark.requirement("R137")
def test_a_file_that_was_stored_is_handed_over_once() -> None:
    life = open_incident().when(incident("Attachment", **file("a1")))
    assert life.new_keys == ["att:e-CS1:a1"]

    life.when(succeed("att", **STORED))
    [effect] = life.new
    assert (effect.key, effect.number, effect.reference) == ("attach:e-CS1:a1:g1", "INC1", "7f")
    assert effect.fields == {"attachment": "a1", "name": "rocket.jpg", "type": effect.fields["type"], **STORED}

    life.when(succeed("attach")).when(incident("Attachment", **file("a1")))
    assert life.new_keys == []
    assert [known.delivered for known in life.state.attachments.values()] == [1]


def test_a_file_that_was_not_stored_is_not_handed_over() -> None:
    life = open_incident().when(incident("Attachment", **file("a1")))
    life.when(Answered("att", lambda key: EffectFailed(key, "gone", True)))

    assert not [key for key in life.keys if key.startswith("attach:")]


@pytest.mark.requirement("R137")
def test_a_file_that_came_before_there_was_a_client_ticket_goes_to_it_behind_its_create() -> None:
    life = given(change("Create", state="New", **file("a1")), succeed("att", **STORED))
    assert not [key for key in life.keys if key.startswith("attach:")]

    life.when(change("Update", state="Assess"))
    assert life.new_keys == ["create:e-CHG1:g1", "attach:e-CHG1:a1:g1"]


@pytest.mark.requirement("R168")
def test_a_second_client_ticket_gets_the_fields_and_the_files_so_far_once_but_no_note_that_the_first_one_has() -> None:
    life = given(
        change("Create", state="New", shortDescription="A"),
        change("Update", state="Assess", notes=note("n1"), **file("a1")),
    ).settle()
    life.when(change("Redraft", state="New", notes=note("n2"))).settle()
    life.when(change("Update", state="Assess"))

    assert [effect.key for effect in life.new if effect.generation == 2] == [
        "create:e-CHG1:g2",
        "attach:e-CHG1:a1:g2",
    ]
    assert life.new[0].fields["shortDescription"] == "A"
    life.settle()
    assert [known.delivered for known in life.state.attachments.values()] == [2]
    assert [life.keys.count(key) for key in ("attach:e-CHG1:a1:g1", "attach:e-CHG1:a1:g2")] == [1, 1]


@pytest.mark.parametrize(
    "outcome",
    [
        lambda key: EffectSucceeded(key, {"number": "INC1"}, remarks=(REMARK,)),
        lambda key: EffectFailed(key, "down", False, 7, remarks=(REMARK,)),
        lambda key: EffectUnknown(key, "cut", 7, remarks=(REMARK,)),
    ],
    ids=["succeeded", "failed", "unknown"],
)
def test_what_the_desk_s_answer_shows_to_be_odd_stands_on_the_ticket_once(
    outcome: Callable[[EffectKey], Outcome],
) -> None:
    life = given(incident("Create", status="open")).when(Answered("create", outcome)).when(Answered("create", outcome))

    assert life.anomalies == ["double_create"]
    assert wants_decision(outcome(EffectKey("k")))


def test_outcomes_without_remarks_are_written_as_ever() -> None:
    _, payload = encode_event(EffectSucceeded(EffectKey("k"), {"number": "A"}))

    assert msgspec.json.decode(payload) == {"key": "k", "result": {"number": "A"}, "cause": 0}


def test_an_out_of_turn_redelivery_hands_nothing_over_again() -> None:
    life = open_incident().when(incident("Attachment", envelope=sent(message_id="m"), **file("a1")))
    life.when(succeed("att", **STORED)).when(succeed("attach"))
    life.when(incident("Attachment", envelope=sent(message_id="m", sequence=0), **file("a1")))

    assert life.new_keys == []
