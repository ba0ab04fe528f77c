"""Commands through the outbox to a bridge whose answers get lost, in virtual time: what arrives, and what comes twice.

Nothing here decides: entries are planned by hand, and the numbers that the queue brings become rows as an actor's do.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from random import Random
from typing import Any, Final

import anyio
import msgspec
import pytest

from ecproc.domain.deltas import ClientTicket, ClientTicketChanged
from ecproc.domain.effects import Effect, EffectKind
from ecproc.domain.entry import Entry, EntryState
from ecproc.domain.events import TicketType
from ecproc.domain.ids import ClientNumber, EffectKey, TicketNumber
from ecproc.domain.log import Batch, NewEvent
from ecproc.domain.state import TicketState
from ecproc.fold.recorded import Kind, decode_entry
from ecproc.fold.rows import entry_row, ticket_rows
from ecproc.fold.tables import TABLES
from ecproc.outbox.dispatcher import Dispatcher
from ecproc.outbox.perform.bridge import BridgePerformer
from ecproc.outbox.retry import RetryPolicy
from ecproc.outbox.schedule import OutboxBounds
from ecproc.simulator.bridge import EnvisionBridge, RawMessage
from ecproc.simulator.faults import NONE, CallFaults, FaultPlan
from ecproc.simulator.settings import SimulatorConfig
from ecproc.store.memory import MemoryStore
from ecproc.telemetry.hooks import Telemetry
from tests.simulation.clock import VirtualClock
from tests.simulation.peers import SimulatedBridge
from tests.simulation.simloop import simulated_backend

K = EffectKind
TICKET: Final = "e-CS0879727"
CREATE: Final = {
    "description": "It does not print.",
    "shortDescription": "Printer",
    "contactName": "Ann",
    "contactEmail": "ann@client.example",
}


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return simulated_backend()


class World:
    """A dispatcher with the bridge's performer, in front of a simulator with faults of its ticket calls."""

    def __init__(self, faults: CallFaults, *, late_seconds: tuple[float, float] = (1.0, 240.0)) -> None:
        self.clock = VirtualClock()
        plan = FaultPlan(tickets=faults, late_seconds=late_seconds)
        self.simulator = EnvisionBridge(
            SimulatorConfig(faults=plan),
            url_base="http://127.0.0.1:1",
            clock=lambda: self.clock.now() / 1_000_000,
            rng=Random(7),
        )
        self.bridge = SimulatedBridge(self.simulator, rng=Random(8))
        self.store = MemoryStore(self.clock.now, TABLES)
        self.listens = True
        self._latest = late_seconds[1]
        self.dispatcher = Dispatcher(
            self.store,
            [BridgePerformer(self.bridge, self.store, client_name="testClient")],
            take_in=self._take_in,
            wake=lambda events, wake: None,
            policy=RetryPolicy(max_attempts=12, unknown_retry=(60.0, 120.0), longest=3600.0),
            bounds=OutboxBounds(
                max_in_flight=32,
                max_pending=100_000,
                breaker_seconds=30.0,
                attempt_seconds=400.0,
                arguments_bytes=1 << 22,
                slots={},
            ),
            clock=self.clock,
            rng=Random(9),
            telemetry=Telemetry(),
        )

    async def _take_in(self, events: Sequence[NewEvent]) -> dict[str, object]:
        return {}

    async def plan(self, stream: str, kind: EffectKind, *, order: int = 1, **members: Any) -> None:
        effect = Effect(
            key=EffectKey(f"{kind}:{stream}:{order}"),
            kind=kind,
            generation=1,
            position=1,
            at=self.clock.now(),
            ticket=TicketNumber("" if kind is K.CREATE_TICKET else stream),
            ticket_type="Incident",
            **members,
        )
        entry = Entry(effect, order)
        await self.store.commit(Batch(rows=[entry_row(stream, entry)]))
        self.dispatcher.add(stream, [entry])

    async def run(self) -> None:
        """Go on until nothing is pending and nothing on its way."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.dispatcher.run)
            tasks.start_soon(self._listen)
            await self.dispatcher.wait_idle()
            self.simulator.faults.change_plan(NONE)
            await anyio.sleep(self._latest)
            tasks.cancel_scope.cancel()

    async def _listen(self) -> None:
        """Read the queue all the time, and keep what it says of our numbers."""
        while True:
            result = json.loads((await self.bridge.receive()).body)["ReceiveMessageResponse"]["ReceiveMessageResult"]
            for message in result.get("messages") or ():
                body = message["Body"]
                if self.listens and message["Attributes"].get("TransactionType") == "ReturnEnsonoNum":
                    await self._link(body["ticketNumber"], body["clientTicketNumber"])
                await self.bridge.delete(message["ReceiptHandle"])
            await anyio.sleep(1 if result.get("messages") else 10)

    async def _link(self, ticket: str, number: str) -> None:
        state = TicketState(ticket, ticket=TicketNumber(ticket), type=TicketType.INCIDENT)
        known = ClientTicketChanged(ClientTicket(ClientNumber(number), 1, returned=True, state="open"))
        await self.store.commit(Batch(rows=ticket_rows(state, [known])))

    async def count(self, kind: Kind) -> int:
        found = [event async for events in self.store.read_log() for event in events if event.kind == kind]
        return len(found)


async def create_many(world: World, count: int) -> dict[str, list[str]]:
    """Create so many tickets; the numbers that Ensono has for each of ours."""
    for place in range(count):
        number = f"INC{place:07}"
        await world.plan(f"client:{number}", K.CREATE_TICKET, number=number, fields=CREATE)
    await world.run()
    created = world.simulator.ledger.created
    async for rows in world.store.scan_rows("outbox"):
        for entry in (decode_entry(row.data or b"") for row in rows):
            assert entry.state is EntryState.COMPLETED
            assert entry.result["number"] in created[entry.effect.number or ""]
    assert len(created) == count
    return world.simulator.ledger.list_doubles()


@pytest.mark.slow
@pytest.mark.requirement("R97", "C25", "I4")
async def test_only_what_the_network_applied_after_the_look_up_is_there_twice() -> None:
    world = World(CallFaults(lost=0.05, hang=0.02, late=0.005), late_seconds=(1.0, 240.0))

    doubles = await create_many(world, 10_000)

    faults = world.simulator.faults.counts
    assert (faults["tickets.lost"], faults["tickets.hang"], faults["tickets.late"]) >= (500, 200, 50)
    assert 0 < len(doubles) < faults["tickets.late"]
    assert {len(tickets) for tickets in doubles.values()} == {2}


@pytest.mark.requirement("R97", "I4")
async def test_without_late_arrivals_nothing_is_there_twice() -> None:
    assert await create_many(World(CallFaults(lost=0.1, hang=0.05, throttle=0.05)), 500) == {}


@pytest.mark.requirement("R97")
async def test_it_is_the_number_in_the_queue_that_prevents_it() -> None:
    world = World(CallFaults(lost=0.1))
    world.listens = False

    doubles = await create_many(world, 300)

    assert len(doubles) >= 20


@pytest.mark.requirement("R117", "I4")
async def test_no_comment_is_lost_and_no_more_come_twice_than_were_unknown() -> None:
    world = World(CallFaults(lost=0.1, hang=0.05, error_before=0.05, throttle=0.05))
    message = {"ticketNumber": TICKET, "ticketType": "Incident"}
    world.simulator.send_raw(RawMessage(msgspec.Raw(json.dumps(message).encode()), {"MessageGroupId": TICKET}))
    bodies = [f'comment {place} "x"\n' for place in range(200)]
    for place, body in enumerate(bodies):
        comments = json.dumps([{"body": body}])
        await world.plan(TICKET, K.ADD_COMMENTS, order=place, number="INC1", fields={"comments": comments})

    await world.run()

    ledger, unknown = world.simulator.ledger, await world.count(Kind.EFFECT_UNKNOWN)
    assert list(dict.fromkeys(ledger.notes[TICKET])) == bodies
    assert 0 < ledger.count_repeated_notes() <= unknown
