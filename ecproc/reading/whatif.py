"""What another mapping would have made of the log: the rules that differ, and the effects that would have."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator, Iterator
from typing import Final

import msgspec

from ecproc.domain.effects import Effect, Lane
from ecproc.domain.events import Decided
from ecproc.fold.recorded import Kind, decode_event
from ecproc.mapping import Mapping
from ecproc.reading.mapped import TOLD, tell_desk
from ecproc.store.base import Reader

_REMEMBERED: Final = 50_000
"""Tickets whose fields are kept while the log is read; of an older one only what an effect itself tells is known."""


class RuleChange(msgspec.Struct, frozen=True):
    """A rule that is added, removed or changed; beside rules `choices`, `extra` and the like."""

    rule: str
    change: str


class Otherwise(msgspec.Struct, frozen=True):
    """A field of an effect that the two mappings send differently: None where one of them sends none."""

    key: str
    ticket: str
    kind: str
    field: str
    old: str | None
    new: str | None


def list_rule_changes(old: Mapping, new: Mapping) -> list[RuleChange]:
    """What differs between two mappings, rule by rule; where a rule stands says nothing."""
    before = {rule.name: msgspec.structs.replace(rule, place="", places={}) for rule in old.rules}
    after = {rule.name: msgspec.structs.replace(rule, place="", places={}) for rule in new.rules}
    changes = [RuleChange(name, "removed") for name in before if name not in after]
    changes += [RuleChange(name, "added") for name in after if name not in before]
    changes += [RuleChange(name, "changed") for name in before if name in after and before[name] != after[name]]
    for name in ("desk", "choices", "extra", "lossy", "strict_inverse"):
        if getattr(old, name) != getattr(new, name):
            changes.append(RuleChange(name, "changed"))
    return changes


class WhatIf:
    """Compares what two mappings make of each effect in a log; `effects` and `otherwise` count those seen so far."""

    def __init__(self, old: Mapping, new: Mapping) -> None:
        self._old = old
        self._new = new
        self._tickets: OrderedDict[str, dict[str, str]] = OrderedDict()
        self.effects = 0
        self.otherwise = 0

    async def list_otherwise(self, reader: Reader) -> AsyncIterator[Otherwise]:
        """The fields that would have been sent otherwise, in the order of the log."""
        async for page in reader.read_log():
            for event in page:
                decided = decode_event(event.kind, event.payload) if event.kind == Kind.DECIDED else None
                for effect in decided.effects if isinstance(decided, Decided) else ():
                    if effect.lane is Lane.DESK and effect.kind in TOLD:
                        for one in self._compare(event.stream, effect):
                            yield one

    def _compare(self, stream: str, effect: Effect) -> Iterator[Otherwise]:
        self.effects += 1
        before = self._tickets.pop(stream, {})
        old = tell_desk(self._old, effect, before, before)
        new = tell_desk(self._new, effect, before, before)
        self._tickets[stream] = {**before, **effect.fields}
        if len(self._tickets) > _REMEMBERED:
            self._tickets.popitem(last=False)
        differing = [name for name in {**old.fields, **new.fields} if old.fields.get(name) != new.fields.get(name)]
        self.otherwise += bool(differing)
        for name in differing:
            sent = old.fields.get(name), new.fields.get(name)
            yield Otherwise(effect.key, effect.ticket, effect.kind, name, *sent)
