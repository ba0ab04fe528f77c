"""Everyone a processor talks to, simulated in the running loop's time: bridge, desk, file host, and a disk with a plug.

Calls take time both ways and may fail on either. A call whose caller was cancelled may still arrive, later than any
answer to it could matter: such calls are the zombies that no look-up can see.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from random import Random
from typing import Final, TypeVar
from urllib.parse import quote, urlsplit

import anyio
import msgspec
from anyio.lowlevel import checkpoint

from ecproc.attachments.base import Failure, FetchFailed, Stored
from ecproc.bridge.base import Answer, Deleted, Request
from ecproc.bridge.calls import delete_each
from ecproc.config import Limits
from ecproc.desk.base import DeskAnswer, DeskCall, DeskRefused, DeskUnavailable
from ecproc.domain.effects import EffectKind, Repeat
from ecproc.domain.log import Batch, RecordedEvent
from ecproc.errors import BridgeUnavailable
from ecproc.fold.tables import TABLES
from ecproc.simulator import exchange
from ecproc.simulator.bridge import EnvisionBridge
from ecproc.store.base import Committed
from ecproc.store.memory import MemoryStore
from tests.simulation.scripted_bridge import from_reply

T = TypeVar("T")

_LATEST_ZOMBIE: Final = 20.0
"""Seconds after which no abandoned call arrives any more: less than the wait after an unknown outcome."""


class Roads(msgspec.Struct, frozen=True, kw_only=True):
    """How calls fare: `way` is the longest time for one direction in seconds; the others are shares of the calls.

    `refused`: no connection. `lost`: applied, no answer. `blamed`: the receiver says no, and nothing happened.
    """

    way: float = 0.05
    refused: float = 0.0
    lost: float = 0.0
    blamed: float = 0.0


GOOD_ROADS: Final = Roads()


class Traveller:
    """Sends calls along roads that may change."""

    def __init__(self, rng: Random, roads: Roads = GOOD_ROADS) -> None:
        self.roads = roads
        self.rng = rng
        self.zombies = 0

    def happens(self, share: float) -> bool:
        """Whether a fault of that share happens now."""
        return share > 0 and self.rng.random() < share

    async def there(self, apply: Callable[[], T]) -> T:
        """Travel, apply, and give what came of it; cancelled on the way, the call may arrive without its sender."""
        try:
            await anyio.sleep(self.rng.uniform(0, self.roads.way))
        except anyio.get_cancelled_exc_class():
            if self.rng.random() < 0.5:
                asyncio.get_running_loop().call_later(self.rng.uniform(0, _LATEST_ZOMBIE), self._arrive, apply)
            raise
        return apply()

    async def back(self) -> None:
        """Travel back."""
        await anyio.sleep(self.rng.uniform(0, self.roads.way))

    def _arrive(self, apply: Callable[[], T]) -> None:
        self.zombies += 1
        apply()


class SimulatedBridge(Traveller):
    """The simulator's bridge without its sockets; its own faults come on top of the roads' refusals."""

    def __init__(
        self, simulator: EnvisionBridge, *, rng: Random, timeout: float = 30.0, limits: Limits | None = None
    ) -> None:
        super().__init__(rng)
        self._places = asyncio.Semaphore((limits or Limits()).deletes_at_once)
        self.on_receive: Callable[[], None] = lambda: None
        self._simulator = simulator
        self._timeout = timeout

    async def receive(self) -> Answer:
        self.on_receive()
        return await self._call("GET", "/queue")

    async def delete(self, receipt_handle: str) -> Answer:
        return await self._call("DELETE", f"/queue/{quote(receipt_handle, safe='')}")

    async def delete_many(self, receipt_handles: Sequence[str], deleted: Deleted, *, within: float) -> None:
        await delete_each(self.delete, receipt_handles, deleted, places=self._places, within=within)

    async def send(self, request: Request) -> Answer:
        return await self._call(request.method, request.path, request.body or b"")

    async def _call(self, method: str, path: str, body: bytes = b"") -> Answer:
        config = self._simulator.config
        path = f"/{config.client}/{config.env}{path}"
        request = exchange.HttpRequest(method=method, path=path, headers={"x-api-key": config.api_key}, body=body)
        if self.happens(self.roads.refused):
            await checkpoint()
            raise BridgeUnavailable("connect", sent=False)
        reply = await self.there(lambda: self._simulator.answer(request))
        await anyio.sleep(min(reply.delay, self._timeout))
        if reply.delay > self._timeout or reply.dropped:
            raise BridgeUnavailable("no_answer", sent=True)
        await self.back()
        return from_reply(reply)


class SimulatedDesk(Traveller):
    """A desk that counts how often each key was applied. A look-up desk applies a repeated call once more."""

    def __init__(self, repeat: Repeat, *, rng: Random) -> None:
        super().__init__(rng)
        self.repeat = repeat
        self.applied: Counter[str] = Counter()
        self.order: list[str] = []
        self.states: dict[str, str] = {}
        self.on_call: Callable[[DeskCall], None] = lambda call: None
        self._answers: dict[str, DeskAnswer] = {}

    def repeat_of(self, kind: EffectKind) -> Repeat:
        return self.repeat

    def ends_after(self, kind: EffectKind) -> float:
        return 0.0

    async def perform(self, call: DeskCall) -> DeskAnswer:
        self.on_call(call)
        await self._connect()
        if self.happens(self.roads.blamed):
            await self.back()
            raise DeskRefused("not today")
        answer = await self.there(lambda: self._apply(call))
        await self._answer()
        return answer

    async def look_up(self, call: DeskCall) -> DeskAnswer | None:
        await self._connect()
        answer = await self.there(lambda: self._answers.get(call.key))
        await self._answer()
        return answer

    async def aclose(self) -> None:
        await checkpoint()

    async def _connect(self) -> None:
        await checkpoint()
        if self.happens(self.roads.refused):
            raise DeskUnavailable("no connection", sent=False)

    async def _answer(self) -> None:
        await self.back()
        if self.happens(self.roads.lost):
            raise DeskUnavailable("no answer", sent=True)

    def _apply(self, call: DeskCall) -> DeskAnswer:
        if call.key in self._answers and self.repeat is Repeat.KEYED:
            return self._answers[call.key]
        self.applied[call.key] += 1
        self.order.append(call.key)
        number = call.number or f"SIM-{len(self.states) + 1:07}"
        state = _NEXT_STATES.get(call.kind) or call.fields.get("state") or self.states.get(number, "open")
        self.states[number] = state
        self._answers[call.key] = DeskAnswer(number, state)
        return self._answers[call.key]


_NEXT_STATES: Final = {
    "create_client_ticket": "open",
    "resolve_client_ticket": "resolved",
    "close_client_ticket": "closed",
    "cancel_client_ticket": "cancelled",
    "reopen_client_ticket": "open",
}


class SimulatedFetcher(Traveller):
    """Downloads from the simulator's file host."""

    def __init__(self, simulator: EnvisionBridge, *, rng: Random) -> None:
        super().__init__(rng)
        self._simulator = simulator

    async def fetch(self, url: str, *, announced_size: int | None) -> Stored:
        parts = urlsplit(url)
        request = exchange.HttpRequest(method="GET", path=parts.path, query=parts.query)
        if self.happens(self.roads.refused):
            await checkpoint()
            raise FetchFailed("connect", Failure.HELD)
        reply = await self.there(lambda: self._simulator.answer(request))
        await anyio.sleep(reply.delay)
        if reply.dropped:
            raise FetchFailed("closed", Failure.HELD)
        if reply.status != 200:
            expired = b"Request has expired" in reply.body
            raise FetchFailed(f"HTTP {reply.status}", Failure.EXPIRED if expired else Failure.HELD)
        digest = hashlib.sha256(reply.body).hexdigest()
        return Stored(digest, len(reply.body), f"attachments/{digest[:2]}/{digest}")

    async def aclose(self) -> None:
        await checkpoint()


