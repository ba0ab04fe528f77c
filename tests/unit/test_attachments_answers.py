"""What a storage host's answer means: the whole table."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecproc.attachments.answers import find_gap, is_coded, judge_refusal, resolve_redirect
from ecproc.attachments.base import Failure, FetchFailed

EXPIRED = (Path(__file__).parents[1] / "fixtures" / "responses" / "error-presigned-url-expired.xml").read_bytes()
F = Failure


def s3(code: str, message: str = "") -> bytes:
    return f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()


def judge(status: int, body: bytes = b"") -> FetchFailed:
    return judge_refusal(status, body, retry_after=4.0, request_id="r")


@pytest.mark.requirement("R138")
@pytest.mark.parametrize(
    ("status", "body", "failure", "reason"),
    [
        (403, EXPIRED, F.EXPIRED, "HTTP 403 AccessDenied: Request has expired"),
        (400, s3("AccessDenied", "request HAS expired."), F.EXPIRED, "HTTP 400 AccessDenied: request HAS expired."),
        (403, s3("AccessDenied"), F.COUNTED, "HTTP 403 AccessDenied"),
        (403, s3("AccessDenied", "Access Denied"), F.COUNTED, "HTTP 403 AccessDenied: Access Denied"),
        (403, s3("SignatureDoesNotMatch", "It does not"), F.COUNTED, "HTTP 403 SignatureDoesNotMatch: It does not"),
        (404, s3("NoSuchKey", "There is no such key"), F.COUNTED, "HTTP 404 NoSuchKey: There is no such key"),
        (404, b"<html>gone</html>", F.COUNTED, "HTTP 404"),
        (410, b"", F.COUNTED, "HTTP 410"),
        (400, s3("InvalidArgument"), F.COUNTED, "HTTP 400 InvalidArgument"),
        (204, b"", F.COUNTED, "HTTP 204"),
        (301, s3("PermanentRedirect", "Use the endpoint"), F.COUNTED, "HTTP 301 PermanentRedirect: Use the endpoint"),
        (304, b"", F.COUNTED, "HTTP 304"),
        (429, b"", F.HELD, "HTTP 429"),
        (408, b"", F.HELD, "HTTP 408"),
        (425, b"", F.HELD, "HTTP 425"),
        (500, s3("InternalError"), F.HELD, "HTTP 500 InternalError"),
        (503, s3("SlowDown", "Please reduce your rate"), F.HELD, "HTTP 503 SlowDown: Please reduce your rate"),
        (403, s3("RequestTimeTooSkewed", "Too far"), F.HELD, "clock skew: HTTP 403 RequestTimeTooSkewed: Too far"),
        (
            403,
            s3("AccessDenied", "Request is not yet valid"),
            F.HELD,
            "clock skew: HTTP 403 AccessDenied: Request is not yet valid",
        ),
        (
            403,
            s3("AccessDenied", "Request is not valid yet"),
            F.HELD,
            "clock skew: HTTP 403 AccessDenied: Request is not valid yet",
        ),
        (
            400,
            s3("ExpiredToken", "The provided token has expired."),
            F.REFUSED,
            "HTTP 400 ExpiredToken: The provided token has expired.; "
            "the session that signed the address is over, a new announcement brings another",
        ),
    ],
)
def test_a_refusal_is_judged_by_its_words_and_keeps_them(
    status: int, body: bytes, failure: Failure, reason: str
) -> None:
    found = judge(status, body)

    assert (found.reason, found.failure, found.request_id) == (reason, failure, "r")
    assert found.retry_after == (60.0 if reason.startswith("clock skew") else 4.0)
    assert bool(found.hint) == reason.startswith("clock skew")


def test_the_words_are_bounded_one_line_and_without_what_was_signed() -> None:
    message = "no &lt;key&gt;\n for https://h/a?X-Amz-Signature=canary\x1b " + "x" * 1500

    reason = judge(404, s3("NoSuchKey", message)).reason

    assert reason.startswith("HTTP 404 NoSuchKey: no <key> for https://h/a?***")
    assert "canary" not in reason
    assert len(reason) < 700


def test_words_are_read_without_an_xml_engine() -> None:
    entity = b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><Error><Code>&e;</Code></Error>'

    assert judge(403, entity).reason == "HTTP 403 &e;"


@given(st.integers(100, 599), st.binary(max_size=200) | st.builds(s3, st.text(max_size=20), st.text(max_size=40)))
def test_any_answer_is_judged(status: int, body: bytes) -> None:
    reason = judge(status, body).reason

    assert f"HTTP {status}" in reason
    assert "\n" not in reason


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("https://c.s3.eu-west-1.amazonaws.com/k?x=%2F", "https://c.s3.eu-west-1.amazonaws.com/k?x=%2F"),
        ("https://c.example/a/../b?", "https://c.example/a/../b?"),
        ("//c.example/k", "https://c.example/k"),
        ("/there?y=2", "https://h:8443/there?y=2"),
        ("there", "https://h:8443/f/there"),
        ("?y=2", "https://h:8443/f/here?y=2"),
        ("file:///etc/passwd", "file:///etc/passwd"),
        ("//[", "//["),
    ],
)
def test_a_redirect_is_seen_from_the_address_that_was_asked(location: str, target: str) -> None:
    assert resolve_redirect("https://h:8443/f/here?x=1", location) == target


@pytest.mark.parametrize(
    ("status", "size", "announced", "content_range", "framed", "whole"),
    [
        (200, 3, 3, None, True, True),
        (200, 3, 4, None, True, True),
        (203, 3, 2, None, True, True),
        (200, 0, 4, None, True, True),
        (200, 3, None, None, False, True),
        (200, 3, 3, None, False, True),
        (200, 4, 3, None, False, True),
        (200, 2, 3, None, False, False),
        (206, 3, None, "bytes 0-2/3", True, True),
        (206, 3, 9, "BYTES  0-2/3", True, True),
        (206, 3, 3, "bytes 0-2/*", True, True),
        (206, 3, 3, None, True, True),
        (206, 3, None, None, True, False),
        (206, 3, None, "bytes 0-2/9", True, False),
        (206, 3, 9, "bytes 0-2/9", True, False),
        (206, 3, 9, "bytes 6-8/9", True, False),
        (206, 2, 9, "bytes 0-2/3", True, False),
        (206, 3, 9, "items 0-2/3", True, False),
    ],
)
def test_a_file_is_whole_when_its_framing_says_so_and_else_when_its_size_fits(
    status: int, size: int, announced: int | None, *, content_range: str | None, framed: bool, whole: bool
) -> None:
    gap = find_gap(status, size=size, announced=announced, content_range=content_range, framed=framed)

    assert (gap is None) == whole
    assert gap is None or gap.failure is Failure.COUNTED


@pytest.mark.parametrize(
    ("label", "coded"),
    [
        *((label, False) for label in (None, "", "identity", "base64", "utf-8", "binary", "aws-chunked", "br", "zstd")),
        *((label, True) for label in ("gzip", "GZIP", "x-gzip", "deflate", "aws-chunked,gzip", "gzip, base64")),
    ],
)
def test_only_a_coding_that_http_knows_is_one(label: str | None, coded: bool) -> None:
    assert is_coded(label) == coded
