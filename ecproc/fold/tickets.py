"""The machine of tickets: incidents, requests and changes; and that of every kind of stream."""

from __future__ import annotations

from typing import Final

from ecproc.domain import scoping, ticket
from ecproc.domain.ids import CLIENT_PREFIX
from ecproc.domain.state import TicketState
from ecproc.fold.clients import ClientMachine
from ecproc.fold.control import CONTROL_PREFIX, ControlMachine
from ecproc.fold.machine import Machines
from ecproc.fold.rows import ticket_rows


class TicketMachine:
    """See Machine; the transitions stand in domain/incident.py and domain/change.py."""

    fold_version: Final = ticket.FOLD_VERSION
    snapshot_version: Final = ticket.FOLD_VERSION + 4  # its form has changed four times by itself

    new = TicketState
    evolve = staticmethod(ticket.evolve)
    evolve_news = staticmethod(ticket.evolve_ordinary)
    decide = staticmethod(ticket.decide)
    judge = staticmethod(scoping.judge)
    rows = staticmethod(ticket_rows)

    def counted(self, state: TicketState) -> tuple[str, str | None] | None:
        return (state.type, state.state) if state.type else None


MACHINES: Final = Machines(TicketMachine(), {CLIENT_PREFIX: ClientMachine(), CONTROL_PREFIX: ControlMachine()})
"""All kinds of streams there are."""
