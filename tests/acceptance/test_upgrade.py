"""An upgrade: a data directory that a former build left is started by this one, which changes nothing that happened."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import pytest

from ecproc.domain.ticket import FOLD_VERSION
from ecproc.errors import ExitCode
from tests.acceptance.log_page import find_unexplained
from tests.acceptance.world import Plan, World, open_world
from tests.replay.histories import FOLDER, list_histories, unpack, write_message

NEW: Final = "e-CS0700099"
"""The ticket that comes after the upgrade."""


async def list_events(world: World) -> list[dict[str, Any]]:
    answer = await world.ask("events")
    assert answer.code == ExitCode.OK, answer.err
    return [json.loads(line) for line in answer.out.splitlines()]


def list_keys(events: list[dict[str, Any]], kind: str) -> set[str]:
    """The effects that these events of one kind are about."""
    return {event["data"]["key"] for event in events if event["kind"] == kind}


def is_of_a_former_fold(name: str) -> bool:
    """Whether the rows that came with a history were made by another fold than ours."""
    return any((FOLDER / name / f"fold-{version}.json").exists() for version in range(1, FOLD_VERSION))


@pytest.mark.slow
@pytest.mark.requirement("I5", "R230")
@pytest.mark.parametrize("name", list_histories())
async def test_the_log_of_a_former_build_goes_on(tmp_path: Path, name: str) -> None:
    async with open_world(tmp_path, Plan(tickets=0, visibility=1.0)) as world:
        unpack(name, world.data)
        before = await list_events(world)
        case = {"ticketType": "Incident", "ticketNumber": NEW, "status": "open", "shortDescription": "a later one"}
        world.simulator.bridge.send_raw(write_message(1, "Create", case, group=NEW))

        # A history has no desk's file, as a copy that was put back in part: that has to be accepted.
        async with await world.start("--drain", "--timeout", "60", "--accept-loss") as running:
            assert await running.ended() == ExitCode.OK, running.said

        assert [*find_unexplained(running.list_lines())] == []
        told = [line["event"] for line in running.list_lines()]
        assert ("live_state_rebuilt" in told) is is_of_a_former_fold(name)
        events = await list_events(world)
        new = events[len(before) :]
        assert events[: len(before)] == before
        assert [event["message_id"] for event in new if event["kind"] == "MessageReceived"] == [f"{NEW}-1"]
        assert f"create:{NEW}:g1" in list_keys(new, "EffectSucceeded")
        assert not list_keys(before, "EffectSucceeded") & list_keys(new, "EffectSucceeded")
        assert (await world.ask("log", "verify")).code == ExitCode.OK
        replayed = await world.ask("replay", "--verify")
        assert (replayed.code, json.loads(replayed.out)["equal"]) == (ExitCode.OK, True)
