"""Why a ticket is treated as it is: which scope rule, policy and mapping rules decided, as of some position (R208)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from ecproc.domain.effects import Lane
from ecproc.domain.events import Decided, PolicyChanged, Scope, TicketType
from ecproc.domain.log import RecordedEvent
from ecproc.domain.reopening import reopen_key
from ecproc.domain.state import TicketState
from ecproc.errors import ConfigError
from ecproc.fold.machine import Machines
from ecproc.fold.recorded import Kind, decode_event
from ecproc.fold.stream import StreamFold
from ecproc.governing import read_policy_event
from ecproc.mapping import Fired, Mapping, default_mapping, load_mapping
from ecproc.policy import read_policy
from ecproc.reading.mapped import TOLD, tell_desk
from ecproc.store.base import Reader

_HOW: Final = {
    "reopen_client_ticket": "reopen",
    "create_client_ticket": "new_ticket",
    "comment_client_ticket": "comment_only",
}


class ToldReopen(msgspec.Struct, frozen=True):
    """One re-open by Ensono, and what was done about it; None where that is nothing."""

    message_id: str
    position: int
    handled: str | None


class ReopenWay(msgspec.Struct, frozen=True):
    """What is done about re-opens of the ticket under the policy in force, and what was done about those that came."""

    way: str
    within_days: int
    fallback: str
    came: tuple[ToldReopen, ...] = ()


class PolicyInForce(msgspec.Struct, frozen=True):
    """The policy in force, as far as it is about this ticket; `hash` is None where the log does not say which."""

    hash: str | None
    mapping: str | None
    reopen: ReopenWay
    adopt_final: str


class Explained(msgspec.Struct, frozen=True):
    """What decided about a ticket, as of `at`. `trigger` is null: no rule of ours opened it at Ensono's. `mapping` has
    the rule that decided each field last."""

    ticket: str
    at: int
    scope: Scope
    trigger: None
    policy: PolicyInForce
    mapping: Sequence[Fired]


async def explain(
    reader: Reader, stream: str, *, machines: Machines, desk: str, at: int | None = None
) -> Explained | None:
    """What decided about that ticket, up to a position if one is given; None where there was no ticket then. `desk` is
    the kind whose built-in mapping is meant where the log does not say which was in force."""
    events = [event for event in await reader.read_stream(stream) if at is None or event.position <= at]
    fold = StreamFold(stream, machines.of(stream))
    fold.extend(events)
    fold.evolve_rest()
    state = fold.state
    if not isinstance(state, TicketState) or state.type is None:
        return None
    in_force = await read_policy_event(reader, until=at)
    mapping = _find_mapping(in_force, desk)
    return Explained(
        ticket=state.ticket,
        at=(await reader.head()).position if at is None else at,
        scope=state.scope or Scope(True),
        trigger=None,
        policy=_describe(state, in_force),
        mapping=_list_fired(events, mapping) if mapping is not None else (),
    )


def _describe(state: TicketState, in_force: PolicyChanged | None) -> PolicyInForce:
    policy = read_policy(in_force.policy if in_force is not None else {})
    came = tuple(
        ToldReopen(reopened.message_id, reopened.position, _tell_handled(state, reopened.message_id))
        for reopened in state.reopens
    )
    way = policy.reopen_of(state.type if isinstance(state.type, TicketType) else None)
    fallback = "new_ticket" if policy.reopen_fallback else ""
    digest = in_force.mapping.get("hash") if in_force is not None else None
    return PolicyInForce(
        hash=in_force.hash if in_force is not None else None,
        mapping=str(digest) if digest else None,
        reopen=ReopenWay(way, policy.reopen_within_days, fallback, came),
        adopt_final=policy.adopt_final,
    )


def _tell_handled(state: TicketState, message_id: str) -> str | None:
    entry = state.plans.entries.get(reopen_key(state.stream, message_id))
    return _HOW.get(entry.effect.kind) if entry is not None else None


def _find_mapping(in_force: PolicyChanged | None, desk: str) -> Mapping | None:
    """The mapping that was in force; None for one that this code does not have any more."""
    recorded = in_force.mapping if in_force is not None else {}
    content = recorded.get("content")
    try:
        if isinstance(content, str):
            return load_mapping(content, source=str(recorded.get("source", "mapping")))
        found = default_mapping(str(recorded.get("desk") or desk))
    except ConfigError:
        return None
    return found if recorded.get("hash") in (None, found.hash) else None


def _list_fired(events: Iterable[RecordedEvent], mapping: Mapping) -> list[Fired]:
    """The rule that decided each field of what the desk was told, the last time it was told."""
    fired: dict[tuple[str, str], Fired] = {}
    before: dict[str, str] = {}
    for event in events:
        decided = decode_event(event.kind, event.payload) if event.kind == Kind.DECIDED else None
        for effect in decided.effects if isinstance(decided, Decided) else ():
            if effect.lane is Lane.DESK and effect.kind in TOLD:
                told = tell_desk(mapping, effect, before, before)
                before = {**before, **effect.fields}
                fired |= {(one.direction, one.field): one for one in told.fired}
    return list(fired.values())
