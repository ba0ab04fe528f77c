"""The process under attack: messages that are made to take long, among ordinary ones."""

from __future__ import annotations

import json
import re
import signal
import time
from pathlib import Path
from statistics import median
from typing import Final

import anyio
import httpx
import pytest

from tests.acceptance.attacker import RawBridge, make_body
from tests.acceptance.world import Plan, Running, open_world

KB: Final = 1024
HEAD: Final = b'{"ticketNumber":"e-CS9","ticketType":"Incident","status":"open",'
HOSTILE: Final[dict[str, bytes]] = {
    "2000 levels in 50 kB": HEAD + b'"x":' + b"[" * 2000 + b'"' + b"a" * 46 * KB + b'"' + b"]" * 2000 + b"}",
    "200,000 levels": HEAD + b'"x":' + b"[" * 200_000 + b"]" * 200_000 + b"}",
    "objects": HEAD + b'"x":' + b'{"a":' * 40_000 + b"1" + b"}" * 40_000 + b"}",
    "brackets in texts": HEAD + b'"z":"\\ud800","x":[' + b",".join([b'"[{"'] * (50 * KB)) + b"]}",
    "half pairs": HEAD + b'"x":"' + rb"\ud800" * (42 * KB) + b'"}',
    "unknown escapes": HEAD + b'"x":"' + rb"\x" * (128 * KB) + b'"}',
    "members": HEAD + b",".join(b'"m%d":1' % number for number in range(25 * KB)) + b"}",
    "notes": HEAD + b'"notes":[' + b",".join([b'"a"'] * (64 * KB)) + b"]}",
    "a size": HEAD + b'"attachmentName":"a","attachmentSize":"1' + b" " * (250 * KB) + b'x"}',
    "a path": HEAD + b'"attachmentName":"a","attachmentInfo":"' + b"/file" * (50 * KB) + b'"}',
    "floats": HEAD + b'"x":[' + b",".join([b"1.5e300"] * (32 * KB)) + b"]}",
}
ORDINARY: Final = 40
ALIVE_SECONDS: Final = 1.0
STOP_SECONDS: Final = 10.0


async def watch(url: str, waits: list[float]) -> None:
    """Ask `/livez` again and again, and note how long each answer took."""
    async with httpx.AsyncClient(timeout=30, trust_env=False) as client:
        while True:
            start = time.monotonic()
            answer = await client.get(f"{url}/livez")
            waits.append(time.monotonic() - start)
            assert answer.status_code == 200
            await anyio.sleep(0.02)


async def stop(running: Running) -> float:
    """Seconds that a drain took."""
    start = time.monotonic()
    running.send(signal.SIGTERM)
    assert await running.ended(30) == 0, running.said[-2000:]
    return time.monotonic() - start


@pytest.mark.requirement("I7", "I8", "I9")
async def test_messages_made_to_take_long_hold_up_nothing(tmp_path: Path) -> None:
    async with RawBridge() as bridge, open_world(tmp_path, Plan(tickets=0)) as world:
        for number in range(ORDINARY):
            bridge.put(f"e-CS{number}", make_body(f"e-CS{number}"))
        for number, body in enumerate(HOSTILE.values()):
            bridge.put(f"e-HOSTILE{number}", body)
            bridge.put(f"e-CS{ORDINARY + number}", make_body(f"e-CS{ORDINARY + number}"))
        waits: list[float] = []
        async with await world.start(**bridge.environment) as running:
            url = await running.told("web", "url")
            with anyio.fail_after(30):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(watch, url, waits)
                    await bridge.changed.wait_until(lambda: not bridge.waiting)
                    tasks.cancel_scope.cancel()
            seconds = await stop(running)
        shown = await world.ask("tickets", **bridge.environment)
        refused = await world.ask("quarantine", "list", **bridge.environment)
        logged = await world.ask("events", **bridge.environment)
        verified = await world.ask("replay", "--verify", **bridge.environment)

    # All were answered, and most in time: on a busy machine whoever asks may be late as well.
    assert median(waits) <= ALIVE_SECONDS, sorted(waits)
    assert seconds <= STOP_SECONDS
    assert bridge.deleted == {f"h{number + 1}" for number in range(ORDINARY + 2 * len(HOSTILE))}
    received = [line for line in logged.out.splitlines() if '"kind":"MessageReceived"' in line]
    streams = [re.search(r'"stream":"([^"]+)"', line[:200])[1] for line in received]  # type: ignore[index]
    assert sorted(streams) == sorted(
        [f"e-CS{number}" for number in range(ORDINARY + len(HOSTILE))]
        + [f"e-HOSTILE{number}" for number in range(len(HOSTILE))]
    )
    tickets = {json.loads(line)["ticket"] for line in shown.out.splitlines()}
    assert {f"e-CS{number}" for number in range(ORDINARY + len(HOSTILE))} <= tickets
    # Bodies stand beside the reasons, and no decoder takes the deepest ones; what only has many parts is a ticket.
    assert set(re.findall(r'"reason": ?"(\w+)"', refused.out)) == {"too_deep"}
    assert verified.code == 0, verified.err
