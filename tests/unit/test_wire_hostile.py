"""Hostile and damaged input: one bad message never takes another with it, and nothing ever raises."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ecproc.domain.events import Message, Place, Undecodable
from ecproc.domain.ids import identity
from ecproc.domain.times import parse_time
from ecproc.wire.files import presigned_expiry
from ecproc.wire.lenient import decode_json
from ecproc.wire.notes import read_notes
from ecproc.wire.payload import attributes_of, body_of
from ecproc.wire.queue import BadAnswer, Envelope, Received, decode_answer, decode_message
from ecproc.wire.responses import judge_answer, judge_delete, judge_receive
from ecproc.wire.split import nests_deeper, split_array, split_object
from ecproc.wire.translate import attachment_url, translate
from ecproc.wire.urls import normalise_url

FIXTURES = Path(__file__).parents[1] / "fixtures"
MESSAGES = [path.read_bytes() for path in sorted((FIXTURES / "messages").glob("*.json"))]
RESPONSES = [path.read_bytes() for path in sorted((FIXTURES / "responses").glob("*"))]
GuideMessage = Callable[[str], bytes]
PLACE = Place(position=7, version=3, at=1_700_000_000_000_000)

HEAD = b'{"ticketNumber":"e-CS9","ticketType":"Incident","status":"open","x":'
DEEP = b"[" * 200_000 + b"]" * 200_000
HOSTILE_VALUES: dict[str, bytes] = {
    "deep": DEEP,
    "deep objects": b'{"a":' * 20_000 + b"1" + b"}" * 20_000,
    "lone surrogate": rb'"\ud800"',
    "half a pair": rb'"\udc00\ud800"',
    "bad UTF-8": b'"\xff\xfe\x80"',
    "overlong UTF-8": b'"\xc0\xaf"',
    "cut UTF-8": b'"\xe2\x82"',
    "BOM": b"\xef\xbb\xbf1",
    "5000 digits": b"9" * 5000,
    "5000 digit fraction": b"1." + b"9" * 5000,
    "huge exponent": b"1e999999",
    "NaN": b"NaN",
    "raw NUL": b'"\x00"',
    "escaped NUL": rb'"\u0000"',
    "control characters": b'"\x01\x1f\n"',
    "bad escape": rb'"\x41"',
    "single quotes": b"'x'",
    "trailing comma": b"[1,]",
    "comment": b"/* x */ 1",
    "brackets in a string": b'"]}[{,:"',
    "escaped quotes": rb'"\\\"]}"',
    "nothing": b"",
}
HOSTILE_BODIES: dict[str, bytes] = {
    **{name: HEAD + value + b"}" for name, value in HOSTILE_VALUES.items()},
    "duplicate keys": HEAD + b'1,"status":"closed","status":"pending"}',
    "BOM before the body": b"\xef\xbb\xbf" + HEAD + b"1}",
    "bad UTF-8 in a name": b'{"\xff":1,"ticketType":"Incident"}',
    "a string that is no JSON": b'"{"',
    "a number": b"1e999999",
    "a stray colon": b"1:2",
    "an odd quote": HEAD + b'"5" pipe"}',
}
DECODES_ALL_THE_SAME = {
    "5000 digit fraction",
    "escaped NUL",
    "brackets in a string",
    "escaped quotes",
    "duplicate keys",
    "BOM before the body",
}
MENDED = {
    *("lone surrogate", "half a pair", "bad UTF-8", "overlong UTF-8", "cut UTF-8", "bad UTF-8 in a name", "raw NUL"),
    *("control characters", "bad escape", "NaN", "huge exponent"),
}
"""Wrong in a character only: the message is taken, and remarks that it had to be mended."""


def hostile_message(body: bytes) -> bytes:
    return (
        b'{"MessageId":"bad","ReceiptHandle":"h/+=","Body":' + body + b',"Attributes":{"MessageGroupId":"e-CS9",'
        b'"SequenceNumber":"18875507807458288128","SentTimestamp":"1674858334956","TransactionType":"Create"}}'
    )


def answer(*messages: bytes) -> bytes:
    return b'{"ReceiveMessageResponse":{"ReceiveMessageResult":{"messages":[' + b",".join(messages) + b"]}}}"


def translated(envelope: Envelope) -> Message | Undecodable:
    return translate(envelope.payload, PLACE, envelope.message_id)


def check_among_good_ones(bad: bytes) -> Envelope:
    """Decode the bad message as the second of four; the others must be as if they had come alone."""
    decoded = decode_answer(answer(MESSAGES[0], bad, MESSAGES[1], MESSAGES[2]))

    assert isinstance(decoded, Received)
    first, envelope, second, third = decoded.messages
    assert [first, second, third] == [decode_message(raw) for raw in MESSAGES[:3]]
    return envelope


# --- reliability: one hostile message among three good ones ---


@pytest.mark.requirement("I9", "R237", "R16")
@pytest.mark.parametrize("name", [name for name in HOSTILE_BODIES if name != "an odd quote"])
def test_a_hostile_body_leaves_the_others_alone_and_is_kept_byte_for_byte(name: str) -> None:
    body = HOSTILE_BODIES[name]

    envelope = check_among_good_ones(hostile_message(body))

    assert (envelope.message_id, envelope.receipt_handle, envelope.stream) == ("bad", "h/+=", "e-CS9")
    assert envelope.sequence == (18875507807458288128).to_bytes(16)
    assert body_of(envelope.payload) == (body if body != b"" else b"null")
    fact = translated(envelope)
    assert (fact.position, fact.version, fact.at) == (7, 3, 1_674_858_334_956_000)
    assert isinstance(fact, Message if name in DECODES_ALL_THE_SAME | MENDED else Undecodable)
    if isinstance(fact, Message):
        assert any(remark.code == "unreadable_part" for remark in fact.remarks) is (name in MENDED)


@pytest.mark.requirement("I9")
def test_an_unpaired_quote_costs_the_answer_but_no_message_is_mistaken_for_another() -> None:
    """What follows an odd quote cannot be told from text: it stays in the queue and comes again without it."""
    bad = hostile_message(HOSTILE_BODIES["an odd quote"])

    decoded = decode_answer(answer(MESSAGES[0], bad, MESSAGES[1]))

    assert isinstance(decoded, Received)
    first, envelope, *others = decoded.messages
    assert first == decode_message(MESSAGES[0])
    assert (envelope.message_id, envelope.receipt_handle) == ("bad", "h/+=")
    assert not {item.receipt_handle for item in others} - {None}
    assert isinstance(translated(envelope), Undecodable)


@pytest.mark.requirement("I9", "R237")
def test_a_body_that_never_ends_is_kept_byte_for_byte() -> None:
    raw = hostile_message(HOSTILE_BODIES["an odd quote"])

    assert body_of(decode_message(raw).payload) == raw[raw.index(HEAD) :]


@pytest.mark.requirement("I9")
def test_an_attribute_that_never_ends_does_not_swallow_the_body() -> None:
    raw = b'{"MessageId":"bad","Body":' + HEAD + b'1},"Attributes":{"MessageGroupId":"e-CS9","X":"5" pipe","Y":"z"}}'

    envelope = decode_message(raw)

    assert (envelope.stream, body_of(envelope.payload)) == ("e-CS9", HEAD + b"1}")
    assert isinstance(translated(envelope), Message)


@pytest.mark.requirement("I9")
@pytest.mark.parametrize("name", [name for name in HOSTILE_VALUES if name != "nothing"])
def test_a_hostile_attribute_leaves_the_body_and_the_others_alone(name: str) -> None:
    value = HOSTILE_VALUES[name]
    bad = b'{"MessageId":"bad","ReceiptHandle":"h","Body":' + HEAD + b'1},"Attributes":{"X":' + value
    bad += b',"MessageGroupId":"e-CS9","TransactionType":"Create"}}'

    envelope = check_among_good_ones(bad)

    assert (envelope.message_id, envelope.receipt_handle, envelope.stream) == ("bad", "h", "e-CS9")
    assert body_of(envelope.payload) == HEAD + b"1}"
    assert "X" in attributes_of(envelope.payload)
    assert isinstance(translated(envelope), Message)


@pytest.mark.requirement("I9", "R33")
@pytest.mark.parametrize("value", [rb'"\ud800"', b'"\xff"', DEEP, b"9" * 5000, b'"\x00"'])
def test_an_unreadable_id_or_handle_has_a_stand_in_or_is_none(value: bytes) -> None:
    bad = b'{"MessageId":' + value + b',"ReceiptHandle":' + value + b',"Body":' + HEAD + b"1}}"

    envelope = check_among_good_ones(bad)

    assert envelope.message_id.startswith("derived-")
    assert (envelope.receipt_handle, envelope.stream) == (None, "e-CS9")
    assert envelope == decode_message(bad)


@pytest.mark.requirement("I9")
@pytest.mark.parametrize("bad", [b"nonsense", b'"\xff"', DEEP, b"\xef\xbb\xbf[]", b"-"])
def test_what_is_no_message_at_all_is_kept_as_it_came(bad: bytes) -> None:
    envelope = check_among_good_ones(bad)

    assert body_of(envelope.payload) == bad
    assert isinstance(translated(envelope), Undecodable)


@pytest.mark.requirement("I9")
def test_a_message_behind_a_byte_order_mark_is_read() -> None:
    envelope = check_among_good_ones(b"\xef\xbb\xbf" + MESSAGES[3])

    assert envelope == decode_message(MESSAGES[3])


@pytest.mark.requirement("I5")
@pytest.mark.parametrize("member", ["x", "changed", "notes", "status", "ticketType", "approvalId", "attachment"])
@pytest.mark.parametrize("depth", [90, 98, 99, 100, 500, 900, 990, 1000, 5000])
def test_how_deep_a_body_may_nest_does_not_depend_on_who_reads_it(member: str, depth: int) -> None:
    nested = b"[" * depth + b"]" * depth
    body = b'{"ticketNumber":"e-CS9","%b":{"a":[{"id":%b}]}}' % (member.encode(), nested)
    envelope = decode_message(hostile_message(body))

    def read_from_below(frames: int) -> Message | Undecodable:
        return read_from_below(frames - 1) if frames else translated(envelope)

    assert translated(envelope) == read_from_below(300)
    assert isinstance(translated(envelope), Undecodable) or depth < 98


@pytest.mark.requirement("I9", "R38")
@pytest.mark.parametrize("sent", ["999999999999999999", "253402300800000", "9" * 5000, "-1", "now", ""])
def test_a_sent_time_that_no_calendar_has_is_replaced_by_ours(sent: str) -> None:
    raw = json.dumps({"Body": {"ticketType": "Incident"}, "Attributes": {"MessageGroupId": "g", "SentTimestamp": sent}})

    assert translated(decode_message(raw.encode())).at == PLACE.at


# --- anything at all ---


@st.composite
def damaged(draw: st.DrawFn, whole: list[bytes]) -> bytes:
    """One of the guide's texts with up to three places overwritten, cut out or doubled."""
    text = draw(st.sampled_from(whole))
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(text)))
        end = start + draw(st.integers(0, 12))
        junk = st.binary(max_size=3) | st.sampled_from([b"", b'"', b"}", b"]", b"[", b"{", b",", b"\\", rb"\ud800"])
        text = text[:start] + draw(junk) + text[draw(st.sampled_from([start, end])) :]
    return text