class SimulatedDisk(MemoryStore):
    """A store whose reads and commits take time, so that answers come in any order, and whose power can be cut.

    What is not durable when the power goes is gone, and no answer comes; what is durable is there when it is back.
    """

    def __init__(self, now: Callable[[], int], *, rng: Random, slow: float = 0.01) -> None:
        super().__init__(now, TABLES)
        self.on_commit: Callable[[list[RecordedEvent]], None] = lambda events: None
        self.slow = slow
        self._rng = rng
        self._lives = 0

    def cut_power(self) -> None:
        """Let every commit that is under way come to nothing; its caller must be cancelled now, too."""
        self._lives += 1

    async def commit(self, batch: Batch) -> Committed:
        life, committed = self._lives, None
        await checkpoint()
        with anyio.CancelScope(shield=True):
            await self._turn()
            if life == self._lives:
                committed = await super().commit(batch)
                self.on_commit([event for event in committed.events if event is not None])
                await self._turn()
        if committed is None or life != self._lives:
            await anyio.sleep_forever()
            raise AssertionError("a caller went on without power")
        return committed

    async def read_stream(self, stream: str, *, after: int = 0, limit: int | None = None) -> list[RecordedEvent]:
        events = await super().read_stream(stream, after=after, limit=limit)
        await self._turn()
        return events

    async def _turn(self) -> None:
        await anyio.sleep(self._rng.uniform(0, self.slow))
