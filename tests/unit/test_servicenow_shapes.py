"""What ServiceNow's own exports look like beside the guide's samples: each shape's whole document, or its flags."""

from __future__ import annotations

import json
from typing import Any, Final

import msgspec
import pytest

from ecproc.domain.log import RecordedEvent
from ecproc.fold.tickets import MACHINES
from ecproc.reading.documents import document_of
from ecproc.testing.ticket import FIRST_SEQUENCE, START
from ecproc.wire.queue import decode_message

TICKET: Final = "e-CS1"
CHANGE: Final = "e-CHG1"
Body = dict[str, Any]


def incident(**members: Any) -> Body:
    identity = {"clientName": "testClient", "ticketNumber": TICKET, "clientTicketNumber": "", "ticketType": "Incident"}
    return {**identity, "status": "open", "priority": "4", **members}


def change(**members: Any) -> Body:
    identity = {"clientName": "testClient", "ticketNumber": CHANGE, "clientTicketNumber": "", "ticketType": "Change"}
    return {**identity, "type": "Normal", "state": "Assess", **members}


def shown(display: object, value: object) -> Body:
    return {"display_value": display, "value": value}


def document(*bodies: tuple[str, Any]) -> dict[str, Any]:
    """The ticket's document once these transactions were received, one second after the other."""
    events = []
    for count, (transaction, body) in enumerate(bodies, 1):
        attributes = {
            "SentTimestamp": str((START + count) * 1000),
            "SequenceNumber": str(FIRST_SEQUENCE + count),
            "TransactionType": transaction,
            "MessageGroupId": CHANGE if isinstance(body, dict) and body.get("ticketNumber") == CHANGE else TICKET,
            "ClientReferenceAvailable": False,
        }
        raw = json.dumps({"MessageId": f"m{count}", "Body": body, "Attributes": attributes}).encode()
        envelope = decode_message(raw)
        at = (START + count) * 1_000_000
        events.append(
            RecordedEvent(count, envelope.stream, count, at, "MessageReceived", envelope.payload, b"", envelope.key)
        )
    found = document_of(events[0].stream, events, machines=MACHINES, entries=100)
    assert found is not None
    return dict(msgspec.json.decode(found))


def flags(found: dict[str, Any]) -> list[str]:
    return [item["code"] for item in found["anomalies"]]


# --- whole documents ---


@pytest.mark.requirement("R50", "R56")
def test_display_value_objects_are_read_as_each_field_means_them() -> None:
    body = incident(
        ticketNumber=shown(TICKET, "4f3d2c1b0a9988776655443322110099"),
        ticketType=shown("Incident", "incident"),
        status=shown("Work in Progress", "2"),
        priority=shown("3 - Moderate", "3"),
        impact=shown("2 - Medium", 2),
        urgency=shown("Low", 3),
        shortDescription=shown("cannot open mail", "cannot open mail"),
        group={"display_value": "Ensono Support", "link": "https://x.service-now.com/api/now/table/sys_user_group/1"},
        openedTime=shown("02/08/2023 10:25:44 AM", "2023-02-08 16:25:44"),
        cis=shown("", ""),
        category=shown(None, None),
        origin={"value": "Web"},
        description=shown("", "only stored"),
    )

    assert document(("Create", body)) == {
        "ticket": TICKET,
        "type": "Incident",
        "state": "workinprogress",
        "client_ticket": None,
        "generation": 1,
        "paused": False,
        "scope": {"in": True, "rule": ""},
        "version": 1,
        "position": 1,
        "opened_at": "2023-02-08T16:25:44.000000Z",
        "updated_at": "2023-11-14T22:13:21.000000Z",
        "fields": {
            "priority": "3",
            "impact": "2",
            "urgency": "Low",
            "shortDescription": "cannot open mail",
            "group": "Ensono Support",
            "openedTime": "2023-02-08 16:25:44",
            "cis": "",
            "origin": "Web",
            "description": "only stored",
        },
        "notes": [],
        "attachments": [],
        "approvals": [],
        "client_tickets": [],
        "history": [
            {
                "position": 1,
                "at": "2023-11-14T22:13:21.000000Z",
                "event": "Create",
                "from": None,
                "to": "workinprogress",
            }
        ],
        "effects": [],
        "anomalies": [
            {"position": 1, "code": "unexpected_state", "detail": "start to workinprogress"},
        ],
        "waiting_for": None,
        "history_count": 1,
        "anomalies_count": 1,
        "effects_count": 0,
    }


@pytest.mark.requirement("R150", "R151", "R154")
def test_a_change_in_display_value_objects_has_its_type_and_state() -> None:
    body = change(
        type=shown("Standard", "standard"),
        state=shown("Scheduled", -2.0),
        risk=shown("High", 2.0),
        impact=shown("Low", 3),
        startDate=shown("", ""),
        endDate=shown("2023-02-09 10:00:00", "2023-02-09 16:00:00"),
        approval=shown("Not Yet Requested", "not requested"),
    )

    found = document(("Create", body))

    assert (found["type"], found["state"], found["anomalies"]) == ("Change", "Scheduled", [])
    assert found["fields"] == {
        "type": "Standard",
        "risk": "High",
        "impact": "Low",
        "endDate": "2023-02-09 16:00:00",
        "approval": "Not Yet Requested",
    }