def check_answer(body: bytes) -> None:
    decoded = decode_answer(body)
    if isinstance(decoded, BadAnswer):
        return
    for envelope in decoded.messages:
        check_envelope(envelope)


def check_envelope(envelope: Envelope) -> None:
    assert envelope.message_id
    assert envelope.stream == envelope.stream.strip() != ""
    assert len(envelope.sequence) == 16
    assert envelope.key.startswith(envelope.sequence)
    fact = translated(envelope)
    assert 0 <= fact.at < 2**62
    attachment_url(envelope.payload)


@pytest.mark.requirement("I9")
@given(st.binary())
@example(b'{"ReceiveMessageResponse":')
@example(b'{"ReceiveMessageResponse":{"messages":[{"Attributes":[{"Name":1,"Value":2},[]]}]}}')
def test_any_bytes_are_an_answer_or_none(body: bytes) -> None:
    check_answer(body)
    check_answer(answer(body))
    check_envelope(decode_message(body))
    for judge in (judge_answer, judge_delete, judge_receive):
        judge(200, body)


@pytest.mark.requirement("I9")
@settings(max_examples=200)
@given(damaged([answer(*MESSAGES[:3]), *RESPONSES]))
def test_a_damaged_answer_raises_nothing(body: bytes) -> None:
    check_answer(body)
    for judge in (judge_answer, judge_delete, judge_receive):
        judge(200, body)


