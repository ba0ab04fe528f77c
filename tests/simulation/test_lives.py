"""The scripts of ticket lives agree with themselves: what a plain reading of the messages tells is what they expect."""

from __future__ import annotations

import hashlib
from collections import Counter
from itertools import pairwise
from typing import Any
from urllib.parse import unquote, urlsplit

import msgspec
import pytest

from ecproc.simulator.files import locate
from ecproc.simulator.lives import DECK_SIZE, STORIES, generate_lives, order_messages
from ecproc.simulator.queue import QueueMessage
from ecproc.simulator.script import ScriptedLife

BASE = 1_700_000_000_000
LIVES = generate_lives(11, tickets=3 * DECK_SIZE, base_time_ms=BASE)
CASES = [life for life in LIVES if life.outcome.type != "Change"]
CHANGES = [life for life in LIVES if life.outcome.type == "Change"]
BY_STORY = {
    "row-1": ("Closed", 1, 1),
    "row-2": ("Closed", 1, 1),
    "row-3": ("Closed", 1, 1),
    "row-outside-window": ("Closed", 1, 1),
    "row-4": ("Draft", 1, 1),
    "row-5": ("Cancelled", 1, 1),
    "row-6": ("Draft", 1, 1),
    "row-7": ("Closed", 2, 2),
    "row-8": ("Cancelled", 1, 1),
    "row-9": ("Draft", 1, 1),
    "row-10": ("Assess", 2, 2),
    "change-generation-3": ("Authorize", 3, 3),
    "change-missed-redraft": ("Assess", 2, 2),
    "change-skipped": ("Closed", 1, 1),
    "change-emergency": ("Closed", 1, 1),
    "change-midway": ("Closed", 1, 1),
    "change-draft": ("Draft", 1, 0),
    "change-draft-left": ("Assess", 1, 1),
    "change-late-approval": ("Authorize", 1, 1),
    "change-late-note": ("Closed", 1, 1),
}
"""Final state, generation and number of client tickets, told from the guide's table and not from the scripts."""


def read_body(message: QueueMessage) -> dict[str, Any]:
    body: dict[str, Any] = msgspec.json.decode(message.body)
    return body


def name_transaction(message: QueueMessage) -> str:
    return str(message.attributes["TransactionType"])


def list_of(life: ScriptedLife, *transactions: str) -> list[dict[str, Any]]:
    return [read_body(message) for message in life.messages if name_transaction(message) in transactions]


def drop_repeats(states: list[str]) -> tuple[str, ...]:
    return tuple(state for place, state in enumerate(states) if place == 0 or states[place - 1] != state)


def test_the_same_arguments_write_the_same_lives() -> None:
    again = generate_lives(11, tickets=3 * DECK_SIZE, base_time_ms=BASE)
    assert again == LIVES
    other = generate_lives(12, tickets=20, base_time_ms=BASE)
    assert {life.ticket for life in other}.isdisjoint(life.ticket for life in LIVES)


@pytest.mark.parametrize("seed", range(3))
def test_one_deck_shows_every_plot(seed: int) -> None:
    lives = generate_lives(seed, tickets=DECK_SIZE, base_time_ms=BASE)
    assert Counter(life.story for life in lives) == {story: share for story, (share, _) in STORIES.items()}


@pytest.mark.requirement("R19", "R38", "R40")
def test_the_global_order_mixes_lives_and_keeps_each_ones_own_order() -> None:
    messages = order_messages(LIVES)
    sequences = [str(message.attributes["SequenceNumber"]) for message in messages]
    times = [int(str(message.attributes["SentTimestamp"])) for message in messages]
    assert sequences == sorted(set(sequences))
    assert times == sorted(set(times))
    assert times[0] == BASE
    for life in LIVES[:50]:
        assert [message for message in messages if message.group == life.ticket] == list(life.messages)
    switches = sum(a.group != b.group for a, b in pairwise(messages))
    assert switches > 0.9 * len(messages)


def test_message_ids_and_attributes_are_as_in_the_guide() -> None:
    messages = order_messages(LIVES)
    assert len({message.message_id for message in messages}) == len(messages)
    for message in messages:
        body = read_body(message)
        assert message.attributes["MessageGroupId"] == body["ticketNumber"] == message.group
        assert message.attributes["ClientReferenceAvailable"] is bool(body["clientTicketNumber"])
        assert len(str(message.attributes["MessageDeduplicationId"])) == 64


@pytest.mark.parametrize("life", CASES[:120], ids=lambda life: f"{life.story}-{life.ticket}")
def test_a_cases_history_is_what_its_messages_tell(life: ScriptedLife) -> None:
    states = []
    for place, message in enumerate(life.messages):
        body = read_body(message)
        match name_transaction(message):
            case "Create":
                states.append(body["status"])
            case "ReturnEnsonoNum":
                states.append("open")
            case _ if place == 0:
                states.append(body["status"])
            case "Update" | "Closure":
                states.append(body.get("changed", {}).get("status", states[-1]))
    assert drop_repeats(states) == life.outcome.history
    assert life.outcome.generation == 1


@pytest.mark.parametrize("life", CHANGES[:80], ids=lambda life: f"{life.story}-{life.ticket}")
def test_a_changes_history_and_generations_are_what_its_messages_tell(life: ScriptedLife) -> None:
    bodies = list_of(life, "Create", "Update", "Redraft", "Closure")
    history = drop_repeats(["Draft" if body["state"] == "New" else body["state"] for body in bodies])
    assert history == life.outcome.history
    ended = sum(state == "Draft" and 0 < place < len(history) - 1 for place, state in enumerate(history))
    missed = life.story == "change-missed-redraft"
    assert life.outcome.generation == 1 + ended + missed


