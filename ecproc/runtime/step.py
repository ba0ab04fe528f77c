"""An actor's step as a value: what its stream's undecided facts lead to, before anything is written. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ecproc.domain.decisions import decide
from ecproc.domain.effects import Effect
from ecproc.domain.entry import Entry
from ecproc.domain.events import Decided, Quarantined
from ecproc.domain.recorded import encode_event
from ecproc.domain.rows import Row, project, quarantine_row
from ecproc.domain.state import Change, Flagged, Planned, Refused, plan
from ecproc.domain.ticket import evolve
from ecproc.runtime.fold import StreamFold
from ecproc.runtime.history import message_id_of, place_of, wants_actor
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
    before = (state.type.value, state.state) if state.type else None
    changes: list[Change] = []
    effects: list[Effect] = []
    refused: list[tuple[Quarantined, str]] = []
    expected, facts, wanted = fold.through, 0, 0
    while fold.pending and facts < limit:
        event, fact = fold.pending.popleft()
        facts += 1
        wanted += wants_actor(fact)
        place = place_of(event)
        step_changes = evolve(state, fact, place)
        for change in step_changes:
            if isinstance(change, Refused):
                reason = Quarantined(event.position, change.reason, change.detail)
                refused.append((reason, message_id_of(event)))
        effects += plan(state, decide(state, fact, step_changes, place))
        changes += step_changes
        fold.through = event.version
    entries = tuple(state.entries[effect.key] for effect in effects)
    changes += [Planned(entry) for entry in entries]
    own = [item for item, _ in refused] + [Decided(through=fold.through, effects=tuple(effects))]
    rows = project(state, changes) + _quarantine(state.stream, refused)
    return Step(
        batch=Batch(
            events=[NewEvent(state.stream, *encode_event(event)) for event in own],
            rows=rows,
            fence=Fence(state.stream, expected, fold.through),
            snapshot=_snapshot_if_due(fold, snapshot_events),
        ),
        entries=entries,
        anomalies=tuple(change.code for change in changes if isinstance(change, Flagged)),
        quarantined=tuple(item.reason for item, _ in refused),
        before=before,
        after=(state.type.value, state.state) if state.type else None,
        decided=wanted,
    )


def _snapshot_if_due(fold: StreamFold, every: int) -> Snapshot | None:
    """A snapshot when the stream has grown enough: in proportion, so that snapshots stay a fixed share of the work."""
    if fold.through - fold.snapshot_version < max(every, fold.snapshot_version // 2):
        return None
    fold.snapshot_version = fold.through
    return fold.snapshot()


def _quarantine(stream: str, refused: Sequence[tuple[Quarantined, str]]) -> list[Row]:
    return [
        quarantine_row(stream, item.position, message_id=message_id, reason=item.reason, detail=item.detail)
        for item, message_id in refused
    ]
