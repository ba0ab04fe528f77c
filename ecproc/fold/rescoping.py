"""What a ticket's messages would have led to, had it been in scope when they came: planned now, as far as it was not.

The messages are folded once more in a state of their own, with everything that came of what was done since, and decided
one by one. Natural keys make what was planned before a no-op, whatever became of it. A client ticket that exists has
the ticket's state and fields already, so that only notes and files are brought to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from ecproc.domain.effects import Effect, EffectKind
from ecproc.domain.events import Act, Decided, OperatorActed, Place, Quarantined
from ecproc.domain.ids import create_key
from ecproc.domain.log import RecordedEvent
from ecproc.domain.policy import Policy, without_scope
from ecproc.domain.reopening import find_awaited_create
from ecproc.domain.state import StreamState, TicketState
from ecproc.fold.history import place_of, read_fact
from ecproc.fold.machine import AnyMachine, evolve_fact

_ADDING: Final = frozenset({EffectKind.COMMENT, EffectKind.DOWNLOAD, EffectKind.ATTACH, EffectKind.RETURN_NUMBER})
"""Kinds that add to a client ticket, whenever they come."""
_SETTING: Final = frozenset(
    {
        EffectKind.CREATE,
        EffectKind.UPDATE,
        EffectKind.RESOLVE,
        EffectKind.CLOSE,
        EffectKind.CANCEL,
        EffectKind.REOPEN,
    }
)
"""Kinds that say how a client ticket is: only one that is new is told all of it in its order."""


class NoHistory(Exception):
    """A defect: a ticket was to be planned again without its events."""


def replan(
    machine: AnyMachine, state: StreamState, history: Sequence[RecordedEvent] | None, act: Place, policy: Policy
) -> list[Effect]:
    """The effects that the stream's messages before `act` would have had with every ticket in scope, and that its plans
    do not have. `history` are all of its events. Each keeps the event that caused it, and is planned by the act."""
    if history is None:
        raise NoHistory(state.stream)
    if not isinstance(state, TicketState):
        return []
    before = [event for event in history if event.version < act.version]
    planned = _plan_all(machine, machine.new(state.stream), before, without_scope(policy))
    known = state.plans.entries
    fresh = [effect for effect in planned if effect.key not in known]
    created = {effect.generation for effect in fresh if _is_first_create(state, effect)}
    wanted = [effect for effect in fresh if effect.kind in _ADDING or _is_new(effect, created)]
    return [_plan_now(state, effect, created, act) for effect in wanted]


def _plan_all(
    machine: AnyMachine, scratch: StreamState, events: Sequence[RecordedEvent], policy: Policy
) -> list[Effect]:
    """What all of these lead to, each key as it was planned last, in planned order."""
    read = [(event, read_fact(event)) for event in events]
    skipped = {fact.position for _, fact in read if isinstance(fact, Quarantined)}
    for event, fact in read:
        if fact is None or isinstance(fact, (Decided, Quarantined)) or event.position in skipped:
            continue
        if isinstance(fact, OperatorActed) and fact.act is Act.RESCOPE:
            continue
        place = place_of(event)
        deltas = evolve_fact(machine, scratch, fact, place)
        scratch.plans.plan(machine.decide(scratch, fact, deltas, place, policy))
    ordered = sorted(scratch.plans.entries.values(), key=lambda entry: entry.order)
    return [entry.effect for entry in ordered]


def _is_first_create(state: TicketState, effect: Effect) -> bool:
    is_first = effect.kind is EffectKind.CREATE and effect.key == create_key(state.stream, effect.generation)
    return is_first and state.client_ticket_of(effect.generation) is None


def _is_new(effect: Effect, created: set[int]) -> bool:
    """Whether it says how a client ticket is that is created only now."""
    return effect.kind in _SETTING and effect.generation in created


def _plan_now(state: TicketState, effect: Effect, created: set[int], act: Place) -> Effect:
    """The effect as of the act; for a client ticket that exists it is for the newest one."""
    effect = msgspec.structs.replace(effect, at=act.at)
    if effect.generation in created or effect.kind in (EffectKind.DOWNLOAD, EffectKind.RETURN_NUMBER):
        return effect
    awaited = find_awaited_create(state)
    newest = None if awaited is not None else state.client_ticket_of(effect.generation)
    return msgspec.structs.replace(
        effect,
        number=newest.number if newest is not None else None,
        reference=newest.reference if newest is not None else "",
        created_by=awaited or effect.created_by,
    )
