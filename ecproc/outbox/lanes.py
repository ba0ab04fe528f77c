"""A ticket's entries of one lane, and which of them runs next: planned order, nothing overtakes (decision 10). Pure."""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from ecproc.domain.effects import EffectKind
from ecproc.domain.entry import DEAD, Entry, EntryState
from ecproc.domain.ids import EffectKey


class Run(msgspec.Struct, frozen=True):
    """This entry is due."""

    entry: Entry


class Wait(msgspec.Struct, frozen=True):
    """Nothing is due before `until`, microseconds UTC."""

    until: int


def choose_next(entries: Collection[Entry], now: int, *, creates: Collection[Entry] | None = None) -> Run | Wait | None:
    """The first unfinished entry in planned order, if it is due; None when there is none or it is being performed.

    An entry that is executing, unknown or retryable holds those behind it. A create that is dead, or was planned again
    after it died, holds its generation's other entries; other dead ones let them pass. `creates` are the creates among
    them, if that is known: a burst leaves thousands of entries, and few of those.
    """
    known = entries if creates is None else creates
    held = {entry.effect.generation for entry in known if entry.effect.kind is EffectKind.CREATE and _is_owed(entry)}
    for entry in entries:
        if entry.finished or (entry.effect.generation in held and entry.effect.kind is not EffectKind.CREATE):
            continue
        if entry.state is EntryState.EXECUTING:
            return None
        if entry.next_attempt_at is not None and entry.next_attempt_at > now:
            return Wait(entry.next_attempt_at)
        return Run(entry)
    return None


def _is_owed(entry: Entry) -> bool:
    return entry.state in DEAD or not entry.finished


def _order_of(item: tuple[EffectKey, Entry]) -> int:
    return item[1].order


class TicketLane:
    """One ticket's entries of one lane, by planned order; finished ones leave except a dead create.

    `trying` is the key of the one that is being attempted; `ended` are those that were seen done meanwhile.
    """

    __slots__ = ("creates", "ended", "entries", "trying")

    def __init__(self) -> None:
        self.entries: dict[EffectKey, Entry] = {}
        self.creates: dict[EffectKey, Entry] = {}
        self.ended: dict[EffectKey, Entry] = {}
        self.trying: EffectKey | None = None

    def put(self, entry: Entry) -> Entry | None:
        """Take an entry's newest version, a newly planned one behind the others, one that a person wants once more
        where it was planned; gives the version it had before."""
        key = entry.effect.key
        former = self.entries.get(key)
        if former is not None and former.order != entry.order:
            del self.entries[key]
        last = next(reversed(self.entries.values()), entry)
        self.entries[key] = entry
        if last.order > entry.order and (former is None or former.order != entry.order):
            self.entries = dict(sorted(self.entries.items(), key=_order_of))
        if entry.effect.kind is EffectKind.CREATE:
            self.creates[key] = entry
        if entry.finished and not (entry.state in DEAD and entry.effect.kind is EffectKind.CREATE):
            del self.entries[key]
            self.creates.pop(key, None)
            if self.trying and entry.effect.done:  # what comes of an attempt under way must not stand in its place
                self.ended[key] = entry
        return former

    def newest(self, key: EffectKey) -> Entry | None:
        """What stands under that key, also if it was seen done during an attempt; None where that is not known."""
        return self.entries.get(key) or self.ended.get(key)

    def rest(self) -> None:
        """No attempt is under way any more."""
        self.trying = None
        self.ended.clear()

    def choose(self, now: int) -> Run | Wait | None:
        """What runs next."""
        return choose_next(self.entries.values(), now, creates=self.creates.values())
