"""Who waits for whom in one lane of a ticket, told from its entries (decision 10)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum

import msgspec

from ecproc.domain.effects import EffectKind
from ecproc.domain.entry import DEAD, Entry, EntryState
from ecproc.domain.ids import EffectKey


class LaneState(StrEnum):
    """What a ticket's lane does now, in one word."""

    IDLE = "idle"
    """Nothing in it is unfinished."""
    DUE = "due"
    WAITING = "waiting"
    """The next entry was tried, and is tried again at its time."""
    EXECUTING = "executing"
    HELD = "held"
    """What is unfinished waits for a create that is dead."""


class Waiting(msgspec.Struct, frozen=True):
    """The entry that runs next, and of each other that is unfinished the one it waits for."""

    state: LaneState
    next: Entry | None
    behind: Mapping[EffectKey, EffectKey]


def find_waiting(entries: Iterable[Entry]) -> Waiting:
    """Who waits for whom among one lane's entries, as the dispatcher takes them."""
    planned = sorted(entries, key=_order)
    owed = {entry.effect.generation: entry for entry in planned if _is_owed_create(entry)}
    first: Entry | None = None
    behind: dict[EffectKey, EffectKey] = {}
    for entry in planned:
        if entry.finished:
            continue
        create = owed.get(entry.effect.generation)
        holder = first if create is None or entry.effect.kind is EffectKind.CREATE else create
        if holder is None:
            first = entry
        else:
            behind[entry.effect.key] = holder.effect.key
    return Waiting(_name_state(first, has_others=bool(behind)), first, behind)


def _name_state(first: Entry | None, *, has_others: bool) -> LaneState:
    if first is None:
        return LaneState.HELD if has_others else LaneState.IDLE
    if first.state is EntryState.EXECUTING:
        return LaneState.EXECUTING
    return LaneState.DUE if first.next_attempt_at is None else LaneState.WAITING


def _is_owed_create(entry: Entry) -> bool:
    return entry.effect.kind is EffectKind.CREATE and (entry.state in DEAD or not entry.finished)


def _order(entry: Entry) -> int:
    return entry.order
