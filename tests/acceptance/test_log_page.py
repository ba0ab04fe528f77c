"""The page about log events explains what a processor says in trouble: faults, a kill, a refused key, a bad message."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from ecproc.simulator.faults import MILD, CallFaults
from tests.acceptance.log_page import find_unexplained, read_log_events
from tests.acceptance.world import Plan, is_empty, open_world
from tests.replay.histories import write_message


@pytest.mark.slow
async def test_every_line_in_trouble_is_explained(tmp_path: Path) -> None:
    faults = msgspec.structs.replace(MILD, tickets=CallFaults(throttle=0.1, lost=0.2, error_before=0.1))
    lines = []
    async with open_world(tmp_path, Plan(tickets=12, faults=faults, visibility=1.0)) as world:
        world.simulator.bridge.send_raw(write_message(1, "Update", "no object", group="e-CS0700003"))
        async with await world.start("--drain", "--timeout", "1", BRIDGE__API_KEY="wrong") as running:
            await running.ended()
            lines += running.list_lines()
        await world.die_at("claim.committed", 5)
        async with await world.start("--drain") as running:
            await world.reach(is_empty, running)
            world.simulator.bridge.faults.change_plan(msgspec.structs.replace(MILD, tickets=CallFaults()))
            await running.ended()
            lines += running.list_lines()

    said = {line["event"] for line in lines}
    assert {"queue_refused", "message_quarantined", "effect_retry", "drained"} <= said
    assert [*find_unexplained(lines)] == []
    assert said <= read_log_events().keys()


def test_a_line_that_the_page_does_not_have_is_found() -> None:
    known = {"ts": "", "level": "info", "event": "paused", "what": "bridge"}

    assert [*find_unexplained([known])] == []
    assert len([*find_unexplained([{**known, "level": "error"}, {**known, "event": "no"}, {**known, "odd": 1}])]) == 3
