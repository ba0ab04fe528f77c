"""`GET /queue` answers: both documented shapes and every tolerated variant, cut into messages that stand alone."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from operator import itemgetter
from typing import Final

import msgspec

from ecproc.domain.events import Transaction
from ecproc.domain.ids import NO_SEQUENCE, SHELTER_PREFIX, UNGROUPED, identity, is_reserved, message_key
from ecproc.wire.lenient import (
    DECODE_ERRORS,
    array_items,
    fold_name,
    fold_names,
    folded_members,
    inner_text,
    is_json,
    loose_text,
    object_members,
    parse_int,
    parse_sequence,
    parse_transaction,
    text_of,
)
from ecproc.wire.members import read_members, read_text
from ecproc.wire.payload import NoBody, read_body
from ecproc.wire.responses import tells_error

_DOCUMENTED_DELIVERY: Final = ("ApproximateFirstReceiveTimestamp", "ApproximateReceiveCount")
_DELIVERY: Final = frozenset({"approximatereceivecount", "approximatefirstreceivetimestamp", "receipthandle"})
_BOM: Final = b"\xef\xbb\xbf"
_BLANK: Final = b" \t\r\n"
_TAIL: Final = 256
_DERIVED: Final = "derived-"
_MESSAGES: Final = ("messages", "message")
_MOST: Final = 100
"""Messages that are taken of one answer, ten times what the bridge sends: the others come again."""
_MOST_LEVELS: Final = 10
"""Objects that the messages of an answer may stand in."""
_encode = msgspec.json.Encoder().encode


class Envelope(msgspec.Struct, frozen=True, gc=False):
    """One delivery of a message: what identifies it, how to delete it, and what the log keeps of it.

    `payload` is `{"attributes":…,"body":…}` with the body's bytes exactly as received and the message's own
    attributes; what belongs to this delivery (handle, receive count) is beside it and never stored. Times in ms;
    `first_received_ms` is told of a delivery that is not the first.
    """

    stream: str
    message_id: str
    sequence: bytes
    payload: bytes
    transaction: Transaction
    receipt_handle: str | None = None
    sent_ms: int | None = None
    receive_count: int | None = None
    first_received_ms: int | None = None

    @property
    def key(self) -> bytes:
        """The dedupe key."""
        return message_key(self.sequence, self.message_id)


class Received(msgspec.Struct, frozen=True):
    """A decoded answer; `request_id` is for support cases."""

    messages: tuple[Envelope, ...] = ()
    request_id: str | None = None


class BadAnswer(msgspec.Struct, frozen=True):
    """An answer that is not one of the queue's: what is missing in it is not the same as empty (decision 21)."""

    reason: str
    request_id: str | None = None


def decode_answer(body: bytes) -> Received | BadAnswer:
    """Decode any answer to `GET /queue` (R14, R15, C1): one undecodable message never takes the others with it."""
    return _decode_documented(body) or _decode_tolerant(body)


# --- as documented: one typed decode of the whole answer; None for whatever is not exactly what the guide shows ---


