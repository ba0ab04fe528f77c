"""What stands behind the demo's processor, and what people do there: nothing at its own desk, much at an instance."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Literal, Protocol, TypeAlias

import msgspec

from ecproc.cli.demo_desk import furnish, list_opened, name_desk, plan_instance
from ecproc.cli.demo_desk_proof import prove_desk
from ecproc.cli.demo_people import People
from ecproc.cli.demo_proof import Proof, read_desk
from ecproc.config import Config
from ecproc.domain.entry import EntryState
from ecproc.errors import StoreError
from ecproc.reading.opening import open_queries
from ecproc.simulator.ledger import Ledger
from ecproc.simulator.script import ScriptedLife
from ecproc.simulator.servicenow.server import ServiceNowSimulator, run_servicenow

ScenarioName: TypeAlias = Literal["bridge", "desk"]


class Scene(Protocol):
    """The client's side of a scenario."""

    @property
    def variables(self) -> Mapping[str, str]:
        """What the processor is told of its desk."""

    async def act(self, config: Config) -> None:
        """Do what people do next, while the processor of that configuration may be at work."""

    def act_unseen(self) -> int:
        """Do what people do while no processor runs; gives how many things."""

    def list_opened(self, config: Config) -> Mapping[str, Sequence[str]]:
        """The client tickets that the processor opened, by Ensono's number, oldest first."""

    def prove(self, proof: Proof) -> Proof:
        """The proof with what this side has to say."""


@asynccontextmanager
async def open_scene(
    scenario: ScenarioName, ledger: Ledger, lives: Sequence[ScriptedLife], *, faults: bool, seed: int
) -> AsyncIterator[Scene]:
    """The client's side of a scenario for a block; `ledger` is that of the bridge."""
    if scenario == "bridge":
        yield _OwnDesk()
        return
    async with run_servicenow(plan_instance(faults=faults, seed=seed)) as instance:
        furnish(instance, lives)
        yield _Instance(instance, ledger, lives)


class _OwnDesk:
    """The built-in desk, where nobody does anything."""

    variables: Mapping[str, str] = {}

    async def act(self, config: Config) -> None:
        pass

    def act_unseen(self) -> int:
        return 0

    def list_opened(self, config: Config) -> Mapping[str, Sequence[str]]:
        return read_desk(config)

    def prove(self, proof: Proof) -> Proof:
        return proof


class _Instance:
    """A ServiceNow instance and its people."""

    def __init__(self, instance: ServiceNowSimulator, ledger: Ledger, lives: Sequence[ScriptedLife]) -> None:
        self.variables = name_desk(instance)
        self._instance = instance
        self._ledger = ledger
        self._people = People(instance, ledger, lives)

    async def act(self, config: Config) -> None:
        await self._people.act(partial(_is_settled, config))

    def act_unseen(self) -> int:
        return self._people.act_unseen()

    def list_opened(self, config: Config) -> Mapping[str, Sequence[str]]:
        return list_opened(self._instance)

    def prove(self, proof: Proof) -> Proof:
        return prove_desk(proof, self._ledger, self._instance.ledger, self._people.edits)


async def _is_settled(config: Config, ticket: str) -> bool:
    """Whether nothing is left to do about a ticket, as the processor has it."""
    try:
        async with open_queries(config) as queries:
            document = await queries.ticket(ticket)
    except StoreError:
        return False
    effects = msgspec.json.decode(document)["effects"] if document is not None else ()
    return bool(effects) and all(effect["state"] == EntryState.COMPLETED for effect in effects)
