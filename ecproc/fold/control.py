"""The machine of what concerns no ticket: what people paused as a whole, and posts that nobody can read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ecproc.domain.deltas import Delta, Refused
from ecproc.domain.effects import Effect
from ecproc.domain.events import Fact, Message, Place, QuarantineReason
from ecproc.domain.external import ExternalKind, ExternalReceived
from ecproc.domain.log import Row
from ecproc.domain.policy import Policy
from ecproc.domain.scoping import Ruling
from ecproc.domain.state import StreamState
from ecproc.fold.rows import SHARED_ROWS

CONTROL_PREFIX: Final = "$"
CONTROL_STREAM: Final = "$control"
"""Where an act stands that concerns a destination."""
EXTERNAL_STREAM: Final = "$external"
"""Where what another system told stands that could not be read."""
CONFIG_STREAM: Final = "$config"
"""Where it stands which policy and mapping were in force from when on."""


class ControlMachine:
    """See Machine; what an act means in every stream is all that it means here, and what cannot be read goes into
    quarantine."""

    fold_version: Final = 1
    snapshot_version: Final = 1
    new = StreamState

    def evolve(self, state: StreamState, fact: Fact, place: Place) -> list[Delta]:
        state.touch(place)
        if isinstance(fact, ExternalReceived) and fact.kind is ExternalKind.UNDECODABLE:
            return [Refused(QuarantineReason.BAD_PAYLOAD, f"{fact.source} posted what holds no news that is known")]
        return []

    def evolve_news(self, state: StreamState, message: Message) -> list[Delta] | None:
        return None

    def decide(
        self, state: StreamState, fact: Fact, deltas: Sequence[Delta], place: Place, policy: Policy
    ) -> list[Effect]:
        return []

    def judge(self, state: StreamState, fact: Fact, deltas: Sequence[Delta], policy: Policy) -> Ruling | None:
        return None

    def rows(self, state: StreamState, deltas: Sequence[Delta]) -> list[Row]:
        return [SHARED_ROWS[type(delta)](state.stream, delta) for delta in deltas if type(delta) in SHARED_ROWS]

    def counted(self, state: StreamState) -> tuple[str, str | None] | None:
        return None
