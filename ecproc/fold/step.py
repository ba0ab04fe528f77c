"""An actor's step as a value: what its stream's undecided facts lead to, before anything is written. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Final

import msgspec

from ecproc.domain.anomalies import Anomaly
from ecproc.domain.deltas import (
    ClientTicketChanged,
    Delta,
    Flagged,
    PauseChanged,
    Planned,
    Refused,
    Tells,
    TimerChanged,
)
from ecproc.domain.effects import Effect
from ecproc.domain.entry import Entry
from ecproc.domain.events import OUTCOMES, Act, Decided, Fact, Message, Noticed, OperatorActed, Quarantined, Scope
from ecproc.domain.ids import EffectKey
from ecproc.domain.log import Batch, Fence, Foreseen, NewEvent, RecordedEvent, Row, Snapshot
from ecproc.domain.policy import Policy
from ecproc.domain.scoping import Ruling
from ecproc.domain.state import StreamState
from ecproc.fold.compact import CompactFact, CompactQuarantined, CompactStep, cache_step, compact_fact
from ecproc.fold.history import wants_actor
from ecproc.fold.recorded import OwnEvent, encode_event
from ecproc.fold.rescoping import replan
from ecproc.fold.rows import quarantine_row
from ecproc.fold.stream import StreamFold
from ecproc.wire.members import FIELDS

_GUIDES_OWN: Final = "yourcompanyname"
"""The guide's samples name this client beside the real one (C29)."""


class Link(msgspec.Struct, frozen=True):
    """A client number that the event at that position gave a ticket."""

    number: str
    position: int


class Step(msgspec.Struct, frozen=True):
    """What one step writes and tells.

    `deltas` are what its facts changed; `before` and `after` are the ticket's type and state, None for no ticket;
    `decided` counts the facts that wanted a decision, `unknown_fields` the members the guide does not know, `ahead` the
    first events of the batch that the fold has read already, `scoped` the messages whose ticket was found in scope and
    out of it.
    """

    batch: Batch
    entries: tuple[Entry, ...]
    deltas: tuple[Delta, ...]
    quarantined: tuple[Quarantined, ...]
    linked: tuple[Link, ...]
    pauses: tuple[PauseChanged, ...]
    timers: tuple[TimerChanged, ...]
    unknown_fields: int
    before: tuple[str, str | None] | None
    after: tuple[str, str | None] | None
    decided: int
    ahead: int = 0
    scoped: tuple[int, int] = (0, 0)

    @property
    def anomalies(self) -> list[Flagged]:
        """The anomalies among what changed."""
        return [delta for delta in self.deltas if isinstance(delta, Flagged)]


class Ahead(msgspec.Struct, frozen=True, gc=False):
    """Events of a stream that are not recorded yet, and the position and time that the first of them probably gets."""

    events: Sequence[NewEvent]
    position: int
    at: int


def take_step(
    fold: StreamFold,
    *,
    policy: Policy,
    client_name: str,
    limit: int,
    snapshot_events: int,
    ahead: Ahead | None = None,
) -> Step:
    """Evolve and decide the fold's undecided facts, at most `limit`, one at a time; moves the fold past them (I3).

    With events `ahead` the step records these too, and holds only if they get the places that were foreseen: where they
    do not, the fold went further than the log and is to be read anew.
    What only the running processor can see, as that a message names another client, becomes a fact of its own.
    """
    state, machine = fold.state, fold.machine
    foreseen = _read_ahead(fold, ahead) if ahead is not None else None
    before, expected = machine.counted(state), fold.through
    names = ("", client_name.strip().lower(), _GUIDES_OWN)
    taking = _Taking(state, names, ahead_from=inf if ahead is None else ahead.position)
    while fold.pending and taking.facts < limit:
        event, fact, place, deltas = fold.take_next()
        taking.note(event, fact, deltas)
        if not isinstance(fact, Quarantined):
            compact, fold.fields = compact_fact(event, fact, taking.refused, fold.fields)
            taking.compact.append(compact)
        judged = machine.judge(state, fact, deltas, policy)
        if judged is not None:
            taking.take_ruling(judged)
        if type(fact) is OperatorActed and fact.act is Act.RESCOPE:
            taking.effects += state.plans.plan(replan(machine, state, fold.history, place, policy))
        taking.effects += state.plans.plan(machine.decide(state, fact, deltas, place, policy))
        taking.deltas += deltas
        fold.through = event.version
    fold.history = None
    step = taking.conclude(fold, before=before, expected=expected, snapshot=_snapshot_if_due(fold, snapshot_events))
    return step if ahead is None or foreseen is None else _record_ahead(step, ahead.events, foreseen)


def _read_ahead(fold: StreamFold, ahead: Ahead) -> Foreseen:
    stream, version = fold.state.stream, fold.seen
    foreseen = Foreseen(ahead.position, version + 1, ahead.at)
    fold.extend(
        [
            RecordedEvent(
                ahead.position + place,
                stream,
                version + 1 + place,
                ahead.at,
                event.kind,
                event.payload,
                b"",
                event.message_key,
            )
            for place, event in enumerate(ahead.events)
        ]
    )
    return foreseen


def _record_ahead(step: Step, events: Sequence[NewEvent], foreseen: Foreseen) -> Step:
    """The step with these events before its own; a number that it links must be no other ticket's."""
    alone = [("client_ticket", link.number) for link in step.linked]
    foreseen = msgspec.structs.replace(foreseen, alone=alone) if alone else foreseen
    batch = msgspec.structs.replace(step.batch, events=[*events, *step.batch.events], foreseen=foreseen)
    return msgspec.structs.replace(step, batch=batch, ahead=len(events))


