"""Whole streams folded: everything live state holds of one, out of its events or out of their compact form."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from ecproc.domain.deltas import Delta, FieldsChanged, Planned
from ecproc.domain.entry import apply_outcome
from ecproc.domain.events import OUTCOMES, Decided, Fact, Message, Place, Quarantined
from ecproc.domain.log import Compact, RecordedEvent, Row, StreamCounters
from ecproc.domain.state import StreamState
from ecproc.fold.compact import (
    CompactFact,
    CompactMessage,
    CompactOutcome,
    CompactQuarantined,
    CompactStep,
    cache_step,
    compact_fact,
    decode_step,
    restore,
)
from ecproc.fold.history import message_id_of, place_of, read_fact
from ecproc.fold.machine import AnyMachine, evolve_fact, write_down
from ecproc.fold.recorded import Kind, decode_event
from ecproc.fold.rows import entry_row, quarantine_row
from ecproc.fold.stream import StreamFold


def fold_events(
    stream: str, events: Sequence[RecordedEvent], machine: AnyMachine, *, undecided: bool = False
) -> tuple[list[Row], StreamCounters]:
    """What the stream's events left as far as they are decided, or with `undecided` all of them."""
    fold = StreamFold(stream, machine)
    deltas = fold.extend(events)
    if undecided:
        deltas += fold.evolve_rest()
    rows = {(row.table, row.id): row for row in _quarantine_rows(stream, events)}
    rows |= _make_rows(machine, fold.state, deltas)
    rows |= {(row.table, row.id): row for row in _entry_rows(fold)}
    return [row for row in rows.values() if row.data is not None], fold.counters


def fold_compact(stream: str, steps: Sequence[Compact], machine: AnyMachine) -> tuple[list[Row], StreamCounters] | None:
    """The same out of all steps of a stream, as far as they go; None where one is missing or not of this code. Of rows
    with the same table and id the last one counts."""
    fold = _CompactFold(stream, machine)
    for step in steps:
        decoded = decode_step(step.data)
        if decoded is None or decoded.expected != fold.through:
            return None
        fold.follow(decoded)
    stream, entries = fold.state.stream, fold.state.plans.entries.values()
    rows = fold.quarantine + machine.rows(fold.state, fold.deltas) + [entry_row(stream, entry) for entry in entries]
    last_rows = {(row.table, row.id): row for row in rows}
    rows = [row for row in last_rows.values() if row.data is not None]
    last = steps[-1].position if steps else 0
    return rows, StreamCounters(version=fold.events, through=fold.through, wanted=fold.through, last=last)


