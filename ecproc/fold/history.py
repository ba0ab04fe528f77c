"""Recorded events as facts: messages are translated on read, own events decoded (decision 1)."""

from __future__ import annotations

import msgspec

from ecproc.domain.events import OTHER_BODY, Decided, Fact, Message, Place, Released, Undecodable
from ecproc.domain.ids import split_key
from ecproc.domain.log import RecordedEvent
from ecproc.fold.recorded import Kind, decode_event, decode_release, wants_decision
from ecproc.wire.translate import translate


def place_of(event: RecordedEvent) -> Place:
    """Where and when an event stands."""
    return Place(position=event.position, version=event.version, at=event.at)


def message_id_of(event: RecordedEvent) -> str:
    """The MessageId of a recorded message; empty for an own event."""
    return split_key(event.message_key or b"")[0]


def read_fact(event: RecordedEvent) -> Fact | Decided | None:
    """The fact in a recorded event; None for a kind that no fold knows."""
    if event.kind == Kind.MESSAGE_RECEIVED:
        message_id, other_body = split_key(event.message_key or b"")
        return _read_message(event.payload, place_of(event), message_id, other_body=other_body)
    if event.kind == Kind.MESSAGE_RELEASED:
        return read_release(event)
    return decode_event(event.kind, event.payload)


def read_release(event: RecordedEvent) -> Released:
    """A released message as this code understands it; its age is what it was when it was received."""
    release = decode_release(event.payload)
    place = Place(event.position, event.version, release.at)
    fact = _read_message(event.payload, place, release.message_id, other_body=release.other_body)
    return Released(release.position, fact)


def _read_message(payload: bytes, place: Place, message_id: str, *, other_body: bool) -> Message | Undecodable:
    fact = translate(payload, place, message_id)
    if other_body and isinstance(fact, Message):
        return msgspec.structs.replace(fact, remarks=(*fact.remarks, OTHER_BODY))
    return fact


def wants_actor(fact: Fact) -> bool:
    """Whether an actor has to look at this fact."""
    return wants_decision(fact) if not isinstance(fact, (Message, Undecodable, Released)) else True
