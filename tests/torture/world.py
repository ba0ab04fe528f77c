"""A whole processor in virtual time to which people give commands, and what its bridge saw of them."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Final

import anyio

from ecproc.bridge.base import Answer, Request
from ecproc.domain.commands import CommandAccepted
from ecproc.domain.log import Batch, NewEvent
from ecproc.fold.recorded import encode_event
from ecproc.pipeline import Pipeline
from ecproc.reading.commands import ShownCommand, read_command
from ecproc.simulator.exchange import Reply
from ecproc.simulator.faults import NONE, FaultPlan
from tests.simulation.peers import SimulatedBridge
from tests.simulation.world import World, WorldPlan

AT_ONCE: Final = 200
"""Commands that are given at the same moment."""
LATEST: Final = 240.0
"""Seconds after which no call arrives any more."""
REST: Final = 8_000.0
"""Virtual seconds within which all must be settled once no more is asked."""


class WatchedBridge(SimulatedBridge):
    """Notes, by our number, when each create left and when the queue first told what Ensono calls it."""

    def watch(self) -> None:
        """Begin with nothing noted."""
        self.posts: defaultdict[str, list[float]] = defaultdict(list)
        self.told: dict[str, float] = {}

    async def send(self, request: Request) -> Answer:
        if request.method == "POST":
            self.posts[_read_number(request.body or b"")].append(anyio.current_time())
        return await super().send(request)

    async def receive(self) -> Answer:
        answer = await super().receive()
        result = json.loads(answer.body)["ReceiveMessageResponse"]["ReceiveMessageResult"]
        for message in result.get("messages") or ():
            if message["Attributes"].get("TransactionType") == "ReturnEnsonoNum":
                self.told.setdefault(message["Body"]["clientTicketNumber"], anyio.current_time())
        return answer


class CommandWorld(World):
    """A world in which nothing happens but what was asked for. `opened` are the times at which Ensono opened tickets
    for a number of ours, in the order of the ledger's."""

    def __init__(self, *, seed: int) -> None:
        super().__init__(WorldPlan(tickets=0), seed=seed, bridge=WatchedBridge)
        assert isinstance(self.bridge, WatchedBridge)
        self.watched = self.bridge
        self.watched.watch()
        self.opened: defaultdict[str, list[float]] = defaultdict(list)
        system = self.simulator.systems["dev"]
        self._create, system.create = system.create, self._note_opened  # type: ignore[method-assign]

    def _note_opened(self, body: bytes) -> Reply:
        reply = self._create(body)
        if not reply.refused:
            self.opened[_read_number(body)].append(anyio.current_time())
        return reply

    async def carry_out(self, commands: Sequence[tuple[str, CommandAccepted]], faults: FaultPlan = NONE) -> None:
        """Give each command to its stream, and let a processor run until all is settled and nothing is on its way."""
        self.simulator.faults.change_plan(faults)
        pipeline = self.make_pipeline()
        async with anyio.create_task_group() as tasks:
            await tasks.start(pipeline.run)
            for first in range(0, len(commands), AT_ONCE):
                some = commands[first : first + AT_ONCE]
                events = [NewEvent(stream, *encode_event(accepted), wanted=True) for stream, accepted in some]
                await pipeline.submit(Batch(events=events))
                await anyio.sleep(1)
            with anyio.move_on_after(REST) as waiting:
                await self._come_to_rest(pipeline)
            if waiting.cancelled_caught:
                self.books.note_unfinished(pipeline, REST)
            tasks.cancel_scope.cancel()

    async def _come_to_rest(self, pipeline: Pipeline) -> None:
        await pipeline.wait_idle()
        self.calm_down()
        await anyio.sleep(LATEST)
        while not await self._is_finished(pipeline):  # noqa: ASYNC110 - no one event says all of it
            await anyio.sleep(1)

    async def show(self, key: str) -> ShownCommand:
        """What people are told of the command."""
        shown = await read_command(self.disk, key)
        assert shown is not None, key
        return shown

    async def count_kinds(self) -> Counter[str]:
        """How many events of each kind there are."""
        return Counter([event.kind async for page in self.disk.read_log() for event in page])

    @property
    def faults(self) -> Counter[str]:
        """What went wrong with ticket calls, by its name."""
        counts = self.simulator.faults.counts
        return Counter({name.removeprefix("tickets."): number for name, number in counts.items()})


def _read_number(body: bytes) -> str:
    return str(json.loads(body)["payload"]["clientTicketNumber"])
