"""Recorded events as facts: messages are translated on read, own events decoded (decision 1)."""

from __future__ import annotations

from ecproc.domain.events import Decided, Fact, Message, Place, Undecodable
from ecproc.domain.ids import SEQUENCE_BYTES
from ecproc.domain.log import RecordedEvent
from ecproc.fold.recorded import Kind, decode_event, wants_decision
from ecproc.wire.translate import translate


def place_of(event: RecordedEvent) -> Place:
    """Where and when an event stands."""
    return Place(position=event.position, version=event.version, at=event.at)


def message_id_of(event: RecordedEvent) -> str:
    """The MessageId of a recorded message; empty for an own event."""
    return (event.message_key or b"")[SEQUENCE_BYTES:].decode("utf-8", "replace")


def read_fact(event: RecordedEvent) -> Fact | Decided | None:
    """The fact in a recorded event; None for a kind that no fold knows."""
    if event.kind == Kind.MESSAGE_RECEIVED:
        return translate(event.payload, place_of(event), message_id_of(event))
    return decode_event(event.kind, event.payload)


def wants_actor(fact: Fact) -> bool:
    """Whether an actor has to look at this fact."""
    return wants_decision(fact) if not isinstance(fact, (Message, Undecodable)) else True
