"""The process under attack: answers that are too large, and what of them stays in memory."""

from __future__ import annotations

import re
import signal
from pathlib import Path
from typing import Final

import anyio
import pytest

from tests.acceptance.attacker import RawBridge, make_body
from tests.acceptance.world import Plan, Running, open_world, wait_for

READERS: Final = 16
"""GETs under way at once."""
MOST_GROWTH_MB: Final = 32
_RSS: Final = re.compile(r"VmRSS:\s+(\d+) kB")

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="needs /proc to see how much memory another process has"
)


def read_rss_mb(running: Running) -> float:
    """The resident memory of a process."""
    found = _RSS.search(Path(f"/proc/{running.pid}/status").read_text(encoding="ascii"))
    assert found is not None
    return int(found[1]) / 1024


class Attack:
    """Rounds of ordinary messages, which bring all readers in, and then an oversize answer for each of them."""

    def __init__(self, bridge: RawBridge) -> None:
        self._bridge = bridge
        self.tickets = 0

    async def play(self, answers: int) -> None:
        """At least so many oversize answers more."""
        wanted = self._bridge.oversized + answers
        while self._bridge.oversized < wanted:
            await self.send_messages(2 * READERS)
            self._bridge.oversize = READERS
            await self._bridge.changed.wait_until(lambda: not (self._bridge.oversize or self._bridge.oversizing))

    async def send_messages(self, answers: int) -> None:
        """So many messages, each in an answer of its own, until all of them are deleted."""
        for _ in range(answers):
            self.tickets += 1
            ticket = f"e-CS{self.tickets}"
            self._bridge.put(ticket, make_body(ticket))
        await self._bridge.changed.wait_until(lambda: not self._bridge.waiting)


@pytest.mark.requirement("I7", "I8")
@pytest.mark.parametrize(("transport", "answers"), [("fast", 100), ("httpx", 24)])
async def test_oversize_answers_leave_no_memory_behind(tmp_path: Path, transport: str, answers: int) -> None:
    async with RawBridge() as bridge, open_world(tmp_path, Plan(tickets=0)) as world:
        attack = Attack(bridge)
        bridge.batch = 1
        options = {**bridge.environment, "BRIDGE__TRANSPORT": transport, "BRIDGE__MAX_READERS": str(READERS)}
        async with await world.start(**options) as running:
            with anyio.fail_after(200):
                await attack.play(READERS)
                before = read_rss_mb(running)
                await attack.play(answers)
                await wait_for(lambda: read_rss_mb(running) - before <= MOST_GROWTH_MB, within=10)
                await attack.send_messages(1)
            running.send(signal.SIGTERM)
            assert await running.ended() == 0, running.said[-2000:]
        shown = await world.ask("tickets", **bridge.environment)
    assert len(shown.out.splitlines()) == attack.tickets
