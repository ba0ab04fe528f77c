"""Answers to calls, row by row of Appendix D: the body decides, never the status alone."""

import json
from pathlib import Path

import pytest

from ecproc.wire.responses import Verdict, judge_answer, judge_delete, judge_receive

RESPONSES = Path(__file__).parents[1] / "fixtures" / "responses"
ACCEPTED, ODD, REFUSED, MISCONFIGURED, TROUBLE, TIMED_OUT = (
    *(Verdict.ACCEPTED, Verdict.ODD, Verdict.REFUSED),
    *(Verdict.MISCONFIGURED, Verdict.TROUBLE, Verdict.TIMED_OUT),
)
EXPIRED_ERROR = b'{"Error":{"Code":"InvalidParameterValue","Message":"x The Receipt Handle has EXPIRED."}}'


def read(name: str) -> bytes:
    (path,) = RESPONSES.glob(f"{name}.*")
    return path.read_bytes()


@pytest.mark.requirement("R222", "R223")
@pytest.mark.parametrize(
    ("name", "status", "verdict"),
    [
        *((name, 200, ACCEPTED) for name in ("returnptn-200", "notes-200", "ticket-resolve-200", "approve-200")),
        ("reject-200", 200, ACCEPTED),
        ("ticket-update-202", 202, ACCEPTED),
        ("ticket-create-200", 200, ODD),
        ("attachment-upload-url-200", 200, ODD),
        *(("error-bad-path", status, MISCONFIGURED) for status in (200, 400, 404, 500)),
        *(("error-missing-authentication-token", status, MISCONFIGURED) for status in (200, 403)),
        *(("error-forbidden", status, MISCONFIGURED) for status in (200, 403)),
        *(("error-clientname-mapping", status, MISCONFIGURED) for status in (200, 400, 500)),
        *(("error-apikey-not-authorized", status, REFUSED) for status in (200, 403, 500)),
        *(("error-invalid-group", status, REFUSED) for status in (200, 400, 500)),
        ("error-receipt-handle-expired", 200, REFUSED),
        ("error-receipt-handle-expired", 500, TROUBLE),
        ("error-presigned-url-expired", 403, MISCONFIGURED),
    ],
)
def test_every_documented_answer(name: str, status: int, verdict: Verdict) -> None:
    assert judge_answer(status, read(name)).verdict is verdict


@pytest.mark.requirement("R174", "C7")
@pytest.mark.parametrize("text", ["PTN added", " ptn ADDED ", "Update Successful", " Rejection Received Successfully"])
@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_a_success_is_known_by_its_words(text: str, status: int) -> None:
    judged = judge_answer(status, f'{{"Response":"{text}"}}'.encode())

    assert (judged.verdict, judged.text) == (ACCEPTED, text)


@pytest.mark.requirement("R101")
@pytest.mark.parametrize(
    "body", [b'{"Response":"Done"}', b'{"Response":{"body":"Number stored"}}', b'{"message":"OK"}']
)
def test_a_success_in_other_words_is_odd(body: bytes) -> None:
    assert judge_answer(200, body).verdict is ODD


@pytest.mark.requirement("R222")
@pytest.mark.parametrize(
    "body", [b"", b" ", b"{}", b"null", b'{"Response":null}', b"[]", b"<html>", b"\xff", b'{"Response":"PTN ad', b"1"]
)
def test_a_success_that_says_nothing_or_that_nobody_can_read_is_not_trusted(body: bytes) -> None:
    assert judge_answer(200, body).verdict is TROUBLE


@pytest.mark.requirement("R222", "R223")
@pytest.mark.parametrize(
    ("body", "verdict"),
    [
        ({"errorMessage": "2023-01-27T22:24:53Z 9a6c Task timed out after 3.00 seconds"}, TIMED_OUT),
        ({"errorMessage": "RequestId: 9a6c Error: Runtime exited", "errorType": "Runtime.ExitError"}, TROUBLE),
        ({"Response": "PTN added", "errorMessage": "boom"}, TROUBLE),
        ({"__type": "ThrottlingException", "message": "Rate exceeded"}, TROUBLE),
        ({"message": "Endpoint request timed out"}, TIMED_OUT),
        ({"error": {"message": "No Record found", "detail": "ACL"}, "status": "failure"}, REFUSED),
        ({"Response": "PTN added", "status": "Failure"}, REFUSED),
        ({"Response": {"code": 200, "body": "PTN added", "error": "not stored"}}, REFUSED),
        ({"statusCode": 500, "body": '{"Response":"PTN added"}'}, TROUBLE),
        ({"statusCode": 200, "body": '{"Response":"PTN added"}'}, ACCEPTED),
        ({"Response": "Ticket not found"}, REFUSED),
        ({"Response": "PTN added", "fault": {"faultstring": "Invalid ApiKey"}}, REFUSED),
        ({"Response": {"code": 500.0, "body": "PTN added"}}, TROUBLE),
        ({"Response": {"code": "500 Internal Server Error", "body": "PTN added"}}, TROUBLE),
        ({"Response": "PTN added", "success": False}, REFUSED),
        ({"Response": "PTN added", "message": "Internal server error"}, ODD),
        ({"Response": "PTN added", "result": [{"deep": {"error": "not stored"}}]}, REFUSED),
    ],
)
def test_an_error_in_a_success_is_none(body: object, verdict: Verdict) -> None:
    judged = judge_answer(200, json.dumps(body).encode())

    assert judged.verdict is verdict
    assert judged.text


