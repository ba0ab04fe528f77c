"""The machine of our own creates at Ensono's: streams `client:{number}`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ecproc.domain import client_create
from ecproc.domain.client_create import ClientCreate
from ecproc.domain.deltas import Delta
from ecproc.domain.events import Fact, Message
from ecproc.domain.policy import Policy
from ecproc.domain.scoping import Ruling
from ecproc.fold.rows import client_rows


class ClientMachine:
    """See Machine; the transitions stand in domain/client_create.py."""

    fold_version: Final = client_create.FOLD_VERSION
    snapshot_version: Final = client_create.FOLD_VERSION

    new = ClientCreate
    evolve = staticmethod(client_create.evolve)
    decide = staticmethod(client_create.decide)
    rows = staticmethod(client_rows)

    def evolve_news(self, state: ClientCreate, message: Message) -> list[Delta] | None:
        return None

    def judge(self, state: ClientCreate, fact: Fact, deltas: Sequence[Delta], policy: Policy) -> Ruling | None:
        return None

    def counted(self, state: ClientCreate) -> tuple[str, str | None] | None:
        return (state.type, None) if state.is_shown else None
