"""The least that makes a log's rows of the stub's messages: what `limit.py` writes, worked out in memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Final, TypeAlias
from zlib import crc32

import msgspec

from ecproc.domain.log import Row, StreamCounters
from ecproc.store.chain import link
from ecproc.store.seals import checksum_counters, seal_row
from ecproc.store.sqlite.schema import Statement
from ecproc.store.sqlite.sql import live, log

_OVERHEAD: Final = 256
_EPOCH: Final = datetime(1970, 1, 1)
_CODEC: Final = 3
"""Of the compact form that is written here."""
_IGNORABLE: Final = frozenset({"updatedOn", "openedTime", "urgency", "impact", "category", "origin", "ensonoGroup"})
Parameters: TypeAlias = tuple[object, ...]

_encode = msgspec.json.Encoder().encode
_pack = msgspec.msgpack.Encoder().encode


class Attributes(msgspec.Struct, gc=False):
    """A message's own attributes, in the order in which they come."""

    SenderId: str
    SentTimestamp: str
    SequenceNumber: str
    MessageDeduplicationId: str
    MessageGroupId: str
    ClientReferenceAvailable: bool
    TransactionType: str


class Raw(msgspec.Struct, gc=False):
    """A message as it comes."""

    MessageId: str
    ReceiptHandle: str
    MD5OfBody: str
    Body: msgspec.Raw
    Attributes: Attributes


class _Result(msgspec.Struct):
    messages: list[Raw] | None = None


class _Response(msgspec.Struct):
    ReceiveMessageResult: _Result


class _Answer(msgspec.Struct):
    ReceiveMessageResponse: _Response


class Fields(msgspec.Struct, gc=False, omit_defaults=True):
    """What a ticket's document keeps of a body."""

    description: str = ""
    shortDescription: str = ""
    group: str = ""
    ensonoGroup: str = ""
    priority: str = ""
    impact: str = ""
    urgency: str = ""
    openedTime: str = ""
    category: str = ""
    origin: str = ""
    cis: str = ""
    updatedOn: str = ""


class Body(Fields, gc=False, omit_defaults=True):
    """A body."""

    clientName: str = ""
    ticketNumber: str = ""
    clientTicketNumber: str = ""
    ticketType: str = ""
    status: str = ""
    changed: dict[str, str] | None = None


_NAMES: Final = Fields.__struct_fields__
_decode_answer = msgspec.json.Decoder(_Answer).decode
_decode_body = msgspec.json.Decoder(Body).decode


def read_messages(answer: bytes) -> list[Raw]:
    """The messages of an answer to GET /queue."""
    return _decode_answer(answer).ReceiveMessageResponse.ReceiveMessageResult.messages or []


class _Ticket:
    """A stream: its counters and what its document says."""

    __slots__ = ("anomalies", "before", "fields", "last", "last_message", "number", "opened", "state", "version")

    def __init__(self) -> None:
        self.version = self.last = self.opened = self.anomalies = 0
        self.state = self.number = ""
        self.fields: dict[str, str] = {}
        self.before: dict[str, str] = {}
        self.last_message: tuple[int, int, int] = (0, 0, 0)


class Group:
    """What one transaction writes."""

    def __init__(self) -> None:
        self.events: list[Parameters] = []
        self.facts: dict[str, list[Parameters]] = {}
        self.compact: list[Parameters] = []
        self.rows: dict[str, list[Parameters]] = {"ticket": [], "client_ticket": [], "history": [], "anomaly": []}
        self.streams: list[Parameters] = []
        self.handles: list[str] = []
        self.size = 0

    def put(self, row: Row) -> None:
        """Take a live row."""
        self.rows[row.table].append((row.stream, row.id, row.ordinal, row.tag, row.data, seal_row(row)))

    def statements(self) -> list[Statement]:
        """All of it in the store's own statements."""
        return [
            (log.INSERT_EVENT, self.events),
            (log.INSERT_COMPACT, self.compact),
            *[(live.put_row(table), rows) for table, rows in self.rows.items()],
            (log.PUT_STREAM, self.streams),
        ]


