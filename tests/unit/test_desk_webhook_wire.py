"""The webhook desk's wire: what is sent, and what each answer means."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecproc.desk.base import DESK_KINDS, DeskAnswer, DeskCall, DeskRefused, DeskUnavailable, StoredFile
from ecproc.desk.webhook.wire import (
    HttpSeen,
    conclude,
    conclude_look_up,
    encode_call,
    encode_probe,
    make_id,
    read_answer,
)
from ecproc.domain.effects import EffectKind, Repeat
from ecproc.domain.remarks import Remark

CREATE = DeskCall(
    key="create:e-CS0879727:g1",
    kind=EffectKind.CREATE,
    ticket="e-CS0879727",
    ticket_type="Incident",
    number=None,
    fields={"priority": "4", "group": "Netz & Büro"},
    planned_at=1_795_795_200_999_999,
)
FILE = StoredFile("rocket.jpg", "image/jpeg", 138092, "ab" * 32, Path("/data/attachments/ab/ab"))


def of_kind(kind: str, number: str = "INC1", **more: Any) -> DeskCall:
    return msgspec.structs.replace(CREATE, kind=kind, key=f"{kind}:1", number=number, **more)


def tell(status: int, body: object = None, *, call: DeskCall = CREATE, repeat: Repeat = Repeat.KEYED) -> DeskAnswer:
    raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    return told_of(conclude(call, HttpSeen(status, raw, 7.0 if status in (429, 503) else None), repeat=repeat))


def told_of(answer: DeskAnswer) -> DeskAnswer:
    """The answer without what the record has."""
    return msgspec.structs.replace(answer, view={}, stamp=0)


def test_a_create_is_what_the_contract_says() -> None:
    assert json.loads(encode_call(CREATE, download=None)) == {
        "type": "ticket.create",
        "timestamp": "2026-11-27T16:00:00Z",
        "data": {
            "key": "create:e-CS0879727:g1",
            "ticket": "e-CS0879727",
            "ticket_type": "Incident",
            "generation": 1,
            "number": None,
            "reference": None,
            "timestamp": "2026-11-27T16:00:00Z",
            "fields": {"priority": "4", "group": "Netz & Büro"},
            "mapped": {},
            "note": None,
            "attachment": None,
        },
    }


def test_a_comment_is_a_note_and_a_file_an_attachment() -> None:
    comment = of_kind(EffectKind.COMMENT, fields={"body": "hello", "author": "A", "email": "a@example.com"})
    said = json.loads(encode_call(comment, download=None))
    assert (said["type"], said["data"]["fields"]) == ("ticket.comment", {})
    assert said["data"]["note"] == {"body": "hello", "author": "A", "email": "a@example.com"}
    attach = of_kind(EffectKind.ATTACH, file=FILE, reference="sys1", fields={"path": "attachments/ab/ab"})
    said = json.loads(encode_call(attach, download="https://hooks.example.com/hooks/files/T"))
    assert (said["data"]["fields"], said["data"]["reference"]) == ({}, "sys1")
    assert said["data"]["attachment"] == {
        "name": "rocket.jpg",
        "type": "image/jpeg",
        "size": 138092,
        "sha256": "ab" * 32,
        "download": "https://hooks.example.com/hooks/files/T",
    }
    assert json.loads(encode_call(attach, download=None))["data"]["attachment"]["download"] is None


@pytest.mark.parametrize("kind", DESK_KINDS)
def test_each_kind_has_its_type(kind: EffectKind) -> None:
    assert json.loads(encode_call(of_kind(kind), download=None))["type"] == f"ticket.{kind.split('_')[0]}"


def test_a_probe_asks_for_nothing() -> None:
    assert json.loads(encode_probe("probe:1", 1_795_795_200_000_000)) == {
        "type": "probe",
        "timestamp": "2026-11-27T16:00:00Z",
        "data": {"key": "probe:1"},
    }


@given(key=st.text(), other=st.text())
def test_an_id_is_the_keys_digest(key: str, other: str) -> None:
    digest = base64.b32encode(hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()).decode()
    assert make_id(key) == make_id(key) == f"msg_{digest[:26].lower()}"
    assert (make_id(key) == make_id(other)) == (key == other)
    assert "." not in make_id(key)


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        ({"number": "INC1", "state": "open"}, DeskAnswer("INC1", "open")),
        (
            {"number": 4711, "reference": 12, "url": "https://d.example/1"},
            DeskAnswer("4711", "open", "12", "https://d.example/1"),
        ),
        ({"number": "INC1", "state": None, "error": {"code": 1}, "more": []}, DeskAnswer("INC1", "open")),
    ],
)
def test_a_usable_answer_is_done(body: object, answer: DeskAnswer) -> None:
    assert tell(200, body) == tell(201, body) == answer


@pytest.mark.parametrize(
    ("kind", "fields", "state"),
    [
        (EffectKind.RESOLVE, {}, "resolved"),
        (EffectKind.CLOSE, {}, "closed"),
        (EffectKind.CANCEL, {}, "cancelled"),
        (EffectKind.REOPEN, {}, "open"),
        (EffectKind.REOPEN, {"state": "workinprogress"}, "workinprogress"),
        (EffectKind.UPDATE, {"state": "pending"}, "pending"),
        (EffectKind.UPDATE, {"priority": "2"}, ""),
        (EffectKind.COMMENT, {"body": "x"}, ""),
        (EffectKind.ATTACH, {}, ""),
    ],
)
def test_others_may_be_answered_with_nothing(kind: str, fields: dict[str, str], state: str) -> None:
    for status in (200, 202, 204):
        assert tell(status, call=of_kind(kind, fields=fields)) == DeskAnswer("INC1", state)
    assert tell(200, {"state": "waiting"}, call=of_kind(kind, fields=fields)) == DeskAnswer("INC1", "waiting")


def test_what_was_written_is_what_the_record_has() -> None:
    def see(call: DeskCall, answer: dict[str, str]) -> Mapping[str, str]:
        return conclude(call, HttpSeen(200, json.dumps(answer).encode()), repeat=Repeat.KEYED).view

    assert see(CREATE, {"number": "INC1"}) == {"priority": "4", "group": "Netz & Büro", "status": "open"}
    changed = of_kind(EffectKind.UPDATE, fields={"priority": "2", "state": "pending"})
    assert see(changed, {}) == {"priority": "2", "status": "pending"}
    assert see(changed, {"state": "waiting"}) == {"priority": "2", "status": "waiting"}
    assert see(of_kind(EffectKind.UPDATE, fields={"priority": "2"}), {}) == {"priority": "2"}
    assert see(of_kind(EffectKind.RESOLVE, fields={}), {}) == {"status": "resolved"}
    assert see(of_kind(EffectKind.COMMENT, fields={"body": "hello"}), {"state": "open"}) == {}


@pytest.mark.parametrize(
    "body", [None, {}, {"number": ""}, {"number": " n/a "}, b"<html>", b"[]", b'{"number":[]}', b"\xff"]
)
@pytest.mark.parametrize("repeat", [Repeat.KEYED, Repeat.LOOK_UP, Repeat.BLIND])
def test_a_create_without_a_number_is_blamed(body: object, repeat: Repeat) -> None:
    with pytest.raises(DeskRefused, match="no number in the answer") as refused:
        tell(200, body, repeat=repeat)
    assert refused.value.final is (repeat is not Repeat.KEYED), "what may be there is made again by no machine"


@pytest.mark.parametrize("repeat", [Repeat.KEYED, Repeat.LOOK_UP, Repeat.BLIND])
def test_pending_is_unknown_whatever_the_class(repeat: Repeat) -> None:
    with pytest.raises(DeskUnavailable, match="pending") as unknown:
        tell(202, {"pending": True}, repeat=repeat)
    assert unknown.value.sent


@pytest.mark.parametrize("status", [400, 404, 409, 422])
def test_a_refusal_keeps_the_receivers_words(status: int) -> None:
    with pytest.raises(DeskRefused) as refused:
        tell(status, {"error": "no group of that name"})
    assert str(refused.value) == f"the receiver answered {status}: no group of that name"
    assert not refused.value.final
    with pytest.raises(DeskRefused, match=f"^the receiver answered {status}$"):
        tell(status, b"<html>")
    with pytest.raises(DeskRefused) as long:
        tell(status, {"error": "x" * 10_000})
    assert len(str(long.value)) < 600


@pytest.mark.parametrize("status", [301, 302, 307, 308, 401, 403, 410])
def test_a_wrong_address_or_secret_holds_the_destination(status: int) -> None:
    with pytest.raises(DeskUnavailable) as held:
        tell(status, {"error": "no"}, repeat=Repeat.BLIND)
    assert (held.value.down, held.value.sent, bool(held.value.hint)) == (True, False, True)
    gone = Remark("odd_answer", "create_client_ticket: the receiver says that it is gone (410)")
    assert held.value.remarks == ((gone,) if status == 410 else ())


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
@pytest.mark.parametrize(("repeat", "sent"), [(Repeat.KEYED, False), (Repeat.LOOK_UP, True), (Repeat.BLIND, True)])
def test_trouble_is_held_only_where_the_key_is_known(status: int, repeat: Repeat, sent: bool) -> None:
    with pytest.raises(DeskUnavailable) as held:
        tell(status, b"<html>", repeat=repeat)
    assert (held.value.sent, held.value.down) == (sent, False)
    assert held.value.retry_after == (7.0 if status in (429, 503) else None)
    assert held.value.call == {"method": "POST", "status": str(status)}


@pytest.mark.parametrize(("repeat", "sent"), [(Repeat.KEYED, False), (Repeat.LOOK_UP, True)])
def test_a_page_for_people_is_no_success(repeat: Repeat, sent: bool) -> None:
    with pytest.raises(DeskUnavailable, match="odd answer") as odd:
        tell(200, b"<html>sign in</html>", call=of_kind(EffectKind.COMMENT), repeat=repeat)
    assert odd.value.sent is sent


def look(status: int, body: bytes, call: DeskCall = CREATE) -> DeskAnswer | None:
    answer = conclude_look_up(call, HttpSeen(status, body))
    return None if answer is None else told_of(answer)


def test_a_look_up_finds_or_finds_nothing() -> None:
    assert look(200, b'{"number":"INC1","state":"open"}') == DeskAnswer("INC1", "open")
    assert look(200, b"{}", of_kind(EffectKind.RESOLVE)) == DeskAnswer("INC1", "resolved")
    assert look(404, b'{"error":"never seen"}') is None


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (404, b""),
        (404, b"<html>"),
        (404, b"[]"),
        (200, b""),
        (200, b"{}"),
        (200, b'{"pending":true}'),
        (401, b"{}"),
        (500, b"{}"),
        (302, b"{}"),
        (204, b""),
    ],
)
def test_any_other_answer_to_a_look_up_is_none(status: int, body: bytes) -> None:
    with pytest.raises(DeskUnavailable) as unknown:
        look(status, body)
    assert unknown.value.sent


@given(body=st.binary(max_size=60))
def test_an_answer_is_read_whatever_it_is(body: bytes) -> None:
    read_answer(body)


def test_deep_nesting_is_no_defect() -> None:
    assert read_answer(b'{"error":' + b"[" * 100_000 + b"]" * 100_000 + b"}") is None
