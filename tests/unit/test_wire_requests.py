"""Calls to the bridge, byte for byte."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecproc.domain.effects import LANES, Effect, EffectKind, Lane
from ecproc.domain.ids import EffectKey, TicketNumber
from ecproc.simulator.tickets import unescape
from ecproc.wire.requests import (
    FREE_TEXT,
    Spelling,
    ask_upload_url,
    describe_decision,
    encode_payload,
    escape_text,
    quote_segment,
    show_ticket,
    ticket_path,
    write_call,
)

HANDLE = "AQEBD4eNzuQjJoBJ+TRMwOo5Ub/VvF/AmGYEVooeBKrkEwUh+o9f3d48="
YOURS = Spelling(client_name="YourCompanyName")
JASON = {
    "body": "moving to different group",
    "commenter": "Jason Doe",
    "commentTime": "2017-07-03 17:55:48",
    "commenterEmail": "Jason.Doe@abc.com",
    "commenterPhone": "555-909-2395",
}
DECIDED_AT = 1_613_717_714_000_000
"""2021-02-19 06:55:14 UTC."""


def make_effect(kind: EffectKind, ticket: str = "e-CS0204070", **members: Any) -> Effect:
    members = {"ticket_type": "Incident", "number": "123456", "fields": {}, **members}
    return Effect(
        key=EffectKey("k"),
        kind=kind,
        generation=1,
        position=1,
        at=DECIDED_AT,
        ticket=TicketNumber("" if kind is EffectKind.CREATE_TICKET else ticket),
        **members,
    )


def encode(comments: list[dict[str, str]]) -> str:
    return json.dumps(comments)


def write(kind: EffectKind, fields: Mapping[str, str], spelling: Spelling = YOURS, **members: Any) -> tuple[Any, ...]:
    """Method, path and payload of the call."""
    method, path, body = write_call(make_effect(kind, fields=fields, **members), spelling)
    document = json.loads(body or b"")
    assert list(document) == ["payload"]
    return method, path, document["payload"]


@pytest.mark.requirement("R119", "R123", "R85")
@pytest.mark.parametrize(("ticket", "kind"), [("e-CS0879727", "Incident"), ("e-CHG0032103", "Change")])
def test_returning_a_number_is_the_documented_call(ticket: str, kind: str) -> None:
    effect = make_effect(EffectKind.RETURN_NUMBER, ticket, ticket_type=kind, number="INC0010299")

    assert write_call(effect, Spelling(client_name="testClient")) == (
        "PUT",
        f"/tickets/{ticket}/returnptn",
        f'{{"payload":{{"clientName":"testClient","ticketType":"{kind}","clientTicketNumber":"INC0010299"}}}}'.encode(),
    )


# --- the guide's own examples -----------------------------------------------------------------------------------------


@pytest.mark.requirement("R84", "R95", "R94")
def test_the_guides_create() -> None:
    fields = {
        "description": "test",
        "shortDescription": "test",
        "priority": "4",
        "group": "Ensono Service Desk",
        "contactName": "John Doe",
        "contactPhone": "800-555-1234",
        "contactEmail": "hello@world.com",
        "cis": "testCl1,testCl3,testCl6",
        "comments": encode([{**JASON, "body": "test"}]),
    }

    method, path, body = write_call(make_effect(EffectKind.CREATE_TICKET, fields=fields), YOURS)

    assert (method, path) == ("POST", "/tickets")
    assert body == (
        b'{"payload":{"clientName":"YourCompanyName","ticketType":"Incident","clientTicketNumber":"123456",'
        b'"priority":"4","group":"Ensono Service Desk","contactName":"John Doe","contactPhone":"800-555-1234",'
        b'"contactEmail":"hello@world.com","shortDescription":"test","description":"test",'
        b'"cis":"testCl1,testCl3,testCl6","comments":[{"body":"test","commenter":"Jason Doe",'
        b'"commentTime":"2017-07-03 17:55:48","commenterEmail":"Jason.Doe@abc.com","commenterPhone":"555-909-2395"}]}}'
    )


@pytest.mark.requirement("R101", "R102", "C24")
def test_the_guides_update() -> None:
    fields = {"shortDescription": "test update", "group": "Ensono Network Support", "priority": "3"}

    method, path, body = write_call(make_effect(EffectKind.UPDATE_TICKET, fields=fields), YOURS)

    assert (method, path) == ("PUT", "/tickets/e-CS0204070")
    assert body == (
        b'{"payload":{"clientName":"YourCompanyName","ticketType":"Incident","clientTicketNumber":"123456",'
        b'"priority":"3","group":"Ensono Network Support","shortDescription":"test update"}}'
    )


@pytest.mark.requirement("R114", "R115")
def test_the_guides_comment() -> None:
    effect = make_effect(EffectKind.ADD_COMMENTS, fields={"comments": encode([JASON])})

    assert write_call(effect, YOURS) == (
        "PUT",
        "/tickets/e-CS0204070/notes",
        b'{"payload":{"clientName":"YourCompanyName","ticketType":"Incident","clientTicketNumber":"123456",'
        b'"comments":[{"body":"moving to different group","commenter":"Jason Doe",'
        b'"commentTime":"2017-07-03 17:55:48","commenterEmail":"Jason.Doe@abc.com",'
        b'"commenterPhone":"555-909-2395"}]}}',
    )


@pytest.mark.requirement("R105", "R106", "R107")
@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (EffectKind.RESOLVE_TICKET, "resolved"),
        (EffectKind.CLOSE_TICKET, "closed"),
        (EffectKind.CANCEL_TICKET, "cancelled"),
    ],
)
def test_the_guides_resolve_and_its_like(kind: EffectKind, status: str) -> None:
    effect = make_effect(kind, fields={"closeNotes": "no longer needed"})

    assert write_call(effect, YOURS) == (
        "PUT",
        "/tickets/e-CS0204070",
        b'{"payload":{"clientName":"YourCompanyName","ticketType":"Incident","clientTicketNumber":"123456",'
        b'"status":"%b","closeNotes":"no longer needed"}}' % status.encode(),
    )


@pytest.mark.requirement("R173", "R175", "R176")
@pytest.mark.parametrize(
    ("kind", "method", "comment", "body"),
    [
        (
            EffectKind.APPROVE_CHANGE,
            "approve",
            "",
            "Jason Doe, Email: Jason.Doe@abc.com, Phone: 000-000-000 approved Change Request CHG00029641 via ecproc at"
            " 2021-02-19 06:55:14 UTC.",
        ),
        (
            EffectKind.REJECT_CHANGE,
            "reject",
            "time conflict.",
            "Jason Doe, Email: Jason.Doe@abc.com, Phone: 000-000-000 rejected this Change Request CHG00029641 due to"
            " time conflict via ecproc at 2021-02-19 06:55:14 UTC.",
        ),
    ],
)
def test_the_guides_decisions(kind: EffectKind, method: str, comment: str, body: str) -> None:
    effect = make_effect(
        kind,
        "e-CHG0000642",
        ticket_type="Change",
        number="CHG00029641",
        fields={
            "approver": "Jason.Doe@abc.com",
            "approverName": "Jason Doe",
            "approverPhone": "000-000-000",
            "approvalid": "157efa0f",
            "comment": comment,
        },
    )

    assert write_call(effect, YOURS) == (
        "PUT",
        f"/tickets/e-CHG0000642/{method}",
        b'{"payload":{"clientName":"YourCompanyName","ticketType":"Change","clientTicketNumber":"CHG00029641",'
        b'"approver":"Jason.Doe@abc.com","approvalid":"157efa0f","comments":[{"body":"%b"}]}}' % body.encode(),
    )


def test_a_decision_says_no_more_than_was_told_and_loses_nothing_of_it() -> None:
    fields = {"approver": "cab@client.com", "approvalid": "1", "comment": "CAB of Friday"}
    effect = make_effect(EffectKind.APPROVE_CHANGE, fields=fields, number="CHG1")

    assert describe_decision(effect) == (
        "Email: cab@client.com approved Change Request CHG1 via ecproc at 2021-02-19 06:55:14 UTC. CAB of Friday"
    )


@pytest.mark.requirement("R126", "R124")
def test_the_guides_reads_have_no_body() -> None:
    assert ask_upload_url("e-CS0204070", "test1.pdf") == ("GET", "/tickets/e-CS0204070/attachments/test1.pdf", None)
    assert show_ticket("e-CS0879714") == ("GET", "/tickets/e-CS0879714", None)


# --- what is said, and what is not ------------------------------------------------------------------------------------


@pytest.mark.requirement("C14", "C15", "R118")
def test_what_the_guide_contradicts_itself_in_is_spelled_as_configured() -> None:
    other = Spelling(client_name="C", approval_id_name="approvalId", change_note_type="Incident")
    decision, note = {"approvalid": "7", "approver": "a@b", "comment": "c"}, {"comments": encode([{"body": "x"}])}

    assert write(EffectKind.APPROVE_CHANGE, decision)[2]["approvalid"] == "7"
    assert write(EffectKind.APPROVE_CHANGE, decision, other)[2]["approvalId"] == "7"
    for spelling, told in ((YOURS, "Change"), (other, "Incident")):
        assert write(EffectKind.ADD_COMMENTS, note, spelling, ticket_type="Change")[2]["ticketType"] == told
        assert write(EffectKind.ADD_COMMENTS, note, spelling, ticket_type="Request")[2]["ticketType"] == "Request"
        assert write(EffectKind.APPROVE_CHANGE, decision, spelling, ticket_type="Change")[2]["ticketType"] == "Change"


EVERYTHING = {
    name: name
    for name in (
        *("status", "closeNotes", "description", "shortDescription", "group", "priority", "impact", "urgency", "cis"),
        *("contactName", "contactEmail", "contactPhone", "approver", "approvalid", "comment", "u_custom"),
    )
} | {"comments": encode([{"body": "b", "u_custom": "x", "commenter": ""}])}


@pytest.mark.requirement("R81")
@pytest.mark.parametrize("kind", [kind for kind in EffectKind if LANES[kind] is Lane.BRIDGE])
def test_no_call_goes_to_the_removed_close_endpoint(kind: EffectKind) -> None:
    method, path, _ = write(kind, EVERYTHING)

    assert path.rpartition("/")[2] in {"tickets", "e-CS0204070", "notes", "returnptn", "approve", "reject"}
    assert method == ("POST" if path == "/tickets" else "PUT")


@pytest.mark.requirement("R98", "R108", "R109")
@pytest.mark.parametrize(
    ("kind", "keys"),
    [
        (
            EffectKind.CREATE_TICKET,
            "priority impact urgency group contactName contactPhone contactEmail shortDescription description cis"
            " comments",
        ),
        (
            EffectKind.UPDATE_TICKET,
            "status closeNotes priority impact urgency group shortDescription description",
        ),
        (EffectKind.ADD_COMMENTS, "comments"),
        (EffectKind.RESOLVE_TICKET, "status closeNotes"),
        (EffectKind.CLOSE_TICKET, "status closeNotes"),
        (EffectKind.CANCEL_TICKET, "status closeNotes"),
        (EffectKind.APPROVE_CHANGE, "approver approvalid comments"),
        (EffectKind.REJECT_CHANGE, "approver approvalid comments"),
        (EffectKind.RETURN_NUMBER, ""),
    ],
)
def test_only_documented_keys_are_sent_and_only_where_they_are_read(kind: EffectKind, keys: str) -> None:
    payload = write(kind, EVERYTHING)[2]

    assert list(payload) == ["clientName", "ticketType", "clientTicketNumber", *keys.split()]
    assert all(set(comment) == {"body"} for comment in payload.get("comments", []))


def test_every_command_of_the_lane_has_its_call() -> None:
    calls = {kind: write(kind, EVERYTHING)[:2] for kind in EffectKind if LANES[kind] is Lane.BRIDGE}

    assert len(calls) == 9
    assert {path for method, path in calls.values() if method == "PUT"} == {
        "/tickets/e-CS0204070",
        *(f"/tickets/e-CS0204070/{method}" for method in ("returnptn", "notes", "approve", "reject")),
    }


@pytest.mark.requirement("R103")
def test_a_field_that_nobody_changed_is_not_sent_and_an_emptied_one_is() -> None:
    assert list(write(EffectKind.UPDATE_TICKET, {"priority": "2"})[2])[3:] == ["priority"]
    assert write(EffectKind.UPDATE_TICKET, {"group": ""})[2]["group"] == ""


@pytest.mark.parametrize(
    ("told", "sent"),
    [
        ("2026-03-01T10:00:00Z", "2026-03-01 10:00:00"),
        ("2026-03-01T10:00:00.123456+02:00", "2026-03-01 08:00:00"),
        ("2026-03-01 10:00:00", "2026-03-01 10:00:00"),
        ("yesterday", "yesterday"),
    ],
)
def test_a_comments_time_is_written_as_the_guide_writes_it(told: str, sent: str) -> None:
    fields = {"comments": encode([{"body": "x", "commentTime": told}])}

    assert write(EffectKind.ADD_COMMENTS, fields)[2]["comments"] == [{"body": "x", "commentTime": sent}]


# --- escaping ---------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("R99", "C26")
def test_the_guides_special_characters() -> None:
    text = 'This is a \r\n"Test"'
    body = write_call(make_effect(EffectKind.UPDATE_TICKET, fields={"description": text}), YOURS).body or b""

    assert rb'"description":"This is a \\r\\n\\\"Test\\\""' in body
    assert unescape(json.loads(body)["payload"]["description"]) == text


@pytest.mark.requirement("R99")
@given(st.text() | st.text('\\"\n\r\tntr/u0', max_size=12))
def test_what_was_escaped_comes_back_as_it_was(text: str) -> None:
    escaped = escape_text(text)

    assert unescape(escaped) == text
    assert not set(escaped.replace("\\\\", "").replace('\\"', "")) & {'"', "\n", "\r", "\t"}


@pytest.mark.requirement("R99")
def test_free_text_is_escaped_wherever_it_stands_and_nothing_else_is() -> None:
    odd = 'a\n"b"\\'
    fields = {name: odd for name in EVERYTHING} | {
        "comments": encode([{"body": odd, "commenter": odd, "commenterEmail": odd, "commenterPhone": odd}])
    }
    sent: dict[str, str] = {}
    for kind in (EffectKind.CREATE_TICKET, EffectKind.UPDATE_TICKET, EffectKind.CANCEL_TICKET):
        payload = write(kind, fields)[2]
        sent |= {name: text for name, text in payload.items() if name in EVERYTHING and isinstance(text, str)}
        sent |= payload.get("comments", [{}])[0]

    assert {name for name, text in sent.items() if text == escape_text(odd)} == FREE_TEXT - {"commentTime"}
    assert {sent["group"], sent["cis"]} == {odd}
    assert r"\n" in write(EffectKind.REJECT_CHANGE, {"comment": odd})[2]["comments"][0]["body"]


# --- paths ------------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("R27")
def test_a_handle_is_encoded_with_nothing_left_as_it_is() -> None:
    assert quote_segment(HANDLE) == "AQEBD4eNzuQjJoBJ%2BTRMwOo5Ub%2FVvF%2FAmGYEVooeBKrkEwUh%2Bo9f3d48%3D"


@pytest.mark.requirement("R49")
@pytest.mark.parametrize(
    ("ticket", "path"),
    [
        ("e-CS0879727", "/tickets/e-CS0879727"),
        ("E-cs1", "/tickets/E-cs1"),
        ("a/b?c#d", "/tickets/a%2Fb%3Fc%23d"),
        ("..", "/tickets/%2E%2E"),
        (".", "/tickets/%2E"),
        ("../..", "/tickets/..%2F.."),
        ("e-CS1.5", "/tickets/e-CS1.5"),
        ("é %", "/tickets/%C3%A9%20%25"),
    ],
)
def test_a_ticket_number_stays_one_segment_of_the_path(ticket: str, path: str) -> None:
    assert ticket_path(ticket) == path
    assert ticket_path(ticket, "notes") == f"{path}/notes"


@pytest.mark.requirement("R85")
def test_a_payload_holds_any_text() -> None:
    fields = {"description": 'a "b"\n\\ é\u0000😀', "clientTicketNumber": "18875507807458288128"}

    assert json.loads(encode_payload(fields)) == {"payload": fields}
