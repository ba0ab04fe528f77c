"""Masked output: no URL query gets out, JSON stays the same JSON, and a line stays one harmless line."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecproc.cli.printable import printable
from ecproc.reading.escaping import one_line
from ecproc.reading.masking import is_utf8_json, mask_json, mask_text

CANARY = "canarysignature"
URL = f"https://bucket.s3.amazonaws.com/f.txt?X-Amz-Signature={CANARY}"

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.just(URL) | st.just(f'see "{URL}", now'),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


def expected(value: Any) -> Any:
    """The same value with our URL masked."""
    match value:
        case str():
            return value.replace(f"?X-Amz-Signature={CANARY}", "?***")
        case list():
            return [expected(item) for item in value]
        case dict():
            return {name: expected(item) for name, item in value.items()}
        case _:
            return value


@pytest.mark.requirement("I11")
@given(VALUES)
def test_a_masked_document_is_the_same_but_for_its_queries(value: Any) -> None:
    masked = mask_json(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))
    assert CANARY.encode() not in masked
    assert json.loads(masked) == expected(json.loads(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")))


@pytest.mark.requirement("I11")
@pytest.mark.parametrize(
    "document",
    [
        json.dumps({"attachment": URL}),
        json.dumps({"attachment": URL}).replace("/", "\\/"),
        json.dumps({"attachment": URL}).replace("h", "\\u0068").replace("?", "\\u003f"),
        json.dumps({"note": f'"{URL}"\nnext line'}),
        json.dumps({"attachment": f"https://h/p?a=it's\"{CANARY}"}),
        json.dumps(json.dumps({"attachment": URL})),
        json.dumps(json.dumps({"attachment": URL}).replace("/", "\\/")),
        json.dumps(json.dumps(json.dumps([URL, 'and "quotes"']))),
        json.dumps({URL: 1}),
        json.dumps("{not json} " + URL.replace("/", "\\/")),
    ],
)
def test_no_spelling_of_a_url_shows_its_query(document: str) -> None:
    masked = mask_json(document.encode()).decode()
    assert CANARY not in masked
    assert "***" in masked
    json.loads(masked)


def test_numbers_and_white_space_stay_byte_for_byte() -> None:
    document = b'{ "n":123456789012345678901234567890, "e":1e400,\t"u":"http://h/?q",  "t":"\\u00e9" }'
    assert mask_json(document) == document.replace(b"?q", b"?***")


def test_text_around_a_url_stays() -> None:
    assert mask_text(f"got 403 from {URL} (try again)") == (
        "got 403 from https://bucket.s3.amazonaws.com/f.txt?*** (try again)"
    )


def test_json_in_a_text_stays_json_when_its_url_holds_a_quote() -> None:
    inner = json.dumps({"attachment": f'https://h/p?a="{CANARY}"', "name": "x"})
    masked = json.loads(mask_text(inner))
    assert masked["name"] == "x"
    assert CANARY not in masked["attachment"]


@given(VALUES)
def test_one_line_is_the_same_value_on_one_line(value: Any) -> None:
    document = json.dumps(value, ensure_ascii=False, indent=1).encode("utf-8", "replace")
    line = one_line(document)
    assert len(line.decode().splitlines()) == 1
    assert json.loads(line) == json.loads(document)


def test_a_line_holds_nothing_that_a_terminal_acts_on() -> None:
    line = one_line('{"a":"\x7f\x9b31m\u2028"}\r\n'.encode()).decode().rstrip()
    assert line == '{"a":"\\u007f\\u009b31m\\u2028"}'


@pytest.mark.parametrize(
    "raw", [b'"\xff"', b'{"a":1', b"", b"{} {}", b'"a\nb"', b"NaN", b'"\\ud800"', b"[" * 100_000 + b"]" * 100_000]
)
def test_what_no_reader_takes_is_not_json(raw: bytes) -> None:
    assert not is_utf8_json(raw)


def test_printable_text_keeps_lines_and_writes_out_control_characters() -> None:
    assert printable("a\r\n\tb\x1b[31m\u202e 山 ⚠️") == "a\n\tb\\x1b[31m\\u202e 山 ⚠️"
