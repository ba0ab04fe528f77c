"""Answers to commands: every row of Appendix D for every call."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import pytest

from ecproc.domain.effects import LANES, EffectKind, Lane
from ecproc.wire.answers import blames_group, judge_call, judge_upload_url
from ecproc.wire.responses import Verdict

RESPONSES = Path(__file__).parents[1] / "fixtures" / "responses"
K, V = EffectKind, Verdict
COMMANDS: Final = [kind for kind in EffectKind if LANES[kind] is Lane.BRIDGE]
ASKING: Final = "upload URL"
"""The call that asks where a file can be put."""
CALLS: Final = [*COMMANDS, ASKING]
UPDATES: Final = (K.UPDATE_TICKET, K.RESOLVE_TICKET, K.CLOSE_TICKET, K.CANCEL_TICKET)
URL: Final = "https://bucket.s3.us-east-2.amazonaws.com/0123.test1.pdf?X-Amz-Expires=120&X-Amz-Signature=canary"


def read(name: str) -> bytes:
    (path,) = RESPONSES.glob(f"{name}.*")
    return path.read_bytes()


def say(response: object, **others: object) -> bytes:
    return json.dumps({"Response": response, **others}).encode()


def judge(call: str, status: int, body: bytes) -> Verdict:
    if call == ASKING:
        judgement, url = judge_upload_url(status, body)
        assert bool(url) == (judgement.verdict is V.ACCEPTED)
        return judgement.verdict
    return judge_call(EffectKind(call), status, body).verdict


DONE: Final = [
    *((kind, "Update Successful") for kind in UPDATES),
    *((kind, "Ticket Closed Successfully") for kind in UPDATES),
    (K.RETURN_NUMBER, "PTN added"),
    (K.ADD_COMMENTS, "Comments added"),
    (K.APPROVE_CHANGE, "Approval Received Successfully"),
    (K.REJECT_CHANGE, " Rejection Received Successfully"),
    (K.CREATE_TICKET, "e-CS0204070"),
]


@pytest.mark.requirement("R84", "R174", "R101")
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(("kind", "words"), DONE)
def test_done_is_what_means_done_for_this_very_call(call: str, kind: EffectKind, words: str) -> None:
    means_done = (call, words) in DONE

    for told in (words, words.upper(), f"  {words} "):
        for status in (200, 201, 202):
            assert judge(call, status, say(told)) is (V.ACCEPTED if means_done else V.ODD)
    assert judge(call, 500, say(words)) is V.TROUBLE
    assert judge(call, 200, say(words, errorMessage="boom")) is V.TROUBLE


@pytest.mark.requirement("R84", "R105", "C6")
@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (K.CREATE_TICKET, "ticket-create-200"),
        (K.UPDATE_TICKET, "ticket-update-202"),
        (K.RESOLVE_TICKET, "ticket-resolve-200"),
        (K.ADD_COMMENTS, "notes-200"),
        (K.RETURN_NUMBER, "returnptn-200"),
        (K.APPROVE_CHANGE, "approve-200"),
        (K.REJECT_CHANGE, "reject-200"),
    ],
)
def test_the_guides_own_answers_mean_done(kind: EffectKind, name: str) -> None:
    assert judge_call(kind, int(name.rpartition("-")[2]), read(name)).verdict is V.ACCEPTED


ROWS: Final[list[tuple[int, bytes, Verdict]]] = [
    # 2xx, other text, not a known error: it may mean anything (decision 21)
    *((status, say("Thank you"), V.ODD) for status in (200, 202)),
    # any status, Response is a list
    *((status, say(["The ticket is closed.", "no"]), V.REFUSED) for status in (200, 400, 500)),
    *((status, read("error-invalid-group"), V.REFUSED) for status in (200, 400, 500)),
    # any status, the documented refusals
    *((status, read("error-bad-path"), V.MISCONFIGURED) for status in (200, 400, 404, 500)),
    *((status, read("error-apikey-not-authorized"), V.REFUSED) for status in (200, 400, 403)),
    *((status, read("error-clientname-mapping"), V.MISCONFIGURED) for status in (200, 400)),
    *((status, read("error-missing-authentication-token"), V.MISCONFIGURED) for status in (200, 403)),
    *((status, read("error-forbidden"), V.MISCONFIGURED) for status in (200, 403)),
    # 429, 5xx; a gateway's 504 says that time ran out
    *((status, body, V.TROUBLE) for status in (429, 500, 502, 503) for body in (b"", b"<html>", b'{"message":"x"}')),
    *((504, body, V.TIMED_OUT) for body in (b"", b'{"message":"Endpoint request timed out"}')),
    (200, b'{"errorMessage":"2023-01-27T22:24:53Z 9a6c Task timed out after 3.00 seconds"}', V.TIMED_OUT),
    (500, b'{"message":"Endpoint request timed out"}', V.TIMED_OUT),
    # 401, 403 without a known body; other 4xx
    *((status, body, V.MISCONFIGURED) for status in (401, 403) for body in (b"", b'{"message":"no"}')),
    *((status, body, V.REFUSED) for status in (400, 404, 409, 422) for body in (b"", b'{"message":"no"}')),
    # an error inside a 2xx is none the less one, and an empty answer is no success
    (200, b'{"errorMessage":"RequestId: 9a6c Error: Runtime exited","errorType":"Runtime.ExitError"}', V.TROUBLE),
    (200, b'{"error":{"message":"No Record found","detail":"ACL"},"status":"failure"}', V.REFUSED),
    (200, b'{"statusCode":500,"body":"{\\"Response\\":\\"e-CS0204070\\"}"}', V.TROUBLE),
    *((200, body, V.TROUBLE) for body in (b"", b"{}", b"null", b"[]", b"<html>")),
]


@pytest.mark.requirement("R221", "R222", "R223")
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(("status", "body", "verdict"), ROWS)
def test_every_other_row_is_judged_alike_for_every_call(call: str, status: int, body: bytes, verdict: Verdict) -> None:
    assert judge(call, status, body) is verdict


@pytest.mark.requirement("R84", "C27")
@pytest.mark.parametrize(
    ("words", "is_number"),
    [
        *((number, True) for number in ("e-CS0204070", "E-CS0204070", "CS0879714", "e-CHG0121253", "INC0318118")),
        *((words, False) for words in ("", "e-CS", "0204070", "e-CS0204070 created", "ok", "e-CS02\n04070", "e-CS1")),
    ],
)
def test_a_create_is_done_by_a_ticket_number_only(words: str, is_number: bool) -> None:
    judgement = judge_call(K.CREATE_TICKET, 200, say(f" {words} "))

    assert (judgement.verdict is V.ACCEPTED) == is_number
    assert judgement.text.strip() == words or not is_number


@pytest.mark.requirement("R221")
@pytest.mark.parametrize(
    ("words", "group"),
    [
        ("assigment group sys id or name not found. This ticket cannot be created.", True),
        ("Assignment Group sys id or name not found.", True),
        ("The ticket is closed.", False),
        ("Mandatory fields missing: group", False),
    ],
)
def test_a_refused_group_is_known_by_either_spelling(words: str, group: bool) -> None:
    assert blames_group(words) == group


@pytest.mark.requirement("R126", "C33", "I11")
@pytest.mark.parametrize(
    ("response", "verdict"),
    [
        ({"code": 200, "body": URL}, V.ACCEPTED),
        ({"code": "200", "body": URL}, V.ACCEPTED),
        ({"code": 200, "body": "http://127.0.0.1:8080/s3/a?X-Amz-Signature=s"}, V.ACCEPTED),
        ({"code": 200, "body": "http://bucket.s3.amazonaws.com/a"}, V.ODD),
        ({"code": 200, "body": "http://[broken"}, V.ODD),
        ({"code": 200, "body": "e-CS0204070"}, V.ODD),
        ({"code": 200}, V.ODD),
        ({"code": 201, "body": URL}, V.ODD),
        ({"body": URL}, V.ODD),
        (URL, V.ODD),
        ({"code": 404, "body": URL}, V.REFUSED),
        ({"code": 500, "body": URL}, V.TROUBLE),
        ({"code": 200, "body": URL, "error": "no"}, V.REFUSED),
        ([URL], V.REFUSED),
    ],
)
def test_an_upload_url_is_one_that_code_200_comes_with(response: object, verdict: Verdict) -> None:
    judgement, url = judge_upload_url(200, say(response))

    assert judgement.verdict is verdict
    assert (url == "") == (verdict is not V.ACCEPTED)
    assert "Signature" not in repr(judgement)


@pytest.mark.requirement("R126")
def test_the_guides_upload_url_is_given_whole() -> None:
    body = read("attachment-upload-url-200")

    assert judge_upload_url(200, body)[1] == json.loads(body)["Response"]["body"]
