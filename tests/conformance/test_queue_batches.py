"""Many DELETEs at once, over every transport: each is sent once, each ends once, and none holds up another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from random import Random
from typing import Final

import anyio
import pytest

from ecproc.bridge.base import Answer
from ecproc.bridge.fast import FastBridge
from ecproc.bridge.http import HttpBridge
from ecproc.clock import SystemClock
from ecproc.config import BridgeConfig, Limits, LiveSecret, Secret
from ecproc.errors import BridgeRefused, BridgeUnavailable
from tests.conformance.faultserver import FaultServer, Peer, Script, answering, black_hole
from tests.conformance.transports import Adapter

PATIENCE: Final = 60.0
"""Seconds for what ends by itself."""
DEADLINE: Final = 0.5
"""Seconds for what must run out of time."""
SOAKS: Final = 40

Outcome = Answer | BridgeUnavailable | None
Bridge = FastBridge | HttpBridge


@pytest.fixture(scope="module", params=[True, False], ids=["uvloop", "asyncio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    """Both event loops."""
    return "asyncio", {"use_uvloop": request.param}


@asynccontextmanager
async def opened(
    adapter: Adapter,
    script: Script,
    *,
    connections: int = 8,
    at_once: int = 6,
    timeout: float = PATIENCE,
    keys: tuple[str, ...] = ("key",),
) -> AsyncIterator[tuple[Bridge, FaultServer]]:
    async with FaultServer(script) as server:
        bridge = adapter(
            BridgeConfig(url=f"{server.url}/client/prod", client_name="Client", timeout=timeout),
            api_key=LiveSecret("bridge.api_key", [Secret(key) for key in keys]),
            limits=Limits(bridge_connections=connections, deletes_at_once=at_once),
            clock=SystemClock(),
        )
        try:
            yield bridge, server
        finally:
            await bridge.aclose()


class Heard:
    """What became of each, by its handle."""

    def __init__(self, handles: list[str]) -> None:
        self.handles = handles
        self.outcomes: dict[str, Outcome] = {}

    def take(self, place: int, outcome: Outcome) -> None:
        assert self.handles[place] not in self.outcomes
        self.outcomes[self.handles[place]] = outcome

    async def delete(self, bridge: Bridge, *, within: float = PATIENCE) -> dict[str, Outcome]:
        await bridge.delete_many(self.handles, self.take, within=within)
        assert list(sorted(self.outcomes)) == sorted(self.handles)
        return self.outcomes


def handle_of(target: str) -> str:
    return target.rpartition("/")[2]


def by_handle(answer: Callable[[Peer, str], object]) -> Script:
    """Let a function make something of each request."""

    async def script(peer: Peer) -> None:
        while request := await peer.request():
            made = answer(peer, handle_of(request.target))
            if asyncio.iscoroutine(made):
                await made

    return script


async def test_each_is_sent_once_and_byte_for_byte(adapter: Adapter) -> None:
    handles = ["AQEB+/==/x", "..", "a%2Fb", "a?b#c d", *(f"h{number}" for number in range(30))]
    async with opened(adapter, answering(200, b"{}")) as (bridge, server):
        for _ in range(2):
            assert set((await Heard(handles).delete(bridge)).values()) == {Answer(200, b"{}")}
    targets = [request.target for request in server.requests]
    assert {request.method for request in server.requests} == {"DELETE"}
    assert len(targets) == 2 * len(handles)
    assert all(targets.count(target) == 2 for target in targets)
    assert {handle_of(target) for target in targets} > {
        "AQEB%2B%2F%3D%3D%2Fx",
        "..",
        "a%252Fb",
        "a%3Fb%23c%20d",
    }
    assert len(server.peers) <= 8


async def test_nothing_is_nothing(adapter: Adapter) -> None:
    async with opened(adapter, answering(200)) as (bridge, server):
        assert await Heard([]).delete(bridge) == {}
        assert server.requests == []


async def test_each_has_its_own_answer(adapter: Adapter) -> None:
    async def answer(peer: Peer, handle: str) -> None:
        await anyio.sleep(int(handle) % 3 / 100)
        await peer.answer(400 + int(handle), handle.encode(), {"retry-after": handle})

    async with opened(adapter, by_handle(answer)) as (bridge, _):
        outcomes = await Heard([str(number) for number in range(30)]).delete(bridge)
    assert outcomes == {
        handle: Answer(400 + int(handle), handle.encode(), float(handle)) for handle in map(str, range(30))
    }


async def test_what_becomes_of_one_is_nothing_to_the_others_and_nothing_is_sent_twice(adapter: Adapter) -> None:
    async def answer(peer: Peer, handle: str) -> None:
        match int(handle) % 5:
            case 0:
                peer.reset()
            case 1:
                await peer.send(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")
            case 2:
                await peer.answer(200, bytes(300 * 1024))
            case 3:
                await peer.answer(500, b"{}", {"connection": "close"})
            case _:
                await peer.answer(200, b"{}")

    handles = [str(number) for number in range(40)]
    async with opened(adapter, by_handle(answer)) as (bridge, server):
        outcomes = await Heard(handles).delete(bridge)
        sent = [handle_of(request.target) for request in server.requests]
    assert sorted(sent) == sorted(handles)
    for handle, outcome in outcomes.items():
        match outcome:
            case BridgeUnavailable():
                assert outcome.sent
                assert outcome.kind in ({"connect", "protocol"}, {"protocol"}, {"too_large"})[int(handle) % 5]
            case Answer():
                assert outcome.status == {3: 500, 4: 200}[int(handle) % 5]
            case _:
                raise AssertionError(handle)


async def test_those_that_hang_run_out_of_time_and_leave_room_for_reads(adapter: Adapter) -> None:
    async def script(peer: Peer) -> None:
        while request := await peer.request():
            if request.method == "DELETE":
                await peer.hang()
            await peer.answer(200, b"{}")

    async with opened(adapter, script, connections=3, at_once=2, timeout=4 * DEADLINE) as (bridge, server):
        heard = Heard(["a", "b", "c"])
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: heard.delete(bridge))
            for _ in range(5):
                assert (await bridge.receive()).status == 200
        deletes = sum(request.method == "DELETE" for request in server.requests)
    faults = list(heard.outcomes.values())
    assert all(isinstance(fault, BridgeUnavailable) and fault.kind == "timeout" for fault in faults)
    assert deletes == 3


async def test_one_that_is_not_begun_in_time_is_not_sent(adapter: Adapter) -> None:
    late = anyio.Event()

    async def answer(peer: Peer, handle: str) -> None:
        await late.wait()
        await peer.answer(200, b"{}")

    async with opened(adapter, by_handle(answer), connections=2, at_once=1) as (bridge, server):
        heard = Heard(["a", "b", "c"])
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: heard.delete(bridge, within=DEADLINE))
            await anyio.sleep(2 * DEADLINE)
            late.set()
        assert [handle_of(request.target) for request in server.requests] == ["a"]
    assert heard.outcomes == {"a": Answer(200, b"{}"), "b": None, "c": None}


async def test_nothing_is_sent_for_whoever_was_cancelled(adapter: Adapter) -> None:
    began = anyio.Event()
    silent = True

    async def answer(peer: Peer, handle: str) -> None:
        began.set()
        await (peer.hang() if silent else peer.answer(200, b"{}"))

    async with opened(adapter, by_handle(answer), connections=2, at_once=2) as (bridge, server):
        heard = Heard([str(number) for number in range(8)])
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: heard.delete(bridge))
            await began.wait()
            tasks.cancel_scope.cancel()
        silent = False
        again = Heard(["x", "y", "z"])
        assert set((await again.delete(bridge)).values()) == {Answer(200, b"{}")}
        sent = [handle_of(request.target) for request in server.requests]
    assert heard.outcomes == {}
    assert len(sent) <= 2 + 3
    assert sorted(sent)[-3:] == ["x", "y", "z"]


@pytest.mark.requirement("R5")
async def test_a_refused_key_is_followed_once_by_the_other_one(adapter: Adapter) -> None:
    async def script(peer: Peer) -> None:
        while request := await peer.request():
            await peer.answer(200 if request.headers["x-api-key"] == "B" else 403, b"{}")

    handles = [str(number) for number in range(10)]
    async with opened(adapter, script, keys=("A", "B")) as (bridge, server):
        for _ in range(2):
            assert set((await Heard(handles).delete(bridge)).values()) == {Answer(200, b"{}")}
        keys = [request.headers["x-api-key"] for request in server.requests]
    assert keys.count("B") == 20
    assert keys.count("A") <= 10


async def test_a_key_that_is_refused_for_good_costs_two_calls_each(adapter: Adapter) -> None:
    async with opened(adapter, answering(403, b"{}"), keys=("A", "B")) as (bridge, server):
        assert set((await Heard(["a", "b"]).delete(bridge)).values()) == {Answer(403, b"{}")}
        assert len(server.requests) == 4


async def test_a_key_that_no_header_can_carry_is_refused_unsent(adapter: Adapter) -> None:
    async with opened(adapter, answering(200), keys=("kéy",)) as (bridge, server):
        with pytest.RaisesGroup(BridgeRefused, flatten_subgroups=True, allow_unwrapped=True):
            await bridge.delete_many(["a"], lambda place, outcome: None, within=PATIENCE)
        assert server.requests == []


async def test_whoever_cannot_bear_an_outcome_is_told_so(adapter: Adapter) -> None:
    def take(place: int, outcome: Outcome) -> None:
        raise ValueError(place)

    async with opened(adapter, answering(200, b"{}")) as (bridge, _):
        with pytest.RaisesGroup(ValueError, flatten_subgroups=True):
            await bridge.delete_many(["a"], take, within=PATIENCE)
        assert (await bridge.receive()).status == 200


async def test_where_nobody_listens_each_is_told_so(adapter: Adapter) -> None:
    async with opened(adapter, black_hole) as (bridge, server):
        await server.__aexit__(None, None, None)
        outcomes = await Heard([str(number) for number in range(9)]).delete(bridge)
    for outcome in outcomes.values():
        assert isinstance(outcome, BridgeUnavailable)
        assert (outcome.kind, outcome.sent) == ("connect", False)


# --- many short runs --------------------------------------------------------------------------------------------------


def moody(rng: Random) -> Script:
    """Answer, mostly; now and then close, reset, or say something odd first."""

    async def script(peer: Peer) -> None:
        while await peer.request():
            match rng.random():
                case luck if luck < 0.03:
                    return
                case luck if luck < 0.06:
                    return peer.reset()
                case luck if luck < 0.1:
                    return await peer.answer(200, b"{}", {"connection": "close"})
                case luck if luck < 0.2:
                    await asyncio.sleep(0)
            await peer.answer(200, b"{}")

    return script


async def soak(seed: int) -> None:
    """Readers that read and delete over few connections, some of them interrupted: all come to their end."""
    rng = Random(seed)
    connections, at_once = rng.randint(1, 4), rng.randint(1, 4)
    ended: list[Outcome] = []

    async def read(number: int) -> None:
        for _ in range(2):
            try:
                await bridge.receive()
            except BridgeUnavailable as fault:
                assert fault.kind != "timeout"
            heard = Heard([f"{number}-{place}" for place in range(10)])
            ended.extend((await heard.delete(bridge)).values())

    async with opened(FastBridge, moody(rng), connections=connections, at_once=at_once) as (bridge, _):
        readers = [asyncio.create_task(read(number)) for number in range(4)]
        for _ in range(rng.randint(0, 60)):
            await asyncio.sleep(0)
        readers[0].cancel()
        done, stuck = await asyncio.wait(readers, timeout=PATIENCE / 3)
        assert not stuck
        for reader in done:
            if not reader.cancelled():
                reader.result()
    assert all(not isinstance(outcome, BridgeUnavailable) or outcome.kind != "timeout" for outcome in ended)
    assert len(ended) >= 60


@pytest.mark.parametrize("seed", range(SOAKS))
async def test_short_runs_never_stall(seed: int) -> None:
    await soak(seed)
