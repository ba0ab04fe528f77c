"""The receiver's tickets, and its ledger: what was applied, under which id, and how often."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

import msgspec

_PREFIX: Final = "WH"
"""What our own numbers begin with; tickets of others are known from their first change on."""
_ACTIVE: Final = frozenset({"open", "workinprogress", "pending"})
_ENDS: Final[Mapping[str, str]] = {
    "ticket.resolve": "resolved",
    "ticket.close": "closed",
    "ticket.cancel": "cancelled",
}
_QUIET: Final = frozenset({"ticket.comment", "ticket.attach"})
TYPES: Final = frozenset({"ticket.create", "ticket.update", "ticket.reopen", *_ENDS, *_QUIET})


class Applied(msgspec.Struct, frozen=True):
    """One application of a call."""

    id: str
    type: str
    key: str
    number: str
    state: str
    data: Mapping[str, Any]


class NoSuchTicket(Exception):
    """The desk has no such ticket."""


class Books:
    """Tickets as the calls made them."""

    def __init__(self) -> None:
        self.applied: list[Applied] = []
        self._states: dict[str, str] = {}
        self._created = 0
        self._first: dict[str, Applied] = {}

    @property
    def times(self) -> Counter[str]:
        """How often each key was applied: twice is a doubled ticket or comment."""
        return Counter(one.key for one in self.applied)

    @property
    def doubled(self) -> list[str]:
        """The keys that were applied more than once."""
        return sorted(key for key, times in self.times.items() if times > 1)

    @property
    def tickets(self) -> Mapping[str, str]:
        """The state of each ticket."""
        return self._states

    def apply(self, message_id: str, kind: str, data: Mapping[str, Any]) -> Applied:
        """Do it, again if need be: who does not want that has to know the id. Raises NoSuchTicket."""
        creates = kind == "ticket.create"
        number = str(data.get("number") or "")
        if creates:
            self._created += 1
            number = f"{_PREFIX}{self._created:07d}"
        elif number not in self._states and (not number or number.startswith(_PREFIX)):
            raise NoSuchTicket(f"there is no ticket {number}")
        state = _move(kind, self._states.get(number, "open"), data.get("fields") or {})
        self._states[number] = state
        applied = Applied(message_id, kind, str(data.get("key")), number, state, data)
        self._first.setdefault(message_id, applied)
        self.applied.append(applied)
        return applied

    def find(self, message_id: str) -> Applied | None:
        """What was applied under that id first."""
        return self._first.get(message_id)


def _move(kind: str, state: str, fields: Mapping[str, str]) -> str:
    if kind in _ENDS:
        return _ENDS[kind]
    named = fields.get("state") or fields.get("status") or ""
    match kind:
        case "ticket.update":
            return named or state
        case "ticket.create" | "ticket.reopen":
            return named if named in _ACTIVE else "open"
        case _:
            return state
