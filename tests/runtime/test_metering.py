"""The bridge, metered: each call is told once, as it ended, and what its answers tell by the way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from ecproc.bridge.base import Answer, Deleted, Request
from ecproc.errors import BridgeUnavailable
from ecproc.metering import MeteredBridge, name_call, read_skew
from ecproc.telemetry.hooks import BRIDGE_CALLS, Read, Reading, Telemetry
from tests.simulation.clock import VirtualClock
from tests.simulation.simloop import simulated_backend


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return simulated_backend()


class Told(Telemetry):
    """Keeps what it is told, and what it is to ask."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int | None, float]] = []
        self.reads: dict[Reading, Read] = {}

    def bridge_called(self, call: str, status: int | None, seconds: float) -> None:
        self.calls.append((call, status, round(seconds, 3)))

    def watch(self, reading: Reading, read: Read) -> None:
        self.reads[reading] = read


class SlowBridge:
    """Answers everything alike after two seconds; none where that is an error."""

    def __init__(self, clock: VirtualClock, answer: Answer | BridgeUnavailable) -> None:
        self.certificate_end: float | None = None
        self._clock = clock
        self._answer = answer

    async def receive(self) -> Answer:
        await self._clock.sleep(2.0)
        if isinstance(self._answer, BridgeUnavailable):
            raise self._answer
        return self._answer

    async def delete(self, receipt_handle: str) -> Answer:
        return await self.receive()

    async def delete_many(self, receipt_handles: Sequence[str], deleted: Deleted, *, within: float) -> None:
        await self._clock.sleep(2.0)
        for place, handle in enumerate(receipt_handles):
            deleted(place, self._answer if handle else None)

    async def send(self, request: Request) -> Answer:
        return await self.receive()


def open_metered(answer: Answer | BridgeUnavailable) -> tuple[MeteredBridge, Told, SlowBridge]:
    clock, told = VirtualClock(), Told()
    bridge = SlowBridge(clock, answer)
    return MeteredBridge(bridge, telemetry=told, clock=clock), told, bridge


async def call_all(bridge: MeteredBridge) -> list[object]:
    """What every way of asking gives; of a batch what is heard."""
    heard: list[object] = []
    await bridge.delete_many(["a", ""], lambda place, outcome: heard.append(outcome), within=5.0)
    for call in (bridge.receive(), bridge.delete("a"), bridge.send(Request("PUT", "/tickets/e-CS1/notes", b"{}"))):
        try:
            heard.append(await call)
        except BridgeUnavailable as error:
            heard.append(error)
    return heard


@pytest.mark.parametrize("answer", [Answer(503, b""), BridgeUnavailable("timeout", "no answer", sent=True)])
async def test_every_call_is_passed_on_and_told_once(answer: Answer | BridgeUnavailable) -> None:
    bridge, told, _ = open_metered(answer)

    heard = await call_all(bridge)

    assert heard == [answer, None, answer, answer, answer]
    status = answer.status if isinstance(answer, Answer) else None
    assert told.calls == [(call, status, 2.0) for call in ("delete", "receive", "delete", "notes")]


async def test_the_clock_s_difference_is_read_from_the_last_date() -> None:
    bridge, told, _ = open_metered(Answer(200, b"", date="Tue, 01 Jan 2030 00:00:30 GMT"))
    assert told.reads[Reading.CLOCK_SKEW]() is None

    await bridge.receive()

    skew = told.reads[Reading.CLOCK_SKEW]()
    assert isinstance(skew, float)
    assert read_skew("Tue, 01 Jan 2030 00:00:30 GMT", 1_893_456_000_000_000) == 30.0
    assert read_skew("Tue, 01 Jan 2030 00:00:30 -0000", 1_893_456_000_000_000) == 30.0
    assert read_skew("yesterday", 0) is None


async def test_the_certificate_s_end_is_the_adapter_s() -> None:
    _, told, adapter = open_metered(Answer(200, b""))
    assert told.reads[Reading.TLS_END]() is None
    adapter.certificate_end = 1_900_000_000.0
    assert told.reads[Reading.TLS_END]() == 1_900_000_000.0


@pytest.mark.parametrize(
    ("method", "path", "call"),
    [
        ("POST", "/tickets", "create"),
        ("PUT", "/tickets/e-CS1", "update"),
        ("PUT", "/tickets/notes", "update"),
        ("PUT", "/tickets/e-CS1/notes", "notes"),
        ("PUT", "/tickets/e-CS1/returnptn", "returnptn"),
        ("PUT", "/tickets/e-CHG1/approve", "approve"),
        ("PUT", "/tickets/e-CHG1/reject", "reject"),
        ("GET", "/tickets/e-CS1", "show"),
        ("GET", "/tickets/e-CS1/attachments/rocket.jpg", "attachments"),
    ],
)
def test_calls_have_names_of_a_closed_set(method: str, path: str, call: str) -> None:
    assert name_call(Request(method, path)) == call
    assert call in BRIDGE_CALLS