@pytest.mark.requirement("R50")
def test_floats_and_numbers_are_the_texts_a_person_would_write() -> None:
    body = incident(priority=3.0, impact=2, urgency=1.5, cis=[1001.0, "b"], clientTicketNumber=4711.0)

    found = document(("Create", body))

    assert found["fields"] == {"priority": "3", "impact": "2", "urgency": "1.5", "cis": "1001,b"}
    assert (found["client_ticket"], found["anomalies"]) == ("4711", [])


@pytest.mark.requirement("R55")
@pytest.mark.parametrize(
    ("text", "opened_at"),
    [
        ("2023-02-08T16:25:44Z", "2023-02-08T16:25:44.000000Z"),
        ("2023-02-08 16:25:44", "2023-02-08T16:25:44.000000Z"),
        ("2023-02-08T17:25:44.250+01:00", "2023-02-08T16:25:44.250000Z"),
        ("2023-02-08", "2023-02-08T00:00:00.000000Z"),
        ("20230208T162544Z", "2023-02-08T16:25:44.000000Z"),
        *((text, None) for text in ("08/02/2023 16:25:44", "08-02-2023 16:25:44", "Feb 8, 2023", "1675873544", "0")),
    ],
)
def test_a_date_is_read_or_flagged_and_never_replaced(text: str, opened_at: str | None) -> None:
    found = document(("Create", incident(openedTime=text)))

    assert found["opened_at"] == opened_at
    assert found["fields"]["openedTime"] == text
    detail = f"openedTime {text!r} is no time"
    assert found["anomalies"] == ([] if opened_at else [{"position": 1, "code": "unknown_value", "detail": detail}])


@pytest.mark.requirement("R55")
def test_an_unreadable_opening_is_filled_in_by_a_later_message() -> None:
    later = incident(openedTime="2023-02-08 16:25:44", changed={})

    found = document(("Create", incident(openedTime="yesterday")), ("Update", later))

    assert found["opened_at"] == "2023-02-08T16:25:44.000000Z"
    assert document(("Create", incident()))["opened_at"] == "2023-11-14T22:13:21.000000Z"


@pytest.mark.requirement("R157")
@pytest.mark.parametrize(
    "text",
    [
        pytest.param("first\r\nsecond\r\n\r\nlast\r\n", id="CRLF"),
        pytest.param("[code]<b>bold</b><script>alert(1)</script>[/code] and [code]\n[/code]", id="code markup"),
        pytest.param("Grüße, 日本語 \U0001f600 \t \u2028 end", id="all of Unicode"),
        pytest.param('C:\\temp\\new "quoted" {"a":[1]} </b>', id="backslashes and quotes"),
        pytest.param("ä€" * 50_000, id="100 kB"),
    ],
)
def test_a_text_is_kept_to_the_letter(text: str) -> None:
    note = {"type": "comment", "id": "n1", "body": text, "commenter": "A", "commenterEmail": ""}

    found = document(("Create", incident(description=text)), ("Notes", incident(notes=note)))

    assert found["fields"]["description"] == text
    assert [item["body"] for item in found["notes"]] == [text]
    assert found["anomalies"] == []


# --- parts in other shapes ---

JOURNAL: Final = (
    "2023-02-08 11:20:38 - Ann Example (Comments)\nplease call me\n(twice)\n\n"
    "2023-02-08 10:00:00 - Bob (Work notes)\nlooked at it\n\n"
)


@pytest.mark.requirement("R65")
@pytest.mark.parametrize(
    ("notes", "expected", "codes"),
    [
        ("please call me", [("m2:0", "please call me", "")], []),
        (["one", "two"], [("m2:0", "one", ""), ("m2:1", "two", "")], []),
        ('{"id":"n1","body":"as text","commenter":"A"}', [("n1", "as text", "A")], []),
        ({"id": "n1", "value": "by value", "author": "A"}, [("n1", "by value", "A")], []),
        ({"sys1": {"value": "one"}, "sys2": {"body": "two"}}, [("sys1", "one", ""), ("sys2", "two", "")], []),
        ({"id": "null", "body": "no id"}, [("m2:0", "no id", "")], []),
        ({"id": "n1", "body": shown("shown", "stored")}, [("n1", "shown", "")], []),
        ({"type": "work_notes", "id": "n1", "body": "x"}, [("n1", "x", "")], ["unknown_value"]),
        ({"id": "n1"}, [("n1", "", "")], ["unreadable_part"]),
        ([{"id": "n1", "body": "x"}, None, 7], [("n1", "x", "")], ["unreadable_part", "unreadable_part"]),
        (None, [], ["unreadable_part"]),
        (5, [], ["unreadable_part", "unreadable_part"]),
        ("", [], ["unreadable_part"]),
    ],
)
def test_notes_are_read_in_each_shape_or_flagged(
    notes: object, expected: list[tuple[str, str, str]], codes: list[str]
) -> None:
    found = document(("Create", incident()), ("Notes", incident(notes=notes)))

    assert [(item["id"], item["body"], item["author"]) for item in found["notes"]] == expected
    assert flags(found) == codes


