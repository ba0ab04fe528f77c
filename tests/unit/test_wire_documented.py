"""What the guide shows is decoded in one typed go, and exactly as the tolerant way reads it."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ecproc.domain.events import Message, Place, Undecodable
from ecproc.wire import members, queue, responses, translate
from ecproc.wire import payload as payload_module
from ecproc.wire.queue import Received, decode_answer

FIXTURES = Path(__file__).parents[1] / "fixtures"
MESSAGES = [path.read_bytes() for path in sorted((FIXTURES / "messages").glob("*.json"))]
RESPONSES = [path.read_bytes() for path in sorted((FIXTURES / "responses").glob("*"))]
QUEUE_ANSWERS = [path.read_bytes() for path in sorted((FIXTURES / "responses").glob("queue-[ew]*"))]
DELETED = (FIXTURES / "responses" / "queue-delete.json").read_bytes()
PLACE = Place(position=7, version=3, at=1_700_000_000_000_000)
HEAD = b'{"ReceiveMessageResponse":{"ResponseMetadata":{"RequestId":"r1"},"ReceiveMessageResult":{"messages":['


def answer(*messages: bytes) -> bytes:
    return HEAD + b",".join(messages) + b"]}}}"


def compact(text: bytes) -> bytes:
    return json.dumps(json.loads(text), separators=(",", ":"), ensure_ascii=False).encode()


def payload_of(raw: bytes) -> bytes:
    return queue.decode_message(raw).payload


def translated_tolerantly(payload: bytes) -> Message | Undecodable:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(payload_module, "_read_documented", lambda _: None)
        patch.setattr(translate, "_read_ordinary", lambda *_: None)
        return translate.translate(payload, PLACE, "m1")


def check_answer(body: bytes) -> None:
    decoded = decode_answer(body)

    assert decoded == queue._decode_tolerant(body)
    if isinstance(decoded, Received):
        for envelope in decoded.messages:
            check_payload(envelope.payload)


def check_payload(payload: bytes) -> None:
    # Compared as text: it also tells 1 from True and one order of the fields from another.
    assert repr(translate.translate(payload, PLACE, "m1")) == repr(translated_tolerantly(payload))


# --- the guide's messages take the short way ---


@pytest.mark.requirement("R14", "C1")
@pytest.mark.parametrize("shape", [bytes, compact])
@pytest.mark.parametrize("body", [answer(*MESSAGES), *QUEUE_ANSWERS, answer()])
def test_what_the_guide_shows_is_decoded_as_documented(body: bytes, shape: Callable[[bytes], bytes]) -> None:
    assert queue._decode_documented(shape(body)) == queue._decode_tolerant(shape(body))


@pytest.mark.parametrize("raw", MESSAGES)
def test_every_message_of_the_guide_is_translated_as_documented(raw: bytes) -> None:
    assert payload_module._read_documented(payload_of(raw)) is not None
    assert json.loads(raw)["Body"].keys() <= members._KNOWN
    check_payload(payload_of(raw))


@pytest.mark.requirement("R28")
def test_the_documented_answer_to_a_delete_is_read_as_documented() -> None:
    for body in (DELETED, compact(DELETED)):
        assert responses._is_documented_delete(body)
        for status in (200, 202, 302, 400, 403, 503):
            assert responses.judge_delete(status, body) == responses._judge_delete_tolerant(status, body)


@pytest.mark.requirement("R16", "I1")
def test_escapes_in_a_body_are_documented_and_kept() -> None:
    raw = MESSAGES[3].replace(b'"test"', rb'"line\nline \u00e9 \"q\" \/"')
    decoded = queue._decode_documented(answer(raw, MESSAGES[0]))

    assert decoded == queue._decode_tolerant(answer(raw, MESSAGES[0]))
    assert decoded is not None
    assert rb'"line\nline \u00e9 \"q\" \/"' in decoded.messages[0].payload


# --- what the short way must not take ---


def changed_once(old: bytes, new: bytes) -> bytes:
    raw = compact(MESSAGES[9])
    assert old in raw
    return answer(compact(MESSAGES[0]), raw.replace(old, new))


@pytest.mark.requirement("I2", "R33", "R44")
@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"ReceiptHandle"', b'"Receipt Handle"'),
        (b'"MessageGroupId"', b'"MessageGroupID"'),
        (b'"SenderId"', b'"messagegroupid"'),
        (b'"SenderId"', b'"Receipt Handle"'),
        (b'"SenderId"', b'"Colour"'),
        (b'"SenderId":', b'"MessageGroupId":true,"X":'),
        (b'"SenderId":"', b'"SenderId":"\\u0041\\/'),
        (b'"SenderId":"', b'"SenderId":"\\"'),
        (b'"SenderId":"', b'"S\\u0065nderId":"'),
        (b'"MD5OfBody":"', b'"MD5OfBody":"\\u0041'),
        (b'"MD5OfBody":"', b'"MD5OfBody":null,"x":"'),
        (b'"SentTimestamp":"1674858334956"', b'"SentTimestamp":1674858334956'),
        (b'"SentTimestamp":"1674858334956"', b'"SentTimestamp":true'),
        (b'"SequenceNumber":"18875507807458288128"', b'"SequenceNumber":18875507807458288128'),
        (b'"SequenceNumber":"18875507807458288128",', b""),
        (b'"ApproximateReceiveCount":"3"', b'"ApproximateReceiveCount":false'),
        (b'"ClientReferenceAvailable":false', b'"ClientReferenceAvailable":null'),
        (b'"ClientReferenceAvailable":false', b'"ClientReferenceAvailable":[1.0]'),
        (b'"MessageGroupId":"e-CS0879727"', b'"MessageGroupId":"  "'),
        (b'"MessageId":"0eb49bcf-53a7-4769-b37a-2342b3658a00"', b'"MessageId":""'),
        (b'"MessageId":"0eb49bcf-53a7-4769-b37a-2342b3658a00"', b'"MessageId":7'),
        (b'"MessageId":"', b'"messageId":"a","MessageId":"'),
        (b'"Attributes":{', b'"Attributes":[{"Name":"MessageGroupId","Value":"g"}],"x":{'),
    ],
)
def test_what_is_not_exactly_as_documented_is_read_the_tolerant_way(old: bytes, new: bytes) -> None:
    body = changed_once(old, new)

    assert queue._decode_documented(body) is None
    check_answer(body)


@pytest.mark.requirement("I2", "R33")
@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"MD5OfBody":"', b'"ReceiptHandle":"","MD5OfBody":"'),
        (b'"MessageGroupId":"', b'"MessageGroupId":" e-CS1 ","MessageGroupId":" '),
        (b'"SenderId":"', b'"SenderId":"\xc3\xa9\x7f/'),
        (b'"Body":{', b'"Body":{"x":"\\\\"},"MessageId":"twice","Body":{"y":"\\u0041",'),
        (b'"Body":{', b'"Body":"no object","Body":{'),
        (b'"TransactionType":"Create"', b'"TransactionType":" STATUS update"'),
        (b'"MD5OfBody":"385b136e9129e7f0b282ed0657772ff5",', b""),
    ],
)
def test_what_varies_within_the_documented_shape_is_read_alike(old: bytes, new: bytes) -> None:
    check_answer(changed_once(old, new))


@pytest.mark.requirement("I5", "R39", "C2")
@pytest.mark.parametrize(
    ("attributes", "documented"),
    [
        ("", True),
        ('"SentTimestamp":"1","MessageGroupId":"","TransactionType":" Status Update "', True),
        ('"SentTimestamp":"1","sentTimestamp":"2"', False),
        ('"TransactionType":"Create","Transaction Type":"Notes"', False),
        ('"ClientReferenceAvailable":"false"', True),
        ('"ClientReferenceAvailable":null', False),
        ('"SequenceNumber":7', False),
        ('"SenderId":"\\ud800"', False),
    ],
)
def test_attributes_that_the_guide_does_not_spell_so_are_read_the_tolerant_way(
    attributes: str, documented: bool
) -> None:
    payload = f'{{"attributes":{{{attributes}}},"body":{{"ticketNumber":"n","clientTicketNumber":"c"}}}}'.encode()

    assert (payload_module._read_documented(payload) is not None) is documented
    check_payload(payload)


@pytest.mark.requirement("I5")
@pytest.mark.parametrize(
    "value", ["7", "1.0", "1e2", "[1]", '{"a":{"b":1}}', '[{"a":[]}]', "9" * 400, "[" * 150 + "]" * 150]
)
@pytest.mark.parametrize("member", ["priority", "changed", "notes", "status"])
def test_numbers_and_nested_values_are_read_the_tolerant_way(member: str, value: str) -> None:
    payload = f'{{"attributes":{{"MessageGroupId":"g"}},"body":{{"ticketNumber":"n","{member}":{value}}}}}'.encode()

    assert payload_module._read_documented(payload) is None
    check_payload(payload)


@pytest.mark.requirement("R28")
@pytest.mark.parametrize(
    "body",
    [
        DELETED.replace(b"{", b'{"Error":{"Message":"expired"},', 1),
        DELETED.rstrip()[:-1],
        DELETED.replace(b'"RequestId"', b'"Error"'),
        b'{"Response":"Forbidden","DeleteMessageResponse":null}',
        b'{"message":"Forbidden","DeleteMessageResponse":{"ResponseMetadata":{"RequestId":"r"}}}',
    ],
)
def test_no_error_passes_for_the_documented_answer_to_a_delete(body: bytes) -> None:
    assert not responses._is_documented_delete(body)
    for status in (200, 202, 400, 503):
        assert responses.judge_delete(status, body) == responses._judge_delete_tolerant(status, body)


# --- anything near to what is documented ---

NAMES = (
    *("MessageId", "Receipt Handle", "receiptHandle", "MD5OfBody", "Body", "Attributes", "messages", "SenderId"),
    *("MessageGroupId", "MessageGroupID", "SequenceNumber", "SentTimestamp", "TransactionType", "transactionType"),
    *("ClientReferenceAvailable", "ApproximateReceiveCount", "approximateReceiveCount", "ticketType", "ticketNumber"),
    *("updateOn", "updatedOn", "Impact", "impact", "approvalId", "ApprovalID", "approvalState", "openedTime", "notes"),
    *("changed", "attachment", "attachmentName", "status", "state", "cis", "", "é", "Message\\u0049d"),
)
VALUES = (
    *("null", "true", "false", "7", "1.0", "-0", "1e2", '""', '" "', '"false"', '"18"', '"\\u0041\\/"', '"é\x7f"'),
    *('"\\ud800"', '"Incident"', '"Approval Request"', '"2023-01-27T22:24:53Z"', "[]", "{}", '["a"]', '{"a":"b"}'),
    *('{"updateOn":null,"updatedOn":"x"}', '[{"id":"a","body":"b"},{"id":null}]', '[{"a":[1]}]', '{"Name":"a"}'),
)
MEMBER = re.compile(rb'"[A-Za-z0-9]*"(?=\s*:)')
SCALAR = re.compile(rb'(?<=:)\s*(?:"(?:[^"\\]|\\.)*"|true|false|null)')


@st.composite
def varied(draw: st.DrawFn, whole: list[bytes]) -> bytes:
    """One of the guide's texts with up to three names, values or places changed, or with a member more."""
    text = draw(st.sampled_from(whole))
    name = st.sampled_from(NAMES).map(lambda item: f'"{item}"'.encode())
    value = st.sampled_from(VALUES).map(str.encode)
    for _ in range(draw(st.integers(0, 3))):
        match draw(st.sampled_from(["name", "value", "member", "place"])):
            case "name" if found := list(MEMBER.finditer(text)):
                start, end = draw(st.sampled_from(found)).span()
                text = text[:start] + draw(name) + text[end:]
            case "value" if found := list(SCALAR.finditer(text)):
                start, end = draw(st.sampled_from(found)).span()
                text = text[:start] + draw(value) + text[end:]
            case "member" if found := list(MEMBER.finditer(text)):
                start = draw(st.sampled_from(found)).start()
                text = text[:start] + draw(name) + b":" + draw(value) + b"," + text[start:]
            case _:
                start = draw(st.integers(0, len(text)))
                junk = draw(st.sampled_from([b"", b'"', b"\\", b"}", b" ", b"\xff", b"\x00", rb"\u0041"]))
                text = text[:start] + junk + text[start + draw(st.integers(0, 2)) :]
    return text


