"""What `run` says: every line of one format from the first on, and lines that wake a person say what to do."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any, Final

import pytest

from ecproc.simulator.faults import MILD
from tests.acceptance.world import Plan, Running, is_empty, open_world, wait_for
from tests.conformance.faultserver import FaultServer, Peer

FIELDS: Final = {"ts", "level", "event"}
DELETED: Final = b'{"DeleteMessageResponse": {"ResponseMetadata": {"RequestId": "r-2"}}}'
EMPTY: Final = b'{"ReceiveMessageResponse": {"ReceiveMessageResult": {"messages": null}}}'


def list_of(running: Running, event: str) -> list[dict[str, Any]]:
    """The lines about this event."""
    return [line for line in running.list_lines() if line["event"] == event]


def write_messages(count: int, receives: int) -> bytes:
    """An answer of that many messages whose bodies nobody can read, handed out so many times."""
    messages = [
        {
            "MessageId": f"m-{number}",
            "ReceiptHandle": f"AQEB{number}",
            "MD5OfBody": "0",
            "Body": "{no JSON",
            "Attributes": {
                "ApproximateReceiveCount": str(receives),
                "MessageGroupId": f"e-CS{number}",
                "SequenceNumber": f"1886{number:016}",
                "SentTimestamp": "1795870000000",
            },
        }
        for number in range(count)
    ]
    result = {"messages": messages}
    answer = {"ReceiveMessageResult": result, "ResponseMetadata": {"RequestId": "r-1"}}
    return json.dumps({"ReceiveMessageResponse": answer}).encode()


@pytest.mark.requirement("R23", "R235")
async def test_messages_nobody_can_read_at_their_eighteenth_receive_wake_a_person(tmp_path: Path) -> None:
    answers = [write_messages(4, 18)]

    async def hand_out(peer: Peer) -> None:
        while (request := await peer.request()) is not None:
            deleted = request.method == "DELETE"
            await peer.answer(200, DELETED if deleted else answers.pop() if answers else EMPTY)

    async with (
        FaultServer(hand_out) as stub,
        open_world(tmp_path, Plan(tickets=0)) as world,
        await world.start(BRIDGE__URL=f"{stub.url}/testclient/dev") as running,
    ):
        await wait_for(lambda: len(list_of(running, "message_quarantined")) == 4, 20)
        await wait_for(lambda: bool(list_of(running, "receives_high")), 20)

        for line in list_of(running, "message_quarantined"):
            assert (line["level"], line["reason"]) == ("error", "undecodable")
            assert line["message_id"].startswith("m-")
            assert line["position"] > 0
            assert "ecproc quarantine" in line["hint"]
        (often,) = list_of(running, "receives_high")  # one complaint, counted
        assert (often["level"], often["receives"]) == ("error", 18)
        assert {"ticket", "message_id", "hint"} <= often.keys()


@pytest.mark.requirement("R5", "R217")
async def test_a_wrong_key_says_what_to_check(tmp_path: Path) -> None:
    async with (
        open_world(tmp_path, Plan(tickets=0)) as world,
        await world.start(BRIDGE__API_KEY="another-key-altogether") as running,
    ):
        await wait_for(lambda: bool(list_of(running, "queue_refused")), 20)

        (line,) = list_of(running, "queue_refused")
        assert (line["level"], line["status"]) == ("error", 403)
        assert all(word in line["hint"] for word in ("bridge.api_key", "bridge.url", "client", "IP allow-list"))
        assert "another-key" not in running.said


async def test_every_line_is_of_one_format_from_the_first_one_on(tmp_path: Path) -> None:
    plan = Plan(tickets=6, faults=MILD, visibility=1.0)
    async with open_world(tmp_path, plan) as world, await world.start("--drain") as running:
        await world.reach(is_empty, running)
        assert await running.ended(30) == 0
        lines = running.list_lines()
    assert all(line.keys() >= FIELDS for line in lines)
    assert all(line["ts"].endswith("Z") for line in lines)
    assert all(line.get("hint") for line in lines if line["level"] == "error")
    events = [line["event"] for line in lines]
    assert events[0] == "started"
    assert events[-1] == "stopped"
    assert {"web", "recovered", "first_poll", "drained"} <= set(events)


@pytest.mark.parametrize("arguments", [("run",), ("run", "--drain")])
async def test_what_keeps_it_from_starting_is_a_line_too(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    async with open_world(tmp_path, Plan(tickets=0)) as world:
        refused = await world.ask(*arguments, BRIDGE__URL="ftp://bridge.example", WEB__LISTEN="0.0.0.0:8600")

    lines = [json.loads(line) for line in refused.err.splitlines()]
    assert {line["event"] for line in lines} == {"stopped"}
    assert {line["level"] for line in lines} == {"error"}
    assert all(line["hint"] for line in lines)
    assert "ECPROC_BRIDGE__URL" in {line.get("place") for line in lines}


async def test_a_wrong_command_line_is_a_line_too(tmp_path: Path) -> None:
    async with open_world(tmp_path, Plan(tickets=0)) as world:
        refused = await world.ask("run", "--nonsense")

    (line,) = [json.loads(each) for each in refused.err.splitlines()]
    assert refused.code == 2
    assert (line["level"], line["hint"]) == ("error", "ecproc run --help")
    assert "--nonsense" in line["reason"]


async def test_a_drain_that_a_signal_cuts_short_is_none_and_says_what_waits(tmp_path: Path) -> None:
    plan = Plan(tickets=3, visibility=5.0)
    async with open_world(tmp_path, plan) as world, await world.start("--drain", "--timeout", "60") as running:
        await wait_for(lambda: bool(list_of(running, "first_poll")), 20)
        running.send(signal.SIGTERM)
        assert await running.ended(30) == 75
        (line,) = list_of(running, "drained")
    assert line["level"] == "warning"
    assert "stopped by SIGTERM" in line["reason"]
    assert "visibility window" in line["reason"]
