"""The way of a change through its states. Pure.

A change's states follow each other, and its model says which step is allowed; the customer's own workflow may have gone
ahead. So a state that lies behind the one it is in is reached already, and the others are gone to step by step.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Final

PATH: Final = ("-5", "-4", "-3", "-2", "-1", "0", "3")
"""New, Assess, Authorize, Scheduled, Implement, Review, Closed."""
CANCELED: Final = "4"
"""An end beside the path."""
MOST_STEPS: Final = 8
_ENDS: Final = frozenset({"3", CANCELED})


def is_reached(current: str, target: str) -> bool:
    """Whether a change in the one state has been in the other, or has come to an end that nothing leads out of."""
    if current == target:
        return True
    if current in PATH and target in PATH:
        return PATH.index(current) > PATH.index(target)
    return current in _ENDS


def choose_step(current: str, target: str, *, walk: bool, offered: Collection[str] | None = None) -> str | None:
    """The state to ask for next on the way from one to the other; None where none of the `offered` ones leads on.

    None offered: nobody was asked yet.
    """
    ahead = _list_ahead(current, target, walk=walk)
    return next((state for state in ahead if offered is None or state in offered), None)


def read_offered(result: Any) -> tuple[str, ...]:
    """The states that an answer of the instance's says a change may go to."""
    states = result.get("available_states") if isinstance(result, dict) else None
    return tuple(state for state in states if isinstance(state, str)) if isinstance(states, list) else ()


def _list_ahead(current: str, target: str, *, walk: bool) -> Sequence[str]:
    if not walk or current not in PATH or target not in PATH:
        return (target,)
    return PATH[PATH.index(current) + 1 : PATH.index(target) + 1]
