"""Many large tickets: what is kept of them in memory is bounded in bytes, not only in number."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import Final

import msgspec
import pytest

from ecproc.simulator.bridge import RawMessage
from tests.acceptance.world import Plan, World, is_empty, open_world

MEGABYTE: Final = 1024 * 1024
BOUND: Final = 200 * MEGABYTE
"""What the process may take in all, however much its tickets hold."""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")


def write_create(count: int, size: int) -> RawMessage:
    """A ticket with a description of so many characters, none like another's."""
    number = f"e-CS{count:07}"
    body = {
        "ticketType": "Incident",
        "ticketNumber": number,
        "clientTicketNumber": "",
        "clientName": "testClient",
        "status": "open",
        "shortDescription": f"disk {count} is full",
        "description": f"{count:07} " * (size // 8),
    }
    attributes = {"MessageGroupId": number, "TransactionType": "Create", "SequenceNumber": str(10**19 + count)}
    return RawMessage(Body=msgspec.Raw(json.dumps(body).encode()), Attributes=attributes)


def read_peak(pid: int) -> int:
    """The most memory that the process has ever held, in bytes."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def count_done(world: World) -> int:
    """How many numbers were returned to Ensono: the last thing that is done of a ticket."""
    return world.ledger.calls["returnptn"]


async def measure(folder: Path, *, tickets: int, size: int) -> list[int]:
    """The peak memory of a processor that takes these tickets while the desk works, and of the start after a kill."""
    peaks: list[int] = []
    async with open_world(folder, Plan(tickets=0, visibility=20.0)) as world:
        for count in range(tickets):
            world.simulator.bridge.send_raw(write_create(count, size))
        async with await world.start() as running:
            await world.reach(lambda ledger: is_empty(ledger) and count_done(world) >= tickets, running, 300)
            peaks.append(read_peak(running.pid))
            running.send(signal.SIGKILL)
            await running.ended()
        async with await world.start() as running:
            # Nothing is received before what the former one left is taken up.
            world.simulator.bridge.send_raw(write_create(tickets, size))
            await world.reach(is_empty, running, 60)
            peaks.append(read_peak(running.pid))
            running.send(signal.SIGTERM)
            assert await running.ended() == 0, running.said
    return peaks


async def test_large_tickets_are_not_kept_by_the_number(tmp_path: Path) -> None:
    peaks = await measure(tmp_path, tickets=200, size=240_000)
    assert max(peaks) <= BOUND, peaks


@pytest.mark.slow
async def test_three_thousand_tickets_of_a_hundred_kilobytes_are_not_either(tmp_path: Path) -> None:
    peaks = await measure(tmp_path, tickets=3_000, size=100_000)
    assert max(peaks) <= BOUND, peaks
