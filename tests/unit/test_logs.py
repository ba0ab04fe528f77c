"""Log lines: their fields, and that secrets and terminal tricks never get through."""

import io
import json
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import structlog
from hypothesis import assume, given
from hypothesis import strategies as st

from ecproc.config import BridgeConfig, Secret
from ecproc.telemetry.logs import configure_logging
from ecproc.telemetry.redaction import Redactor, mask_url_queries

KEY = "canary/key+7f3a9c=="
TOKEN = "canary-token-0123456789"
SIGNATURE = "canarysignature5dd0"
HANDLE = "AQEBcanaryhandle/wXyz+12345678=="


@contextmanager
def logging_to(stream: io.StringIO, **options: Any) -> Iterator[None]:
    """Configure logging for one block, then put the root logger back as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    configure_logging(stream, **options)
    try:
        yield
    finally:
        root.handlers = handlers
        root.setLevel(level)
        structlog.contextvars.clear_contextvars()


def lines_of(write: Callable[[Any], object], **options: Any) -> list[dict[str, Any]]:
    """The JSON lines that `write` logs through a structlog logger."""
    stream = io.StringIO()
    with logging_to(stream, json=True, redactor=Redactor([KEY, TOKEN]), **options):
        write(structlog.get_logger())
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_has_time_level_event_and_what_was_bound() -> None:
    def write(log: Any) -> None:
        with structlog.contextvars.bound_contextvars(ticket="e-CS1"):
            log.bind(position=42).warning("message quarantined", reason="no_body", seconds=0.5, big=2**70)

    [line] = lines_of(write)
    assert list(line)[:3] == ["ts", "level", "event"]
    assert line.pop("ts").endswith("Z")
    assert line == {
        "level": "warning",
        "event": "message quarantined",
        "ticket": "e-CS1",
        "position": 42,
        "reason": "no_body",
        "seconds": 0.5,
        "big": str(2**70),
    }


def test_lines_below_the_level_are_not_written() -> None:
    def write(log: Any) -> None:
        log.debug("no")
        log.info("yes")

    assert [line["event"] for line in lines_of(write)] == ["yes"]
    assert [line["event"] for line in lines_of(write, level=logging.DEBUG)] == ["no", "yes"]


def test_the_standard_library_s_records_take_the_same_way_and_http_clients_are_quiet() -> None:
    def write(log: Any) -> None:
        logging.getLogger("httpx").info("HTTP Request: GET https://h/?X-Amz-Signature=%s", SIGNATURE)
        logging.getLogger("httpcore.http11").info("x")
        logging.getLogger("some.module").warning("sent %s", KEY)

    [line] = lines_of(write)
    assert (line["event"], line["logger"], line["level"]) == ("sent ***", "some.module", "warning")


def test_each_line_is_readable_on_a_terminal() -> None:
    stream = io.StringIO()
    with logging_to(stream, json=False, redactor=Redactor([KEY])):
        structlog.get_logger().info("polled", messages=3, names=["a", "b"], key=KEY)
    line = stream.getvalue()
    assert line[2] == line[5] == ":"
    assert line[8:] == ' info     polled  messages=3  names=["a","b"]  key=***\n'


LEAKS: list[tuple[str, object]] = [
    ("a registered secret", f"call with {KEY} failed"),
    ("percent-encoded", "q=canary%2Fkey%2B7f3a9c%3D%3D"),
    ("a token", f"token was {TOKEN}."),
    ("a URL's query", f"https://bucket.s3.amazonaws.com/a/b?X-Amz-Signature={SIGNATURE}&x=1 done"),
    ("a URL's fragment", f"https://h.example.com/a#{SIGNATURE}"),
    ("a URL's password", f"https://user:{SIGNATURE}@h.example.com/a"),
    ("a bare query", f"GET /a/b?X-Amz-Security-Token={SIGNATURE}&b HTTP/1.1"),
    ("a query in a query", f"X-Amz-Credential%3D{SIGNATURE}%26a"),
    ("a JSON document", json.dumps({"url": f"https://h/a?sig={SIGNATURE}", "x-api-key": SIGNATURE})),
    ("a header line", f"x-api-key: {SIGNATURE}"),
    ("a header tuple", f"(b'X-Api-Key', b'{SIGNATURE}')"),
    ("an authorization header", f"Authorization: Bearer {SIGNATURE}"),
    ("a bearer", f"sent bearer {SIGNATURE}"),
    ("a receipt handle", f"DELETE /queue/{HANDLE}"),
    ("an encoded receipt handle", f"DELETE /queue/{HANDLE.replace('/', '%2F').replace('+', '%2B')}"),
    ("an escaped receipt handle", HANDLE.replace("/", "\\/")),
    ("bytes", KEY.encode()),
    ("a list", [KEY, [f"https://h/?a={SIGNATURE}"]]),
    ("a dictionary", {"x-api-key": SIGNATURE, "headers": {"Authorization": SIGNATURE}, KEY: 1}),
    ("a struct", BridgeConfig(url=f"https://h/x?k={SIGNATURE}", api_key=Secret(KEY))),
    ("an exception", ValueError(f"bad answer from https://h/x?sig={SIGNATURE} for {KEY}")),
    ("a deep value", [[[[[[KEY]]]]]]),
    ("half a secret at the cut", "x" * (64 * 1024 - 8) + KEY),
    ("a long query", f"https://h/?a={'b' * 70_000}{SIGNATURE}"),
]


@pytest.mark.requirement("I11", "R1")
@pytest.mark.parametrize("as_json", [True, False])
@pytest.mark.parametrize("value", [value for _, value in LEAKS], ids=[name for name, _ in LEAKS])
def test_no_secret_leaves_in_a_line(value: object, as_json: bool) -> None:
    stream = io.StringIO()
    with logging_to(stream, json=as_json, redactor=Redactor([KEY, TOKEN])):
        log = structlog.get_logger()
        log.info("field", value=value)
        log.info(f"event {value if isinstance(value, str) else ''}")
        log.info("name", receipt_handle=HANDLE, api_key=KEY, **{"x-api-key": KEY})
        logging.getLogger("library").warning("argument %s", value if isinstance(value, str) else "")
        try:
            raise RuntimeError(value)
        except RuntimeError:
            log.exception("raised")
    text = stream.getvalue()
    assert len(text.splitlines()) == 5
    for leak in ("canary", "5dd0", "wXyz", "7f3a9c", "0123456789"):
        assert leak not in text


def test_a_line_that_cannot_be_formatted_is_not_shown_raw() -> None:
    def write(log: Any) -> None:
        template = "two %s %s"
        logging.getLogger("library").warning(template, KEY)

    [line] = lines_of(write)
    assert line.pop("ts").endswith("Z")
    assert line == {"level": "error", "event": "a log line was lost", "error": "TypeError"}


def test_exceptions_show_type_message_cause_and_frames_but_no_locals() -> None:
    def fail() -> None:
        hidden = "canary-local"
        try:
            raise KeyError("inner") from None
        except KeyError as error:
            raise ValueError(f"outer {len(hidden)}") from error

    def write(log: Any) -> None:
        try:
            fail()
        except ValueError:
            log.exception("failed")
        log.error("group", exc_info=ExceptionGroup("many", [OSError("one"), ValueError(KEY)]))

    single, group = lines_of(write)
    assert single["error"] == "ValueError: outer 12"
    assert single["cause"] == "KeyError: 'inner'"
    assert [frame.rpartition(" ")[2] for frame in single["trace"]] == ["write", "fail"]
    assert "canary" not in json.dumps(single)
    assert group["error"] == "ExceptionGroup: many (2 sub-exceptions)"
    assert group["errors"] == ["OSError: one", "ValueError: ***"]


def test_values_whose_text_fails_do_not_break_the_line() -> None:
    class Mute:
        def __str__(self) -> str:
            raise ZeroDivisionError

    [line] = lines_of(lambda log: log.info("odd", value=Mute(), nan=float("nan"), many=list(range(1_000))))
    assert line["value"] == "<Mute without text: ZeroDivisionError>"
    assert line["nan"] is None
    assert len(line["many"]) == 50


@pytest.mark.parametrize("as_json", [True, False])
def test_control_characters_are_escaped(as_json: bool) -> None:
    stream = io.StringIO()
    with logging_to(stream, json=as_json):
        structlog.get_logger().info('a\n{"level":"forged"}', value="\x1b[31mred\r\x07\x9b\u2028\u202e\ud800")
    text = stream.getvalue()
    assert text.count("\n") == 1
    assert text.rstrip("\n").isprintable()
    if as_json:
        assert json.loads(text)["value"] == "\\x1b[31mred\\r\\x07\\x9b\\u2028\\u202e\\ud800"


def test_long_texts_are_cut() -> None:
    [line] = lines_of(lambda log: log.info("long", value="x" * 1_000_000))
    assert len(line["value"]) < 5_000
    assert line["value"].endswith("…")


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("see https://h/a?b=c&d=e, then", "see https://h/a?*** then"),
        ('"https://h/a?b=c"', '"https://h/a?***"'),
        ("https://h/a and http://i/?x", "https://h/a and http://i/?***"),
        ("HTTPS://H/A?B", "HTTPS://H/A?***"),
        ("https://u@h/a", "https://***@h/a"),
        ("what? no url", "what? no url"),
    ],
)
def test_url_queries_are_masked_in_any_text(text: str, masked: str) -> None:
    assert mask_url_queries(text) == masked


@given(
    before=st.text(max_size=50),
    secret=st.from_regex(r"[A-Za-z0-9/+=._~-]{4,40}", fullmatch=True),
    after=st.text(max_size=50),
)
def test_a_registered_secret_is_masked_wherever_it_stands(before: str, secret: str, after: str) -> None:
    around = Redactor([]).redact(before) + "\n" + Redactor([]).redact(after)
    assume(secret not in around)  # as `0000` is in an escaped character
    assert secret not in Redactor([secret]).redact(f"{before}{secret}{after}")


@pytest.mark.parametrize(
    "piece", ["https://", "x-amz-", "X-Amz-Signature=", "https://a?", "AQEB", "api-key: ", "//a@", "\x1b"]
)
def test_redaction_takes_no_long_time_on_any_text(piece: str) -> None:
    text = piece * (1_000_000 // len(piece))
    start = time.process_time()
    Redactor([KEY]).redact(text)
    assert time.process_time() - start < 1
