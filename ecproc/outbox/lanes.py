"""Which entry of a ticket's lane runs next: planned order, nothing overtakes (decision 10). Pure."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from ecproc.domain.effects import EffectKind
from ecproc.domain.entry import DEAD, Entry, EntryState


class Run(msgspec.Struct, frozen=True):
    """This entry is due."""

    entry: Entry


class Wait(msgspec.Struct, frozen=True):
    """Nothing is due before `until`, microseconds UTC."""

    until: int


def choose_next(entries: Iterable[Entry], now: int) -> Run | Wait | None:
    """The first unfinished entry in planned order, if it is due; None when there is none or it is being performed.

    An entry that is executing, unknown or retryable holds those behind it. A dead create holds its generation's later
    entries, other dead ones let them pass.
    """
    held: set[int] = set()
    for entry in entries:
        if entry.finished:
            if entry.state in DEAD and entry.effect.kind is EffectKind.CREATE:
                held.add(entry.effect.generation)
            continue
        if entry.effect.generation in held:
            continue
        if entry.state is EntryState.EXECUTING:
            return None
        if entry.next_attempt_at is not None and entry.next_attempt_at > now:
            return Wait(entry.next_attempt_at)
        return Run(entry)
    return None