class _CompactFold:
    """A stream's state as its steps left it."""

    def __init__(self, stream: str, machine: AnyMachine) -> None:
        self.state: StreamState = machine.new(stream)
        self.through = self.events = 0
        self.deltas: list[Delta] = []
        self.quarantine: list[Row] = []
        self._machine = machine
        self._fields: dict[str, str] = {}
        self._is_steady = False

    def follow(self, step: CompactStep) -> None:
        """Evolve what the step read, and write down what it decided."""
        for fact in step.facts:
            if type(fact) is not CompactMessage:
                self._is_steady = False
                self._follow_other(fact)
            elif not (self._is_steady and self._follow_news(fact)):
                self._follow_message(fact)
        if step.decided:
            decided = decode_event(Kind.DECIDED, step.decided)
            if isinstance(decided, Decided):
                write_down(self.state, decided)
        self.through = step.through
        self.events += step.events

    def _follow_news(self, told: CompactMessage) -> bool:
        """Evolve a message without the fields that it repeats, if that makes no difference; else do nothing."""
        message = told.message
        if told.whole or told.gone:
            return False
        deltas = self._machine.evolve_news(self.state, message)
        if deltas is None:
            return False
        self._fields.update(message.fields)
        self._take(message, deltas)
        return True

    def _follow_message(self, told: CompactMessage) -> None:
        message = restore(told, self._fields)
        self._fields = dict(message.fields)
        deltas = self._machine.evolve_news(self.state, message)
        if deltas is None:
            self._is_steady = False
            self.deltas += self._machine.evolve(self.state, message, _NOWHERE)
        else:
            self._take(message, deltas)

    def _take(self, message: Message, deltas: list[Delta]) -> None:
        """What was compared with a message's fields need not be compared with the same ones again, unless something
        came of it, or the message itself has them otherwise than it says."""
        find, steady = self._fields.get, True
        for delta in deltas:
            steady = steady and type(delta) is FieldsChanged
        for name, value in (message.changed or {}).items():
            steady = steady and find(name) == value
        self._is_steady = steady
        self.deltas += deltas

    def _follow_other(self, fact: CompactFact) -> None:
        match fact:
            case CompactOutcome():
                stream = self.state.stream
                event = RecordedEvent(fact.position, stream, fact.version, fact.at, fact.kind, fact.payload, b"")
                told = read_fact(event)
                if told is not None and not isinstance(told, Decided):
                    self.deltas += evolve_fact(self._machine, self.state, told, place_of(event))
            case CompactQuarantined():
                self.quarantine.append(
                    quarantine_row(
                        self.state.stream,
                        fact.position,
                        message_id=fact.message_id,
                        reason=fact.reason,
                        detail=fact.detail,
                    )
                )
            case CompactMessage():
                pass


_NOWHERE: Final = Place(0, 0, 0)
"""A message knows its own place."""


def compact_events(stream: str, events: Sequence[RecordedEvent]) -> list[Compact]:
    """The compact form of a stream's steps, as their actors would write it today."""
    read = [(event, read_fact(event)) for event in events]
    reasons = {fact.position: fact for _, fact in read if isinstance(fact, Quarantined)}
    steps: list[Compact] = []
    waiting: deque[tuple[RecordedEvent, Fact]] = deque()
    through = own = 0
    before: Mapping[str, str] | None = {}
    for event, fact in read:
        own += isinstance(fact, (Decided, Quarantined))
        if not isinstance(fact, Decided):
            if fact is not None and not isinstance(fact, Quarantined):
                waiting.append((event, fact))
            continue
        facts: list[CompactFact] = []
        while waiting and waiting[0][0].version <= fact.through:
            told, before = compact_fact(*waiting.popleft(), reasons, before)
            facts.append(told)
        payload = event.payload if fact.effects or fact.scope is not msgspec.UNSET else b""
        step = CompactStep(through, fact.through, len(facts) + own, tuple(facts), payload)
        if (data := cache_step(step)) is not None:
            steps.append(Compact(stream, event.position, data))
        through, own = fact.through, 0
    return steps


def _make_rows(machine: AnyMachine, state: StreamState, deltas: Iterable[Delta]) -> dict[tuple[str, str], Row]:
    rows = machine.rows(state, [delta for delta in deltas if not isinstance(delta, Planned)])
    return {(row.table, row.id): row for row in rows}


def _entry_rows(fold: StreamFold) -> list[Row]:
    """Entries as their last outcome left them: an outcome is written at once, decided or not."""
    entries = dict(fold.state.plans.entries)
    for _, fact in fold.pending:
        if isinstance(fact, OUTCOMES) and fact.key in entries:
            entries[fact.key] = apply_outcome(entries[fact.key], fact)
    return [entry_row(fold.state.stream, entry) for entry in entries.values()]


def _quarantine_rows(stream: str, events: Sequence[RecordedEvent]) -> list[Row]:
    ids = {event.position: message_id_of(event) for event in events}
    facts = (read_fact(event) for event in events if event.kind == Kind.MESSAGE_QUARANTINED)
    return [
        quarantine_row(
            stream, fact.position, message_id=ids.get(fact.position, ""), reason=fact.reason, detail=fact.detail
        )
        for fact in facts
        if isinstance(fact, Quarantined)
    ]
