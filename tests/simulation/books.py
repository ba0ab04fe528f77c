"""What must hold in a simulated world, told by its invariants' numbers: while it runs, and when it has come to rest."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from ecproc.clock import Clock
from ecproc.desk.base import DeskCall
from ecproc.domain.effects import Repeat
from ecproc.domain.ids import SEQUENCE_BYTES
from ecproc.domain.log import RecordedEvent
from ecproc.fold.recorded import Kind, decode_event
from ecproc.fold.tickets import MACHINES
from ecproc.pipeline import Pipeline
from ecproc.reading.documents import read_document
from ecproc.rebuild.streams import RebuildOrder, rebuild
from ecproc.simulator.bridge import EnvisionBridge
from ecproc.simulator.queue import QueueMessage
from ecproc.simulator.script import ScriptedLife
from tests.simulation.peers import SimulatedBridge, SimulatedDesk, SimulatedDisk


class Books:
    """Looks on while a processor works; `errors` holds everything that was found wrong so far."""

    def __init__(
        self,
        lives: Sequence[ScriptedLife],
        *,
        simulator: EnvisionBridge,
        disk: SimulatedDisk,
        bridge: SimulatedBridge,
        desk: SimulatedDesk,
        clock: Clock,
    ) -> None:
        self.errors: list[str] = []
        self._lives = lives
        self._ledger = simulator.ledger
        self._disk = disk
        self._desk = desk
        self._clock = clock
        self._kept: set[str] = set()
        self._planned: set[str] = set()
        self._intents: dict[str, bool] = {}
        self._digests: dict[int, str] = {}
        self._record_deleted = self._ledger.record_deleted
        self._ledger.record_deleted = self._check_deleted  # type: ignore[method-assign]
        disk.on_commit = self._note_commit
        desk.on_call = self._check_intent
        bridge.on_receive = self._check_room

    # --- while it runs ---

    def _note_commit(self, events: Sequence[RecordedEvent]) -> None:
        for event in events:
            if event.message_key is not None:
                self._kept.add(_message_id(event.message_key))
            elif event.kind.startswith("Effect"):
                outcome: Any = decode_event(event.kind, event.payload)
                self._intents[outcome.key] = event.kind == Kind.EFFECT_STARTED
            elif event.kind == Kind.DECIDED:
                decided: Any = decode_event(event.kind, event.payload)
                self._planned |= {effect.key for effect in decided.effects}

    def _check_room(self) -> None:
        if not self._disk.room:
            self.errors.append("I0: a GET while there is no room")

    def _check_deleted(self, message: QueueMessage) -> None:
        if message.message_id not in self._kept:
            self.errors.append(f"I1: {message.message_id} was deleted before it was durable")
        self._record_deleted(message)

    def _check_intent(self, call: DeskCall) -> None:
        keyed = self._desk.repeat is Repeat.KEYED
        if not (call.key in self._planned if keyed else self._intents.get(call.key)):
            self.errors.append(f"I4: {call.key} left without an intent in the log")

    def note_unfinished(self, pipeline: Pipeline, seconds: float) -> None:
        """Write down that a processor did not come to rest."""
        left, projector = len(self._ledger.list_left()), pipeline.projector
        self.errors.append(
            f"I8: not finished after {seconds} s: {self._ledger.unsent} unsent, {left} left in the queue, "
            f"parked {projector.parked}, projector idle {projector.idle}, dispatcher idle {pipeline.dispatcher.idle}"
        )

    async def note_state(self) -> None:
        """Keep what live state is now, for the comparison with a replay up to here."""
        async with self._disk.reading() as reader, self._disk.rebuilding(reader) as aside:
            self._digests[(await reader.head()).position] = await aside.live_digest()

    # --- when it has come to rest ---

    async def check(self) -> list[str]:
        """Compare all books and give everything that is wrong."""
        self._check_queue()
        self._check_effects()
        await self._check_log()
        await self.check_replay()
        for life in self._lives:
            await self._check_life(life)
        return self.errors

    def _check_queue(self) -> None:
        counts = self._ledger.count_messages()
        if counts.lost or counts.left:
            self.errors.append(f"I1: {counts.lost} messages lost, {counts.left} left")
        if self._ledger.leaked_keys:
            self.errors.append("I11: the API key went to the file host")

    def _check_effects(self) -> None:
        """Exactly once for a keyed desk; for a look-up desk once more for each call that came after its look-up."""
        again = {key: count - 1 for key, count in self._desk.applied.items() if count > 1}
        allowed = self._desk.zombies if self._desk.repeat is Repeat.LOOK_UP else 0
        if sum(again.values()) > allowed:
            self.errors.append(f"I4: applied more than once, with {allowed} zombies: {again}")

    async def _check_log(self) -> None:
        """Each message once, each ticket's in the order they were sent."""
        found: defaultdict[str, list[str]] = defaultdict(list)
        async for page in self._disk.read_log():
            for event in page:
                if event.message_key is not None:
                    found[event.stream].append(_message_id(event.message_key))
        sent = {life.ticket: [message.message_id for message in life.messages] for life in self._lives}
        if found != sent:
            wrong = [ticket for ticket in sent if sent[ticket] != found[ticket]]
            self.errors.append(f"I2, I3: the log of {wrong} is not what was sent")

    async def check_replay(self) -> None:
        """Live state is what a replay makes of the log, now and wherever `note_state` was called."""
        for compact in (False, True):
            async with self._disk.reading() as reader, self._disk.rebuilding(reader) as aside:
                await rebuild(reader, aside, RebuildOrder(compact=compact), machines=MACHINES, clock=self._clock)
                count, first = await aside.differences(3)
                if count:
                    form = "compact" if compact else "whole"
                    self.errors.append(f"I5: {count} rows differ from the {form} replay's: {first}")
        for position, digest in self._digests.items():
            async with self._disk.reading() as reader, self._disk.rebuilding(reader) as aside:
                await rebuild(reader, aside, RebuildOrder(until=position), machines=MACHINES, clock=self._clock)
                if await aside.digest() != digest:
                    self.errors.append(f"I5: a replay to {position} is not what live state was there")

    async def _check_life(self, life: ScriptedLife) -> None:
        raw = await read_document(self._disk, life.ticket, entries=1000)
        document, outcome = None if raw is None else msgspec.json.decode(raw), life.outcome
        keyed = self._desk.repeat is Repeat.KEYED
        if document is not None and not keyed:
            document, outcome = _forgive_doubles(document), msgspec.structs.replace(outcome, client_tickets=0)
        for wrong in outcome.differences(document):
            self.errors.append(f"{life.ticket} ({life.story}): {wrong}")
        returned = set(self._ledger.returnptn[life.ticket])
        if keyed and len(returned) != life.outcome.returnptn:
            self.errors.append(f"{life.ticket} ({life.story}): returned {returned}")


def _message_id(key: bytes) -> str:
    return key[SEQUENCE_BYTES:].decode()


def _forgive_doubles(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """A document without the client tickets, of which a look-up desk may have made too many."""
    anomalies = [item for item in document["anomalies"] if item["code"] != "double_create"]
    return {**document, "anomalies": anomalies, "client_tickets": [], "client_ticket": None}
