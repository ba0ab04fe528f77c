"""The work every benchmark does: deterministic queue messages of about 2.5 KB in the shape of the guide's samples."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from typing import Any, Final, Literal, TypeAlias

from ecproc.domain.ids import message_key
from ecproc.domain.log import NewEvent
from ecproc.fold.recorded import Kind
from ecproc.wire.queue import Received, decode_answer

Mix: TypeAlias = Literal["quiet", "busy"]
"""quiet: tickets that have our number already, and changes the desk need not hear of. busy: an effect per message."""

PER_ANSWER: Final = 10
FIRST_SEQUENCE: Final = 18875507807458288128
_SENT: Final = 1_674_858_334_956
_TEXT: Final = (
    "User reports that the application server returns intermittent 503 responses after the last maintenance "
    "window; the load balancer marks two of six nodes as unhealthy. "
) * 8
_PATTERNS: Final = 200
_LEAP: Final = 7919
"""A prime, so that all tickets have their turn before one has it again."""
_LIFE: Final = ("Update", "Notes", "Update", "Notes", "Closure")
_STATES: Final = {"Closure": "resolved", "Update": "workinprogress", "Notes": "pending"}


def make_answer(start: int, count: int = PER_ANSWER, *, tickets: int, mix: Mix = "quiet", run: int = 1) -> bytes:
    """One answer to GET /queue with the messages from `start` on; none make the documented empty answer."""
    return make_document(
        [make_message(index, tickets=tickets, mix=mix, run=run) for index in range(start, start + count)]
    )


def make_document(messages: list[dict[str, Any]]) -> bytes:
    """Messages as an answer to GET /queue."""
    result = {"messages": messages} if messages else {"ReceiveMessageResult": {"messages": None}}
    metadata = {"RequestId": "14b203db-99d8-5b2f-aac0-5f8a6fd2272e"}
    return _encode({"ReceiveMessageResponse": {"ResponseMetadata": metadata, "ReceiveMessageResult": result}})


def make_message(index: int, *, tickets: int, mix: Mix = "quiet", run: int = 1) -> dict[str, Any]:
    """One message: the tickets take turns with `run` messages each, and each goes through its life message by message.
    A FIFO queue gives as many messages of one group in an answer as it has, so a backlog comes in runs."""
    turn, place = divmod(index, run)
    ticket, step = f"e-CS{turn % tickets:07d}", turn // tickets * run + place
    transaction = "Create" if step == 0 else "Update" if mix == "quiet" else _LIFE[(step - 1) % len(_LIFE)]
    return {
        "MessageId": hashlib.md5(b"message %d" % index, usedforsecurity=False).hexdigest(),
        "ReceiptHandle": make_handle(index),
        "MD5OfBody": hashlib.md5(b"body %d" % index, usedforsecurity=False).hexdigest(),
        "Body": _make_body(index, ticket=ticket, transaction=transaction, mix=mix),
        "Attributes": {
            "SenderId": "AROAYCQITFFPPLPIRNUQG:bridge",
            "ApproximateFirstReceiveTimestamp": str(_SENT + 152_573),
            "ApproximateReceiveCount": "1",
            "SentTimestamp": str(_SENT + index),
            "SequenceNumber": str(FIRST_SEQUENCE + index),
            "MessageDeduplicationId": hashlib.sha256(b"%d" % index).hexdigest(),
            "MessageGroupId": ticket,
            "ClientReferenceAvailable": mix == "quiet",
            "TransactionType": transaction,
        },
    }


def make_handle(index: int) -> str:
    """A receipt handle of the queue's length, with the characters that must be encoded."""
    raw = b"".join(hashlib.sha256(b"%d/%d" % (index, part)).digest() for part in range(8))
    return f"AQEB{base64.b64encode(raw).decode()}"


def make_events(start: int, count: int, *, tickets: int, mix: Mix = "quiet") -> Iterator[list[NewEvent]]:
    """What [append] is given for the messages from `start` on, answer by answer."""
    for first in range(start, start + count, PER_ANSWER):
        answer = make_answer(first, min(PER_ANSWER, start + count - first), tickets=tickets, mix=mix)
        yield decode_events(answer)


