"""The process and hosts that drip: they get no place for long, and nobody else waits for them for ever."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from ecproc.attachments.rate import PATIENCE_SECONDS
from ecproc.simulator.bridge import RawMessage
from tests.acceptance.world import Plan, Running, is_empty, open_world, wait_for
from tests.conformance.faultserver import FaultServer, Peer, make_head

SLOW = 12
"""Downloads that drip: more than the lane has places."""


def announce(number: int, url: str) -> RawMessage:
    body = {
        "ticketType": "Incident",
        "ticketNumber": f"e-CS{number}",
        "attachmentInfo": f"https://envisiontest.service-now.com/api/now/attachment/file{number}",
        "attachmentName": "rocket.jpg",
        "attachmentSize": "3000",
        "attachment": f"{url}/{number}",
    }
    names = {"MessageGroupId": f"e-CS{number}", "TransactionType": "Attachment", "SequenceNumber": str(number)}
    return RawMessage(msgspec.Raw(msgspec.json.encode(body)), names)


def list_lines(running: Running, reason: str) -> list[dict[str, Any]]:
    return [line for line in running.list_lines() if reason in line.get("reason", "")]


@pytest.mark.requirement("I8")
async def test_hosts_that_drip_give_their_places_back(tmp_path: Path) -> None:
    began: list[float] = []
    given: list[float] = []

    async def drip(peer: Peer) -> None:
        """Half of them drip the body, which ends first; the others already the head."""
        request = await peer.request()
        if request is None:  # given up before anything was sent, as at the end
            return
        head = make_head(200, {"content-length": "3000"})
        if int(request.target.rpartition("/")[2]) % 2:
            await peer.send(head)
            began.append(anyio.current_time())
            head = b""
        await peer.drip(head + bytes(3000), seconds_per_byte=1.0)

    async def give(peer: Peer) -> None:
        await peer.request()
        given.append(anyio.current_time())
        await peer.answer(200, bytes(3000))

    async with (
        FaultServer(drip) as slow,
        FaultServer(give) as quick,
        open_world(tmp_path, Plan(tickets=0, visibility=2.0)) as world,
    ):
        for number in range(SLOW):
            world.simulator.bridge.send_raw(announce(number, slow.url))
        async with await world.start() as running:
            await wait_for(lambda: len(slow.requests) >= 10, 20)
            world.simulator.bridge.send_raw(announce(SLOW, quick.url))
            await world.reach(is_empty, running, 10)  # receiving and deciding go on beside them
            await wait_for(lambda: bool(given), PATIENCE_SECONDS + 15)
            assert given[0] - began[0] >= PATIENCE_SECONDS - 1, "there was a place from the beginning"
            await wait_for(lambda: bool(list_lines(running, "too slow")), 5)
            assert not list_lines(running, "defect")
            assert not [line for line in running.list_lines() if line["event"] in ("breaker", "effect_lost")]
            assert not running.is_over, running.said
