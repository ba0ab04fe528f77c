"""A ticket as a command finds it: what Ensono acknowledged last, overlaid with our own commands."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from ecproc.domain import change, incident
from ecproc.domain.deltas import Approval
from ecproc.domain.events import TicketType
from ecproc.domain.ids import EffectKey
from ecproc.domain.state import ApprovalState, TicketState


class KnownTicket(msgspec.Struct, frozen=True, kw_only=True):
    """`number` is ours, empty while it is not known; `type` is None for a link that had no message yet. `state` and
    `fields` are as they will be when our own commands that are under way are done. `turn` counts how often it has been
    worked on; `asked` are the keys of commands that were accepted and are not dead."""

    stream: str
    ticket: str
    type: TicketType | None
    number: str = ""
    state: str | None = None
    fields: Mapping[str, str] = {}
    generation: int = 1
    approvals: tuple[Approval, ...] = ()
    turn: int = 1
    asked: frozenset[EffectKey] = frozenset()

    @property
    def is_final(self) -> bool:
        """Whether Ensono takes nothing more for it."""
        kind: frozenset[str] = frozenset(change.FINAL if self.type is TicketType.CHANGE else incident.FINAL)
        return self.state in kind

    @property
    def open_approvals(self) -> list[Approval]:
        """What an approver may answer: the requests of this generation that nobody has."""
        asked = (self.generation, ApprovalState.REQUESTED)
        return [item for item in self.approvals if (item.generation, item.state) == asked]


def know_ticket(state: TicketState) -> KnownTicket | None:
    """The ticket of that state; None where it is none (yet)."""
    if state.type is None and not state.client_tickets:
        return None
    commands = state.commands
    overlay = {name: told.value for name, told in commands.overlay.items()}
    status = overlay.pop("status", state.state)
    return KnownTicket(
        stream=state.stream,
        ticket=state.ticket,
        type=state.type,
        number=state.current_number or "",
        state=status,
        fields={**state.record.fields, **overlay},
        generation=state.generation.number,
        approvals=tuple(sorted(state.approvals.values(), key=_order_of)),
        turn=commands.turn,
        asked=frozenset(
            key for key, known in commands.known.items() if not known.refused and not commands.is_dead(known)
        ),
    )


def _order_of(approval: Approval) -> int:
    return approval.order