class Folding:
    """Messages into what is written of them; `holds_key` says whether one with that key was written before."""

    def __init__(self, position: int, hash: bytes, holds_key: Callable[[bytes], bool]) -> None:
        self._position = position
        self._hash = hash
        self._holds_key = holds_key
        self._highest = b""
        self._tickets: dict[str, _Ticket] = {}

    def plan(self, messages: Iterable[Raw]) -> Group:
        """The messages' rows, and those of a decision for each of their tickets."""
        group, at = Group(), time.time_ns() // 1000
        for message in messages:
            group.handles.append(message.ReceiptHandle)
            self._take(group, message, at)
        for stream, facts in group.facts.items():
            self._decide(group, stream, facts, at)
        return group

    def _take(self, group: Group, message: Raw, at: int) -> None:
        attributes = message.Attributes
        stream = attributes.MessageGroupId
        sequence = int(attributes.SequenceNumber).to_bytes(16)
        key = sequence + message.MessageId.encode()
        if key > self._highest:
            self._highest = key
        elif self._holds_key(key):
            return
        raw = bytes(message.Body)
        checksum = b',"md5OfBody":"' + message.MD5OfBody.encode() + b'","body":'
        payload = b'{"attributes":' + _encode(attributes) + checksum + raw + b"}"
        ticket = self._tickets.get(stream)
        if ticket is None:
            ticket = self._tickets[stream] = _Ticket()
        self._append(group, stream, ticket, at, "MessageReceived", key, payload)
        body = _decode_body(raw)
        fact = self._fold(group, stream, ticket, message, body, sequence)
        group.facts.setdefault(stream, []).append(fact)

    def _append(  # noqa: PLR0917 - as they stand in a row
        self, group: Group, stream: str, ticket: _Ticket, at: int, kind: str, key: bytes | None, payload: bytes
    ) -> None:
        position, version = self._position + 1, ticket.version + 1
        hashed = sha256(payload).digest()
        self._hash = link(self._hash, position, at, kind, stream, version, key, hashed)
        group.events.append((position, stream, version, ticket.last, at, kind, key, payload, hashed, self._hash))
        group.size += len(payload) + _OVERHEAD
        self._position = ticket.last = position
        ticket.version = version

    def _fold(  # noqa: PLR0917 - as they were read
        self, group: Group, stream: str, ticket: _Ticket, message: Raw, body: Body, sequence: bytes
    ) -> Parameters:
        attributes = message.Attributes
        transaction, position = attributes.TransactionType, ticket.last
        sent = int(attributes.SentTimestamp) * 1000
        fields = {name: value for name in _NAMES if (value := getattr(body, name))}
        news = {name: value for name, value in fields.items() if ticket.before.get(name) != value}
        ticket.before = fields
        ticket.last_message = (position, ticket.version, sent)
        if not ticket.state:
            self._open(group, stream, ticket, body, fields, transaction)
        elif body.changed is not None:
            ticket.fields.update(body.changed)
            if ticket.anomalies < 2:  # the two fields that the stub's messages change unsaid are told once
                self._find_drift(group, stream, ticket, fields, body.changed)
        place = (position, ticket.version, sent, message.MessageId, body.ticketNumber, transaction, transaction)
        known = (sequence, body.ticketType, body.clientTicketNumber, False, body.status, news, body.changed)
        rest = (ticket.opened, body.clientName, crc32(attributes.MessageDeduplicationId.encode()), ())
        return ("m", (*place, *known, (), None, None, *rest), (), False)

    def _open(  # noqa: PLR0917 - as they were read
        self, group: Group, stream: str, ticket: _Ticket, body: Body, fields: dict[str, str], transaction: str
    ) -> None:
        ticket.state, ticket.number, ticket.fields = body.status, body.clientTicketNumber, dict(fields)
        opened = datetime.fromisoformat(body.openedTime).replace(tzinfo=None)
        ticket.opened = (opened - _EPOCH) // timedelta(microseconds=1)
        position, _, sent = ticket.last_message
        moved = {"position": position, "at": _time(sent), "event": transaction, "from": None, "to": ticket.state}
        known = {"number": ticket.number, "generation": 1, "returned": True, "state": ticket.state}
        group.put(Row("history", stream, "1", 1, _encode(moved)))
        group.put(Row("client_ticket", stream, ticket.number, 1, _encode(known)))

    def _find_drift(
        self, group: Group, stream: str, ticket: _Ticket, fields: dict[str, str], changed: dict[str, str]
    ) -> None:
        for name, value in fields.items():
            ours = ticket.fields.get(name)
            if ours == value or name in changed or name in _IGNORABLE:
                continue
            ticket.anomalies += 1
            detail = f"{name} is {value!r} in the message, {ours!r} here"
            told = {"position": ticket.last, "code": "drift", "detail": detail}
            group.put(Row("anomaly", stream, str(ticket.anomalies), ticket.anomalies, _encode(told), "drift"))

    def _decide(self, group: Group, stream: str, facts: list[Parameters], at: int) -> None:
        ticket = self._tickets[stream]
        through = ticket.version
        self._append(group, stream, ticket, at, "Decided", None, b'{"through":%d,"effects":[]}' % through)
        step = _pack((through - len(facts), through, len(facts) + 1, facts, b""))
        compact = bytes((_CODEC,)) + crc32(step).to_bytes(4) + step
        group.compact.append((ticket.last, stream, compact))
        position, version, sent = ticket.last_message
        document = {
            "ticket": stream,
            "type": "Incident",
            "state": ticket.state,
            "client_ticket": ticket.number,
            "generation": 1,
            "paused": False,
            "version": version,
            "position": position,
            "opened_at": _time(ticket.opened),
            "updated_at": _time(sent),
            "fields": ticket.fields,
            "history_count": 1,
            "anomalies_count": ticket.anomalies,
        }
        tag = f"Incident:{ticket.state}"
        group.put(Row("ticket", stream, stream.removeprefix("e-"), 0, _encode(document), tag))
        counters = StreamCounters(ticket.version, through, through, ticket.last)
        group.streams.append(
            (stream, ticket.version, through, through, ticket.last, checksum_counters(stream, counters))
        )


def _time(microseconds: int) -> str:
    return (_EPOCH + timedelta(microseconds=microseconds)).isoformat(timespec="microseconds") + "Z"