class _Metadata(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    RequestId: str


class _Message(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    MessageId: str
    ReceiptHandle: str
    Body: msgspec.Raw
    Attributes: dict[str, str | bool]
    MD5OfBody: str | msgspec.UnsetType = msgspec.UNSET


class _Level(msgspec.Struct, forbid_unknown_fields=True):
    """An object of the answer: the result may stand in a result (C1)."""

    ResponseMetadata: _Metadata | msgspec.UnsetType = msgspec.UNSET
    ReceiveMessageResult: _Level | msgspec.UnsetType = msgspec.UNSET
    messages: list[_Message] | msgspec.UnsetType | None = msgspec.UNSET


class _Answer(msgspec.Struct, forbid_unknown_fields=True):
    ReceiveMessageResponse: _Level


_answer = msgspec.json.Decoder(_Answer)
_ATTRIBUTES: Final = frozenset(
    {
        "SenderId",
        "ApproximateFirstReceiveTimestamp",
        "ApproximateReceiveCount",
        "SentTimestamp",
        "SequenceNumber",
        "MessageDeduplicationId",
        "MessageGroupId",
        "ClientReferenceAvailable",
        "TransactionType",
    }
)
_attribute_texts = itemgetter(
    *("MessageGroupId", "SequenceNumber", "TransactionType", "SentTimestamp", "ApproximateReceiveCount")
)


def _decode_documented(body: bytes) -> Received | None:
    """An answer in one of the two documented shapes with nothing but documented messages."""
    try:
        level = _answer.decode(body).ReceiveMessageResponse
    except DECODE_ERRORS:
        return None
    request_id = _documented_request_id(level)
    while level.ReceiveMessageResult is not msgspec.UNSET:
        if level.messages is not msgspec.UNSET:
            return None
        level = level.ReceiveMessageResult
        request_id = request_id or _documented_request_id(level)
    if level.messages is msgspec.UNSET:
        return None
    escapes = body.count(b"\\") if b"\\" in body else 0
    envelopes: list[Envelope] = []
    for message in (level.messages or ())[:_MOST]:
        raw = bytes(message.Body)
        escapes -= raw.count(b"\\") if escapes else 0
        envelope = _documented_envelope(message, raw)
        if envelope is None:
            return None
        envelopes.append(envelope)
    # With every escape in a body, what is encoded again is byte for byte what was received.
    return None if escapes else Received(tuple(envelopes), request_id)


def _documented_request_id(level: _Level) -> str | None:
    return level.ResponseMetadata.RequestId if level.ResponseMetadata is not msgspec.UNSET else None


def _documented_envelope(message: _Message, body: bytes) -> Envelope | None:
    """One message; None where an attribute that identifies it is absent, empty or no text."""
    attributes = message.Attributes
    try:
        group, sequence, transaction, sent, count = _attribute_texts(attributes)
    except KeyError:
        return None
    is_text = str is type(group) is type(sequence) is type(transaction) is type(sent) is type(count)
    stream = identity(group) if is_text else ""
    if not stream or is_reserved(stream) or not identity(message.MessageId) or not attributes.keys() <= _ATTRIBUTES:
        return None
    first = None if count == "1" else attributes.get("ApproximateFirstReceiveTimestamp")
    for name in _DOCUMENTED_DELIVERY:
        attributes.pop(name, None)
    checksum = b',"md5OfBody":' + _encode(message.MD5OfBody) if message.MD5OfBody is not msgspec.UNSET else b""
    return Envelope(
        stream,
        message.MessageId,
        parse_sequence(sequence),
        b'{"attributes":' + _encode(attributes) + checksum + b',"body":' + body + b"}",
        parse_transaction(transaction),
        message.ReceiptHandle or None,
        parse_int(sent),
        parse_int(count),
        parse_int(first) if isinstance(first, str) else None,
    )


# --- whatever else came ---


def _decode_tolerant(body: bytes) -> Received | BadAnswer:
    """Any answer, message by message."""
    body = body.removeprefix(_BOM)
    found = _find(body)
    if isinstance(found, BadAnswer):
        return found
    if not _is_whole(body, found.levels):
        return BadAnswer("the answer is cut off", found.request_id)
    listed = [_list_messages(raw) for raw in found.messages]
    messages = [message for each in listed for message in each or ()][:_MOST]
    if not messages and None in listed:
        return BadAnswer("`messages` is neither null, an array nor a message", found.request_id)
    if not messages and (words := tells_error(body)):
        return BadAnswer(f"no messages, and an error beside them: {words}", found.request_id)
    return Received(tuple(map(decode_message, messages)), found.request_id)


class _Found(msgspec.Struct, frozen=True):
    """The raw `messages` members, the RequestId, and how many objects they stand in: results may be nested (C1)."""

    messages: list[bytes]
    request_id: str | None
    levels: int


def _find(body: bytes) -> _Found | BadAnswer:
    level = folded_members(body)
    if "receivemessageresponse" not in level:
        return BadAnswer("no ReceiveMessageResponse in the answer")
    raw: bytes | None = level["receivemessageresponse"]
    levels, found = [level], list[bytes]()
    while raw is not None and len(levels) < _MOST_LEVELS:
        members = object_members(raw) or {}
        levels.append(level := fold_names(members))
        # They may stand there under two spellings, and on two levels.
        found += [value for name, value in members.items() if fold_name(name) in _MESSAGES]
        raw = level.get("receivemessageresult")
    request_id = next(filter(None, map(_request_id, levels[1:])), None)
    if found:
        return _Found(found, request_id, len(levels))
    return BadAnswer("no `messages` in the answer", request_id)


def _is_whole(body: bytes, levels: int) -> bool:
    """Whether the answer came to its end. One that was cut off may hold half a message, which must not be deleted."""
    return body[-_TAIL:].translate(None, _BLANK).endswith(b"}" * levels) or is_json(body)


def _request_id(level: Mapping[str, bytes]) -> str | None:
    return text_of(folded_members(level.get("responsemetadata", b"")).get("requestid"))


def _list_messages(raw: bytes) -> list[bytes] | None:
    """The messages as raw values, a single one too; None for what holds none and is no word for none."""
    if raw.startswith(b'"'):
        raw = inner_text(raw)
    if raw == b"null":
        return []
    if raw.startswith(b"["):
        return array_items(raw)
    return [raw] if folded_members(raw) else None


def decode_message(raw: bytes) -> Envelope:
    """One message of an answer. Total: what cannot be found has a deterministic stand-in, and the log gets it all."""
    members = object_members(raw)
    if members is None:
        return _stand_in(raw)
    folded = fold_names(members)
    attributes = _attributes(folded.get("attributes"))
    known = fold_names(attributes)
    body = folded.get("body", b"null")
    count = parse_int(text_of(known.get("approximatereceivecount")))
    sequence = parse_sequence(text_of(known.get("sequencenumber")))
    stream = _stream(known, body)
    message_id = identity(text_of(folded.get("messageid"))) or _derived_id(stream, sequence, body)
    return Envelope(
        stream=stream,
        message_id=message_id,
        sequence=sequence,
        payload=_payload(attributes, body, folded.get("md5ofbody")),
        transaction=parse_transaction(loose_text(known.get("transactiontype")) or ""),
        receipt_handle=text_of(folded.get("receipthandle")) or None,
        sent_ms=parse_int(text_of(known.get("senttimestamp"))),
        receive_count=count,
        first_received_ms=None if count == 1 else parse_int(text_of(known.get("approximatefirstreceivetimestamp"))),
    )


def _stand_in(raw: bytes) -> Envelope:
    return Envelope(
        stream=UNGROUPED,
        message_id=_derived_id(UNGROUPED, NO_SEQUENCE, raw),
        sequence=NO_SEQUENCE,
        payload=_payload({}, raw, None),
        transaction=Transaction.UNKNOWN,
    )


@lru_cache(maxsize=256)
def _own_member(name: str) -> bytes | None:
    """How an attribute of that name begins in the log; None for what belongs to a delivery."""
    return None if fold_name(name) in _DELIVERY else _encode(name) + b":"


def _attributes(raw: bytes | None) -> dict[str, bytes]:
    """The attributes as raw members, from an object or from an array of name and value pairs (C3)."""
    if raw is None:
        return {}
    if not raw.lstrip().startswith(b"["):
        return object_members(raw) or {}
    pairs: dict[str, bytes] = {}
    for item in array_items(raw):
        pair = folded_members(item)
        name = text_of(pair.get("name"))
        if name is not None and "value" in pair:
            pairs[name] = pair["value"]
    return pairs


def _stream(known: Mapping[str, bytes], body: bytes) -> str:
    group = identity(text_of(known.get("messagegroupid"))) or _ticket_number(body)
    if is_reserved(group):
        return SHELTER_PREFIX + group
    return group or UNGROUPED


def _ticket_number(body: bytes) -> str:
    """The ticketNumber as a fold will read it."""
    value, _ = read_body(body)
    number = None if isinstance(value, NoBody) else read_members(value, []).get("ticketNumber")
    return "" if isinstance(number, bool) else identity(read_text("ticketNumber", number, []))


def _derived_id(stream: str, sequence: bytes, body: bytes) -> str:
    """What stands for an absent MessageId: equal for every redelivery (R33)."""
    return _DERIVED + hashlib.sha256(b"\0".join((stream.encode(), sequence, body))).hexdigest()


def is_derived(message_id: str) -> bool:
    """Whether this stands for a MessageId that did not come."""
    return message_id.startswith(_DERIVED)


def _payload(attributes: Mapping[str, bytes], body: bytes, md5: bytes | None) -> bytes:
    head = _payload_head(attributes, md5)
    if not is_json(head + b"}"):
        # What is no JSON is kept as a string: it must not swallow the body, which stands behind it.
        attributes = {name: _quote_damaged(value) for name, value in attributes.items()}
        head = _payload_head(attributes, _quote_damaged(md5) if md5 is not None else None)
    return head + b',"body":' + body + b"}"


def _payload_head(attributes: Mapping[str, bytes], md5: bytes | None) -> bytes:
    own = b",".join([head + value for name, value in attributes.items() if (head := _own_member(name)) is not None])
    checksum = b',"md5OfBody":' + md5 if md5 is not None else b""
    return b'{"attributes":{' + own + b"}" + checksum


def _quote_damaged(value: bytes) -> bytes:
    return value if is_json(value) else _encode(value.decode("utf-8", "replace"))
