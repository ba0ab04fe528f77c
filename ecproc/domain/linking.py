"""A ticket that our own create made: what its stream and that of the create tell each other (decision 11).

The create's stream tells the ticket's that it is ours (`ClientLinked`), and a message of the ticket that names our
number tells the create's (`EnsonoNumberReturned`). Either may come first: a ticket that is told before any message is
open, has the create's fields and our number, which Ensono has from the create, and its first message opens it as ours.
"""

from __future__ import annotations

from typing import Final

import msgspec

from ecproc.domain.anomalies import Anomaly
from ecproc.domain.commands import ClientLinked, EnsonoNumberReturned
from ecproc.domain.deltas import ClientTicket, ClientTicketChanged, Delta, FieldsChanged, Moved, Tells
from ecproc.domain.echoes import keep_print, make_print
from ecproc.domain.events import Message, Place, TicketType, Transaction
from ecproc.domain.ids import client_stream
from ecproc.domain.incident import State
from ecproc.domain.state import TicketState, flag_once

_CREATED: Final = {kind.value: kind for kind in (TicketType.INCIDENT, TicketType.REQUEST)}
"""What a client can open at Ensono's (R87)."""
NAMING: Final = frozenset({Transaction.CREATE, Transaction.RETURN_ENSONO_NUM})
"""Messages that tell whose number the ticket was opened with, whenever they come (R97); of any other the first does."""


def evolve_linked(state: TicketState, linked: ClientLinked, place: Place) -> list[Delta]:
    """Take the ticket for the one that our create asked for."""
    created = _CREATED.get(linked.ticket_type)
    if created is None or state.type is TicketType.CHANGE:
        detail = f"client number {linked.number[:80]} belongs to a create of type {linked.ticket_type[:80]!r}"
        return flag_once(state, Anomaly.LINK_MISMATCH, detail, place.position)
    state.type = state.type or created
    state.ticket = state.ticket or linked.ticket
    commands = state.commands
    commands.comments |= {comment.key: linked.key for comment in linked.comments if comment.key}
    told = make_print(linked.fields, linked.comments, place.at)
    keep_print(commands, linked.key, msgspec.structs.replace(told, done=True))
    return _adopt(state, linked, place) + _take_fields(state, linked) + _open(state, place)


def tell_create(state: TicketState, message: Message) -> list[Delta]:
    """Tell the create of the number that this message names, if there is one, that it led to this ticket."""
    if not message.client_number or state.type is TicketType.CHANGE:
        return []
    told = EnsonoNumberReturned(state.ticket, state.stream, message.position)
    return [Tells(client_stream(message.client_number), told, if_held=True)]


def _adopt(state: TicketState, linked: ClientLinked, place: Place) -> list[Delta]:
    for index, known in enumerate(state.client_tickets):
        if known.number == linked.number:
            if known.returned:
                return []
            state.client_tickets[index] = msgspec.structs.replace(known, returned=True, returned_at=place.at)
            return [ClientTicketChanged(state.client_tickets[index])]
    deltas: list[Delta] = []
    if state.client_tickets:
        detail = f"opened as {linked.number[:80]}, we have {state.client_tickets[-1].number}"
        deltas += flag_once(state, Anomaly.LINK_MISMATCH, detail, place.position)
    adopted = ClientTicket(number=linked.number, generation=1, returned=True, state="open", returned_at=place.at)
    state.client_tickets.insert(0, adopted)
    if state.generation.started == 0:
        state.generation.started, state.generation.live = 1, True
    return [*deltas, ClientTicketChanged(adopted, adopted=True)]


def _take_fields(state: TicketState, linked: ClientLinked) -> list[Delta]:
    """What no message has said yet is as the create told it."""
    known = state.record.fields
    news = {name: value for name, value in linked.fields.items() if name not in known}
    known |= news
    return [FieldsChanged(news)] if news else []


def _open(state: TicketState, place: Place) -> list[Delta]:
    if state.state is not None:
        return []
    state.state = State.OPEN.value
    state.journal.moves += 1
    return [Moved(None, state.state, "ClientLinked", place.position, place.at, state.journal.moves)]
