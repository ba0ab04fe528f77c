"""A ticket's messages as a test: they lead to the same states, and say nothing of whose they were."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

import msgspec

from ecproc.domain.ids import split_key
from ecproc.domain.log import RecordedEvent
from ecproc.domain.times import format_time, parse_time
from ecproc.errors import EcprocError
from ecproc.fold.history import message_id_of
from ecproc.fold.recorded import Kind
from ecproc.fold.tickets import MACHINES
from ecproc.reading.documents import document_of, find_stream, is_text
from ecproc.store.base import Reader
from ecproc.support.stand_ins import Meaning, StandIns
from ecproc.wire.lenient import decode_json
from ecproc.wire.payload import NoBody, read_body, take_apart
from ecproc.wire.queue import decode_message, is_derived

_FORMAT: Final = 1
_MOST: Final = 5000
"""Messages of one ticket that make a test."""
_PAGE: Final = 500
_HISTORY: Final = 1_000_000
_UNREADABLE: Final = "a body that cannot be read"


class NoFixture(EcprocError):
    """These messages make no test of the same states."""

    hint = "ecproc bundle TICKET, without --as-test, gives an archive with personal data masked"


class Turn(msgspec.Struct, frozen=True):
    """One change of state: the transaction that made it, and the states before and after."""

    event: str
    before: str | None = msgspec.field(name="from")
    after: str | None = msgspec.field(name="to")


class States(msgspec.Struct, frozen=True):
    """What messages lead to, as a fold tells it without anything else."""

    type: str
    state: str | None
    generation: int
    history: tuple[Turn, ...]


class Fixture(msgspec.Struct, frozen=True):
    """The test as a file's content, and how many messages it has."""

    content: bytes
    messages: int


async def collect_fixture(reader: Reader, ticket: str) -> Fixture | None:
    """A ticket's messages with every text replaced, and the states that both they and the real ones lead to; None if
    there is no such ticket. Raises NoFixture where none came or they lead to others, or to none, and StoreError."""
    stream = await find_stream(reader, ticket) or ticket
    events = [event async for event in _list_messages(reader, stream)] if is_text(stream) else []
    if not events:
        if is_text(stream) and (await reader.stream_state(stream)).version:
            raise NoFixture(f"no message of {ticket} came from Ensono yet")
        return None
    expected = fold_states(stream, events)
    if expected is None:
        raise NoFixture(f"none of the messages of {ticket} makes it a ticket")
    try:
        content = _write(stream, events, expected)
        again = read_fixture(content)
    except RecursionError:  # an attribute may be nested deeper than a body is taken
        raise NoFixture(f"a message of {ticket} is nested too deep to replace its texts") from None
    if again != (expected, expected):
        raise NoFixture(f"the messages of {ticket} alone do not lead to the same states when their texts are replaced")
    return Fixture(content, len(events))


def _write(stream: str, events: Sequence[RecordedEvent], expected: States) -> bytes:
    stand_ins = StandIns()
    document = {
        "format": _FORMAT,
        "stream": stand_ins.text(stream, Meaning.NUMBER),
        "messages": [_anonymise(event, stand_ins) for event in events],
        "expected": msgspec.to_builtins(expected),
    }
    return json.dumps(document, indent=1).encode() + b"\n"


def read_fixture(content: bytes) -> tuple[States | None, States | None]:
    """The states that the messages of a test lead to, and those it expects."""
    document: dict[str, Any] = json.loads(content)
    events: list[RecordedEvent] = []
    for place, message in enumerate(document["messages"], 1):
        envelope = decode_message(json.dumps(message["message"]).encode())
        at = parse_time(message["received_at"]) or 0
        key = envelope.key + bytes.fromhex(message.get("key_suffix", ""))
        events.append(
            RecordedEvent(place, envelope.stream, place, at, Kind.MESSAGE_RECEIVED, envelope.payload, b"", key)
        )
    expected = msgspec.convert(document["expected"], States | None)
    return fold_states(document["stream"], events), expected


def fold_states(stream: str, events: Sequence[RecordedEvent]) -> States | None:
    """What the messages of a stream lead to; None if that is no ticket."""
    numbered = [
        msgspec.structs.replace(event, position=place, version=place, stream=stream)
        for place, event in enumerate(events, 1)
    ]
    document = document_of(stream, numbered, machines=MACHINES, entries=_HISTORY)
    return None if document is None else msgspec.json.decode(document, type=States)


async def _list_messages(reader: Reader, stream: str) -> AsyncIterator[RecordedEvent]:
    version = found = 0
    while page := await reader.read_stream(stream, after=version, limit=_PAGE):
        for event in page:
            if event.kind == Kind.MESSAGE_RECEIVED:
                found += 1
                yield event
        if found > _MOST:
            raise NoFixture(f"{stream} has more than {_MOST:,} messages")
        version = page[-1].version


def _anonymise(event: RecordedEvent, stand_ins: StandIns) -> dict[str, Any]:
    """One message as the queue would deliver it, and when it was received; `key_suffix` tells one that came under
    another's key."""
    raw, body = take_apart(event.payload)
    message: dict[str, Any] = {}
    message_id, is_variant = split_key(event.message_key or b"")
    if not is_derived(message_id):
        message["MessageId"] = stand_ins.text(message_id, Meaning.ID)
    message["Body"] = _anonymise_body(body, stand_ins)
    message["Attributes"] = {name: stand_ins.replace(_decode(value), name) for name, value in raw.items()}
    suffix = (event.message_key or b"")[16 + len(message_id_of(event).encode()) :]
    return {
        "received_at": format_time(event.at),
        **({"key_suffix": suffix.hex()} if is_variant else {}),
        "message": message,
    }


def _decode(raw: bytes) -> Any:
    """An attribute's value; integers are exact."""
    try:
        return json.loads(raw)
    except ValueError:
        return decode_json(raw).value


def _anonymise_body(raw: bytes, stand_ins: StandIns) -> Any:
    """A body, as a string of JSON where it came as one; one that cannot be read stays one."""
    value, _ = read_body(raw)
    if isinstance(value, NoBody):
        return _UNREADABLE
    replaced = stand_ins.replace(dict(value))
    return json.dumps(replaced) if raw.lstrip().startswith(b'"') else replaced
