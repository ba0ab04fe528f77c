"""Personal data masked: in members of their own, in JSON inside of texts, in texts, and nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ecproc.support.personal import PersonalMask


def mask(document: Any, *, known: Any = None) -> Any:
    masking = PersonalMask()
    for each in (known, document):
        masking.learn(json.dumps(each).encode())
    return json.loads(masking.mask(json.dumps(document).encode()))


def test_members_that_name_people_get_stand_ins_by_kind() -> None:
    document = {
        "commenter": "Ada Lovelace",
        "commenterEmail": "ada@x.org",
        "Commenter Phone": "555",
        "approverName": "B",
    }
    assert mask(document) == {
        "commenter": "[name 1]",
        "commenterEmail": "[email 1]",
        "Commenter Phone": "[phone 1]",
        "approverName": "[name 2]",
    }


@pytest.mark.parametrize(
    "member",
    [
        *("sys_created_by", "caller_id", "watch_list", "opened_for", "affected_user", "u_contact", "reassigned_to"),
        *("Opened By", "callerName", "u_second_contact"),
    ],
)
def test_a_member_that_is_called_after_a_role_names_somebody(member: str) -> None:
    masked = mask({member: "Ada Lovelace", "text": "ask Ada Lovelace"})
    assert masked == {member: "[name 1]", "text": "ask [name 1]"}


def test_a_name_beside_an_address_is_a_persons() -> None:
    masked = mask({"approvals": [{"name": "Ada", "email": ""}], "attachments": [{"name": "a.txt"}], "x": "says Ada"})
    assert masked == {
        "approvals": [{"name": "[name 1]", "email": ""}],
        "attachments": [{"name": "a.txt"}],
        "x": "says [name 1]",
    }


def test_words_of_ours_that_are_called_like_a_role_stay() -> None:
    document = {"history": [{"from": "open", "to": "closed"}], "waiting_for": {"what": "desk", "hint": "wait"}}
    assert mask(document) == document


def test_many_names_leave_room_for_numbers() -> None:
    people = [{"user": f"Somebody Number{place}"} for place in range(2100)]
    masked = mask({"text": "call 5551234 or 555 1234x"}, known=[*people, {"phone": "5551234"}])
    assert masked == {"text": "call [phone 1] or 555 1234x"}


def test_a_number_in_such_a_member_is_masked_too() -> None:
    masked = mask({"contactPhone": 442079460958, "user": 7, "x": "call 442079460958", "mobile": True})
    assert masked == {"contactPhone": "[phone 1]", "user": "[name 1]", "x": "call [phone 1]", "mobile": True}


def test_whoever_was_met_has_one_stand_in_everywhere() -> None:
    document = {"a": "Ask ADA  LOVELACE? No: Ada Lovelace.", "b": {"who": "ada lovelace"}, "c": "Adalbert"}
    masked = mask(document, known={"author": "Ada Lovelace"})
    assert masked["b"]["who"] == "[name 1]"
    assert masked["a"].endswith("No: [name 1].")
    assert masked["c"] == "Adalbert"


def test_an_object_that_names_somebody_is_masked_with_all_its_members() -> None:
    document = {"requestedBy": {"display_value": "Ada", "value": "f00", "link": "https://h/user/f00"}}
    assert set(mask(document)["requestedBy"].values()) == {"[name 1]", "[name 2]", "[name 3]"}


def test_json_inside_of_a_text_is_masked_as_json() -> None:
    inner = json.dumps({"notes": json.dumps([{"commenter": "Ada Lovelace", "body": "from Ada Lovelace"}])})
    masked = mask({"body": inner})
    (note,) = json.loads(json.loads(masked["body"])["notes"])
    assert note == {"commenter": "[name 1]", "body": "from [name 1]"}


def test_what_is_no_json_is_masked_as_text() -> None:
    masking = PersonalMask()
    broken = b'{"commenter" : "Ada L\xff", "x": "ada@x.org", \\"caller\\":\\"Bob B\\", "priority": "4",'
    masked = masking.mask(broken).decode()
    assert "Ada" not in masked
    assert "ada@x.org" not in masked
    assert "Bob" not in masked
    assert '"priority": "4"' in masked


@pytest.mark.parametrize(
    "text", ["+1 833-662-7378", "(0)30 1234 5678", "+491701234567", "089 123 45 67", "0171/1234567", "555-123-4567"]
)
def test_telephone_numbers_in_texts_are_masked(text: str) -> None:
    assert mask({"body": f"call {text} now"}) == {"body": "call [phone 1] now"}


@pytest.mark.parametrize(
    "text",
    [
        *("2023-02-08 16:25:44", "2023-02-08T16:25:44Z", "08/02/2023", "18875507807458288128", "1675873626479"),
        *("CS0879727", "e-CS0879727", "10.20.30.40", "f00d1234-1234-4123-8123-123456789012", "S0C7 at 02:10", "12 345"),
        *("157efa0f1b702d1026a2da49b04bcbf4", "PAYR0420", "v1.2.3-4567", "https://h/a/12345-67890"),
    ],
)
def test_what_is_no_telephone_number_stays(text: str) -> None:
    assert mask({"body": f"see {text} there"}) == {"body": f"see {text} there"}


def test_everything_else_stays_as_it_is() -> None:
    document = {
        "n": 18875507807458288128123,
        "f": 1.5,
        "t": True,
        "z": None,
        "l": ["", "x", {"status": "open"}],
        "commenter": "",
        "attachmentName": "a b.txt",
    }
    assert mask(document) == document


def test_deep_and_odd_documents_are_masked_without_harm() -> None:
    deep = b'{"a":' * 5000 + b'"ada@x.org"' + b"}" * 5000
    assert b"ada@x.org" not in PersonalMask().mask(deep)
    nested = [{"commenter": "Ada Lovelace"}]
    for _ in range(150):
        nested = [nested]  # type: ignore[list-item]
    assert b"Ada" not in PersonalMask().mask(json.dumps(nested).encode())
    assert json.loads(PersonalMask().mask(b'{"body":"\\ud83d and ada@x.org"}'))["body"].endswith("[email 1]")


@pytest.mark.timeout(60)
@pytest.mark.parametrize("piece", ["\\", "a", "a.", "1 ", "+1", "1-", '"', '"a" : ', "@", "a@", "a@b.", "(1", "/", " "])
def test_what_a_stranger_sends_is_masked_in_time_that_grows_with_its_length(piece: str) -> None:
    text = piece * (1_000_000 // len(piece))
    masking = PersonalMask()
    masking.learn(json.dumps({"commenter": "Ada Lovelace"}).encode())
    masking.mask_text(text)
    json.loads(masking.mask(json.dumps({"body": text}).encode()))


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("PUT /yourclient/prod/returnptn?clientName=Müller&apikey=canary", "PUT /yourclient/prod/returnptn?***"),
        ("host.example.com/a/ä?x=1&y=Ω&z=canary then", "host.example.com/a/ä?*** then"),
        ("(/?canary) and/or, why?", "(/?*** and/or, why?"),
    ],
)
def test_a_query_without_a_host_is_masked_to_its_end(text: str, masked: str) -> None:
    assert mask({"path": text, text: json.dumps([text])}) == {
        "path": masked,
        masked: json.dumps([masked], separators=(",", ":")),
    }


def test_a_query_in_broken_json_is_masked_beyond_what_is_escaped() -> None:
    broken = json.dumps({"path": "/a/b?name=Müller&apikey=canary", "x": "y"}).replace("&", "\\u0026")[:-1]
    assert PersonalMask().mask(broken.encode()) == b'{"path": "/a/b?***", "x": "y"'


def test_numbers_that_nothing_holds_are_texts() -> None:
    assert json.loads(PersonalMask().mask(b'{"n":1e400,"i":NaN,"z":-0.5}')) == {"n": "1e400", "i": "NaN", "z": -0.5}


def test_a_stand_in_is_not_masked_again() -> None:
    masking = PersonalMask()
    once = masking.mask(b'{"commenter":"Ada Lovelace","commenterEmail":"a@x.org"}')
    assert masking.mask(once) == once
