"""Bytes to values: an answer of the queue into messages, and a logged message into what the fold reads."""

from __future__ import annotations

from typing import Any

import msgspec

from benchmarks.lab import Call, Lab, Row
from benchmarks.measure import Sample, timing, timing_baseline
from benchmarks.messages import PER_ANSWER, decode_events, make_answer
from ecproc.collector import spare_the_collector
from ecproc.domain.log import RecordedEvent
from ecproc.fold.history import read_fact
from ecproc.wire.queue import decode_answer

_PASSES = 10


class _Attributes(msgspec.Struct):
    MessageGroupId: str
    SequenceNumber: str
    SentTimestamp: str
    TransactionType: str
    ApproximateReceiveCount: str


class _Message(msgspec.Struct):
    MessageId: str
    ReceiptHandle: str
    Body: msgspec.Raw
    Attributes: _Attributes


class _Result(msgspec.Struct):
    messages: list[msgspec.Raw]


class _Response(msgspec.Struct):
    ReceiveMessageResult: _Result


class _Answer(msgspec.Struct):
    ReceiveMessageResponse: _Response


class Body(msgspec.Struct):
    """What a fold needs at least of a body."""

    ticketNumber: str
    ticketType: str
    clientTicketNumber: str = ""
    status: str = ""
    priority: str = ""
    group: str = ""
    shortDescription: str = ""
    updatedOn: str = ""
    changed: dict[str, Any] | None = None
    notes: dict[str, Any] | None = None


class Payload(msgspec.Struct):
    """What a fold needs at least of a logged message."""

    body: Body


def _answers(messages: int) -> list[bytes]:
    return [make_answer(start, tickets=100, mix="busy") for start in range(0, messages, PER_ANSWER)]


def receive(messages: int) -> Sample:
    """Our decoding of answers: tolerant, message by message, the body's bytes kept."""
    answers = _answers(messages)
    spare_the_collector()
    with timing() as watch:
        for _ in range(_PASSES):
            for answer in answers:
                decode_answer(answer)
    return watch.sample(messages * _PASSES)


def receive_bare(messages: int) -> Sample:
    """msgspec alone on answers that are known to be right: a list of raw messages, then one typed decode for each."""
    answers = _answers(messages)
    split, decode = msgspec.json.Decoder(_Answer).decode, msgspec.json.Decoder(_Message).decode
    with timing_baseline() as watch:
        for _ in range(_PASSES):
            for answer in answers:
                for raw in split(answer).ReceiveMessageResponse.ReceiveMessageResult.messages:
                    decode(raw)
    return watch.sample(messages * _PASSES)


def translate(messages: int) -> Sample:
    """Our translation of logged messages into facts."""
    events = [
        RecordedEvent(1, event.stream, 1, 1, event.kind, event.payload, b"", event.message_key)
        for answer in _answers(messages)
        for event in decode_events(answer)
    ]
    spare_the_collector()
    with timing() as watch:
        for _ in range(_PASSES):
            for event in events:
                read_fact(event)
    return watch.sample(messages * _PASSES)


def translate_bare(messages: int) -> Sample:
    """msgspec alone: one typed decode of the few fields that a fold cannot do without."""
    payloads = [event.payload for answer in _answers(messages) for event in decode_events(answer)]
    decode = msgspec.json.Decoder(Payload).decode
    with timing_baseline() as watch:
        for _ in range(_PASSES):
            for payload in payloads:
                decode(payload)
    return watch.sample(messages * _PASSES)


def run(lab: Lab) -> list[Row]:
    """Both decodings beside the least that msgspec can do."""
    work = {"messages": lab.size(1000, 300)}
    return [
        lab.compare(
            "decode_receive",
            "decode an answer of 10",
            per="message",
            ours=Call("benchmarks.decode:receive", work),
            baseline=Call("benchmarks.decode:receive_bare", work),
            against="msgspec, typed, trusting",
        ),
        lab.compare(
            "decode_translate",
            "translate a logged message",
            per="message",
            ours=Call("benchmarks.decode:translate", work),
            baseline=Call("benchmarks.decode:translate_bare", work),
            against="msgspec, typed, 10 fields",
        ),
    ]
