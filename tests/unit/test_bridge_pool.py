"""The pool over any history of connections: nothing stalls, all that was asked ends once, nothing is sent twice."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine
from typing import Any, ClassVar, Final, cast

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from ecproc.bridge.base import Answer
from ecproc.bridge.connect import BridgeConnection, CallOutcome
from ecproc.bridge.http1 import HttpExchange
from ecproc.bridge.pool import IDLE_SECONDS, ConnectionPool
from ecproc.network import HttpFault
from tests.simulation.simloop import SimLoop

PLACE: Final = "bridge.example:443"
TIMEOUT: Final = 10.0
LIMIT: Final = 100
UNTOLD: Final = object()
"""What became of a request of a batch that nobody awaits any more."""

numbers = st.integers(0, 20)


def give(body: bytes, *headers: str) -> bytes:
    """An answer of 200 with this body."""
    lines = ["HTTP/1.1 200 OK", f"content-length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


class Peer(asyncio.Transport):
    """A transport and the server behind it, which has read what was written and says what a test tells it to."""

    def __init__(self, loop: asyncio.AbstractEventLoop, seen: Counter[bytes]) -> None:
        super().__init__()
        self._loop = loop
        self._seen = seen
        self.connection = BridgeConnection(HttpExchange(limit=LIMIT, place=PLACE, now=lambda: 0))
        self.connection.connection_made(self)
        self.asked: bytes | None = None
        self.open = True

    def write(self, data: Any) -> None:
        assert self.open, "something was written to a connection that is closed"
        assert self.asked is None, "a second request was written before the first was answered"
        self.asked = bytes(data)
        self._seen[self.asked] += 1

    def abort(self) -> None:
        self.end(None)

    def is_closing(self) -> bool:
        return not self.open

    def say(self, data: bytes) -> None:
        """Let some bytes come."""
        if self.open:
            self.connection.data_received(data)

    def end(self, error: Exception | None, *, politely: bool = False) -> None:
        """Close; whoever asked is told in the loop's next round, as by asyncio's own transports."""
        if self.open:
            self.open = False
            self.asked = None
            if politely:
                self.connection.eof_received()
            self._loop.call_soon(self.connection.connection_lost, error)


class Network:
    """A connector whose attempts come to an end when a test says so."""

    place = PLACE
    name = f"https://{PLACE}"

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.seen: Counter[bytes] = Counter()
        self.peers: list[Peer] = []
        self.attempts: list[asyncio.Future[HttpFault | None]] = []
        self.leaving = 0
        self.slow = False

    async def open(self) -> BridgeConnection | HttpFault:
        attempt: asyncio.Future[HttpFault | None] = self._loop.create_future()
        self.attempts.append(attempt)
        try:
            fault = await attempt
        except asyncio.CancelledError:
            self.leaving += 1
            if self.slow:
                await asyncio.sleep(1)
            self.leaving -= 1
            raise
        finally:
            self.attempts.remove(attempt)
        if fault is not None:
            return fault
        self.peers.append(Peer(self._loop, self.seen))
        return self.peers[-1].connection

    @property
    def connecting(self) -> list[asyncio.Future[HttpFault | None]]:
        """Attempts for which somebody waits."""
        return [attempt for attempt in self.attempts if not attempt.done()]

    @property
    def asked(self) -> list[Peer]:
        """Connections with a request on them."""
        return [peer for peer in self.peers if peer.open and peer.asked is not None]

    @property
    def used(self) -> int:
        """Places that are taken."""
        return len(self.connecting) + self.leaving + len(self.asked)


class Ask:
    """A task that waits for some requests, and what it was told of each."""

    def __init__(self, requests: list[bytes], *, single: bool, batched: bool) -> None:
        self.requests = requests
        self.single = single
        self.batched = batched
        self.told: dict[int, object] = {}
        self.task: asyncio.Task[None]

    def take(self, place: int, outcome: object) -> None:
        """One has ended."""
        assert place not in self.told, "a request ended twice"
        self.told[place] = outcome

    async def call(self, pool: ConnectionPool, *, kept: bool) -> None:
        """Make one call."""
        try:
            self.take(0, await pool.call(self.requests[0], kept=kept, batched=self.batched))
        except HttpFault as fault:
            self.take(0, fault)

    @property
    def left(self) -> list[bytes]:
        """Those that have not ended."""
        return [request for place, request in enumerate(self.requests) if place not in self.told]


class Machine(RuleBasedStateMachine):
    """Calls, batches and a network, in any order. Between the steps all that can happen without a peer happens."""

    size: ClassVar[int] = 3
    batched: ClassVar[int] = 2
    pool_type: ClassVar[type[ConnectionPool]] = ConnectionPool

    def __init__(self) -> None:
        super().__init__()
        self.loop = SimLoop(0)
        self.network = Network(self.loop)
        self.pool = self.pool_type(self.network, size=self.size, batched=self.batched, timeout=TIMEOUT)
        self.asks: list[Ask] = []
        self.requests = 0

    def teardown(self) -> None:
        """Let everything be answered: all that was asked comes to its end."""
        self.wait(1.1)  # what is slow to leave is gone then; nothing of what follows takes time
        for _ in range(self.requests + 1):
            for attempt in self.network.connecting:
                attempt.set_result(None)
            self.settle()
            for peer in self.network.asked:
                self.answer_well(peer)
            self.settle()
        try:
            assert all(ask.task.done() for ask in self.asks), "something waits that nothing comes of"
            self.run(self.pool.aclose())
            assert not any(peer.open for peer in self.network.peers)
            for ask in self.asks:
                if not ask.task.cancelled():
                    ask.task.result()
                    assert not ask.left
        finally:
            for task in asyncio.all_tasks(self.loop):
                task.cancel()
            self.settle()
            self.wait(2.0)
            self.loop.close()

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        self.loop.run_until_complete(work)

    def settle(self) -> None:
        """Let everything happen that happens at once."""
        for _ in range(8):
            self.run(asyncio.sleep(0))

    def answer_well(self, peer: Peer) -> None:
        self.say(peer, give(peer.asked or b""))

    def say(self, peer: Peer, data: bytes) -> None:
        peer.asked = None
        self.loop.call_soon(peer.say, data)
        self.settle()

    def make(self, count: int) -> list[bytes]:
        self.requests += count
        return [b"%d" % (self.requests - place) for place in range(count)]

    def start(self, ask: Ask, work: Coroutine[Any, Any, None]) -> None:
        self.asks.append(ask)
        ask.task = self.loop.create_task(work)
        self.settle()

    # --- what is asked ---

    @rule(kept=st.booleans(), batched=st.booleans())
    def call(self, kept: bool, batched: bool) -> None:
        ask = Ask(self.make(1), single=True, batched=batched)
        self.start(ask, ask.call(self.pool, kept=kept))

    @rule(count=st.integers(1, 5), within=st.sampled_from([0.5, 25.0]))
    def call_many(self, count: int, within: float) -> None:
        ask = Ask(self.make(count), single=False, batched=True)
        self.start(ask, self.pool.call_many(ask.requests, ask.take, within=within))

    @precondition(lambda self: any(not ask.task.done() for ask in self.asks))
    @rule(number=numbers, slow=st.booleans())
    def cancel(self, number: int, slow: bool) -> None:
        self.network.slow = slow
        waiting = [ask for ask in self.asks if not ask.task.done()]
        waiting[number % len(waiting)].task.cancel()
        self.settle()

    # --- what the network does ---

    @precondition(lambda self: self.network.connecting)
    @rule(number=numbers, works=st.booleans(), interrupted=st.booleans())
    def end_attempt(self, number: int, works: bool, interrupted: bool) -> None:
        attempts = self.network.connecting
        attempts[number % len(attempts)].set_result(
            None if works else HttpFault("connect", f"{PLACE}: refused", sent=False)
        )
        if interrupted and self.asks:
            self.asks[number % len(self.asks)].task.cancel()
        self.settle()

    @precondition(lambda self: self.network.asked)
    @rule(number=numbers, how=st.sampled_from(["well", "last", "more", "halves", "early", "large", "odd"]))
    def answer(self, number: int, how: str) -> None:
        peer = self.network.asked[number % len(self.network.asked)]
        body = peer.asked or b""
        whole = give(body)
        match how:
            case "well":
                self.say(peer, whole)
            case "last":
                self.say(peer, give(body, "connection: close"))
            case "more":
                self.say(peer, whole + give(b"forged"))
            case "halves":
                self.loop.call_soon(peer.say, whole[: len(whole) // 2])
                self.settle()
                self.say(peer, whole[len(whole) // 2 :])
            case "early":
                self.say(peer, b"HTTP/1.1 103 Early Hints\r\n\r\n" + whole)
            case "large":
                self.say(peer, give(bytes(LIMIT + 1)))
            case _:
                self.say(peer, b"SSH-2.0-OpenSSH_9.2\r\n\r\n")

    @precondition(lambda self: any(peer.open for peer in self.network.peers))
    @rule(number=numbers, how=st.sampled_from(["reset", "closed", "unasked"]))
    def break_connection(self, number: int, how: str) -> None:
        peers = [peer for peer in self.network.peers if peer.open]
        peer = peers[number % len(peers)]
        if how == "unasked" and peer.asked is None:
            self.loop.call_soon(peer.say, give(b"forged"))
        else:
            peer.end(ConnectionResetError() if how == "reset" else None, politely=how == "closed")
        self.settle()

    @rule(seconds=st.sampled_from([0.3, 1.0, TIMEOUT, IDLE_SECONDS + 1]))
    def wait(self, seconds: float) -> None:
        self.run(asyncio.sleep(seconds))
        self.settle()

    # --- what is claimed ---

    @invariant()
    def nothing_is_sent_twice(self) -> None:
        assert set(self.network.seen.values()) <= {1}, "a request was sent twice"

    @invariant()
    def bounds_hold(self) -> None:
        assert self.network.used <= self.size
        assert sum(peer.open for peer in self.network.peers) + len(self.network.connecting) <= self.size
        of_batches = {request for ask in self.asks if ask.batched for request in ask.requests}
        assert sum(peer.asked in of_batches for peer in self.network.asked) <= self.batched

    @invariant()
    def nothing_stalls(self) -> None:
        """Whoever waits waits for a place: one that calls may have, or one of the batches'."""
        left = [(request, ask.batched) for ask in self.asks if not ask.task.done() for request in ask.left]
        unsent = [batched for request, batched in left if not self.network.seen[request]]
        used, connecting = self.network.used, len(self.network.connecting)
        if len(unsent) > connecting:
            assert used >= min(self.size, self.batched), "a place is free and somebody waits"
        if unsent.count(False) > connecting:
            assert used == self.size, "a place is free and a call waits"

    @invariant()
    def each_ends_as_it_went(self) -> None:
        for ask in self.asks:
            assert all(ask.told) or not ask.told or 0 in ask.told
            for place, outcome in ask.told.items():
                request = ask.requests[place]
                sent = self.network.seen[request] == 1
                match outcome:
                    case Answer():
                        assert sent
                        assert outcome.body == request, "an answer is another request's"
                    case HttpFault():
                        assert outcome.sent == sent
                    case _:
                        assert outcome is None
                        assert not ask.single
                        assert not sent
            assert not ask.task.done() or ask.task.cancelled() or not ask.left