@pytest.mark.requirement("R65", "R71")
def test_the_entries_of_a_journal_are_notes_and_come_once() -> None:
    found = document(
        ("Create", incident()),
        ("Notes", incident(notes=JOURNAL.split("\n\n", 1)[1])),
        ("Notes", incident(notes=JOURNAL)),
    )

    assert [(item["author"], item["body"]) for item in found["notes"]] == [
        ("Bob", "looked at it"),
        ("Ann Example", "please call me\n(twice)"),
    ]
    assert flags(found) == ["unknown_value"]
    assert found["anomalies"][0]["detail"] == "note type 'Work notes'"


@pytest.mark.requirement("R65", "R71")
def test_a_note_that_comes_again_with_another_text_is_flagged_and_kept_as_it_was() -> None:
    notes = [{"type": "comment", "id": "n1", "body": body} for body in ("one", "one", "two", "two")]

    found = document(("Create", incident()), *(("Notes", incident(notes=note)) for note in notes))

    assert [item["body"] for item in found["notes"]] == ["one"]
    assert flags(found) == ["body_differs"]


@pytest.mark.requirement("R61")
@pytest.mark.parametrize(
    "changed",
    [
        {"status": "pending"},
        {"Status": "pending"},
        {"state": "pending"},
        '{"status":"pending"}',
        ["status"],
        "status",
        "state; ",
        ["state"],
        [{"status": "pending"}],
        [{"field": "status", "old": "open", "new": "pending"}],
        '[{"name":"status","value":"pending"}]',
        {"status": {"from": "open", "to": "pending"}},
        {"status": shown("Pending", "pending")},
    ],
)
def test_only_what_stands_in_changed_is_applied_in_whatever_shape_it_comes(changed: object) -> None:
    found = document(("Create", incident()), ("Update", incident(status="pending", group="New", changed=changed)))

    assert (found["state"], found["fields"]) == ("pending", {"priority": "4"})
    assert flags(found) == []


@pytest.mark.requirement("R61", "R63")
@pytest.mark.parametrize("changed", [True, 7, "something else", ["no such field"], [1], "{cut"])
def test_where_changed_cannot_be_read_the_body_counts_and_it_is_flagged(changed: object) -> None:
    found = document(("Create", incident()), ("Update", incident(status="pending", priority="1", changed=changed)))

    assert (found["state"], found["fields"]["priority"]) == ("pending", "1")
    assert flags(found) == ["unreadable_part"]


def test_members_are_found_under_every_spelling_and_the_guides_own_counts() -> None:
    body = {
        **{"client_name": "testClient", "Ticket Number": TICKET, "TICKETTYPE": "Incident", "Status": "pending"},
        **{"short_description": "a", "Description": "b", "priority": "", "Priority": "2", "close-code": "resolved"},
        **{"Colour": "red", "impact": "1", "Impact": "3"},
    }

    found = document(("Create", body))

    assert (found["ticket"], found["type"], found["state"]) == (TICKET, "Incident", "pending")
    assert found["fields"] == {
        **{"shortDescription": "a", "description": "b", "priority": "2", "closeCode": "resolved"},
        **{"Colour": "red", "impact": "1"},
    }


@pytest.mark.parametrize("value", [{"a": 1}, {"display_value": "x", "more": 1}, [1, [2]], {"link": "https://x/1"}])
def test_a_structure_that_is_no_text_is_flagged_and_no_field(value: object) -> None:
    found = document(("Create", incident(origin=value)))

    assert "origin" not in found["fields"]
    assert flags(found) == ["unreadable_part"]


@pytest.mark.requirement("R16")
@pytest.mark.parametrize("before", ["\ufeff", " \ufeff\n", ""])
@pytest.mark.parametrize("behind", ["", "\x00", "\r\n"])
def test_what_pads_a_body_is_no_part_of_it(before: str, behind: str) -> None:
    found = document(("Create", before + json.dumps(incident()) + behind))

    assert (found["state"], found["anomalies"]) == ("open", [])


@pytest.mark.requirement("R16")
def test_half_a_character_costs_itself_and_nothing_else() -> None:
    found = document(("Create", incident(description="printer \ud83d broken", group="a\udc00\ud800b")))

    assert found["fields"]["description"] == "printer \ufffd broken"
    assert found["fields"]["group"] == "a\ufffd\ufffdb"
    assert flags(found) == ["unreadable_part"]
