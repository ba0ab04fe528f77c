"""What a client's system posts, read as news."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecproc.desk.webhook.posts import Told, read_post
from ecproc.domain.external import ExternalDecision, ExternalKind, ExternalNote
from ecproc.domain.remarks import Remark


def read(kind: str, **data: Any) -> Told:
    body = json.dumps({"type": kind, "timestamp": "2026-11-27T16:00:00Z", "data": data}).encode()
    told = read_post("itsm", "msg_1", body)
    assert told is not None
    assert (told.event.source, told.event.id, told.event.at) == ("itsm", "msg_1", "2026-11-27T16:00:00Z")
    assert told.event.body == body.decode() or told.content is not None
    return told


def test_a_late_number_names_its_create() -> None:
    event = read("ticket.created", key="create:e-CS1:g1", number=4711, reference="sys", state="open").event
    assert (event.kind, event.key, event.number, event.reference) == ("created", "create:e-CS1:g1", "4711", "sys")
    assert event.view == {"status": ("open", "open")}
    assert read("ticket.created", key="k", number="INC1").event.view == {}


def test_a_change_holds_what_it_names_and_nothing_else() -> None:
    event = read(
        "ticket.changed", number="INC1", state="pending", fields={"priority": 2, "group": None}, by="ann"
    ).event
    assert (event.kind, event.number, event.by) == ("record", "INC1", "ann")
    assert event.view == {"priority": ("2", "2"), "group": ("", ""), "status": ("pending", "pending")}
    assert read("ticket.changed", number="INC1", fields={"state": "open"}).event.view == {"status": ("open", "open")}
    assert read("ticket.changed", number="INC1").event.view == {}


def test_the_fields_of_a_record_are_kept_as_they_came_for_a_mapping_to_read() -> None:
    told = read("ticket.changed", number="INC1", state="7", fields={"prio": "P4"})
    assert told.fields == {"prio": "P4", "status": "7", "state": "7"}


def test_a_note_is_somebodys() -> None:
    event = read("ticket.note", number="INC1", id="7", body="hi", author="Ann", email="a@example.com", at="T").event
    assert (event.kind, event.note) == ("note", ExternalNote("hi", "Ann", "a@example.com", "T"))


def test_a_file_comes_with_its_content_or_from_an_address() -> None:
    told = read(
        "ticket.attached", number="INC1", name="a.txt", type="text/plain", content_base64=b64encode(b"abc").decode()
    )
    assert (told.event.kind, told.content, told.url, told.name) == ("attachment", b"abc", "", "a.txt")
    assert told.event.body == "", "its bytes stand in no event"
    told = read("ticket.attached", number="INC1", name="a.txt", url="https://files.example.com/1", size=3)
    assert (told.content, told.url, told.size, told.type) == (
        None,
        "https://files.example.com/1",
        3,
        "application/octet-stream",
    )
    told_none = read_post("s", "1", b'{"type":"ticket.attached","data":{"number":"1","name":"x","content_base64":"%"}}')
    assert told_none is not None
    assert told_none.content is None
    assert told_none.event.remarks == (Remark("incomplete", "attachment x: its base64 cannot be read"),)


@pytest.mark.parametrize(
    ("word", "approved"), [("approved", True), ("Approve ", True), ("rejected", False), ("REJECT", False)]
)
def test_a_decision_is_yes_or_no(word: str, approved: bool) -> None:
    event = read("approval.decided", number="CHG1", approver="a@example.com", decision=word, comment="ok").event
    assert event.decision == ExternalDecision(approved, "a@example.com", "ok")


def test_a_decision_in_other_words_decides_nothing() -> None:
    event = read("approval.decided", number="CHG1", approver="a", decision="perhaps").event
    assert (event.decision, event.remarks) == (None, (Remark("unknown_value", "decision: perhaps"),))


def test_a_probe_is_no_news() -> None:
    assert read_post("itsm", "1", b'{"type":"probe","timestamp":"T","data":{"key":"k"}}') is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff",
        b"[]",
        b"{}",
        b'{"type":"ticket.note"}',
        b'{"type":"x","data":{}}',
        b'{"type":"ticket.note","data":{"body":7}}',
    ],
)
def test_what_cannot_be_read_is_kept(body: bytes) -> None:
    told = read_post("itsm", "1", body)
    assert told is not None
    assert told.event.kind is ExternalKind.UNDECODABLE
    assert (told.event.body.encode() or b64decode(told.event.body_base64)) == body


@given(body=st.binary(max_size=100))
def test_nothing_that_comes_raises(body: bytes) -> None:
    read_post("itsm", "1", body)
