"""Client tickets that are not of our making: which one a ticket has, by its messages or by a link that was imported.

*A link* comes from another integration, by a person (`OperatorActed`, act `link`), mostly before any message: the
ticket is in no state then, of no type, and has our number. Its first message creates nothing. A Create the desk has
already, by the other integration; an update or a closure is news, of which only that is new which the message says it
changed. Ensono is taken to have the number until a message shows that it lacks it.

*A link that comes late* takes the place of a create that is dead, and its number is returned; where the generation has
a client ticket or is getting one it changes nothing but is flagged: which of the two counts is for a person to say.
"""

from __future__ import annotations

from typing import Final

import msgspec

from ecproc.domain.anomalies import Anomaly
from ecproc.domain.deltas import ClientTicket, ClientTicketChanged, Delta, FieldsChanged, NumberMissing
from ecproc.domain.entry import DEAD
from ecproc.domain.events import Message, OperatorActed, Place, Transaction
from ecproc.domain.ids import ClientNumber, TicketNumber, create_key
from ecproc.domain.state import TicketState, flag, flag_once

RETURN_GRACE: Final = 5 * 60 * 1_000_000
"""Microseconds after which a message without our number means that Ensono lost it (decision 8)."""
_NEWS: Final = frozenset({Transaction.UPDATE, Transaction.CLOSURE, Transaction.REDRAFT})
_SHOWN: Final = 80


def adopt(state: TicketState, message: Message) -> list[Delta]:
    """Take over a ticket that has a client number already, or whose Create we never saw (decision 6); one of which we
    know our number already has what it needs, and the news of an imported one goes to its client ticket."""
    if state.client_tickets:
        missing = compare_numbers(state, message)
        return missing if is_news(state, message) else [_take(state.client_tickets[-1]), *missing]
    deltas: list[Delta] = []
    if message.transaction is not Transaction.CREATE:
        detail = f"first message is {message.transaction_name}"
        deltas.append(flag(state, Anomaly.ADOPTED, detail, message.position))
    if message.client_number:
        number = ClientNumber(message.client_number)
        known = ClientTicket(number=number, generation=1, returned=not message.number_missing, state="open")
        state.client_tickets.append(known)
        state.generation.started, state.generation.live = 1, True
        deltas.append(_take(known))
    return deltas


def is_news(state: TicketState, message: Message) -> bool:
    """Whether this first message's record may be new to the client ticket: that was imported, and had the Create."""
    imported = bool(state.client_tickets) and state.state is None
    return imported and message.transaction in _NEWS


def keep_news(deltas: list[Delta], message: Message) -> list[Delta]:
    """These changes, with all that the message does not say it changed marked as what the client ticket has already."""
    changed = message.changed
    if changed is None:
        return deltas
    return [
        msgspec.structs.replace(delta, respelled=delta.respelled | (delta.fields.keys() - changed.keys()))
        if isinstance(delta, FieldsChanged)
        else delta
        for delta in deltas
    ]


def compare_numbers(state: TicketState, message: Message) -> list[Delta]:
    """Notice that Ensono has another number than ours, has ours, or lost it (R120, R121)."""
    theirs, ours = message.client_number, state.client_ticket
    known = not theirs or (ours is not None and ours.number == theirs)
    if not known and all(item.number != theirs for item in state.client_tickets):
        detail = f"Ensono has {theirs[:_SHOWN]}, we have {ours.number if ours else 'none yet'}"
        return [flag(state, Anomaly.LINK_MISMATCH, detail, message.position)]
    if ours is None:
        return []
    if not message.number_missing:
        return _confirm_number(state, ours) if theirs == ours.number else []
    if not ours.returned:
        return [NumberMissing(ours)]  # the return is under way, or dead and to be armed again
    # What we have from Ensono itself, or by a link, has nothing under way that this message could have overtaken.
    lost = ours.returned_at is None or message.at > ours.returned_at + RETURN_GRACE
    return [NumberMissing(ours)] if lost else []


def evolve_import(state: TicketState, acted: OperatorActed, place: Place) -> list[Delta]:
    """Take the link that a person imported, unless the ticket has it, or another one for that generation."""
    number, count, generation = ClientNumber(acted.number), acted.generation, state.generation
    if any(item.number == number for item in state.client_tickets):
        return []
    late = state.opened and generation.started >= count
    known = state.client_ticket_of(count)
    ours = known.number if known else "one under way" if late and not _is_create_dead(state, count) else None
    if ours is not None:
        detail = f"linked to {number[:_SHOWN]} by {acted.who[:_SHOWN]}, we have {ours[:_SHOWN]}"
        return flag_once(state, Anomaly.LINK_MISMATCH, detail, place.position)
    linked = ClientTicket(number, count, returned=not late, state="open", reference=acted.reference)
    state.client_tickets.append(linked)
    state.client_tickets.sort(key=lambda item: item.generation)
    state.ticket = state.ticket or TicketNumber(state.stream)
    if count > generation.started:
        generation.number, generation.started, generation.live = max(generation.number, count), count, True
    if not state.opened:
        generation.left_draft = True  # a change that has a client ticket was seen outside its draft
    return [_take(linked)]


def _is_create_dead(state: TicketState, generation: int) -> bool:
    entry = state.plans.entries.get(create_key(state.stream, generation))
    return entry is not None and entry.state in DEAD


def _take(known: ClientTicket) -> ClientTicketChanged:
    return ClientTicketChanged(known, adopted=True)


def _confirm_number(state: TicketState, ours: ClientTicket) -> list[Delta]:
    """Ensono shows our number: it has it, whatever it answered when we returned it."""
    if ours.returned:
        return []
    state.client_tickets[-1] = msgspec.structs.replace(ours, returned=True)
    return [ClientTicketChanged(state.client_tickets[-1])]
