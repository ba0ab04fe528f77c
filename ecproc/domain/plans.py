"""What a stream has planned: its effects as outbox entries by key."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from ecproc.domain.effects import Effect, EffectKind
from ecproc.domain.entry import DEAD, Entry, EntryState, apply_outcome
from ecproc.domain.events import Outcome
from ecproc.domain.ids import EffectKey


class Plans(msgspec.Struct):
    """Entries by key; `count` is how many were ever written down, the last one's order."""

    entries: dict[EffectKey, Entry] = {}
    count: int = 0

    def plan(self, effects: Iterable[Effect]) -> list[Effect]:
        """Write effects down and return those that were new.

        A key that exists is a no-op, except that a dead entry takes the new arguments, with `rearm` any other one that
        is not a completed download (decision 8), and with `done` any that is not completed.
        """
        new: list[Effect] = []
        for effect in effects:
            entry = self.entries.get(effect.key)
            if entry is None or entry.state in DEAD or (effect.rearm and _takes_new(entry)) or _ends(effect, entry):
                new.append(effect)
                self.add(effect)
        return new

    def add(self, effect: Effect) -> Entry:
        """The entry of a planned effect, behind all that were planned before it."""
        self.count += 1
        entry = Entry(effect=effect, order=self.count)
        if effect.done:
            done = msgspec.structs.replace(effect, fields={})
            entry = Entry(effect=done, order=self.count, state=EntryState.COMPLETED, result=effect.fields)
        self.entries[effect.key] = entry
        return entry

    def settle(self, outcome: Outcome) -> None:
        """Take an outcome into its entry; that of a key nobody planned changes nothing."""
        entry = self.entries.get(outcome.key)
        if entry is not None:
            self.entries[outcome.key] = apply_outcome(entry, outcome)


def _takes_new(entry: Entry) -> bool:
    return entry.finished != (entry.effect.kind is EffectKind.DOWNLOAD)


def _ends(effect: Effect, entry: Entry) -> bool:
    return effect.done and entry.state is not EntryState.COMPLETED