class _Taking:
    """A step while its facts are taken one by one."""

    __slots__ = (
        "_ahead_from",
        "_linked",
        "_noticed",
        "_our_names",
        "_pauses",
        "_scope",
        "_scoped",
        "_settled",
        "_state",
        "_timers",
        "_told",
        "_unknown_fields",
        "_wanted",
        "compact",
        "deltas",
        "effects",
        "facts",
        "refused",
    )

    def __init__(self, state: StreamState, our_names: tuple[str, ...], *, ahead_from: float) -> None:
        self.facts = 0
        self.deltas: list[Delta] = []
        self.effects: list[Effect] = []
        self.refused: dict[int, Quarantined] = {}
        self.compact: list[CompactFact] = []
        self._state = state
        self._ahead_from = ahead_from
        self._our_names = our_names
        self._noticed: dict[str, Noticed] = {}
        self._settled: dict[EffectKey, None] = {}
        self._linked: list[Link] = []
        self._pauses: list[PauseChanged] = []
        self._timers: list[TimerChanged] = []
        self._told: list[NewEvent] = []
        self._wanted = 0
        self._unknown_fields = 0
        self._scope: Scope | msgspec.UnsetType = msgspec.UNSET
        self._scoped = [0, 0]

    def take_ruling(self, judged: Ruling) -> None:
        """Take what the policy says of the stream, and keep it for the decision where it is new."""
        if judged.scope is not None:
            self._scoped[not judged.scope.inside] += 1
            if judged.scope != self._state.scope:
                self._state.scope = self._scope = judged.scope
        for notice in judged.notices:
            self._notice(notice)

    def note(self, event: RecordedEvent, fact: Fact, deltas: Sequence[Delta]) -> None:
        """Keep what there is to tell of a fact beside its effects and rows."""
        self.facts += not isinstance(fact, Quarantined)  # which is no work, and may have been passed by before
        self._wanted += wants_actor(fact)
        for delta in deltas:
            if isinstance(delta, Refused):
                self.refused[event.position] = Quarantined(event.position, delta.reason, delta.detail)
            elif isinstance(delta, ClientTicketChanged) and (delta.adopted or delta.created):
                self._linked.append(Link(delta.client_ticket.number, event.position))
            elif isinstance(delta, PauseChanged):
                self._pauses.append(delta)
            elif isinstance(delta, TimerChanged):
                self._timers.append(delta)
            elif isinstance(delta, Tells):
                told = encode_event(delta.fact)
                self._told.append(NewEvent(delta.stream, *told, wanted=True, if_held=delta.if_held))
        if event.position >= self._ahead_from and isinstance(fact, OUTCOMES):
            self._settled[fact.key] = None
        elif isinstance(fact, Message):
            self._unknown_fields += 0 if fact.fields.keys() <= FIELDS else len(fact.fields.keys() - FIELDS)
            if fact.client_name.lower() not in self._our_names:
                self._notice(_name_client(fact))

    def _notice(self, notice: Noticed) -> None:
        known = f"{notice.code} {notice.detail}"
        if known not in self._state.journal.told:
            self._noticed.setdefault(known, notice)

    def conclude(
        self, fold: StreamFold, *, before: tuple[str, str | None] | None, expected: int, snapshot: Snapshot | None
    ) -> Step:
        """The whole step, which went on behind version `expected`."""
        state, stream = self._state, self._state.stream
        known = state.plans.entries
        keys = self._settled | dict.fromkeys([effect.key for effect in self.effects])
        entries = tuple([known[key] for key in keys if key in known])
        deltas = [*self.deltas, *map(Planned, entries)]
        ended = Decided(through=fold.through, effects=tuple(self.effects), scope=self._scope)
        own: list[OwnEvent] = [*self.refused.values(), ended]
        # What others are told stands first: the compact form goes by the last event, which has to be this stream's.
        events = self._told + [NewEvent(stream, *encode_event(event)) for event in own]
        decided = events[-1].payload if self.effects or self._scope is not msgspec.UNSET else b""
        events += [notice_event(stream, notice) for notice in self._noticed.values()]
        covered = CompactStep(expected, fold.through, len(self.compact) + len(own), tuple(self.compact), decided)
        return Step(
            batch=Batch(
                events=events,
                rows=fold.machine.rows(state, deltas) + _quarantine(stream, self.compact),
                fence=Fence(stream, expected, fold.through),
                snapshot=snapshot,
                compact=cache_step(covered),
            ),
            entries=entries,
            deltas=tuple(self.deltas),
            quarantined=tuple(self.refused.values()),
            linked=tuple(self._linked),
            pauses=tuple(self._pauses),
            timers=tuple(self._timers),
            unknown_fields=self._unknown_fields,
            before=before,
            after=fold.machine.counted(state),
            decided=self._wanted,
            scoped=(self._scoped[0], self._scoped[1]),
        )


def _name_client(message: Message) -> Noticed:
    return Noticed(message.position, Anomaly.FOREIGN_CLIENT, f"clientName {message.client_name[:80]!r}")


def notice_event(stream: str, notice: Noticed) -> NewEvent:
    """The notice as an event of that ticket."""
    return NewEvent(stream, *encode_event(notice), wanted=True)


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
