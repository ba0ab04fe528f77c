"""The machine of tickets: incidents, requests and changes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ecproc.domain import ticket
from ecproc.domain.deltas import Delta
from ecproc.domain.effects import Effect
from ecproc.domain.events import Fact, Place
from ecproc.domain.log import Row
from ecproc.domain.policy import Policy
from ecproc.domain.state import TicketState
from ecproc.fold.machine import Machines
from ecproc.fold.rows import ticket_rows


class TicketMachine:
    """See Machine; the transitions stand in domain/incident.py and domain/change.py."""

    fold_version: Final = ticket.FOLD_VERSION
    snapshot_version: Final = ticket.FOLD_VERSION + 1  # its form has changed once by itself

    def new(self, stream: str) -> TicketState:
        return TicketState(stream)

    def evolve(self, state: TicketState, fact: Fact, place: Place) -> list[Delta]:
        return ticket.evolve(state, fact, place)

    def decide(
        self, state: TicketState, fact: Fact, deltas: Sequence[Delta], place: Place, policy: Policy
    ) -> list[Effect]:
        return ticket.decide(state, fact, deltas, place, policy)

    def rows(self, state: TicketState, deltas: Sequence[Delta]) -> list[Row]:
        return ticket_rows(state, deltas)

    def counted(self, state: TicketState) -> tuple[str, str | None] | None:
        return (state.type, state.state) if state.type else None


MACHINES: Final = Machines(TicketMachine())
"""All kinds of streams there are."""