@pytest.mark.requirement("R183", "R189", "R192")
@pytest.mark.parametrize("life", [life for life in CHANGES if life.story in BY_STORY], ids=lambda life: life.story)
def test_a_plots_end_is_the_one_in_the_guides_table(life: ScriptedLife) -> None:
    outcome = life.outcome
    assert (outcome.state, outcome.generation, outcome.client_tickets) == BY_STORY[life.story]
    assert outcome.returnptn == outcome.client_tickets - (outcome.adopted_number is not None)


def test_notes_approvals_and_files_are_expected_as_sent() -> None:
    for life in LIVES:
        notes = [body["notes"]["id"] for body in list_of(life, "Notes")]
        assert tuple(notes) == life.outcome.notes
        approvals = [body["approvalId"] for body in list_of(life, "Approval Request")]
        assert tuple(approvals) == life.outcome.approvals
        announced = list_of(life, "Attachment")
        assert [body["attachmentInfo"].rpartition("/")[2] for body in announced] == [f.id for f in life.outcome.files]
        for body, file, expected in zip(announced, life.files, life.outcome.files, strict=True):
            assert unquote(urlsplit(body["attachment"]).path) == unquote(locate(file.id, file.name))
            assert int(body["attachmentSize"]) == len(file.content) == expected.size
            assert expected.sha256 == hashlib.sha256(file.content).hexdigest()
            assert 1_000 <= expected.size <= 8_000


def test_numbers_that_ensono_already_has_are_adopted_and_never_returned() -> None:
    numbered = [life for life in LIVES if life.outcome.adopted_number]
    assert {life.story for life in numbered} == {"case-numbered", "case-returned", "change-numbered"}
    for life in numbered:
        assert (life.outcome.client_tickets, life.outcome.returnptn) == (1, 0)
        assert {read_body(message)["clientTicketNumber"] for message in life.messages} == {life.outcome.adopted_number}


def test_expected_fields_stand_in_some_message_of_the_life() -> None:
    for life in LIVES:
        shown = [body | (body.get("changed") or {}) for body in map(read_body, life.messages)]
        for name, value in life.outcome.fields.items():
            assert any(body.get(name) == value for body in shown), (life.story, name)


def test_the_mix_holds_what_processors_stumble_over() -> None:
    updates = [body for life in CASES for body in list_of(life, "Update")]
    assert any("changed" not in body for body in updates)
    assert any(body.get("changed") == {} for body in updates)
    misleading = [
        body
        for life in CASES
        for body in list_of(life, "Notes")
        if body["status"] == "pending" and body["description"] == "only notes may be applied"
    ]
    assert misleading
    assert any(len(body["notes"]["body"]) == 4000 for life in LIVES for body in list_of(life, "Notes"))
    assert {"Standard", "Normal", "Emergency"} == {life.outcome.fields["type"] for life in CHANGES}
    codes = {life.outcome.fields.get("closeCode") for life in CHANGES}
    assert codes >= {
        "Successful",
        "Successful with issues",
        "Successful Outside Change Window",
        "Unsuccessful",
    }


def describe(life: ScriptedLife) -> dict[str, Any]:
    """The document that a life must lead to, as far as its outcome speaks of it."""
    outcome = life.outcome
    tickets = [
        {"number": f"LOCAL-{generation}", "generation": generation, "returned": True}
        for generation in range(1, outcome.client_tickets + 1)
    ]
    return {
        "type": outcome.type,
        "state": outcome.state,
        "history": [{"from": before, "to": state} for before, state in pairwise([None, *outcome.history])],
        "generation": outcome.generation,
        "client_ticket": tickets[-1]["number"] if tickets else None,
        "client_tickets": tickets,
        "notes": [{"id": note} for note in outcome.notes],
        "attachments": [{**msgspec.to_builtins(file), "status": "stored"} for file in outcome.files],
        "approvals": [{"id": approval} for approval in outcome.approvals],
        "fields": {**outcome.fields, "another": "field"},
        "anomalies": [{"code": code} for code in reversed(outcome.anomalies)],
        "effects": [{"state": "completed"}],
    }


def test_a_document_that_shows_what_is_expected_differs_in_nothing() -> None:
    for life in LIVES:
        assert life.outcome.differences(describe(life)) == []


@pytest.mark.parametrize(
    ("member", "value", "told"),
    [
        ("type", "Problem", "type"),
        ("state", "lost", "state 'lost', not "),
        ("history", [], "history"),
        ("generation", 9, "generation 9, not 1"),
        ("client_ticket", "LOCAL-9", "client ticket False, not True"),
        ("client_tickets", [{"number": "LOCAL-1", "generation": 1, "returned": False}], "client tickets [(1, False)]"),
        ("notes", [], "notes [], not "),
        ("attachments", [], "files [], not "),
        ("approvals", [{"id": "a"}], "approvals ['a'], not []"),
        ("fields", {}, "fields "),
        ("anomalies", [{"code": "late"}], "anomalies ['late'], not []"),
        ("effects", [{"state": "parked"}], "effects left {'parked'}, not set()"),
    ],
)
def test_each_part_of_a_document_that_is_not_as_expected_is_named(member: str, value: object, told: str) -> None:
    life = next(
        life
        for life in CASES
        if life.outcome.notes and life.outcome.files and not life.outcome.anomalies and life.outcome.returnptn
    )
    [found] = life.outcome.differences({**describe(life), member: value})
    assert found.startswith(told)


def test_a_document_that_is_not_there_is_a_difference() -> None:
    assert LIVES[0].outcome.differences(None) == ["it has no document"]
