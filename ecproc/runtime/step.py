"""An actor's step as a value: what its stream's undecided facts lead to, before anything is written. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ecproc.domain.decisions import decide
from ecproc.domain.effects import Effect
from ecproc.domain.entry import Entry
from ecproc.domain.events import Decided, Quarantined
from ecproc.domain.recorded import OwnEvent, encode_event
from ecproc.domain.rows import Row, project, quarantine_row
from ecproc.domain.state import Change, Flagged, Planned, Refused, plan
from ecproc.domain.ticket import evolve
from ecproc.runtime.compact import CompactFact, CompactStep, Skipped, compact_fact, encode_step
from ecproc.runtime.fold import StreamFold
from ecproc.runtime.history import place_of, wants_actor
from ecproc.store.base import Batch, Fence, NewEvent, Snapshot


class Step(msgspec.Struct, frozen=True):
    """What one step writes and tells: `before` and `after` are the ticket's type and state, None for no ticket;
    `decided` counts the facts that wanted a decision."""

    batch: Batch
    entries: tuple[Entry, ...]
    anomalies: tuple[str, ...]
    quarantined: tuple[str, ...]
    before: tuple[str, str | None] | None
    after: tuple[str, str | None] | None
    decided: int


def take_step(fold: StreamFold, *, limit: int, snapshot_events: int) -> Step:
    """Evolve and decide the fold's undecided facts, at most `limit`, one at a time; moves the fold past them (I3)."""
    state = fold.state
    before = (state.type, state.state) if state.type else None
    changes: list[Change] = []
    effects: list[Effect] = []
    refused: dict[int, Quarantined] = {}
    compact: list[CompactFact] = []
    expected, facts, wanted = fold.through, 0, 0
    while fold.pending and facts < limit:
        event, fact = fold.pending.popleft()
        facts += 1
        wanted += wants_actor(fact)
        place = place_of(event)
        step_changes = evolve(state, fact, place)
        for change in step_changes:
            if isinstance(change, Refused):
                refused[event.position] = Quarantined(event.position, change.reason, change.detail)
        if not isinstance(fact, Quarantined):
            told, fold.fields = compact_fact(event, fact, refused, fold.fields)
            compact.append(told)
        effects += plan(state, decide(state, fact, step_changes, place))
        changes += step_changes
        fold.through = event.version
    entries = tuple(state.entries[effect.key] for effect in effects)
    changes += [Planned(entry) for entry in entries]
    own: list[OwnEvent] = [*refused.values(), Decided(through=fold.through, effects=tuple(effects))]
    events = [NewEvent(state.stream, *encode_event(event)) for event in own]
    decided = events[-1].payload if effects else b""
    covered = CompactStep(expected, fold.through, len(compact) + len(own), tuple(compact), decided)
    rows = project(state, changes) + _quarantine(state.stream, compact)
    return Step(
        batch=Batch(
            events=events,
            rows=rows,
            fence=Fence(state.stream, expected, fold.through),
            snapshot=_snapshot_if_due(fold, snapshot_events),
            compact=encode_step(covered),
        ),
        entries=entries,
        anomalies=tuple([change.code for change in changes if isinstance(change, Flagged)]),
        quarantined=tuple([item.reason for item in refused.values()]),
        before=before,
        after=(state.type, state.state) if state.type else None,
        decided=wanted,
    )


def _snapshot_if_due(fold: StreamFold, every: int) -> Snapshot | None:
    """A snapshot when the stream has grown enough: in proportion, so that snapshots stay a fixed share of the work."""
    if fold.through - fold.snapshot_version < max(every, fold.snapshot_version // 2):
        return None
    fold.snapshot_version = fold.through
    return fold.snapshot()


def _quarantine(stream: str, facts: Sequence[CompactFact]) -> list[Row]:
    return [
        quarantine_row(stream, fact.position, message_id=fact.message_id, reason=fact.reason, detail=fact.detail)
        for fact in facts
        if isinstance(fact, Skipped)
    ]
