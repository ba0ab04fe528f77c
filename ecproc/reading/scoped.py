"""What scope rules make of messages in a file, and of tickets in the log: which rule decides, and nothing is done."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from ecproc.domain.events import Message, Place, Released, Scope
from ecproc.domain.log import RecordedEvent
from ecproc.domain.policy import Policy
from ecproc.domain.scoping import judge_message
from ecproc.domain.state import StreamState, TicketState
from ecproc.fold.history import read_fact
from ecproc.fold.machine import AnyMachine, Machines
from ecproc.fold.recorded import Kind
from ecproc.fold.stream import StreamFold
from ecproc.reading.mapped import Unreadable, list_items
from ecproc.store.base import Reader
from ecproc.wire.lenient import DECODE_ERRORS, fold_names
from ecproc.wire.queue import decode_message
from ecproc.wire.translate import translate


class ScopeTrial(msgspec.Struct, frozen=True, kw_only=True):
    """What the rules say of a ticket just after a message, or of one in the log as it is now: `inside`, and which rule
    says it, empty where none does. `recorded` is what was decided when it came; `remark` why nothing can be told."""

    ticket: str
    type: str = ""
    message_id: str = ""
    inside: bool | None = msgspec.field(name="in", default=None)
    rule: str = ""
    recorded: Scope | None = None
    remark: str = ""


def list_scope_trials(policy: Policy, content: bytes, machines: Machines) -> Iterator[ScopeTrial]:
    """Try the rules on what a file holds: queue messages or lines of events, one JSON value, a list, or one on each
    line. Messages of one ticket are folded in their order. Raises Unreadable."""
    states: dict[str, StreamState] = {}
    for place, raw in enumerate(list_items(content), 1):
        try:
            members = msgspec.json.decode(raw)
        except DECODE_ERRORS as error:
            raise Unreadable(f"it is no JSON: {error}") from None
        read = _read_message(members, raw) if isinstance(members, dict) else None
        if read is None:
            raise Unreadable("it is neither a queue message nor a line of events")
        if read:
            yield _try_message(policy, states, *read, machines=machines, place=Place(place, place, 0))


def _read_message(members: dict[str, Any], raw: bytes) -> tuple[str, str, bytes] | tuple[()] | None:
    """The stream, MessageId and payload of a message; empty for an event that is none, None for what is neither."""
    folded = fold_names(members)
    if "body" in folded and {"attributes", "messageid"} & folded.keys():
        envelope = decode_message(raw)
        return envelope.stream, str(folded.get("messageid") or ""), envelope.payload
    if not {"stream", "kind", "data"} <= folded.keys():
        return None
    if members["kind"] != Kind.MESSAGE_RECEIVED:
        return ()
    return str(members["stream"]), str(members.get("message_id") or ""), msgspec.json.encode(members["data"])


def _try_message(
    policy: Policy,
    states: dict[str, StreamState],
    stream: str,
    message_id: str,
    payload: bytes,
    *,
    machines: Machines,
    place: Place,
) -> ScopeTrial:
    message = translate(payload, place, message_id or str(place.position))
    if not isinstance(message, Message):
        return ScopeTrial(ticket=stream, message_id=message_id, remark="it would go into quarantine")
    machine: AnyMachine = machines.of(stream)
    state = states.setdefault(stream, machine.new(stream))
    if isinstance(state, TicketState):
        machine.evolve(state, message, place)
    if not isinstance(state, TicketState) or state.type is None:
        return ScopeTrial(ticket=stream, message_id=message_id, remark="it names no ticketType")
    return _tell(policy, state, message, message_id)


def _tell(policy: Policy, state: TicketState, message: Message, message_id: str) -> ScopeTrial:
    judged = judge_message(state, message, policy)
    return ScopeTrial(
        ticket=state.ticket,
        type=str(state.type),
        message_id=message_id,
        inside=judged.inside,
        rule=judged.rule,
        recorded=state.scope,
    )


async def try_ticket(reader: Reader, stream: str, policy: Policy, machines: Machines) -> ScopeTrial:
    """What the rules say of a ticket as it is now."""
    found = fold_with_last_message(stream, await reader.read_stream(stream), machines)
    if found is None:
        return ScopeTrial(ticket=stream, remark="it is no ticket, or no message of it could be read")
    return _tell(policy, *found, found[1].message_id)


def fold_with_last_message(
    stream: str, events: Sequence[RecordedEvent], machines: Machines
) -> tuple[TicketState, Message] | None:
    """A ticket as these events, all of its stream, left it, and its last message; None for what is no ticket."""
    fold = StreamFold(stream, machines.of(stream))
    fold.extend(events)
    fold.evolve_rest()
    state = fold.state
    for event in reversed(events):
        fact = read_fact(event) if event.kind in (Kind.MESSAGE_RECEIVED, Kind.MESSAGE_RELEASED) else None
        fact = fact.fact if isinstance(fact, Released) else fact
        if isinstance(fact, Message) and isinstance(state, TicketState) and state.type is not None:
            return state, fact
    return None
