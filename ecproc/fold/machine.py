"""What a kind of stream has of its own, and which kind a stream is of: all that the other rooms know of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeAlias, TypeVar

import msgspec

from ecproc import __version__
from ecproc.domain.deltas import Delta, PauseChanged, Planned, QuarantineLeft
from ecproc.domain.effects import Effect
from ecproc.domain.events import OUTCOMES, PAUSED_TICKET, Act, Decided, Fact, Message, OperatorActed, Place
from ecproc.domain.log import Row
from ecproc.domain.policy import Policy
from ecproc.domain.scoping import Ruling
from ecproc.domain.state import StreamState
from ecproc.errors import NewerFormat

S = TypeVar("S", bound=StreamState)


class Machine(Protocol[S]):
    """One kind of stream (decision 18). Pure: it knows no clock, chance, configuration or storage.

    `fold_version` grows with every change to what it makes of a log: live rows of another one are rebuilt.
    `snapshot_version` grows with that too, and with every change to its state's form: other snapshots are not read.
    """

    @property
    def fold_version(self) -> int:
        """The version of its live rows."""

    @property
    def snapshot_version(self) -> int:
        """The version of its snapshots."""

    def new(self, stream: str) -> S:
        """The state of a stream that holds nothing yet."""

    def evolve(self, state: S, fact: Fact, place: Place) -> list[Delta]:
        """Fold one fact into the state in place and return what it changed. Total: it raises on no history.

        The stream's plans have taken an outcome already (see `evolve_fact`). Of a message its own place counts.
        """

    def evolve_news(self, state: S, message: Message) -> list[Delta] | None:
        """What `evolve` makes of a message, where none of its fields need be known that the last one had too and that
        came to nothing then; None, with the state as it was, where they must be, or in doubt."""

    def decide(self, state: S, fact: Fact, deltas: Sequence[Delta], place: Place, policy: Policy) -> list[Effect]:
        """What one fact leads to, on the state just after it."""

    def judge(self, state: S, fact: Fact, deltas: Sequence[Delta], policy: Policy) -> Ruling | None:
        """What the policy says of the stream itself after this fact, before `decide` is asked; None for nothing."""

    def rows(self, state: S, deltas: Sequence[Delta]) -> list[Row]:
        """The live rows that these deltas made new, the stream's header among them."""

    def counted(self, state: S) -> tuple[str, str | None] | None:
        """The type and state that the ticket is counted under; None for what is no ticket."""


AnyMachine: TypeAlias = Machine[Any]
"""A machine whose state only it itself looks into."""


class Machines:
    """The machine of every stream: that of its name's prefix (`client:`, `$`) where there is one, else a ticket's."""

    def __init__(self, tickets: AnyMachine, by_prefix: Mapping[str, AnyMachine] | None = None) -> None:
        self._tickets = tickets
        self._by_prefix = dict(by_prefix or {})

    def of(self, stream: str) -> AnyMachine:
        """The machine that folds this stream."""
        prefix, colon, _ = stream.partition(":")
        if stream.startswith("$"):
            return self._by_prefix.get("$", self._tickets)
        return self._by_prefix.get(prefix + colon, self._tickets) if colon else self._tickets

    @property
    def fold_version(self) -> int:
        """What live state is stamped with: it grows when any of them does."""
        return sum(machine.fold_version for machine in (self._tickets, *self._by_prefix.values()))

    def require_known(self, found: int) -> None:
        """Raise NewerFormat if live state is stamped with a later version: its log may hold what we would misread."""
        known = self.fold_version
        if found > known:
            ours = f"fold {found}; this one, {__version__}, knows up to {known}"
            raise NewerFormat(f"the event log was last written by a newer ecproc ({ours})")


def evolve_fact(machine: Machine[S], state: S, fact: Fact, place: Place) -> list[Delta]:
    """Fold one fact: an outcome into its entry, what a person's act means in every stream, and whatever the machine
    makes of it."""
    if isinstance(fact, Message):
        return machine.evolve(state, fact, place)
    if isinstance(fact, OUTCOMES):
        state.plans.settle(fact)
    steered = _obey(state, fact, place) if isinstance(fact, OperatorActed) else ()
    return [*machine.evolve(state, fact, place), *steered]


def _obey(state: StreamState, acted: OperatorActed, place: Place) -> list[Delta]:
    if acted.act is Act.DISCARD and acted.position:
        return [QuarantineLeft(acted.position)]
    if acted.act in (Act.PAUSE, Act.RESUME) and acted.what:
        paused = acted.act is Act.PAUSE
        state.paused = paused if acted.what == PAUSED_TICKET else state.paused
        return [PauseChanged(acted.what, paused, acted.who, acted.note, place.at)]
    return []


def write_down(state: StreamState, decided: Decided) -> list[Delta]:
    """Take the effects and the scope of a recorded decision; nothing else of the state is touched (decision 4)."""
    if decided.scope is not msgspec.UNSET:
        state.scope = decided.scope
    return [Planned(state.plans.add(effect)) for effect in decided.effects]