SOUND = [*MESSAGES, *map(compact, MESSAGES)]


@pytest.mark.requirement("I2", "I9", "R33")
@settings(max_examples=400)
@given(st.lists(varied(SOUND), min_size=1, max_size=2).map(lambda messages: answer(*messages)) | varied(QUEUE_ANSWERS))
@example(b"\xef\xbb\xbf" + answer(MESSAGES[0]))
@example(answer(MESSAGES[0])[:-1])
@example(answer(MESSAGES[0]) + b"{}")
def test_an_answer_is_decoded_alike_both_ways(body: bytes) -> None:
    check_answer(body)


@pytest.mark.requirement("I5", "I9")
@settings(max_examples=400)
@given(varied([payload_of(raw) for raw in SOUND]))
def test_a_payload_is_translated_alike_both_ways(payload: bytes) -> None:
    check_payload(payload)


SCALARS = st.text(max_size=6) | st.booleans() | st.none()
BODY_NAMES = st.sampled_from([name for name in NAMES if "\\" not in name]) | st.text(max_size=3)
FLAT = st.dictionaries(BODY_NAMES, SCALARS, max_size=4)


@pytest.mark.requirement("I5")
@settings(max_examples=200)
@given(st.dictionaries(BODY_NAMES, SCALARS | FLAT | st.lists(FLAT, max_size=2)), st.booleans())
def test_any_documented_body_is_translated_alike_both_ways(body: dict[str, Any], ascii_only: bool) -> None:
    text = json.dumps({"attributes": {"MessageGroupId": "g"}, "body": body}, ensure_ascii=ascii_only)

    payload = text.encode("utf-8", "replace")

    assert payload_module._read_documented(payload) is not None or b"\\ud" in payload
    check_payload(payload)


@pytest.mark.requirement("I9", "R28")
@settings(max_examples=200)
@given(varied([DELETED, *RESPONSES]), st.sampled_from([200, 202, 400, 503]))
def test_an_answer_to_a_delete_is_judged_alike_both_ways(body: bytes, status: int) -> None:
    assert responses.judge_delete(status, body) == responses._judge_delete_tolerant(status, body)