def make_bulk_events(start: int, count: int, *, tickets: int) -> Iterator[list[NewEvent]]:
    """The same for logs of millions: quiet messages out of a few patterns, each with its own numbers. Which ticket's
    turn it is jumps about, for so does a queue."""
    patterns = [decode_events(make_answer(step, 1, tickets=1))[0].payload for step in range(_PATTERNS)]
    ticket_pattern, sequences = b"e-CS0000000", [b'"%d"' % (FIRST_SEQUENCE + step) for step in range(_PATTERNS)]
    for first in range(start, start + count, PER_ANSWER):
        events = []
        for index in range(first, min(first + PER_ANSWER, start + count)):
            step = index // tickets
            pattern = 0 if step == 0 else 1 + index % (_PATTERNS - 1)
            ticket, sequence = b"e-CS%07d" % (index * _LEAP % tickets), FIRST_SEQUENCE + index
            payload = patterns[pattern].replace(ticket_pattern, ticket).replace(sequences[pattern], b'"%d"' % sequence)
            key = message_key(sequence.to_bytes(16, "big"), f"{index:032x}")
            events.append(NewEvent(ticket.decode(), Kind.MESSAGE_RECEIVED, payload, message_key=key, wanted=True))
        yield events


def make_openings(start: int, count: int) -> bytes:
    """An answer with the first message of each of so many tickets, short; `start` is the first one's number."""
    message = make_message(0, tickets=1)
    message["Body"] |= {"description": _TEXT[:100]}
    pattern, first = _encode(message), b'"%d"' % FIRST_SEQUENCE
    named = f'"{message["MessageId"]}"'.encode()
    messages = [
        pattern.replace(b"0000000", b"%07d" % number)
        .replace(first, b'"%d"' % (FIRST_SEQUENCE + number))
        .replace(named, b'"%032x"' % number)
        for number in range(start, start + count)
    ]
    return b'{"ReceiveMessageResponse":{"ReceiveMessageResult":{"messages":[' + b",".join(messages) + b"]}}}"


def decode_events(answer: bytes) -> list[NewEvent]:
    """An answer's messages as the events that ingest appends."""
    received = decode_answer(answer)
    if not isinstance(received, Received):
        raise TypeError(received.reason)
    return [
        NewEvent(item.stream, Kind.MESSAGE_RECEIVED, item.payload, message_key=item.key, wanted=True)
        for item in received.messages
    ]


def _make_body(index: int, *, ticket: str, transaction: str, mix: Mix) -> dict[str, Any]:
    text = _TEXT[: 950 + int(ticket[4:]) * 37 % 200]  # a ticket's description stays what it is
    updated = f"2023-01-{27 + index // 86_400 % 4}T{index // 3600 % 24:02d}:{index // 60 % 60:02d}:{index % 60:02d}Z"
    quiet = mix == "quiet"
    status = "open" if quiet or transaction == "Create" else _STATES[transaction]
    body: dict[str, Any] = {
        "clientName": "testClient",
        "ticketNumber": ticket,
        "clientTicketNumber": f"INC{ticket[4:]}" if quiet else "",
        "ticketType": "Incident",
        "status": status,
        "description": text,
        "shortDescription": text[:60],
        "group": "Service Desk Tier 2",
        "ensonoGroup": "CS - 1st Line",
        "priority": str(1 + index % 4),
        "impact": "3",
        "urgency": "3",
        "openedTime": "2023-01-27T22:24:53Z",
        "category": "Private Cloud",
        "origin": "Web",
        "cis": f"srv{index % 997:04d},db{index % 89:03d}",
        "updatedOn": updated,
    }
    match transaction:
        case "Update" if quiet:
            body["changed"] = {"updatedOn": updated}
        case "Update":
            body["changed"] = {"updatedOn": updated, "status": status, "priority": body["priority"]}
        case "Closure":
            body |= {"closeNotes": text[:120], "closeCode": "resolved*"}
            body["changed"] = {"status": status, "closeNotes": text[:120], "closeCode": "resolved*"}
        case "Notes":
            note_id = hashlib.md5(b"note %d" % index, usedforsecurity=False).hexdigest()
            author = {"commenter": "A User", "commenterEmail": "a.user@example.com"}
            body["notes"] = {"type": "comment", "id": note_id, "body": text[:180], **author}
        case _:
            pass
    return body


def _encode(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
