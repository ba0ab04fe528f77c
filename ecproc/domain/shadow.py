"""What the client ticket looks like at the desk, as far as we know: a *shadow* of what we wrote or saw there last.

News of the desk's is what differs from the shadow, whoever changed it (connectors K9). A field is compared as the desk
has it: a changed mapping makes no field look changed. Each field has the record's stamp: what was read before our own
write landed says nothing about it.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from ecproc.domain.deltas import ClientTicket, ClientTicketChanged, Delta
from ecproc.domain.events import EffectSucceeded, Place
from ecproc.domain.external import ExternalKind, ExternalReceived, Shadowed
from ecproc.domain.ids import ClientNumber, EffectKey, identity
from ecproc.domain.state import TicketState, flag_once


def evolve_external(state: TicketState, received: ExternalReceived, place: Place) -> list[Delta]:
    """Take what the desk told into the ticket. What it leads to at Ensono's are commands of their own."""
    flags = [flag for each in received.remarks for flag in flag_once(state, each.code, each.detail, place.position)]
    return _see(state, received) + flags


def _see(state: TicketState, received: ExternalReceived) -> list[Delta]:
    match received.kind:
        case ExternalKind.RECORD:
            return _see_record(state, received)
        case ExternalKind.CREATED:
            return _link_late(state, received)
        case _:
            return []


def note_written(state: TicketState, number: str, outcome: EffectSucceeded) -> None:
    """What our own call wrote is what the desk has."""
    if outcome.view:
        cast_shadow(state, number, outcome.view, outcome.stamp or 0)


def list_changed(
    shadow: Mapping[str, Shadowed], view: Mapping[str, tuple[str, str]], stamp: int
) -> dict[str, tuple[str, str]]:
    """The fields of a record that are news: known, otherwise before, and not read before we wrote them."""
    return {
        name: told
        for name, told in view.items()
        if (known := shadow.get(name)) is not None and known.raw != told[0] and stamp >= known.stamp
    }


def cast_shadow(state: TicketState, number: str, raw: Mapping[str, str], stamp: int) -> None:
    """Keep what the desk has in these fields, unless something newer is known."""
    shadow = state.shadows.setdefault(number, {})
    for name, value in raw.items():
        known = shadow.get(name)
        if known is None or stamp >= known.stamp:
            shadow[name] = Shadowed(value, stamp)


def _see_record(state: TicketState, received: ExternalReceived) -> list[Delta]:
    cast_shadow(state, received.number, {name: raw for name, (raw, _) in received.view.items()}, received.stamp)
    status = received.view.get("status", ("", ""))[1]
    for index, known in enumerate(state.client_tickets):
        if known.number == received.number:
            updated = msgspec.structs.replace(
                known, state=status or known.state, reference=received.reference or known.reference
            )
            state.client_tickets[index] = updated
            return [ClientTicketChanged(updated)] if updated != known else []
    return []


def _link_late(state: TicketState, received: ExternalReceived) -> list[Delta]:
    """The desk tells by itself what a create led to, whose answer said only that it would."""
    entry = state.plans.entries.get(EffectKey(received.key))
    number = ClientNumber(identity(received.number))
    if entry is None or not number or any(known.number == number for known in state.client_tickets):
        return []
    created = ClientTicket(
        number=number,
        generation=entry.effect.generation,
        returned=False,
        state=received.view.get("status", ("", ""))[1] or "open",
        reference=received.reference,
    )
    state.client_tickets.append(created)
    state.client_tickets.sort(key=lambda known: known.generation)
    return [ClientTicketChanged(created, created=True)]