@pytest.mark.requirement("R222")
@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (403, {"Message": "User: anonymous is not authorized to perform: execute-api:Invoke"}, "not authorized"),
        (400, {"Error": {"Code": "AccessDenied", "Message": "no"}, "RequestId": "r-1"}, "AccessDenied: no"),
        (500, {"errorMessage": "boom", "errorType": "KeyError"}, "boom"),
        (502, {"fault": {"faultstring": "upstream is gone"}}, "upstream is gone"),
        (404, {"error": {"message": "No Record found", "detail": "the record does not exist"}}, "No Record found"),
    ],
)
def test_the_words_of_a_failure_are_told_whatever_they_stand_under(status: int, body: object, words: str) -> None:
    judged = judge_answer(status, json.dumps(body).encode())

    assert words in judged.text
    assert f"HTTP {status}" in judged.text


@pytest.mark.requirement("R216", "R217", "R220")
@pytest.mark.parametrize("name", ["forbidden", "missing-authentication-token", "bad-path", "clientname-mapping"])
def test_a_refusal_of_all_calls_says_what_to_look_at(name: str) -> None:
    assert "check bridge." in judge_answer(403, read(f"error-{name}")).hint


@pytest.mark.requirement("R216")
def test_a_missing_token_is_told_with_both_its_causes() -> None:
    judged = judge_answer(403, read("error-missing-authentication-token"))

    assert judged.verdict is MISCONFIGURED
    assert "a wrong method or path" in judged.hint
    assert "case sensitive" in judged.hint


def test_an_answers_own_request_id_is_kept() -> None:
    body = b'{"Error":{"Code":"Other"},"RequestId":"r-1"}'

    assert judge_answer(400, body).request_id == judge_delete(400, body).request_id == "r-1"


@pytest.mark.requirement("R221", "R223")
@pytest.mark.parametrize(
    "body", [b'{"Response":[]}', b'{"Response":["PTN added"]}', b'{"message":["x"]}', b'{"Error":1}']
)
def test_a_list_or_an_error_is_none_whatever_the_status(body: bytes) -> None:
    assert judge_answer(200, body).verdict is REFUSED


@pytest.mark.requirement("C33", "R126")
@pytest.mark.parametrize(
    ("code", "verdict"), [("200", ODD), ("404", REFUSED), ('"500"', TROUBLE), ("403", MISCONFIGURED), ("true", ODD)]
)
def test_a_code_inside_the_answer_counts(code: str, verdict: Verdict) -> None:
    assert judge_answer(200, f'{{"Response":{{"code":{code},"body":"https://x"}}}}'.encode()).verdict is verdict


@pytest.mark.requirement("R223")
@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        *((status, TROUBLE) for status in (408, 425, 429, 500, 502, 503, 599)),
        (504, TIMED_OUT),
        *((status, MISCONFIGURED) for status in (401, 403)),
        *((status, REFUSED) for status in (300, 302, 400, 404, 405, 409, 413, 422)),
    ],
)
@pytest.mark.parametrize("body", [b"", b"<html>gateway</html>", b'{"message":"Internal server error"}'])
def test_words_that_nobody_knows_leave_it_to_the_status(status: int, body: bytes, verdict: Verdict) -> None:
    assert judge_answer(status, body).verdict is verdict
    assert judge_delete(status, body).verdict is verdict
    assert judge_receive(status, body).verdict is verdict


def test_a_refusal_is_told_in_the_bridges_words_cut_to_a_safe_length() -> None:
    judged = judge_answer(200, read("error-invalid-group"))

    assert judged.text == "assigment group sys id or name not found. This ticket cannot be created."
    assert judge_answer(500, b'{"message":"boom"}').text == "HTTP 500 boom"
    for judge in (judge_answer, judge_delete):
        assert len(judge(500, b'{"message":"' + b"x" * 5000 + b'"}').text) <= 300


@pytest.mark.requirement("I11", "R126")
def test_no_signature_is_in_what_is_told_of_an_upload_url() -> None:
    judged = judge_answer(200, read("attachment-upload-url-200"))

    assert judged.text.startswith("https://bpm-ensono-sn-bridge-test-files.s3.us-east-2.amazonaws.com/")
    assert "X-Amz" not in judged.text


LONG = b"x" * 40_000


