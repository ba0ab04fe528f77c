"""Our own events as the log keeps them: kind names and JSON payloads. Frozen: a change here needs an upcast."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec

from ecproc.domain.commands import ClientLinked, CommandAccepted, EnsonoNumberReturned, KnownCommand
from ecproc.domain.deltas import Timer
from ecproc.domain.entry import Entry
from ecproc.domain.events import (
    Decided,
    EffectFailed,
    EffectStarted,
    EffectSucceeded,
    EffectUnknown,
    Hold,
    Noticed,
    OperatorActed,
    Outcome,
    PolicyChanged,
    Quarantined,
    TimerElapsed,
)
from ecproc.domain.external import ExternalReceived

OwnEvent = (
    Decided
    | Quarantined
    | Outcome
    | Noticed
    | CommandAccepted
    | ClientLinked
    | EnsonoNumberReturned
    | TimerElapsed
    | PolicyChanged
    | ExternalReceived
)


class Kind(StrEnum):
    """The kinds of event a stream holds."""

    MESSAGE_RECEIVED = "MessageReceived"
    MESSAGE_QUARANTINED = "MessageQuarantined"
    DECIDED = "Decided"
    EFFECT_STARTED = "EffectStarted"
    EFFECT_SUCCEEDED = "EffectSucceeded"
    EFFECT_FAILED = "EffectFailed"
    EFFECT_UNKNOWN = "EffectUnknown"
    ANOMALY_NOTICED = "AnomalyNoticed"
    OPERATOR_ACTED = "OperatorActed"
    MESSAGE_RELEASED = "MessageReleased"
    COMMAND_ACCEPTED = "CommandAccepted"
    CLIENT_LINKED = "ClientLinked"
    ENSONO_NUMBER_RETURNED = "EnsonoNumberReturned"
    TIMER_ELAPSED = "TimerElapsed"
    POLICY_CHANGED = "PolicyChanged"
    EXTERNAL_RECEIVED = "ExternalReceived"


_KINDS: Final[dict[type[OwnEvent], Kind]] = {
    Decided: Kind.DECIDED,
    Quarantined: Kind.MESSAGE_QUARANTINED,
    EffectStarted: Kind.EFFECT_STARTED,
    EffectSucceeded: Kind.EFFECT_SUCCEEDED,
    EffectFailed: Kind.EFFECT_FAILED,
    EffectUnknown: Kind.EFFECT_UNKNOWN,
    Noticed: Kind.ANOMALY_NOTICED,
    OperatorActed: Kind.OPERATOR_ACTED,
    CommandAccepted: Kind.COMMAND_ACCEPTED,
    ClientLinked: Kind.CLIENT_LINKED,
    EnsonoNumberReturned: Kind.ENSONO_NUMBER_RETURNED,
    TimerElapsed: Kind.TIMER_ELAPSED,
    PolicyChanged: Kind.POLICY_CHANGED,
    ExternalReceived: Kind.EXTERNAL_RECEIVED,
}
_encode = msgspec.json.Encoder().encode
_DECODERS: Final[dict[str, msgspec.json.Decoder[OwnEvent]]] = {
    kind.value: msgspec.json.Decoder(of) for of, kind in _KINDS.items()
}
_decode_entry = msgspec.json.Decoder(Entry).decode
_decode_command = msgspec.json.Decoder(KnownCommand).decode
_decode_timer = msgspec.json.Decoder(Timer).decode


def encode_event(event: OwnEvent) -> tuple[Kind, bytes]:
    """The kind and payload an own event is appended as."""
    return _KINDS[type(event)], _encode(event)


def decode_event(kind: str, payload: bytes) -> OwnEvent | None:
    """The own event of that kind; None for a kind this code does not know. Raises on a payload we did not write."""
    decoder = _DECODERS.get(kind)
    return decoder.decode(payload) if decoder is not None else None


def wants_decision(event: OwnEvent) -> bool:
    """Whether an actor has to look at this event: what leads to no effect and no change of a document does not."""
    match event:
        case (
            EffectSucceeded()
            | Noticed()
            | OperatorActed()
            | CommandAccepted()
            | ClientLinked()
            | EnsonoNumberReturned()
            | TimerElapsed()
            | ExternalReceived()
        ):
            return True
        case EffectFailed(next_attempt_at=next_attempt_at, held=held, remarks=remarks):
            return next_attempt_at is None or held is Hold.ODD_ANSWER or bool(remarks)
        case EffectUnknown(remarks=remarks):
            return bool(remarks)
        case _:
            return False


class Release(msgspec.Struct, frozen=True):
    """What stands before the message itself in the event that releases it: where and when it was received, what its key
    said, and who wanted it taken."""

    position: int
    at: int
    message_id: str
    other_body: bool
    who: str
    note: str = ""


_decode_release = msgspec.json.Decoder(Release).decode


def encode_release(release: Release, payload: bytes) -> bytes:
    """The payload of a message's release: the message's own, byte for byte, behind what there is to say of it."""
    return _encode(release)[:-1] + b"," + payload.lstrip()[1:]


def decode_release(payload: bytes) -> Release:
    """What stands before the message."""
    return _decode_release(payload)


def encode_entry(entry: Entry) -> bytes:
    """An outbox entry as its live row keeps it."""
    return _encode(entry)


def decode_entry(data: bytes) -> Entry:
    """The outbox entry in a live row."""
    return _decode_entry(data)


def encode_command(command: KnownCommand) -> bytes:
    """An accepted command as its live row keeps it."""
    return _encode(command)


def decode_command(data: bytes) -> KnownCommand:
    """The accepted command in a live row."""
    return _decode_command(data)


def encode_timer(timer: Timer) -> bytes:
    """A ticket's timer as its live row keeps it."""
    return _encode(timer)


def decode_timer(data: bytes) -> Timer:
    """The timer in a live row."""
    return _decode_timer(data)
