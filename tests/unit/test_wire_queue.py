"""Answers to `GET /queue` cut into messages: both documented shapes and what is tolerated beside them."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ecproc.domain.events import Place, Transaction, Undecodable
from ecproc.domain.ids import NO_SEQUENCE, UNGROUPED, message_key
from ecproc.wire.lenient import parse_int, parse_sequence, parse_transaction
from ecproc.wire.payload import attributes_of, body_of
from ecproc.wire.queue import BadAnswer, Envelope, Received, decode_answer, decode_message
from ecproc.wire.translate import translate

RESPONSES = Path(__file__).parents[1] / "fixtures" / "responses"
GuideMessage = Callable[[str], bytes]
ATTRIBUTES = {"MessageGroupId": "e-CS1", "SequenceNumber": "18875507807458288128", "TransactionType": "Create"}


def message(**members: Any) -> dict[str, Any]:
    known = {"MessageId": "m1", "ReceiptHandle": "h/1+=", "Body": {"ticketNumber": "e-CS1"}, "Attributes": ATTRIBUTES}
    return {**known, **members}


def decode(value: object) -> Envelope:
    return decode_message(json.dumps(value).encode())


def answer(messages: object) -> bytes:
    return json.dumps({"ReceiveMessageResponse": {"ReceiveMessageResult": {"messages": messages}}}).encode()


def received(body: bytes) -> Received:
    decoded = decode_answer(body)
    assert isinstance(decoded, Received)
    return decoded


# --- shapes ---


@pytest.mark.requirement("R14", "C1")
def test_the_documented_answer_with_messages() -> None:
    decoded = received((RESPONSES / "queue-with-messages.json").read_bytes())

    assert decoded.request_id == "14b203db-99d8-5b2f-aac0-5f8a6fd2272e"
    (one,) = decoded.messages
    assert (one.message_id, one.stream) == ("0eb49bcf-53a7-4769-b37a-2342b3658a00", "e-CS0879727")
    assert one.sequence == (18875507807458288128).to_bytes(16)
    assert (one.sent_ms, one.receive_count, one.transaction) == (1674858334956, 3, Transaction.CREATE)
    assert one.receipt_handle is not None
    assert one.receipt_handle.startswith("AQEBD4eNzuQjJoBJ+TRMwOo5Ub/VvF/")


@pytest.mark.requirement("R15", "C1")
def test_the_documented_empty_answer() -> None:
    decoded = received((RESPONSES / "queue-empty.json").read_bytes())

    assert decoded == Received((), "a4ddf399-6d19-5670-a8bc-a6e26670337a")


@pytest.mark.requirement("R15", "R13")
@pytest.mark.parametrize(
    ("body", "count"),
    [
        pytest.param(answer(None), 0, id="null"),
        pytest.param(answer([]), 0, id="list"),
        pytest.param(b'{"ReceiveMessageResponse":{"ReceiveMessageResult":{"messages":[ ]}}}', 0, id="blank list"),
        pytest.param(b'{"receiveMessageResponse":{"receive_message_result":{"Messages":null}}}', 0, id="other names"),
        pytest.param(b'{"ReceiveMessageResponse":{"ReceiveMessageResult":{"Message":{"a":1}}}}', 1, id="one Message"),
        pytest.param(b'{"ReceiveMessageResponse":{"messages":[{}],"ReceiveMessageResult":{}}}', 1, id="outside"),
        pytest.param(b'{"ReceiveMessageResponse":{"messages":"[{}]"}}', 1, id="JSON text"),
        pytest.param(b'{"ReceiveMessageResponse":{"messages":[{}]}}', 1, id="flat"),
        pytest.param(answer(message()), 1, id="single object"),
        pytest.param(answer([message()] * 12), 12, id="more than ten"),
        pytest.param(b"\xef\xbb\xbf" + answer([message()]), 1, id="BOM"),
        pytest.param(b" \r\n" + answer([message()]) + b"\n", 1, id="blanks around"),
        pytest.param(b'{"a":1,"ReceiveMessageResponse":{"messages":[{}],"b":2},"c":3}', 1, id="more members"),
    ],
)
def test_tolerated_shapes(body: bytes, count: int) -> None:
    assert len(received(body).messages) == count


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"null", b"[]", b"{}", b"<html>", b'"x"', b"\xff", b'{"message":"Forbidden"}', b"{"),
        *(path.read_bytes() for path in sorted(RESPONSES.glob("*")) if not path.name.startswith("queue-")),
    ],
)
@pytest.mark.requirement("R14", "I9")
def test_what_is_no_queue_answer_is_said_to_be_none(body: bytes) -> None:
    assert decode_answer(body) == BadAnswer("no ReceiveMessageResponse in the answer")


@pytest.mark.parametrize(
    "response",
    ['{"ReceiveMessageResult":{}}', '{"ReceiveMessageResult":null}', "null", '{"ReceiveMessageResult":{"Error":{}}}'],
)
@pytest.mark.requirement("R15", "I9")
def test_an_answer_without_messages_is_not_an_empty_one(response: str) -> None:
    assert decode_answer(f'{{"ReceiveMessageResponse":{response}}}'.encode()) == BadAnswer(
        "no `messages` in the answer"
    )


@pytest.mark.parametrize("messages", ['""', "{}", '" "', '"text"', "0", "true"])
@pytest.mark.requirement("R15", "I9")
def test_what_holds_no_message_and_is_no_word_for_none_is_a_bad_answer(messages: str) -> None:
    body = f'{{"ReceiveMessageResponse":{{"messages":{messages},"ResponseMetadata":{{"RequestId":"r"}}}}}}'

    assert isinstance(bad := decode_answer(body.encode()), BadAnswer)
    assert bad.request_id == "r"


@pytest.mark.requirement("I1", "I9")
def test_an_answer_that_is_cut_off_brings_nothing_that_could_be_deleted(guide_message: GuideMessage) -> None:
    messages = ",".join(
        guide_message(name).decode() for name in ("incident-create", "incident-update", "change-create")
    )
    pretty = f'{{"ReceiveMessageResponse":{{"ReceiveMessageResult":{{"messages":[{messages}]}}}}}}'
    compact = json.dumps(json.loads(pretty), separators=(",", ":"))
    for body in (pretty.encode(), compact.encode()):
        assert len(received(body).messages) == 3
        brackets = [index for index, byte in enumerate(body, 1) if byte in b"]}"]
        for end in [*brackets[:-1], *range(30, len(body), 97)]:
            cut = decode_answer(body[:end])
            assert isinstance(cut, BadAnswer) or cut.messages == ()


# --- one message ---


@pytest.mark.requirement("R34", "C44")
@pytest.mark.parametrize("name", ["ReceiptHandle", "Receipt Handle", "receiptHandle"])
def test_the_handle_is_found_under_every_spelling_seen(name: str) -> None:
    assert decode({name: "h/1+=", "Body": {}}).receipt_handle == "h/1+="


@pytest.mark.requirement("R36", "C2")
@pytest.mark.parametrize("name", ["MessageGroupId", "MessageGroupID", "Message Group Id"])
def test_the_group_is_found_under_every_spelling_seen(name: str) -> None:
    assert decode({"Body": {}, "Attributes": {name: " e-CS1 "}}).stream == "e-CS1"


@pytest.mark.requirement("R36")
@pytest.mark.parametrize("group", [None, "", "  "])
def test_without_a_group_the_ticket_number_is_the_stream(group: object) -> None:
    assert decode(message(Attributes={"MessageGroupId": group})).stream == "e-CS1"
    assert decode({"Body": {}, "Attributes": {"MessageGroupId": group}}).stream == UNGROUPED


@pytest.mark.requirement("R44", "C3")
@pytest.mark.parametrize(("name", "value"), [("Name", "Value"), ("name", "value")])
def test_attributes_may_come_as_pairs(name: str, value: str) -> None:
    pairs = [{name: key, value: text} for key, text in ATTRIBUTES.items()] + ["odd", {name: "no value"}, {value: 1}]

    paired = decode(message(Attributes=pairs))

    assert paired == decode(message())
    assert attributes_of(paired.payload) == {key: json.dumps(text).encode() for key, text in ATTRIBUTES.items()}


@pytest.mark.requirement("R35", "C23")
def test_the_checksum_is_kept_where_there_is_one_and_never_checked(guide_message: GuideMessage) -> None:
    with_it = decode_message(guide_message("incident-create"))
    without = decode_message(guide_message("change-closure"))

    assert json.loads(with_it.payload)["md5OfBody"] == "385b136e9129e7f0b282ed0657772ff5"
    assert "md5OfBody" not in json.loads(without.payload)


@pytest.mark.requirement("R16")
def test_a_body_may_be_a_string_and_is_kept_as_it_is() -> None:
    raw = json.dumps(json.dumps({"ticketNumber": "e-CS1"})).encode()

    assert body_of(decode_message(b'{"Body":' + raw + b"}").payload) == raw


@pytest.mark.requirement("R33")
def test_a_missing_message_id_is_made_of_what_every_delivery_repeats() -> None:
    first = {"Body": {"a": 1}, "Attributes": {**ATTRIBUTES, "ApproximateReceiveCount": "1"}, "ReceiptHandle": "h1"}
    again = {**first, "ReceiptHandle": "h2", "Attributes": {**ATTRIBUTES, "ApproximateReceiveCount": "2"}}
    others = [{**first, "Body": {"a": 2}}, {**first, "Attributes": {**ATTRIBUTES, "SequenceNumber": "1"}}]

    assert decode(first).message_id == decode(again).message_id
    assert decode(first).key == decode(again).key
    assert decode(first).message_id.startswith("derived-")
    assert len({decode(item).message_id for item in [first, *others]}) == 3


@pytest.mark.requirement("R33")
@pytest.mark.parametrize("absent", [None, "", {"a": 1}])
def test_a_message_id_that_is_none_counts_as_missing(absent: object) -> None:
    assert decode(message(MessageId=absent)).message_id.startswith("derived-")


@pytest.mark.requirement("R33")
def test_a_message_that_is_no_object_is_kept_whole_under_an_id_of_its_own() -> None:
    first, second = received(answer(["odd", 7])).messages

    assert (first.receipt_handle, first.stream, body_of(first.payload)) == (None, UNGROUPED, b'"odd"')
    assert first.message_id != second.message_id


@pytest.mark.requirement("R22", "I2")
def test_the_key_of_a_message_is_its_number_and_its_id() -> None:
    one = decode(message())

    assert one.key == message_key(one.sequence, "m1") == (18875507807458288128).to_bytes(16) + b"m1"


# --- what the log keeps ---


def test_the_payload_holds_the_body_byte_for_byte() -> None:
    body = b'{ "b" : 1.50,\t"a":"\\u00e9\\/", "n":1e2 , "u":"\xc3\xa9" }'
    envelope = decode_message(b'{"MessageId":"m1", "Body": ' + body + b' ,"Attributes":{ "X" : 1.0 }}')

    assert envelope.payload == b'{"attributes":{"X":1.0},"body":' + body + b"}"


@pytest.mark.requirement("I2")
def test_the_payload_of_every_guide_message_holds_its_body_as_it_stands(guide_message: GuideMessage) -> None:
    names = [path.stem for path in (RESPONSES.parent / "messages").glob("*.json")]
    assert len(names) == 13
    for name in names:
        raw = guide_message(name)
        body = body_of(decode_message(raw).payload)
        assert body in raw
        assert json.loads(body) == json.loads(raw)["Body"]


@pytest.mark.requirement("R34", "I11", "R43")
def test_what_belongs_to_a_delivery_is_never_in_the_payload(guide_message: GuideMessage) -> None:
    raw = json.loads(guide_message("incident-create"))
    again = {**raw, "ReceiptHandle": "other"}
    again["Attributes"] = {**raw["Attributes"], "ApproximateReceiveCount": "9", "ApproximateFirstReceiveTimestamp": "9"}
    again["Attributes"]["ReceiptHandle"] = "other"

    envelope, redelivered = decode(raw), decode(again)

    assert envelope.payload == redelivered.payload
    assert (envelope.receive_count, redelivered.receive_count) == (3, 9)
    for secret in (raw["ReceiptHandle"], "Approximate", "ReceiptHandle"):
        assert secret.encode() not in envelope.payload
    assert set(attributes_of(envelope.payload)) == set(raw["Attributes"]) - {
        "ApproximateReceiveCount",
        "ApproximateFirstReceiveTimestamp",
    }


def test_members_and_attributes_that_nobody_knows_are_kept_or_harmless() -> None:
    envelope = decode(message(Colour="red", Attributes={**ATTRIBUTES, "New Thing": [1]}))

    assert attributes_of(envelope.payload)["New Thing"] == b"[1]"
    assert b"red" not in envelope.payload


# --- numbers and names ---


@pytest.mark.requirement("R40")
@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("18875507807458288128", 18875507807458288128),
        (" 7 ", 7),
        (str(2**64), 2**64),
        (str(2**128 - 1), 2**128 - 1),
        (str(2**128), 0),
        ("9" * 39, 0),
        ("1" + "0" * 38, 10**38),
        ("0" * 49, 0),
        *((text, 0) for text in ("", "-1", "1.5", "x", "٣", "²", "1_000", "0x1", None)),
    ],
)
def test_a_sequence_number_has_up_to_128_bits(text: str | None, number: int) -> None:
    assert parse_sequence(text) == number.to_bytes(16)
    assert len(NO_SEQUENCE) == 16


@pytest.mark.requirement("R40")
@pytest.mark.parametrize("number", [18875507807458288128, 2**64, 10**38])
def test_a_sequence_number_may_also_be_a_json_number(number: int) -> None:
    assert decode(message(Attributes={"SequenceNumber": number})).sequence == number.to_bytes(16)


@pytest.mark.requirement("R19", "R40")
def test_sequence_numbers_sort_as_bytes_as_they_do_as_numbers() -> None:
    numbers = [0, 9, 10, 255, 256, 2**63, 2**64, 18875507807458288128, 2**128 - 1]

    assert sorted(parse_sequence(str(number)) for number in reversed(numbers)) == [
        parse_sequence(str(number)) for number in numbers
    ]


@pytest.mark.requirement("R38")
@pytest.mark.parametrize(
    ("text", "number"), [("12", 12), (" 12", 12), ("9" * 19, None), ("", None), ("-1", None), ("x", None), (None, None)]
)
def test_a_count_or_time_is_taken_where_it_is_one(text: str | None, number: int | None) -> None:
    assert parse_int(text) == number
    envelope = decode(message(Attributes={"SentTimestamp": text, "ApproximateReceiveCount": text}))
    assert (envelope.sent_ms, envelope.receive_count) == (number, number)


@pytest.mark.requirement("R38")
@pytest.mark.parametrize("value", ["1674858334956", 1674858334956])
def test_the_sent_time_is_milliseconds_as_text_or_number(value: object) -> None:
    assert decode(message(Attributes={"SentTimestamp": value})).sent_ms == 1_674_858_334_956


@pytest.mark.requirement("R37", "C4")
@pytest.mark.parametrize(
    ("text", "transaction"),
    [
        *((item.value, item) for item in Transaction),
        *(("  redraft ", Transaction.REDRAFT), ("APPROVALREQUEST", Transaction.APPROVAL_REQUEST)),
        *(("Change Approval Request", Transaction.APPROVAL_REQUEST), ("Status Update", Transaction.UPDATE)),
        *(("", Transaction.UNKNOWN), ("Escalate", Transaction.UNKNOWN)),
    ],
)
def test_a_transaction_type_is_read_whatever_its_spelling(text: str, transaction: Transaction) -> None:
    assert parse_transaction(text) is transaction
    assert decode(message(Attributes={"TransactionType": text})).transaction is transaction


def test_a_repeated_member_counts_as_its_last_one_says() -> None:
    envelope = decode_message(b'{"MessageId":"a","MessageId":"b","Body":{"x":1},"Body":{"x":2}}')

    assert (envelope.message_id, body_of(envelope.payload)) == ("b", b'{"x":2}')


def test_a_derived_id_is_of_the_documented_parts() -> None:
    parts = b"\0".join((b"e-CS1", (5).to_bytes(16), b"{}"))
    raw = {"Body": {}, "Attributes": {"MessageGroupId": "e-CS1", "SequenceNumber": "5"}}

    assert decode(raw).message_id == f"derived-{hashlib.sha256(parts).hexdigest()}"


@pytest.mark.parametrize(
    "response",
    [
        '{"Messages":[{}],"messages":null}',
        '{"messages":null,"Message":[{}]}',
        '{"messages":[{}],"ReceiveMessageResult":{"messages":null}}',
        '{"messages":null,"ReceiveMessageResult":{"messages":[{}]}}',
    ],
)
@pytest.mark.requirement("R15", "C1")
def test_messages_are_found_wherever_they_stand(response: str) -> None:
    assert len(received(f'{{"ReceiveMessageResponse":{response}}}'.encode()).messages) == 1


@pytest.mark.parametrize(
    "beside", ['"errorMessage":"boom"', '"statusCode":500', '"message":"x"', '"Error":{"Code":"A"}']
)
@pytest.mark.requirement("R14", "R222")
def test_an_error_beside_no_messages_is_no_empty_queue(beside: str) -> None:
    envelope = '"ReceiveMessageResponse":{"ReceiveMessageResult":{"messages":%s}}'

    assert isinstance(decode_answer(f"{{{envelope % 'null'},{beside}}}".encode()), BadAnswer)
    assert len(received(f"{{{envelope % '[{}]'},{beside}}}".encode()).messages) == 1


@pytest.mark.parametrize(
    "body",
    [
        '{"ticketNumber":{"display_value":"e-CS1","value":"0"}}',
        '{"ticketNumber":["e-CS1"]}',
        '{"ticket_number":" e-CS1 "}',
        r'"{\"ticketNumber\":\"e-CS1\"}"',
        r'"\u0000{\"ticketNumber\":\"e-CS1\"}"',
        '{"ticketNumber":"e-CS1","bad":"\\ud83d"}',
    ],
)
@pytest.mark.requirement("R36")
def test_without_a_group_the_ticket_is_found_as_a_fold_would_find_it(body: str) -> None:
    assert decode_message(f'{{"Body":{body},"Attributes":{{"MessageGroupId":0}}}}'.encode()).stream == "e-CS1"


@pytest.mark.requirement("R36", "I9")
def test_names_that_cannot_be_read_do_not_become_one_ticket() -> None:
    body = rb'{"ticketNumber":"e-CS1\ud83d","ticketType":"Incident"}'
    raw = b'{"Body":' + body + rb',"Attributes":{"MessageGroupId":"e-CS1\ud83d"}}'
    envelope = decode_message(raw)
    fact = translate(envelope.payload, Place(1, 1, 1), envelope.message_id)

    assert envelope.stream == "ungrouped"
    assert isinstance(fact, Undecodable)
    assert fact.reason == "unroutable"


@pytest.mark.requirement("R15", "C1")
def test_an_empty_answer_is_empty_however_long_it_is() -> None:
    envelope = {"ReceiveMessageResult": {"messages": None}, "junk": "x" * 40_000}

    assert received(json.dumps({"ReceiveMessageResponse": envelope}).encode()).messages == ()
    beside = json.dumps({"ReceiveMessageResponse": envelope, "errorMessage": "boom"}).encode()
    assert isinstance(decode_answer(beside), BadAnswer)


@pytest.mark.parametrize("group", ["client:1", "job:x", "oncall:x", "pe:x", "bridge:x", "$control", "ungrouped"])
def test_a_group_with_the_name_of_a_stream_of_our_own_is_kept_apart_and_told(group: str) -> None:
    envelope = decode({"MessageId": "m-1", "Body": {"ticketType": "Incident"}, "Attributes": {"MessageGroupId": group}})

    fact = translate(envelope.payload, Place(1, 1, 1), envelope.message_id)

    assert envelope.stream == f"bridge:{group}"
    assert isinstance(fact, Undecodable)
    assert fact.reason == "reserved_group"


def test_a_group_that_only_looks_like_one_is_a_tickets() -> None:
    for group in ("client", "e-CS1:job:", "clients:1"):
        assert decode({"Body": {}, "Attributes": {"MessageGroupId": group}}).stream == group
