"""A logged message as a fact: the guide's field tables, spellings and samples."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from ecproc.domain.events import Message, Place, TicketType, Transaction, Undecodable
from ecproc.domain.times import parse_time
from ecproc.wire.files import presigned_expiry
from ecproc.wire.queue import decode_message
from ecproc.wire.translate import attachment_url, translate

GuideMessage = Callable[[str], bytes]
PLACE = Place(position=7, version=3, at=1_700_000_000_000_000)


def fact(raw: bytes) -> Message | Undecodable:
    envelope = decode_message(raw)
    return translate(envelope.payload, PLACE, envelope.message_id)


def understood(raw: bytes) -> Message:
    message = fact(raw)
    assert isinstance(message, Message)
    return message


NO_FLAGS: list[object] = []


def told(transaction: str = "Update", *, attributes: Any = None, **body: Any) -> Message:
    whole = {"ticketType": "Incident", "ticketNumber": "e-CS1", **body}
    known = {"MessageGroupId": "e-CS1", "TransactionType": transaction, **(attributes or {})}
    return understood(json.dumps({"MessageId": "m1", "Body": whole, "Attributes": known}).encode())


# --- the guide's samples ---


@pytest.mark.requirement("R69", "R46", "R38")
def test_the_sample_of_a_create(guide_message: GuideMessage) -> None:
    message = understood(guide_message("incident-create"))

    assert (message.position, message.version, message.at) == (7, 3, 1_674_858_334_956_000)
    assert (message.transaction, message.ticket_type, message.status) == (Transaction.CREATE, "Incident", "open")
    assert (message.ticket_number, message.client_number, message.number_missing) == ("e-CS0879727", "", True)
    assert message.opened_at == 1_674_858_293_000_000
    assert (message.changed, message.notes, message.attachment, message.approval) == (None, (), None, None)
    assert message.fields == {
        "description": "test",
        "shortDescription": "test",
        "group": "Ensono Support",
        "ensonoGroup": "CS - 1st Line",
        "priority": "4",
        "impact": "3",
        "urgency": "3",
        "openedTime": "2023-01-27T22:24:53Z",
        "category": "Private Cloud",
        "origin": "Web",
        "cis": "",
    }


@pytest.mark.requirement("R70", "R58")
def test_the_sample_of_an_update(guide_message: GuideMessage) -> None:
    assert understood(guide_message("incident-update")).changed == {
        "updatedOn": "2023-01-27T22:26:29Z",
        "status": "pending",
        "statusNextAction": "pending-caller",
        "offHoldDate": "2023-01-28T22:26:23Z",
    }


@pytest.mark.requirement("R72", "R59", "C9")
def test_the_sample_of_a_closure(guide_message: GuideMessage) -> None:
    message = understood(guide_message("incident-closure"))

    assert (message.transaction, message.status) == (Transaction.CLOSURE, "resolved")
    assert message.changed is not None
    assert message.changed["closeCode"] == "resolved*"


@pytest.mark.requirement("R65")
def test_the_sample_of_a_note(guide_message: GuideMessage) -> None:
    (note,) = understood(guide_message("incident-notes")).notes

    assert (note.id, note.body) == ("33cd921f1b64211426a2da49b04bcb1e", "adding comment")
    assert (note.author, note.email) == ("Ensono User", "Ensono.User@Ensono.com")


@pytest.mark.requirement("R73", "C35")
@pytest.mark.parametrize(
    ("name", "sys_id", "expires_at"),
    [
        ("incident-attachment", "0ded161f1b64211426a2da49b04bcb2f", 1_674_944_915_000_000),
        ("change-attachment", "22aac7831bb02d1026a2da49b04bcb36", 1_675_884_163_000_000),
    ],
)
def test_the_samples_of_an_attachment(guide_message: GuideMessage, name: str, sys_id: str, expires_at: int) -> None:
    raw = guide_message(name)
    message = understood(raw)

    assert message.attachment is not None
    assert (message.attachment.id, message.attachment.name) == (sys_id, "rocket.jpg")
    assert (message.attachment.type, message.attachment.size) == ("image/jpeg", 138092)
    assert message.attachment.expires_at == expires_at
    assert message.status is None
    assert not {"attachment", "attachmentName", "attachmentSize"} & message.fields.keys()
    assert attachment_url(decode_message(raw).payload) == json.loads(raw)["Body"]["attachment"]


@pytest.mark.requirement("R74")
def test_the_sample_of_a_returned_number(guide_message: GuideMessage) -> None:
    message = understood(guide_message("incident-return-ensono-num"))

    assert (message.transaction, message.client_number) == (Transaction.RETURN_ENSONO_NUM, "INC1235678")
    assert (message.number_missing, message.status, message.fields) == (False, None, {})


@pytest.mark.requirement("R163", "R158")
def test_the_sample_of_a_changes_create(guide_message: GuideMessage) -> None:
    message = understood(guide_message("change-create"))

    assert (message.ticket_type, message.status) == (TicketType.CHANGE, "Assess")
    assert message.fields["type"] == "Normal"
    assert message.changed is None
    assert message.opened_at == 1_675_873_544_000_000


@pytest.mark.requirement("R165")
def test_the_sample_of_an_approval_request(guide_message: GuideMessage) -> None:
    asked = understood(guide_message("change-approval-request")).approval

    assert asked is not None
    assert (asked.id, asked.state) == ("157efa0f1b702d1026a2da49b04bcbf4", "requested")
    assert (asked.name, asked.email) == ("Default User", "noreply@client.com")


@pytest.mark.requirement("R166", "C13")
def test_the_sample_of_a_redraft(guide_message: GuideMessage) -> None:
    message = understood(guide_message("change-redraft"))

    assert (message.transaction, message.status) == (Transaction.REDRAFT, "New")
    assert "updatedOn" not in message.fields


# --- what may vary ---


@pytest.mark.requirement("R47", "C29")
def test_blanks_around_identity_do_not_count() -> None:
    message = told(clientName="testClient ", ticketNumber=" e-CS1 ", clientTicketNumber=" A ", ticketType=" incident ")

    assert (message.ticket_number, message.client_number, message.ticket_type) == ("e-CS1", "A", "Incident")


@pytest.mark.requirement("R48")
@pytest.mark.parametrize("text", ["Request", "request", "REQUEST "])
def test_a_ticket_type_is_read_in_any_case(text: str) -> None:
    assert told(ticketType=text).ticket_type is TicketType.REQUEST


@pytest.mark.requirement("R39", "R120")
@pytest.mark.parametrize(
    ("number", "available", "missing"),
    [
        *[("", value, True) for value in (False, True, None, "true")],
        *[("A", value, True) for value in (False, "false", " False ")],
        *[("A", value, False) for value in (True, "true", None, "", "Yes", 1)],
        *[("A", value, True) for value in (0, "No", "maybe", "F", NO_FLAGS, {"a": True})],
    ],
)
def test_a_number_is_missing_if_it_is_empty_or_the_flag_says_no(number: str, available: object, missing: bool) -> None:
    message = told(clientTicketNumber=number, attributes={"ClientReferenceAvailable": available})

    assert message.number_missing is missing


@pytest.mark.requirement("R16")
def test_a_body_that_is_a_string_is_read_as_the_json_in_it() -> None:
    inner = {"ticketType": "Incident", "ticketNumber": "e-CS1", "status": "open"}
    raw = json.dumps({"Body": json.dumps(inner), "Attributes": {"MessageGroupId": "e-CS1"}}).encode()

    assert understood(raw).status == "open"


@pytest.mark.requirement("R16", "R237")
@pytest.mark.parametrize(
    ("body", "reason"),
    [
        *(("null", "undecodable"), ('"null"', "undecodable"), ("7", "undecodable"), ("[]", "undecodable")),
        *(('"[]"', "undecodable"), ('"{"', "undecodable"), ('"\\"[]\\""', "undecodable")),
    ],
)
def test_a_body_that_is_no_object_cannot_be_taken(body: str, reason: str) -> None:
    refused = fact(f'{{"Body":{body},"Attributes":{{"MessageGroupId":"e-CS1"}}}}'.encode())

    assert isinstance(refused, Undecodable)
    assert refused.reason == reason


@pytest.mark.requirement("R50")
@pytest.mark.parametrize(
    ("value", "text"),
    [
        (4, "4"),
        (4.5, "4.5"),
        (True, "true"),
        (False, "false"),
        ("", ""),
        (4.0, "4"),
        (["4"], "4"),
    ],
)
def test_a_field_is_text_whatever_json_it_was(value: object, text: str) -> None:
    assert told(priority=value).fields == {"priority": text}


@pytest.mark.requirement("R55")
def test_a_null_says_nothing_and_an_empty_time_is_null() -> None:
    assert told(priority=None, updatedOn="", offHoldDate="", startDate="", cis="").fields == {"cis": ""}


@pytest.mark.requirement("R55")
def test_times_that_cannot_be_read_are_named_in_one_order() -> None:
    names = ["updatedOn", "startDate", "offHoldDate", "endDate", "openedTime"]
    body = dict.fromkeys(names, "soon")

    details = [remark.detail for remark in told(**body).remarks if "soon" in remark.detail]

    assert details == [f"{name} 'soon' is no time" for name in sorted(names)]


@pytest.mark.requirement("C13")
def test_fields_keep_the_order_they_came_in_whether_the_guide_has_them_or_not() -> None:
    body: dict[str, Any] = {
        "Colour": "red",
        "cis": "a",
        "": "b",
        "updateOn": "2023",
        "impact": "2",
        "updatedOn": None,
        "status": "o",
    }

    assert list(told(**body).fields.items()) == [
        ("Colour", "red"),
        ("cis", "a"),
        ("", "b"),
        ("updatedOn", "2023"),
        ("impact", "2"),
    ]


@pytest.mark.requirement("R62", "C13")
def test_in_changed_a_null_clears_and_spellings_are_one() -> None:
    assert told(changed={"updateOn": "x", "priority": None}).changed == {"updatedOn": "x", "priority": ""}
    assert told(Impact="Low").fields == {"impact": "Low"}


@pytest.mark.requirement("R63")
@pytest.mark.parametrize(("value", "changed"), [(None, None), ("", {}), ([], {}), ({}, {})])
def test_changed_may_be_empty_and_is_absent_only_as_null(value: object, changed: object) -> None:
    assert told(changed=value).changed == changed


@pytest.mark.requirement("R65")
@pytest.mark.parametrize("value", [None, "", 5, [None, {}], {}])
def test_what_is_no_note_is_none(value: object) -> None:
    assert told(notes=value).notes == ()


@pytest.mark.requirement("R139", "C35")
@pytest.mark.parametrize(
    "info", ["https://x/attachment/a1", "https://x/attachment/a1/", "a1", "https://x/attachment/a1/file?sysparm=1"]
)
def test_a_files_id_stands_behind_attachment_in_its_info(info: str) -> None:
    attachment = told(attachmentName="a", attachmentInfo=info).attachment

    assert attachment is not None
    assert attachment.id == "a1"


@pytest.mark.requirement("R139", "R140")
def test_a_file_without_an_id_is_known_by_what_it_is() -> None:
    found = [told(attachmentName=name, attachmentSize=size).attachment for name in "ab" for size in ("1", "x")]

    assert len({item.id for item in found if item}) == 4
    assert [item.size for item in found if item] == [1, None, 1, None]


@pytest.mark.requirement("R165", "C11")
@pytest.mark.parametrize(
    ("word", "state"),
    [("Requested", "requested"), (" APPROVED ", "approved"), ("Rejected", "rejected"), ("?", ""), ("", "requested")],
)
def test_an_approvals_state_is_read_in_any_case(word: str, state: str) -> None:
    asked = told("Approval Request", approvalId="a1", approvalState=word).approval

    assert asked is not None
    assert asked.state == state


@pytest.mark.requirement("R165", "C14")
@pytest.mark.parametrize("name", ["approvalId", "approvalID", "APPROVALID", "approvalid"])
def test_an_approvals_id_is_read_in_any_case_and_is_no_field(name: str) -> None:
    message = told("Approval Request", **{"ApprovalId": None, name: "a1", "ApprovalID ": "x", "aPPROVALiD": ""})

    assert message.approval is not None
    assert (message.approval.id, message.fields) == ("a1", {})


def test_an_approval_without_an_id_is_none() -> None:
    assert told("Approval Request", approverName="A").approval is None


# --- times ---


@pytest.mark.requirement("R55")
@pytest.mark.parametrize(
    ("text", "microseconds"),
    [
        ("2023-01-27T22:24:53Z", 1_674_858_293_000_000),
        ("2023-01-27T22:24:53.5+00:00", 1_674_858_293_500_000),
        ("2023-01-27T23:24:53+01:00", 1_674_858_293_000_000),
        ("2023-01-27 22:24:53", 1_674_858_293_000_000),
        ("1970-01-01", 0),
        *((text, None) for text in ("", "yesterday", "27.01.2023", "2023-13-01", "1e9")),
    ],
)
def test_a_time_is_microseconds_in_utc_or_none(text: str, microseconds: int | None) -> None:
    assert parse_time(text) == microseconds


@pytest.mark.requirement("R55")
@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"])
def test_a_time_at_the_ends_of_the_calendar_is_a_number(text: str) -> None:
    assert isinstance(parse_time(text), int)


@pytest.mark.requirement("R138", "C34")
@pytest.mark.parametrize(
    ("query", "expiry"),
    [
        ("X-Amz-Date=20230208T172243Z&X-Amz-Expires=7200", 1_675_884_163_000_000),
        ("X-Amz-Expires=0&a=b&X-Amz-Date=20230208T172243Z", 1_675_876_963_000_000),
        *(
            (text, None)
            for text in ("", "X-Amz-Date=20230208T172243Z", "X-Amz-Expires=5", "X-Amz-Date=x&X-Amz-Expires=5")
        ),
        ("X-Amz-Date=20230208T172243Z&X-Amz-Expires=x", None),
        ("X-Amz-Date=20230208T172243Z&X-Amz-Expires=" + "9" * 400, None),
        ("X-Amz-Date=20230208T172243Z&X-Amz-Expires=" + "9" * 5000, None),
    ],
)
def test_a_signed_url_tells_when_it_ends(query: str, expiry: int | None) -> None:
    assert presigned_expiry(f"https://b.s3.us-west-1.amazonaws.com/a.jpg?{query}") == expiry


@pytest.mark.parametrize("url", ["", "https://[", "x", "https://h/?X-Amz-Date=%00&X-Amz-Expires=%ff"])
@pytest.mark.requirement("R138")
def test_what_is_no_signed_url_ends_never(url: str) -> None:
    assert presigned_expiry(url) is None
