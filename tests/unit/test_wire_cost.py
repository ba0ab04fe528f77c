"""What a hostile message costs, from the queue's answer to its ticket's rows: little, in proportion to its bytes."""

from __future__ import annotations

import gc
import json
import math
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from itertools import repeat
from typing import Final

import pytest

from ecproc.domain.events import Message, Place, Undecodable
from ecproc.domain.log import RecordedEvent
from ecproc.domain.policy import Policy
from ecproc.fold.recorded import Kind
from ecproc.fold.step import take_step
from ecproc.fold.stream import StreamFold
from ecproc.fold.tickets import MACHINES
from ecproc.wire.queue import BadAnswer, Received, decode_answer
from ecproc.wire.responses import judge_answer, judge_delete, judge_receive
from ecproc.wire.translate import attachment_url, translate

KB: Final = 1024
LARGEST: Final = 256
"""kB of a message, which is the queue's own limit."""
SMALLER: Final = 32
MOST_RATIO: Final = 30
"""Times that json.loads takes for the same bytes; the dearest, lone surrogates, which it reads at 500 MB/s on Python
3.13, take 20."""
MOST_GROWTH: Final = 3.0 ** math.log2(LARGEST / SMALLER)
"""Of the time from the smaller to the largest: twice the bytes take twice the time, and a square would take four."""
ROUNDS: Final = 5
UNSEEN: Final = 0.004
"""Seconds too few to tell their growth from noise."""
PLACE: Final = Place(7, 3, 1_700_000_000_000_000)

HEAD: Final = b'{"ticketNumber":"e-CS9","ticketType":"Incident","status":"open",'
Make = Callable[[int], bytes]


def with_member(name: bytes, value: Make) -> Make:
    return lambda size: HEAD + b'"' + name + b'":' + value(size) + b"}"


