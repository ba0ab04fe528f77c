"""An actor's step as a value: what its stream's undecided facts lead to, before anything is written. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from ecproc.domain.decisions import decide
from ecproc.domain.effects import Effect
from ecproc.domain.entry import Entry
from ecproc.domain.events import Decided, Message, Noticed, Quarantined
from ecproc.domain.log import Batch, Fence, NewEvent, Row, Snapshot
from ecproc.domain.state import ClientTicketChanged, Delta, Flagged, Planned, Refused, TicketState, plan
from ecproc.domain.ticket import evolve
from ecproc.fold.compact import CompactFact, CompactQuarantined, CompactStep, compact_fact, encode_step
from ecproc.fold.history import place_of, wants_actor
from ecproc.fold.recorded import OwnEvent, encode_event
from ecproc.fold.rows import project, quarantine_row
from ecproc.fold.stream import StreamFold
from ecproc.wire.members import FIELDS

_GUIDES_OWN: Final = "yourcompanyname"
"""The guide's samples name this client beside the real one (C29)."""


class Link(msgspec.Struct, frozen=True):
    """A client number that the event at that position gave a ticket."""

    number: str
    position: int


class Step(msgspec.Struct, frozen=True):
    """What one step writes and tells: `before` and `after` are the ticket's type and state, None for no ticket;
    `decided` counts the facts that wanted a decision, `unknown_fields` the members the guide does not know."""

    batch: Batch
    entries: tuple[Entry, ...]
    anomalies: tuple[Flagged, ...]
    quarantined: tuple[Quarantined, ...]
    linked: tuple[Link, ...]
    unknown_fields: int
    before: tuple[str, str | None] | None
    after: tuple[str, str | None] | None
    decided: int


def take_step(fold: StreamFold, *, client_name: str, limit: int, snapshot_events: int) -> Step:
    """Evolve and decide the fold's undecided facts, at most `limit`, one at a time; moves the fold past them (I3).

    What only the running processor can see, as that a message names another client, becomes a fact of its own.
    """
    state = fold.state
    before = (state.type, state.state) if state.type else None
    changes: list[Delta] = []
    effects: list[Effect] = []
    refused: dict[int, Quarantined] = {}
    compact: list[CompactFact] = []
    ours = ("", client_name.strip().lower(), _GUIDES_OWN)
    noticed: dict[str, Noticed] = {}
    linked: list[Link] = []
    expected, facts, wanted, unknown_fields = fold.through, 0, 0, 0
    while fold.pending and facts < limit:
        event, fact = fold.pending.popleft()
        facts += 1
        wanted += wants_actor(fact)
        place = place_of(event)
        step_changes = evolve(state, fact, place)
        for change in step_changes:
            if isinstance(change, Refused):
                refused[event.position] = Quarantined(event.position, change.reason, change.detail)
            elif isinstance(change, ClientTicketChanged) and (change.adopted or change.created):
                linked.append(Link(change.client_ticket.number, event.position))
        if isinstance(fact, Message):
            unknown_fields += 0 if fact.fields.keys() <= FIELDS else len(fact.fields.keys() - FIELDS)
            if fact.client_name.lower() not in ours:
                _notice(state, noticed, _name_client(fact))
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
    events += [notice_event(state.stream, notice) for notice in noticed.values()]
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
        anomalies=tuple([change for change in changes if isinstance(change, Flagged)]),
        quarantined=tuple(refused.values()),
        linked=tuple(linked),
        unknown_fields=unknown_fields,
        before=before,
        after=(state.type, state.state) if state.type else None,
        decided=wanted,
    )


def _name_client(message: Message) -> Noticed:
    return Noticed(message.position, "foreign_client", f"clientName {message.client_name[:80]!r}")


def notice_event(stream: str, notice: Noticed) -> NewEvent:
    """The notice as an event of that ticket."""
    return NewEvent(stream, *encode_event(notice), wanted=True)


def _notice(state: TicketState, noticed: dict[str, Noticed], notice: Noticed) -> None:
    known = f"{notice.code} {notice.detail}"
    if known not in state.told:
        noticed.setdefault(known, notice)


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
        if isinstance(fact, CompactQuarantined)
    ]
