"""Links that were imported: what they make of a ticket, before its first message, with it, and too late."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest

from ecproc.domain.events import Act, OperatorActed
from ecproc.domain.ids import EffectKey
from ecproc.domain.log import Row
from ecproc.fold.recorded import decode_event, encode_event
from ecproc.fold.rows import ticket_rows
from ecproc.testing.ticket import Event, Life, change, fail, file, given, incident, note, succeed

T = "e-CS1"
NUMBER = "INC0042"
CREATE = EffectKey(f"create:{T}:g1")


def link(number: str = NUMBER, generation: int = 1, reference: str = "") -> OperatorActed:
    return OperatorActed(Act.LINK, "ann", "moved", number=number, generation=generation, reference=reference)


def linked(*links: OperatorActed, stream: str = T) -> Life:
    return Life(stream).when(*(links or (link(),)))


def test_a_link_is_an_operators_act_and_comes_back_as_it_was_written() -> None:
    acted = link(reference="9d38")
    kind, payload = encode_event(acted)
    assert (kind, decode_event(kind, payload)) == ("OperatorActed", acted)
    assert msgspec.json.decode(payload) == {
        **{"act": "link", "who": "ann", "note": "moved"},
        **{"number": NUMBER, "generation": 1, "reference": "9d38"},
    }


def test_a_link_before_any_message_is_a_ticket_in_no_state_with_our_number() -> None:
    life = linked(link(reference="9d38")).then(status=None, numbers=[NUMBER], keys=[], anomalies=[])
    rows: dict[str, Row] = {row.table: row for row in ticket_rows(life.state, life.deltas)}
    header = msgspec.json.decode(rows["ticket"].data or b"")
    assert (header["ticket"], header["type"], header["state"], header["client_ticket"]) == (T, None, None, NUMBER)
    assert (rows["ticket"].id, rows["ticket"].tag) == ("CS1", ":")
    assert life.state.client_tickets[0].reference == "9d38"


def test_a_create_of_a_linked_ticket_creates_nothing_and_returns_the_number_that_ensono_lacks() -> None:
    life = linked().when(incident("Create", status="open", priority="4", notes=note("n1")))
    life.then(status="open", numbers=[NUMBER], anomalies=[])
    assert life.keys == [f"returnptn:{T}:{NUMBER}", f"note:{T}:n1"]
    assert {effect.number for effect in life.effects} == {NUMBER}
    life.settle().when(incident("Update", clientTicketNumber=NUMBER, changed={"priority": "1"}))
    life.then(new_keys=[f"upd:{T}:m2"], anomalies=[])


def test_where_ensono_shows_our_number_nothing_is_returned() -> None:
    linked().when(incident("Create", status="open", clientTicketNumber=NUMBER)).then(keys=[], anomalies=[])


def test_a_number_that_ensono_has_otherwise_is_a_mismatch_and_no_second_ticket() -> None:
    life = linked().when(incident("Create", status="open", clientTicketNumber="INC7"))
    life.then(keys=[], numbers=[NUMBER], anomalies=["link_mismatch"])


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({"priority": "1", "group": "A", "changed": {"priority": "1"}}, {"priority": "1"}),
        ({"priority": "1", "group": "A", "changed": {"priority": "1", "status": "open"}}, {"priority": "1"}),
        ({"priority": "1", "group": "A"}, {"priority": "1", "group": "A"}),
    ],
    ids=["what-changed", "and-its-status", "no-word-of-it"],
)
def test_an_update_that_comes_first_is_news_to_the_client_ticket(
    body: dict[str, object], fields: dict[str, str]
) -> None:
    life = linked().when(incident("Update", status="open", clientTicketNumber=NUMBER, **body))
    life.then(status="open", keys=[f"upd:{T}:m1"], anomalies=[])
    told = {name: value for name, value in life.effects[0].fields.items() if name != "state"}
    assert told == fields
    changed = body.get("changed", {"status": ""})
    assert isinstance(changed, dict)
    assert ("state" in life.effects[0].fields) is ("status" in changed)


def test_a_closure_that_comes_first_closes_the_client_ticket() -> None:
    life = linked().when(incident("Closure", status="closed", clientTicketNumber=NUMBER, changed={"status": "closed"}))
    life.then(status="closed", keys=[f"close:{T}:m1"])


@pytest.mark.parametrize(
    ("transaction", "body", "keys"),
    [("Notes", {"notes": note("n1")}, [f"note:{T}:n1"]), ("Attachment", file("a1"), [f"att:{T}:a1"])],
)
def test_a_note_or_a_file_that_comes_first_is_handed_over_and_moves_nothing(
    transaction: str, body: dict[str, object], keys: list[str]
) -> None:
    life = linked().when(incident(transaction, status="pending", clientTicketNumber=NUMBER, **body))
    life.then(keys=keys, anomalies=[])


def test_a_second_link_of_the_same_number_changes_nothing() -> None:
    assert not linked().when(link()).deltas[1:]


@pytest.mark.parametrize("answered", [False, True], ids=["under-way", "created"])
def test_a_link_that_comes_behind_a_create_is_flagged_and_makes_no_second_ticket(answered: bool) -> None:
    life = given(incident("Create", status="open"), *([succeed("create")] if answered else []))
    life.when(link()).then(new_keys=[], anomalies=["link_mismatch"])
    assert NUMBER not in life.numbers


@pytest.mark.parametrize(
    "dead",
    [[fail("create")], [fail("create", parked=True)], [OperatorActed(Act.DISCARD, "ann", key=CREATE)]],
    ids=["refused", "parked", "discarded"],
)
def test_a_link_takes_the_place_of_a_create_that_is_dead(dead: Sequence[Event]) -> None:
    life = given(incident("Create", status="open"), incident("Update", changed={"priority": "1"})).when(*dead)
    life.when(link()).then(numbers=[NUMBER], new_keys=[CREATE, f"returnptn:{T}:{NUMBER}"], anomalies=[])
    assert life.entries == {CREATE: "completed", f"upd:{T}:m2": "available", f"returnptn:{T}:{NUMBER}": "available"}
    assert life.state.plans.entries[CREATE].result["number"] == NUMBER
    life.settle().when(incident("Update", clientTicketNumber=NUMBER, changed={"priority": "2"}))
    life.then(new_keys=[f"upd:{T}:m3"], anomalies=[])
    assert life.effects[-1].number == NUMBER


def test_generations_stand_in_order_whatever_order_they_are_linked_in() -> None:
    life = linked(link("CHG2", 2), link("CHG1", 1), stream="e-CHG1").then(numbers=["CHG1", "CHG2"], generation=2)
    moved = change("Update", state="Scheduled", type="Normal", clientTicketNumber="CHG2")
    moved = {**moved, "Attributes": {**moved["Attributes"], "MessageGroupId": "e-CHG1"}}
    life.when(moved).then(generation=2, status="Scheduled", numbers=["CHG1", "CHG2"])
    assert [(effect.kind.value, effect.number) for effect in life.effects] == [("update_client_ticket", "CHG2")]


def test_a_linked_change_that_is_first_seen_in_draft_was_redrafted() -> None:
    life = linked(link("CHG1"), stream="e-CHG1")
    for state, keys in (("New", ["cancel:e-CHG1:g1"]), ("Assess", ["create:e-CHG1:g2"])):
        message = change("Update", state=state, type="Normal", clientTicketNumber="CHG1")
        life.when({**message, "Attributes": {**message["Attributes"], "MessageGroupId": "e-CHG1"}})
        life.then(new_keys=keys)
    life.then(generation=2)


def test_folding_again_gives_the_same_ticket() -> None:
    life = linked(link(reference="9d38")).when(incident("Update", status="open", changed={"priority": "1"}))
    before, rows = msgspec.to_builtins(life.state), ticket_rows(life.state, life.deltas)
    assert msgspec.to_builtins(life.forget().state) == before
    assert ticket_rows(life.state, life.deltas) == rows
    assert msgspec.to_builtins(life.forget(snapshot=True).state) == before
