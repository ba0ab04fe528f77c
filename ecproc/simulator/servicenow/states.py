"""State models: which moves an incident and a change may make, and what has to be filled in for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

INCIDENT_FIRST: Final = "1"
INCIDENT_LABELS: Final = {
    "1": "New",
    "2": "In Progress",
    "3": "On Hold",
    "6": "Resolved",
    "7": "Closed",
    "8": "Canceled",
}
IN_PROGRESS: Final = "2"
ON_HOLD: Final = "3"
RESOLVED: Final = "6"
CLOSED: Final = "7"
HOLD_LABELS: Final = {"1": "Awaiting Caller", "3": "Awaiting Problem", "4": "Awaiting Vendor", "5": "Awaiting Change"}
AWAITING_CALLER: Final = "1"
INCIDENT_MOVES: Final[Mapping[str, Sequence[str]]] = {
    "1": ("2", "3", "6", "7", "8"),
    "2": ("1", "3", "6", "7", "8"),
    "3": ("2", "6", "7", "8"),
    "6": ("2", "7"),
    "7": (),
    "8": (),
}

CHANGE_FIRST: Final = "-5"
CHANGE_LABELS: Final = {
    "-5": "New",
    "-4": "Assess",
    "-3": "Authorize",
    "-2": "Scheduled",
    "-1": "Implement",
    "0": "Review",
    "3": "Closed",
    "4": "Canceled",
}
CHANGE_CLOSED: Final = "3"
_BUILT: Final = {"-2": ("-1", "4"), "-1": ("0", "4"), "0": ("3",), "3": (), "4": ()}
"""The end that all types of change have in common: one in review cannot be cancelled."""
CHANGE_MOVES: Final[Mapping[str, Mapping[str, Sequence[str]]]] = {
    "normal": {"-5": ("-4", "4"), "-4": ("-3", "-5", "4"), "-3": ("-2", "-5", "4"), **_BUILT},
    "emergency": {"-5": ("-3", "4"), "-3": ("-2", "-5", "4"), **_BUILT},
    "standard": {"-5": ("-2", "4"), **_BUILT},
}

ITEM_LABELS: Final = {
    "-5": "Pending",
    "1": "Open",
    "2": "Work in Progress",
    "3": "Closed Complete",
    "4": "Closed Incomplete",
    "7": "Closed Skipped",
}
CASE_LABELS: Final = {
    "1": "New",
    "10": "Open",
    "18": "Awaiting Info",
    "6": "Resolved",
    "3": "Closed",
    "7": "Cancelled",
}
ENDED: Final[Mapping[str, Sequence[str]]] = {
    "incident": ("7", "8"),
    "change_request": ("3", "4"),
    "sc_req_item": ("3", "4", "7"),
    "sn_customerservice_case": ("3", "7"),
}
"""The states in which a record is no longer active."""
COMPLETED: Final[Mapping[str, Sequence[str]]] = {"incident": (RESOLVED, CLOSED), "change_request": (CHANGE_CLOSED,)}
"""The states that ask for a close code and close notes."""


def list_moves(table: str, row: Mapping[str, str]) -> Sequence[str] | None:
    """Give the states this record may go to; None where its table has no model and all are open."""
    state = row.get("state", "")
    if table == "incident":
        return INCIDENT_MOVES.get(state, ())
    if table == "change_request":
        return CHANGE_MOVES.get(row.get("type", ""), CHANGE_MOVES["normal"]).get(state, ())
    return None


def may_move(table: str, row: Mapping[str, str], state: str) -> bool:
    """Say whether the record may go to this state now; a change on hold goes nowhere but to its end."""
    moves = list_moves(table, row)
    if moves is None or state == row.get("state"):
        return True
    held = table == "change_request" and row.get("on_hold") == "true" and state != "4"
    return state in moves and not held


def find_empty(table: str, row: Mapping[str, str], previous: Mapping[str, str], *, commented: bool) -> Sequence[str]:
    """Give the labels of what this write leaves empty and a data policy asks for."""
    state = row.get("state", "")
    missing = []
    if state in COMPLETED.get(table, ()):
        labels = {"close_code": "Close code", "close_notes": "Close notes"}
        missing += [label for name, label in labels.items() if not row.get(name)]
    if table == "incident" and _waits_for_caller(row) and not _waits_for_caller(previous) and not commented:
        missing.append("Additional comments")
    return missing


def _waits_for_caller(row: Mapping[str, str]) -> bool:
    return row.get("state") == ON_HOLD and row.get("hold_reason") == AWAITING_CALLER


def describe_next_states(row: Mapping[str, str]) -> dict[str, object]:
    """Give the documented answer about the states a change may go to, its own included."""
    state = row.get("state", "")
    moves = list_moves("change_request", row) or ()
    return {
        "available_states": [*moves, state],
        "state_transitions": [[_describe_move(row, target)] for target in moves],
        "state_label": {code: CHANGE_LABELS.get(code, code) for code in [*moves, state]},
    }


def _describe_move(row: Mapping[str, str], target: str) -> dict[str, object]:
    state = row.get("state", "")
    condition = {"name": "Not On hold", "description": None, "sys_id": "2132deb6c303101035ae3f52c1d30001"}
    passed = may_move("change_request", row, target)
    return {
        "sys_id": f"{_number_of(state):016x}{_number_of(target):016x}",
        "display_value": f"{CHANGE_LABELS.get(state, state)} to {CHANGE_LABELS.get(target, target)}",
        "from_state": state,
        "to_state": target,
        "transition_available": passed,
        "automatic_transition": False,
        "conditions": [{"passed": passed, "condition": condition}],
    }


def _number_of(state: str) -> int:
    return [*CHANGE_LABELS].index(state) + 1 if state in CHANGE_LABELS else 0