@pytest.mark.requirement("I9", "R33")
@settings(max_examples=200)
@given(damaged(MESSAGES))
def test_a_damaged_message_raises_nothing_and_is_the_same_in_every_delivery(raw: bytes) -> None:
    envelope = decode_message(raw)

    check_envelope(envelope)
    assert envelope == decode_message(raw)
    assert translated(envelope) == translated(envelope)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
MEMBERS = st.sampled_from(
    [
        *("ticketType", "ticketNumber", "clientTicketNumber", "status", "state", "changed", "notes", "attachment"),
        *(
            "attachmentInfo",
            "attachmentSize",
            "attachmentName",
            "approvalId",
            "approvalState",
            "openedTime",
            "updateOn",
        ),
    ]
)


@pytest.mark.requirement("I9")
@settings(max_examples=100)
@given(st.dictionaries(MEMBERS, JSON | st.sampled_from(["Incident", "Change"])), st.dictionaries(st.text(), JSON))
def test_any_json_in_any_member_is_translated(body: dict[str, object], attributes: dict[str, object]) -> None:
    raw = json.dumps({"Body": body, "Attributes": attributes}).encode()

    check_envelope(decode_message(raw))


@given(st.lists(JSON, max_size=5), st.dictionaries(st.text(), JSON, max_size=5))
def test_splitting_sound_json_finds_its_members(items: list[object], members: dict[str, object]) -> None:
    assert [json.loads(part) for part in split_array(json.dumps(items).encode())] == items
    found = split_object(json.dumps(members, ensure_ascii=False).encode())
    plain = {name: value for name, value in members.items() if json.dumps(name, ensure_ascii=False) == f'"{name}"'}
    assert {name: json.loads(found[name]) for name in plain} == plain