def check(machine: type[Machine], examples: int, *, steps: int = 40) -> None:
    run_state_machine_as_test(
        machine, settings=settings(max_examples=examples, stateful_step_count=steps, deadline=None)
    )


class OneAtATime(Machine):
    size = 1
    batched = 6


class RoomForBatches(Machine):
    size = 4
    batched = 4


@pytest.mark.requirement("R31", "I1")
@pytest.mark.parametrize("machine", [Machine, OneAtATime, RoomForBatches])
def test_nothing_stalls_and_nothing_is_sent_twice(machine: type[Machine]) -> None:
    check(machine, 40)


# --- negative controls ------------------------------------------------------------------------------------------------


class ForgetsAfterCalls(ConnectionPool):
    """A GET that frees a place lets nobody go on."""

    def _release(self, ask: Any) -> None:
        pump, self._pump = self._pump, lambda: None  # type: ignore[method-assign]
        try:
            super()._release(ask)
        finally:
            self._pump = pump  # type: ignore[method-assign]
        if ask.line is self._batches:
            self._pump()


class SendsAgain(ConnectionPool):
    """A request without an answer is sent once more."""

    def _answered(self, ask: Any, connection: BridgeConnection, outcome: CallOutcome) -> None:
        if isinstance(outcome, HttpFault):
            self._keep(connection, kept=False)
            self._release(ask)
            ask.line.waiting.append(ask)
            self._pump()
        else:
            super()._answered(ask, connection, outcome)


@pytest.mark.parametrize(
    ("pool", "claim"),
    [
        (ForgetsAfterCalls, "waits"),
        (SendsAgain, "sent"),
    ],
)
def test_a_pool_that_is_wrong_is_found_out(pool: type[ConnectionPool], claim: str) -> None:
    wrong = cast("type[Machine]", type("Wrong", (Machine,), {"pool_type": pool}))
    with pytest.raises(AssertionError, match=claim):
        run_state_machine_as_test(
            wrong,
            settings=settings(
                max_examples=500,
                stateful_step_count=40,
                deadline=None,
                database=None,
                derandomize=True,
                phases=[Phase.generate],
                report_multiple_bugs=False,
            ),
        )
