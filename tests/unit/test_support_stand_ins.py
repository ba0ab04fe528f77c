"""Stand-ins: the same for the same text of a kind, another for another, and nothing of the text in them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecproc.support.stand_ins import StandIns


def replace(name: str, value: Any) -> Any:
    return StandIns().replace({name: value})[name]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        *(("status", "Work in Progress"), ("state", "Authorize"), ("priority", "4 - Low")),
        *(("updatedOn", "2023-02-08 16:25:44"), ("attachmentType", "image/jpeg"), ("attachmentSize", "138092")),
        *(("approval", "Not Yet Requested"), ("TransactionType", "Approval Request"), ("type", "Standard")),
        *(("SequenceNumber", "18875507807458288128"), ("clientTicketNumber", "n/a"), ("shortDescription", "")),
        ("ClientReferenceAvailable", "false"),
    ],
)
def test_words_that_decide_and_what_fills_a_place_stay(name: str, text: str) -> None:
    assert replace(name, text) == text


@pytest.mark.parametrize(
    "name", ["status", "type", "approval", "risk", "statusNextAction", "attachmentType", "closeCode"]
)
def test_what_people_wrote_in_the_place_of_such_a_word_goes(name: str) -> None:
    assert "Ada" not in replace(name, "as Ada said")


def test_a_ticket_number_keeps_how_ensono_writes_it_and_stays_one_in_each_spelling() -> None:
    stand_ins = StandIns()
    numbers = [stand_ins.replace({"ticketNumber": text})["ticketNumber"] for text in ("e-CS0879727", "CS0879727")]
    assert numbers == ["e-CS0000001", "CS0000001"]
    assert stand_ins.replace({"MessageGroupId": "e-CHG0032103"}) == {"MessageGroupId": "e-CHG0000002"}
    assert stand_ins.replace({"clientTicketNumber": "ACME-0012345"}) == {"clientTicketNumber": "XXXX0000003"}
    assert isinstance(stand_ins.replace({"ticketNumber": 12345})["ticketNumber"], int)


def test_members_of_the_clients_own_are_renamed() -> None:
    replaced = StandIns().replace({"u_acme": "x", "Short Description": "y", "u_other": {"u_acme": 1}})
    assert list(replaced) == ["member1", "Short Description", "member2"]
    assert list(replaced["member2"]) == ["member1"]


def test_a_value_that_is_an_object_is_of_its_members_meaning() -> None:
    value = {"display_value": "Open", "value": "1", "link": "https://acme.example/x?sig=1"}
    replaced = replace("status", value)
    assert (replaced["display_value"], replaced["value"]) == ("Open", "1")
    assert replaced["link"].startswith("https://files.example.com/")
    change = {"field": "status", "oldValue": "open", "newValue": "resolved"}
    assert replace("changed", [change]) == [change]
    assert replace("changed", "priority, status") == "priority, status"
    assert "Ada" not in json.dumps(replace("changed", {"shortDescription": {"old": "Ada", "new": "Ada L"}}))


def test_an_address_keeps_when_it_ends_and_nothing_else() -> None:
    text = "https://acme.s3.amazonaws.com/cv-ada.pdf?X-Amz-Date=20230208T172243Z&X-Amz-Expires=7200&X-Amz-Signature=00"
    assert replace("attachment", text) == (
        "https://files.example.com/attachment/file1?X-Amz-Date=20230208T172243Z&X-Amz-Expires=7200"
    )


@given(st.lists(st.text(max_size=60), max_size=20))
def test_texts_are_told_apart_and_found_again(texts: list[str]) -> None:
    stand_ins = StandIns()
    replaced = [stand_ins.replace({"description": text})["description"] for text in texts]
    again = [stand_ins.replace({"description": text})["description"] for text in texts]
    assert replaced == again
    assert len(set(replaced)) == len(set(texts))


@pytest.mark.parametrize("text", ["https://[", "http://acme.example/cv-ada-deadbeef00.pdf?X-Amz-Date=ada", "ada"])
def test_an_odd_address_says_nothing(text: str) -> None:
    replaced = replace("attachment", text)
    assert replaced == "https://files.example.com/attachment/file1"


def test_a_number_that_may_tell_of_somebody_is_another_one() -> None:
    replaced = StandIns().replace(
        {"u_phone": 442079460958, "priority": 4, "count": 17, "status": 100000, "long": "9" * 9000}
    )
    assert replaced == {
        "member1": 100000000001,
        "priority": 4,
        "member2": 17,
        "status": 100000,
        "member3": replaced["member3"],
    }
    assert len(replaced["member3"]) == 9000


LEAVES = st.none() | st.booleans() | st.integers() | st.text(max_size=8)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=8), inner), max_leaves=20
)


@given(VALUES)
def test_the_form_of_a_value_stays(value: Any) -> None:
    def form(part: Any) -> Any:
        match part:
            case dict():
                return [form(item) for item in part.values()]
            case list():
                return [form(item) for item in part]
            case _:
                return type(part)

    assert form(StandIns().replace({"x": value})) == form({"x": value})