@pytest.mark.requirement("R223")
@pytest.mark.parametrize(
    ("body", "verdict"),
    [
        (b'{"Response":"ok","records":"%b"}', ODD),
        (b'{"Response":"Update successful","RequestId":"%b"}', ODD),
        (b'{"records":"%b"}', ODD),
        (b"<html>%b", ODD),
        (b'["%b"]', ODD),
        (b'{"Response":"Task timed out after 3 s","records":"%b"}', TIMED_OUT),
        (b'{"Response":"Task timed out after 3 s: %b"}', TIMED_OUT),
        (b'{"Response":{"body":"Task timed out: %b"}}', TIMED_OUT),
        (b'{"records":"%b","errorMessage":"boom"}', TROUBLE),
        (b'{"Response":"No record found","records":"%b"}', REFUSED),
        (b'{"message":["%b"]}', REFUSED),
        (b'{"message":"Forbidden","records":"%b"}', MISCONFIGURED),
    ],
)
def test_a_2xx_too_long_to_be_read_as_a_whole_is_odd_but_for_its_words(body: bytes, verdict: Verdict) -> None:
    assert judge_answer(200, body % LONG).verdict is verdict
    assert judge_answer(500, body % LONG).verdict not in (ACCEPTED, ODD)


# --- DELETE ---


@pytest.mark.requirement("R28", "R29", "R30")
@pytest.mark.parametrize(
    ("body", "status", "verdict"),
    [
        (read("queue-delete"), 200, ACCEPTED),
        (b'{"deleteMessageResponse":{"responseMetadata":{"RequestId":"r"}}}', 202, ACCEPTED),
        *((body, 200, TROUBLE) for body in (b'{"DeleteMessageResponse":null}', b'{"DeleteMessageResponse":{"x":1}}')),
        (b'{"DeleteMessageResponse":{"ResponseMetadata":{}},"message":"Internal server error"}', 200, REFUSED),
        (b'{"DeleteMessageResponse":{"ResponseMetadata":{"HTTPStatusCode":500}}}', 200, TROUBLE),
        (b'{"statusCode":500,"body":"{\\"DeleteMessageResponse\\":{\\"ResponseMetadata\\":{}}}"}', 200, TROUBLE),
        *((body, status, TROUBLE) for body in (b"", b"{}", b"null", b"[]") for status in (200, 204)),
        (b'{"errorMessage":"Task timed out after 3.00 seconds"}', 200, TIMED_OUT),
        (b'{"DeleteMessageResponse":{"Error":{"Code":"Other"}}}', 200, REFUSED),
        (b'{"Response":"PTN added"}', 200, ODD),
        (b'{"__type":"com.amazonaws.sqs#ReceiptHandleIsInvalid","message":"x"}', 400, Verdict.INVALID),
        *((read("error-receipt-handle-expired"), status, Verdict.EXPIRED) for status in (200, 400, 500)),
        (EXPIRED_ERROR, 200, Verdict.EXPIRED),
        *((read("error-receipt-handle-invalid"), status, Verdict.INVALID) for status in (200, 400, 404)),
        *((b'{"Error":{"Code":"Other"}}', status, REFUSED) for status in (200, 400)),
        (b'{"Error":{"Code":"Other"}}', 503, TROUBLE),
        *((body, 200, REFUSED) for body in (b'{"Error":"boom"}', b'{"Error":null}', b'{"Error":{}}', b'{"Error":[]}')),
        *((read("error-forbidden"), status, MISCONFIGURED) for status in (200, 403)),
        (read("error-missing-authentication-token"), 403, MISCONFIGURED),
        (read("error-bad-path"), 200, MISCONFIGURED),
        (b"", 403, MISCONFIGURED),
    ],
)
def test_a_delete_is_done_only_by_a_2xx_without_an_error(body: bytes, status: int, verdict: Verdict) -> None:
    assert judge_delete(status, body).verdict is verdict


@pytest.mark.requirement("R34", "I11")
@pytest.mark.parametrize("name", ["error-receipt-handle-expired", "error-receipt-handle-invalid"])
def test_no_handle_is_in_what_is_told_of_a_delete(name: str) -> None:
    assert "AQEB" not in repr(judge_delete(200, read(name)))


@pytest.mark.requirement("R222", "I11")
@pytest.mark.parametrize("path", sorted(RESPONSES.glob("*")), ids=lambda path: path.stem)
@pytest.mark.parametrize("status", [200, 202, 302, 400, 403, 404, 429, 500])
def test_every_fixture_has_a_verdict_of_every_judge_and_tells_no_secret(path: Path, status: int) -> None:
    for judge in (judge_answer, judge_delete, judge_receive):
        judged = judge(status, path.read_bytes())
        assert judged.verdict in Verdict
        assert not any(secret in judged.text for secret in ("AQEB", "X-Amz", "ASIAEXAMPLE"))


# --- GET /queue ---


@pytest.mark.requirement("R14", "R216")
@pytest.mark.parametrize(
    ("name", "status", "verdict"),
    [
        ("queue-with-messages", 200, ACCEPTED),
        ("queue-empty", 200, ACCEPTED),
        ("queue-empty", 500, TROUBLE),
        *((f"error-{name}", 200, MISCONFIGURED) for name in ("forbidden", "missing-authentication-token", "bad-path")),
    ],
)
def test_a_queue_answer_is_known_by_its_envelope(name: str, status: int, verdict: Verdict) -> None:
    assert judge_receive(status, read(name)).verdict is verdict
