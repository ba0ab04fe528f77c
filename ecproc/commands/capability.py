"""Which commands the bridge serves, for which tickets and where (R12): others are refused before they are sent."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Final

import msgspec

from ecproc.domain.commands import CommandKind
from ecproc.domain.events import TicketType


class Refusal(msgspec.Struct, frozen=True):
    """Why a command is not taken: the field that is to blame, where there is one, and what it may be instead."""

    reason: str
    field: str = ""
    allowed: tuple[str, ...] = ()


_CASES: Final = frozenset({TicketType.INCIDENT, TicketType.REQUEST})
_CHANGES: Final = frozenset({TicketType.CHANGE})

MATRIX: Final[Mapping[CommandKind, Set[TicketType]]] = {
    CommandKind.CREATE: _CASES,
    CommandKind.UPDATE: _CASES,
    CommandKind.NOTE: _CASES | _CHANGES,
    CommandKind.RESOLVE: _CASES,
    CommandKind.CLOSE: _CASES,
    CommandKind.CANCEL: _CASES,
    CommandKind.ATTACH: _CASES,
    CommandKind.APPROVE: _CHANGES,
    CommandKind.REJECT: _CHANGES,
    CommandKind.RETURN_NUMBER: _CASES | _CHANGES,
}
"""The types of ticket that each command is for; a change is asked for as a Request, and a file for one is refused
(R87, R136, R144)."""

ECHO: Final = "echo"
"""The environment that sends our calls back: it knows incidents and requests only (R10)."""
READABLE: Final = frozenset({"dev", ECHO})
"""Environments in which a ticket can be read at Ensono (R124, C42)."""


def check_capability(kind: CommandKind, ticket_type: TicketType, *, environment: str) -> Refusal | None:
    """Why the bridge does not serve this command for tickets of that type there; None if it does."""
    types = tuple(item.value for item in TicketType if item in MATRIX[kind])
    if ticket_type not in MATRIX[kind]:
        field = "ticketType" if kind is CommandKind.CREATE else "ticket"
        return Refusal(f"{kind} is not possible for a {ticket_type}", field, types)
    if ticket_type is TicketType.CHANGE and environment == ECHO:
        return Refusal("the echo environment serves no changes", "ticket", tuple(sorted(_CASES)))
    return None
