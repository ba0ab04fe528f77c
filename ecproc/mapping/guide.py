"""The guide's side of a mapping: the names of its fields, and the lists of words that it closes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Final

from ecproc.domain import change, incident
from ecproc.domain.events import TicketType
from ecproc.mapping.predicates import fold_word
from ecproc.wire.members import FIELDS as MEMBERS

TYPES: Final[Mapping[str, TicketType]] = {item.value.lower(): item for item in TicketType}
"""Ticket types by the words that rules use."""
ANY: Final = "any"

STATE_NAMES: Final = frozenset({"status", "state"})
"""One thing under two names: incidents and requests have a status, changes a state."""
FIELDS: Final = (
    MEMBERS
    | STATE_NAMES
    | {
        *("ticketNumber", "clientTicketNumber", "ticketType", "clientName"),
        *("contactName", "contactEmail", "contactPhone"),
        *("approvalId", "approvalState", "approverName", "approverEmail"),
    }
)
"""Everything that the guide has a name for."""
CLOSED: Final = frozenset(
    {
        *("type", "ticketType", "transaction", *STATE_NAMES, "priority", "impact", "urgency", "risk"),
        *("closeCode", "statusNextAction", "approval", "approvalState"),
    }
)
"""Keys of conditions whose words are compared without case."""

_INCIDENT: Final[Mapping[str, tuple[str, ...]]] = {
    **dict.fromkeys(STATE_NAMES, tuple(item.value for item in incident.State)),
    "priority": ("1", "2", "3", "4"),
    "closeCode": ("resolved", "unresolved", "cancelled", "resolved*", "unresolved*"),
    "statusNextAction": ("pending-client", "pending-vendor", "pending-change", "pending-caller"),
}
_STATES: Final = tuple("New" if item is change.State.DRAFT else item.value for item in change.State)
_CHANGE: Final[Mapping[str, tuple[str, ...]]] = {
    **dict.fromkeys(STATE_NAMES, _STATES),
    "priority": _INCIDENT["priority"],
    "type": tuple(item.value for item in change.ChangeType),
    "closeCode": (*("Successful", "Successful with issues", "Successful Outside Change Window", "Unsuccessful"),),
}
_GRADES: Final = ("1", "2", "3")


def list_words(ticket_type: str, field: str) -> tuple[str, ...] | None:
    """The words that the guide lists for a field as Ensono sends it, in the guide's order (R50, R56, R57, R59, R150,
    R151, R161); None where any text may come. All such lists are open inwards: a word beside them may come too."""
    return (_CHANGE if ticket_type == "change" else _INCIDENT).get(field)


def list_accepted(ticket_type: str, field: str) -> tuple[str, ...] | None:
    """The words that Ensono takes in a field (R89, R90, R104); None where it takes any text."""
    if ticket_type != "change" and field in ("impact", "urgency"):
        return _GRADES
    return list_words(ticket_type, field)


def fold_guide_word(field: str, text: str) -> str:
    """A value of the guide's as maps compare it: a change's first state is `new`, also where it is called Draft."""
    if field in STATE_NAMES:
        known = incident.parse_state(text) or change.parse_state(text)
        if known is change.State.DRAFT:
            return "new"
        if known is not None:
            return known.value.lower()
    return fold_word(text)


def complete(ticket_type: str, fields: Mapping[str, str]) -> dict[str, str]:
    """The fields with the ticket's state under both of its names: its own one counts."""
    own, other = ("state", "status") if ticket_type == "change" else ("status", "state")
    values = dict(fields)
    state = values.get(own) or values.get(other)
    if state is not None:
        values[own] = values[other] = state
    return values


def alias_names(names: Iterable[str]) -> frozenset[str]:
    """The names of changed fields, with both names of the state where one of them is there."""
    found = frozenset(names)
    return found | STATE_NAMES if found & STATE_NAMES else found


def concrete_types(written: str) -> Collection[str]:
    """The ticket types that a rule's `type` means."""
    return tuple(TYPES) if written == ANY else (written,)