def text(unit: bytes, begin: bytes = b"", end: bytes = b"") -> Make:
    return lambda size: b'"' + begin + unit * (size // len(unit)) + end + b'"'


def items(unit: bytes) -> Make:
    return lambda size: b"[" + b",".join([unit] * (size // (len(unit) + 1))) + b"]"


def members(value: str) -> Make:
    return lambda size: b"{" + numbered(value, size) + b"}"


def numbered(value: str, size: int) -> bytes:
    count = size // (len(value) + 9)
    return ",".join(f'"m{number:05}":{value}' for number in range(count)).encode()


def beside(value: str, end: str = "") -> Make:
    return lambda size: HEAD + numbered(value, size) + end.encode() + b"}"


def some(value: str, most: int) -> Make:
    """So many notes, as long as they must be."""
    return lambda size: (
        "[" + ",".join(value % (number, "a" * (size // most - 40)) for number in range(most)) + "]"
    ).encode()


def in_text(make: Make) -> Make:
    return lambda size: json.dumps(make(size * 3 // 4).decode()).encode()


def nested(begin: bytes, end: bytes, middle: bytes = b"") -> Make:
    return lambda size: begin * (size // len(begin + end)) + middle + end * (size // len(begin + end))


def deep(levels: int) -> Make:
    return lambda size: b"[" * levels + text(b"a")(size - 2 * levels) + b"]" * levels


JOURNAL: Final = b"2023-02-08 16:25:44 - "
FAMILIES: Final[dict[str, Make]] = {
    "words": with_member(b"description", text(b"some words ")),
    "deep arrays": with_member(b"x", nested(b"[", b"]")),
    "deep objects": with_member(b"x", nested(b'{"a":', b"}", b"1")),
    "deep without an end": with_member(b"x", lambda size: b"[" * size),
    "2000 levels": with_member(b"x", deep(2000)),
    "not too deep, often": with_member(b"x", items(b"[" * 90 + b"]" * 90)),
    "brackets in texts": with_member(b"x", items(b'"[{"')),
    "an odd quote, often": with_member(b"x", lambda size: b'"[{' * (size // 3)),
    "empty texts": with_member(b"x", items(b'""')),
    "quotes": lambda size: b'"' * size,
    "commas": lambda size: b"{" + b"," * size + b"}",
    "no JSON": lambda size: b"x" * size,
    "padding": lambda size: b"\0" * (size // 2) + HEAD[:-1] + b"}" + b"\0" * (size // 2),
    "backslashes": with_member(b"x", text(rb"\\")),
    "unknown escapes": with_member(b"x", text(rb"\x")),
    "lone surrogates": with_member(b"x", text(rb"\ud800")),
    "bad UTF-8": with_member(b"x", text(b"\xff")),
    "control characters": with_member(b"x", text(b"\x01")),
    "spellings": lambda size: (
        HEAD + b",".join(b'"s%btatus":1' % (b"_" * n) for n in range(int((2 * size) ** 0.5))) + b"}"
    ),
    "members": beside('"a"'),
    "numbers as members": beside("1"),
    "objects as members": beside('{"a":1}'),
    "display values": beside('{"display_value":"a","value":"b"}'),
    "lists as members": beside("[1,2]"),
    "members without a value": beside(""),
    "members and half a pair": beside('"a"', r',"z":"\ud800"'),
    "one name": lambda size: HEAD + b'"' + b"_-" * (size // 2) + b'":1}',
    "long names": lambda size: HEAD + b",".join(b'"%b%d":1' % (b"_" * 500, n) for n in range(size // 510)) + b"}",
    "one member again and again": lambda size: HEAD + b",".join([b'"m":1'] * (size // 6)) + b"}",
    "small numbers": with_member(b"x", items(b"1")),
    "numbers that no float holds": with_member(b"x", items(b"1e999")),
    "numbers that a float just holds": with_member(b"x", items(b"1.5e300")),
    "long numbers": with_member(b"x", items(b"9" * 4000)),
    "long fractions, half a pair": lambda size: HEAD + b'"z":"\\ud800","x":' + items(b"1." + b"9" * 4000)(size) + b"}",
    "notes": with_member(b"notes", items(b'{"id":"a","body":"b"}')),
    "400 notes": with_member(b"notes", some('{"id":"%s","body":"%s"}', 400)),
    "notes of any type": with_member(b"notes", items(b'{"body":"b","type":[1]}')),
    "notes by id": with_member(b"notes", members('{"body":"b"}')),
    "texts as notes": with_member(b"notes", items(b'"a"')),
    "empty notes": with_member(b"notes", items(b"{}")),
    "notes in a text": with_member(b"notes", in_text(items(b'{"id":"a","body":"b"}'))),
    "a journal": with_member(b"notes", text(JOURNAL + rb"A (Comments)\nx\n")),
    "heads of no journal": with_member(b"notes", text(JOURNAL + rb"\n")),
    "entries that are none": with_member(b"notes", text(JOURNAL + b" (a" * 130 + rb"\n")),
    "a journal, oldest first": with_member(
        b"notes", text(JOURNAL.replace(b"08", b"09") + rb"A (Comments)\nx\n", JOURNAL + rb"A (Comments)\nx\n")
    ),
    "nearly a journal": with_member(b"notes", text(b" (a)b", JOURNAL)),
    "a journal of blanks": with_member(b"notes", text(b" ", JOURNAL + b"(a)", b"x")),
    "names as changed": with_member(b"changed", text(b"status,")),
    "semicolons as changed": with_member(b"changed", text(b",;")),
    "names with blanks as changed": with_member(b"changed", text(b" , ,")),
    "changes as changed": with_member(b"changed", items(b'{"field":"a","old":1,"new":2}')),
    "members as changed": with_member(b"changed", members('{"old":"x","new":"y"}')),
    "changed in a text": with_member(b"changed", in_text(members('"x"'))),
    "an address of blanks": with_member(b"attachment", text(b" a", b"https://h/")),
    "an address of signs": with_member(b"attachment", text(b"%", b"https://h/")),
    "an address in quotes": with_member(
        b"attachment", lambda size: b'"' + b"' " * (size // 4) + b" '" * (size // 4) + b'"'
    ),
    "an address of dates": with_member(b"attachment", text(b"&X-Amz-Date=20230101T000000Zx", b"https://h/?")),
    "a path": lambda size: HEAD + b'"attachmentName":"a","attachmentInfo":' + text(b"/file")(size) + b"}",
    "a size of blanks": lambda size: (
        HEAD + b'"attachmentName":"a","attachmentSize":' + text(b" ", b"1", b"x")(size) + b"}"
    ),
    "a size of digits": lambda size: (
        HEAD + b'"attachmentName":"a","attachmentSize":' + text(b"1,", b"", b"x")(size) + b"}"
    ),
    "a type": lambda size: b'{"ticketType":' + text(b"A")(size) + b"}",
    "a status": with_member(b"status", text(b"_-")),
    "a client of blanks": with_member(b"clientName", text(rb"\u3000")),
    "a time": with_member(b"updatedOn", text(b"2")),
    "a list of CIs": with_member(b"cis", items(b'"a"')),
    "JSON in a text": in_text(beside('"a"')),
    "JSON in a text in a text": in_text(in_text(beside('"a"'))),
    "depth in a text": in_text(nested(b"[", b"]")),
}


ORDINARY: Final = beside('"a"')(LARGEST * KB)


def measure(work: Callable[[], object], times: int = 3) -> float:
    """CPU seconds at best, without the collector, whose time depends on what other tests left."""
    best = float("inf")
    gc.disable()
    try:
        for _ in range(times):
            start = time.process_time()
            work()
            best = min(best, time.process_time() - start)
    finally:
        gc.enable()
    return best


def load(body: bytes) -> bool:
    """Whether the standard library reads it."""
    try:
        json.loads(body)
    except (ValueError, RecursionError):
        return False
    return True


def make_answer(*bodies: bytes) -> bytes:
    attributes = (
        b'{"MessageGroupId":"e-CS9","SequenceNumber":"7","SentTimestamp":"1674858334956","TransactionType":"Update"}'
    )
    listed = [
        b'{"MessageId":"m","ReceiptHandle":"h","Body":%b,"Attributes":%b}' % (body, attributes) for body in bodies
    ]
    return b'{"ReceiveMessageResponse":{"ReceiveMessageResult":{"messages":[' + b",".join(listed) + b"]}}}"


def read(answer: bytes) -> list[Message | Undecodable]:
    """Everything that the wire makes of an answer."""
    decoded = decode_answer(answer)
    assert isinstance(decoded, Received)
    return [translate(envelope.payload, PLACE, envelope.message_id) for envelope in decoded.messages]


def fold(payload: bytes) -> None:
    """Take the message's step, as live and as a rebuild do."""
    event = RecordedEvent(1, "e-CS9", 1, PLACE.at, Kind.MESSAGE_RECEIVED, payload, b"", bytes(16) + b"m")
    ticket = StreamFold("e-CS9", MACHINES.of("e-CS9"))
    ticket.extend([event])
    take_step(ticket, policy=Policy(), client_name="", limit=10, snapshot_events=1)


def check_growth(work: Callable[[int], Callable[[], object]], rounds: int = ROUNDS) -> None:
    """The largest takes little more than its share of what the smaller one takes."""
    growths: list[float] = []
    smallest, whole = work(SMALLER * KB), work(LARGEST * KB)
    while not growths or (growths[-1] > MOST_GROWTH and len(growths) < rounds):
        smaller, largest = measure(smallest, 2), measure(whole, 1)
        growths.append(largest / max(smaller, UNSEEN))
    assert min(growths) <= MOST_GROWTH, growths


def time_to_load(body: bytes) -> float:
    return measure(lambda: load(body), 2)


def check_cost(work: Callable[[], object], body: bytes) -> None:
    """It is little beside what json.loads takes for the same bytes, and where that gives up, for as many of others. A
    busy machine gets more than one chance."""
    known = body if load(body) else beside('"a"')(len(body))
    ratios: list[float] = []
    while not ratios or (ratios[-1] > MOST_RATIO and len(ratios) < ROUNDS):
        ratios.append(measure(work, 1) / measure(lambda: load(known), 2))
    assert min(ratios) <= MOST_RATIO, ratios


@pytest.mark.requirement("I8", "I9", "I7")
@pytest.mark.parametrize("name", FAMILIES)
def test_reading_a_hostile_message_takes_little_time(name: str) -> None:
    body = FAMILIES[name](LARGEST * KB)
    answer = make_answer(body)

    check_cost(lambda: read(answer), body)
    check_growth(lambda size: partial(read, make_answer(FAMILIES[name](size))))


@pytest.mark.requirement("I8", "I5")
@pytest.mark.parametrize("name", FAMILIES)
def test_folding_a_hostile_message_takes_little_time(name: str) -> None:
    def payload_of(size: int) -> bytes:
        decoded = decode_answer(make_answer(FAMILIES[name](size)))
        assert isinstance(decoded, Received)
        return decoded.messages[0].payload

    payload = payload_of(LARGEST * KB)
    body = max(ORDINARY, FAMILIES[name](LARGEST * KB), key=time_to_load)
    check_cost(lambda: fold(payload), body)
    check_cost(lambda: attachment_url(payload), body)
    check_growth(lambda size: partial(fold, payload_of(size)))


def judge_all(body: bytes) -> None:
    for judge in (judge_answer, judge_delete, judge_receive):
        judge(200, body)


@pytest.mark.requirement("I8")
@pytest.mark.parametrize("name", FAMILIES)
def test_judging_a_hostile_answer_takes_little_time(name: str) -> None:
    for size in (31, 33, LARGEST):
        body = FAMILIES[name](size * KB)
        check_cost(partial(judge_all, body), ORDINARY)


@pytest.mark.requirement("I8", "I7")
@pytest.mark.parametrize("inner", [b"1", b"{}", b'"', b"[", b'{"MessageId":"a"}', b'{"ReceiveMessageResult":'])
def test_an_answer_of_anything_takes_little_time(inner: bytes) -> None:
    size = 1024 * KB
    listed = b'{"ReceiveMessageResponse":{"messages":[' + b",".join([inner] * (size // len(inner))) + b"]}}"
    levels = b'{"ReceiveMessageResponse":' + inner * (size // len(inner))
    reference = measure(lambda: load(beside('"a"')(size)))
    for answer in (listed, levels):
        decoded = decode_answer(answer)
        assert isinstance(decoded, BadAnswer) or len(decoded.messages) <= 100
        assert measure(partial(decode_answer, answer), 1) <= MOST_RATIO * reference


def test_a_square_is_seen() -> None:
    """The measurement finds what it looks for."""

    def plant(size: int) -> Callable[[], object]:
        return lambda: deque(repeat(None, (size // 16) ** 2), maxlen=0)

    with pytest.raises(AssertionError, match=r"\["):
        check_growth(plant, rounds=1)