@given(JSON, st.integers(0, 6))
def test_depth_is_counted_outside_of_strings(value: object, limit: int) -> None:
    def depth_of(item: object) -> int:
        inner = item.values() if isinstance(item, dict) else item if isinstance(item, list) else None
        return 0 if inner is None else 1 + max(map(depth_of, inner), default=0)

    assert nests_deeper(json.dumps(value).encode(), limit) == (depth_of(value) > limit)


@given(st.text())
def test_any_text_is_a_time_or_none(text: str) -> None:
    parse_time(text)
    presigned_expiry(text)
    presigned_expiry(f"https://x/?X-Amz-Date=20230208T172243Z&X-Amz-Expires={text}")


# --- texts made to take long ---

LONG = 200_000


@pytest.mark.requirement("I8", "I9")
@pytest.mark.parametrize(
    "work",
    [
        pytest.param(lambda: normalise_url("https://a/" + "a%" * LONG), id="address"),
        pytest.param(lambda: presigned_expiry("https://a/?" + "&X-Amz-Date=2023" * LONG), id="expiry"),
        pytest.param(
            lambda: judge_answer(400, b'{"message":"' + b"https://a" * LONG + b'"}'), id="addresses in an error"
        ),
        pytest.param(lambda: judge_delete(400, b'{"message":"' + b"timed AQEB" * LONG + b'"}'), id="words in an error"),
        pytest.param(lambda: read_notes("2023-01-01 00:00:00 - " + "(a) " * LONG, "m", []), id="head of a journal"),
        pytest.param(lambda: read_notes("2023-01-01 00:00:00 - x (Comments)\nq\n" * 10_000, "m", []), id="journal"),
        pytest.param(lambda: decode_json(b'{"a":"' + rb"\ud83d" * LONG + b'"}'), id="escapes"),
        pytest.param(lambda: identity(" " * LONG + "null"), id="blanks"),
    ],
)
def test_a_text_made_to_take_long_takes_no_more_than_its_length(work: Callable[[], object]) -> None:
    """Patterns that go back and forth take hours here; the suite's own time limit would end them."""
    work()
